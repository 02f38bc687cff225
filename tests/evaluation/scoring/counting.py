"""Counts how often each image is decoded."""

from collections import Counter

from diffalign.scorers.images import image_input


def count_decoded(monkeypatch) -> Counter:
    """Returns a counter of images by their handles, which grows while they are decoded."""
    opened, open_image = Counter(), image_input.open_image

    def counted(media, **options):
        opened[media] += 1
        return open_image(media, **options)

    monkeypatch.setattr(image_input, "open_image", counted)
    return opened
