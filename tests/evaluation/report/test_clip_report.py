"""Clips on the page and on the sheet: one file that plays in step, can be stopped, prints, and stays small."""

import re
from functools import partial
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.write_clip import write_clip
from diffalign.evaluation.compare.run import compare
from diffalign.evaluation.report import write
from diffalign.evaluation.report.clip_examples import MOST_BYTES, clip_examples
from diffalign.evaluation.report.clip_sheet import clip_sheet, save_clip_sheet
from diffalign.evaluation.report.sheet import Example, examples
from diffalign.evaluation.report.write import write_report
from tests.evaluation.fakes import Motion, MovingPolicy
from tests.evaluation.report.test_report import NASTY, Balanced
from tests.evaluation.samples.test_clips import animation

Balanced.VOID |= {"source", "input"}


class Pictures(HTMLParser):
    """Collects the elements of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.elements = []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def all(self, tag, **wanted):
        found = (attributes for name, attributes in self.elements if name == tag)
        return [a for a in found if all(a.get(key) == value for key, value in wanted.items())]

    def moving(self):
        return [a for a in self.all("img") if a.get("class") != "still"]


def noise(seed, frames=8, size=256):
    return Clip(np.random.default_rng(seed).integers(0, 256, (frames, size, size, 3), dtype=np.uint8), 8.0)


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    prompts = [NASTY, *(f"prompt {i}" for i in range(9))]
    folder = tmp_path_factory.mktemp("clips")
    return compare(MovingPolicy(), prompts, [0, 1], {"motion": (Motion(), "held-out")}, folder=folder)


@pytest.fixture(scope="module")
def page(comparison, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    text = write_report(folder, comparison=comparison).read_text(encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    return text


def test_the_page_is_one_file_without_scripts_or_addresses_and_escapes_prompts(page):
    parsed = Balanced(page)
    assert "<script" not in page and "default-src 'none'; img-src data:" in page
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"data:image/\w+;base64,[^\" ]*", "", page))
    assert all(address.startswith(("data:image/", "#")) for address in parsed.addresses)
    sources = [a["srcset"] for a in Pictures(page).all("source")]
    assert sources and all(source.startswith("data:image/webp;base64,") and " " not in source for source in sources)
    assert NASTY in "".join(parsed.text)
    assert Pictures(page).moving()[0]["alt"] == f"before and after: {NASTY}; 8 frames at 8 fps"


def test_base_and_aligned_are_one_picture_of_double_width(page):
    moving = Pictures(page).moving()
    assert len(moving) == 12, "two seeds of six prompts: 24 clips"
    for picture in moving:
        frames, durations = animation(picture["src"])
        assert {frame.size for frame in frames} == {(64, 32)} and sum(durations) == 1000
    frames, _ = animation(moving[0]["src"])
    left = [np.asarray(frame)[:, :32] for frame in frames]
    right = [np.asarray(frame)[:, 32:] for frame in frames]
    assert len(frames) == 8 and all((frame == left[0]).all() for frame in left), "the reference stands still"
    assert all((a != b).any() for a, b in zip(right, right[1:], strict=False)), "the aligned model moves"
    assert (left[0] == right[0]).all()


def test_a_strip_of_frames_replaces_the_motion_for_those_who_want_none_in_print_and_when_stopped(page):
    parsed = Pictures(page)
    sources, stills = (
        parsed.all("source", media="(prefers-reduced-motion: reduce)"),
        parsed.all("img", **{"class": "still"}),
    )
    assert [source["srcset"] for source in sources] == [still["src"] for still in stills] and len(stills) == 12
    strip = np.asarray(animation(stills[0]["src"])[0][0])
    assert strip.shape == (32 + 6 + 32, 8 * 34 - 2, 3)
    moving = np.asarray(animation(parsed.moving()[0]["src"])[0][5])
    at = slice(5 * 34, 5 * 34 + 32)
    assert (strip[:32, at] == moving[:, :32]).all() and (strip[38:, at] == moving[:, 32:]).all()
    assert stills[0]["alt"].startswith("frames of before and after:")
    assert parsed.all("input", type="checkbox", id="stop") and parsed.all("label", **{"for": "stop"})
    style = re.sub(r"\s+", " ", page[: page.index("</style>")])
    assert ".both .clip .still { display: none; }" in style
    assert "#stop:checked ~ .figures .clip picture { display: none; }" in style
    assert "#stop:checked ~ .figures .clip .still { display: block; }" in style
    assert re.search(
        r"@media print \{[^}]*\.clip picture \{ display: none; \} \.both \.clip \.still \{ display: block", style
    )
    section = page[page.index("<h2>Before and after</h2>") :]
    assert section.index('id="stop"') < section.index('class="figures"') < section.index("</section>")


def test_a_page_of_images_has_none_of_this(tmp_path):
    shown = [Example("x", [], [Image.new("RGB", (8, 8))])]
    text = write_report(tmp_path, images=shown).read_text()
    assert '<input type="checkbox"' not in text and "<picture" not in text and "data:image/png" in text


def test_clips_without_a_base_and_files_of_clips_are_shown_without_before(tmp_path):
    path = write_clip(tmp_path / "a.webp", MovingPolicy().clip(3, 1))
    text = write_report(tmp_path, images=[Example("step 10", [], [path])]).read_text()
    assert "before</span>" not in text and Pictures(text).moving()[0]["alt"] == "after: step 10; 8 frames at 8 fps"
    assert animation(Pictures(text).moving()[0]["src"])[0][0].size == (32, 32)


def test_a_page_has_24_clips_and_says_how_many_are_left_out(tmp_path):
    clip = MovingPolicy().clip(3, 1)
    shown = [Example(f"prompt {k}", [clip] * 5, [clip] * 5) for k in range(4)]
    kept, notes = clip_examples(shown)
    assert [len(example.pictures) for example in kept] == [5, 5, 2]
    assert notes == ["16 more clips are left out: a page shows 24."]
    text = write_report(tmp_path, images=shown).read_text()
    assert "16 more clips are left out" in text and len(Pictures(text).moving()) == 12
    assert clip_examples(shown[:2])[1] == []


def test_clips_beyond_the_budget_shrink_then_lose_frames_and_the_page_says_so(tmp_path, monkeypatch):
    shown = [Example("noise", [noise(k, 12)], [noise(k + 9, 12)]) for k in range(2)]
    sizes = []
    for most in (10**9, 2_500_000, 1_500_000):
        kept, notes = clip_examples(shown, most)
        pictures = [picture for example in kept for picture in example.pictures]
        frames, _ = animation(Pictures(pictures[0]).moving()[0]["src"])
        sizes.append((len(frames), frames[0].size, sum(map(len, pictures)) <= most, notes))
    assert sizes[0] == (12, (512, 256), True, [])
    assert sizes[1] == (12, (384, 192), True, ["Clips are shrunk to 192 pixels to keep the page small."])
    assert sizes[2] == (8, (384, 192), True, ["Clips are shrunk to 192 pixels and 8 frames to keep the page small."])
    monkeypatch.setattr(write, "clip_examples", partial(clip_examples, most_bytes=1_500_000))
    assert "shrunk to 192 pixels and 8 frames" in write_report(tmp_path, images=shown).read_text()


def test_the_smallest_form_of_24_clips_always_fits():
    one = len(clip_examples([Example("noise", [noise(0, 16)], [noise(1, 16)])], most_bytes=0)[0][0].pictures[0])
    assert 12 * one < MOST_BYTES, "white noise is the largest that can be"


def test_a_sheet_of_clips_has_the_frames_before_above_those_after(tmp_path, comparison):
    shown = examples(comparison, prompts=3)
    image = np.asarray(clip_sheet(shown, side=32))
    rows = [y for y in range(1, len(image)) if tuple(image[y, 68]) == (20, 40, 60) != tuple(image[y - 1, 68])]
    assert len(rows) >= 8, "before and after of two seeds, in two lines of examples"
    plain = clip_sheet(shown[:1], side=32).getcolors(99999)
    framed = clip_sheet([Example("x", shown[0].base, shown[0].aligned, "", [False] * 2, [True] * 2)], side=32)
    assert {(207, 34, 46), (26, 127, 55)} <= {c for _, c in framed.getcolors(99999)} - {c for _, c in plain}
    only = Image.open(save_clip_sheet([Example("x", [], shown[0].aligned)], tmp_path / "s.png", side=32))
    assert only.height < framed.height
