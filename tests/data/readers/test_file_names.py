"""Claims about cells that name files: no address is trained on as a text, and none leads out of the folder."""

import pytest

from diffalign.data.readers import read_pairs
from diffalign.data.readers.file_names import IMAGE_SUFFIXES, are_file_names
from diffalign.errors import DataError
from tests.data.fixtures import image, jsonl


def _row(chosen, rejected):
    return {"prompt": "a fox", "chosen": chosen, "rejected": rejected}


@pytest.mark.parametrize(
    "name",
    [
        "https://x.org/{}.png?w=512",
        "https://x.org/{}.PNG#top",
        "http://x.org/images/{}",
        "s3://bucket/{}.webp",
        "data:image/png;base64,{}AAA",
        *(f"gone/{{}}{suffix}" for suffix in sorted(IMAGE_SUFFIXES)),
        "{}.mpeg",
    ],
)
def test_addresses_are_files_that_are_missing_and_never_texts(name, tmp_path):
    table = jsonl(tmp_path / "a.jsonl", [_row(name.format("a"), name.format("b"))])
    with pytest.raises(DataError, match=r"1 missing file.*(download it first|save it as a file|'gone/|\.mpeg')"):
        read_pairs(table)


@pytest.mark.parametrize("suffix", [".png", ".jfif", ".heic", ".scan", ""])
@pytest.mark.parametrize("address", ["{}", "sub/../{}", "{}?w=512", "{}#top", "file://{folder}/{}", "file:{folder}/{}"])
def test_local_names_are_found_with_any_ending_and_in_any_form(suffix, address, tmp_path):
    if suffix not in (".png", ".jfif", ".heic") and ("?" in address or "#" in address):
        return  # nothing tells such a name from a text
    folder = tmp_path / "my data"
    folder.mkdir()
    names = [f"{letter} 1{suffix}" for letter in "ab"]
    for number, name in enumerate(names):
        (folder / name).write_bytes(image(number))
    quoted = (lambda text: str(text).replace(" ", "%20")) if set(address) & set(":?#") else str
    cells = [address.format(quoted(name), folder=quoted(folder)) for name in names]
    (pair,) = read_pairs(jsonl(folder / "a.jsonl", [_row(*cells)])).pairs
    assert [pair.chosen, pair.rejected] == [folder / name for name in names]


def test_an_address_of_a_file_does_not_lead_out_of_the_folder(tmp_path):
    (tmp_path / "secret.png").write_bytes(image())
    rows = [_row(f"file://{tmp_path}/secret.png", "file:///etc/hostname.png"), _row("..%2Fsecret.png?x", "b.png")]
    with pytest.raises(DataError, match="2 (file outside the folder|missing file)|1 .*, 1 "):
        read_pairs(jsonl(tmp_path / "set" / "a.jsonl", rows))


@pytest.mark.parametrize("texts", [[], ["Blue.", "a.png"], ["see https://x.org/a.png today"], ["e.g."], ["a\nb.png"]])
def test_texts_stay_texts(texts, tmp_path):
    assert not are_file_names(texts, tmp_path)
