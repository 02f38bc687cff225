"""Images of every kind that a data set holds, as files, with what a viewer shows of each."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZES = [(57, 41), (41, 57), (32, 32), (20, 90), (31, 33), (35, 32), (1, 1), (1, 50), (97, 3)]
"""Width and height; the margins of crops to 32 pixels among them are odd and even."""


def noise(width: int = 57, height: int = 41, seed: int = 0) -> Image.Image:
    """Smooth colours with some noise, as pictures are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    grain = rng.integers(-8, 9, (height, width, 3))
    return Image.fromarray((np.asarray(coarse).astype(int) + grain).clip(0, 255).astype(np.uint8))


def kinds(folder: Path) -> dict[str, tuple[Path, Image.Image]]:
    """Kind to its file, and the RGB image that a viewer shows."""
    plain, found = noise(), {}

    def add(kind: str, image: Image.Image, shown: Image.Image, **options) -> None:
        image.save(folder / f"{kind}.png", **options)
        found[kind] = (folder / f"{kind}.png", shown)

    add("rgb", plain, plain)
    add("opaque RGBA", plain.convert("RGBA"), plain)
    clear = plain.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(plain.size))
    add("transparent RGBA", clear, Image.alpha_composite(Image.new("RGBA", plain.size, "white"), clear).convert("RGB"))
    palette = plain.quantize(64)
    add("palette", palette, palette.convert("RGB"))
    grey = np.asarray(plain.convert("L"))
    add("16 bits", Image.fromarray(grey.astype(np.uint16) * 257), Image.fromarray(grey).convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    add("EXIF", plain, plain.transpose(Image.Transpose.ROTATE_270), exif=exif)
    add("one pixel", noise(1, 1), noise(1, 1))
    return found
