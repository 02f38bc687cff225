"""Text match: the edit distance to what is read, with the published rules, by RapidOCR or any reader."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from diffalign.errors import DataError, UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.text_match import TextMatch, edit_distance, quoted

WORDS = st.text("abc", max_size=8)


def score(prompt, read):
    return TextMatch(lambda image: read).score([prompt], [Image.new("RGB", (8, 8))]).item()


@pytest.mark.parametrize(
    "prompt, read, expected",
    [
        ('a sign that says "Open"', "OPEN", 1.0),
        ('a sign that says "Open"', "we are o p e n today", 1.0),  # spaces and case do not count, nor what surrounds it
        ('a sign that says "Open"', "Opan", 0.75),
        ('a sign that says "Open"', "", 0.0),
        ('a sign that says "Open"', "something quite different", 0.0),  # never below 0
        ('"New York" on a mug', "newyork", 1.0),
        ('"one" and "two"', "one", 0.5),
        ("a mug with “Tea”", "tea", 1.0),
    ],
)
def test_worked_cases(prompt, read, expected):
    assert score(prompt, read) == pytest.approx(expected)


def test_a_prompt_without_quotes_is_refused_before_anything_is_read():
    with pytest.raises(DataError, match="no text in double quotes"):
        TextMatch(lambda image: "").check_prompts(['a "sign"', "a fox"])
    assert quoted('the "Blue  Fox" inn') == ["bluefox"]


def plain_distance(one, other):
    """The recursion of the definition."""
    if not one or not other:
        return len(one) + len(other)
    return min(
        plain_distance(one[1:], other) + 1,
        plain_distance(one, other[1:]) + 1,
        plain_distance(one[1:], other[1:]) + (one[0] != other[0]),
    )


@given(st.text("abc", max_size=5), st.text("abc", max_size=5))
def test_the_edit_distance_is_that_of_the_definition(one, other):
    assert edit_distance(one, other) == plain_distance(one, other) == edit_distance(other, one)


def test_a_reader_of_the_user_s_is_loaded_and_must_return_a_string(tmp_path):
    (tmp_path / "reader.py").write_text("def read(image):\n    return image.mode\n\ndef wrong(image):\n    return 3\n")
    image = Image.new("RGBA", (8, 8))
    assert load_scorer(f"ocr:{tmp_path}/reader.py:read").score(['"rgb"'], [image]).item() == 1
    with pytest.raises(UserError, match="must return a string, got int"):
        load_scorer(f"ocr:{tmp_path}/reader.py:wrong").score(['"rgb"'], [image])


def test_without_rapidocr_the_extra_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(UserError, match=r"pip install 'diffalign\[ocr\]'"):
        load_scorer("ocr")


def test_rapidocr_reads_what_is_written():
    pytest.importorskip("rapidocr")
    image = Image.new("RGB", (420, 120), "white")
    ImageDraw.Draw(image).text((20, 30), "HELLO FOX", fill="black", font=ImageFont.load_default(48))
    right, wrong, blank = load_scorer("ocr").score(
        ['a sign with "Hello Fox"', 'a sign with "Goodbye"', 'a "sign"'], [image, image, Image.new("RGB", (64, 64))]
    )
    assert right > 0.85 and wrong < 0.5 and blank == 0
