"""Rationales are requested in the order in which training shows the answers, and become further answers of the pair."""

import pytest

from diffalign.data.readers.formats.pairs_with_extra_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError, UserError
from diffalign.pairs.generate_rationales import add_rationales, rationale_request
from diffalign.pairs.rationales import with_rationale_prompt
from tests.tiny_text import chat_pairs, text_pairs


class Speaker:
    """Answers with the length of the request, and records the requests."""

    medium = "text"

    def __init__(self, empty_for=()):
        self.requests, self.empty_for = [], empty_for

    def fingerprint(self):
        return "speaker"

    def state(self):
        return {}

    def sample(self, prompts, seeds, **settings):
        self.requests += prompts
        return [" " if any(word in p for word in self.empty_for) else f" because {len(p)} " for p in prompts]


@pytest.mark.parametrize("pairs", [text_pairs(20), chat_pairs(20)])
@pytest.mark.parametrize("style", ["general", "specific"])
def test_the_better_answer_is_named_by_the_letter_that_training_gives_it(pairs, style):
    progress_file, result = add_rationales(Speaker(), [PairRow(pair) for pair in pairs], style=style, batch=7)
    letters = set()
    for line in result.rows:
        asked = rationale_request(line.pair, style)
        trained = with_rationale_prompt(line.pair)
        letter = str(trained.further["rationale"].candidate).split("Answer ")[1][0]
        assert f"Answer {letter} is better." in asked
        assert asked.index("Answer A:") < asked.index("Answer B:")
        block = asked.split(f"Answer {letter}:\n")[1].split("\n\n")[0]
        assert block in str(line.pair.chosen) and block not in str(line.pair.rejected)
        assert "not A and B" in asked and "because" in str(trained.further["rationale"].candidate)
        letters.add(letter)
    assert letters == {"A", "B"}


def test_pairs_with_an_empty_rationale_are_left_out_and_counted():
    pairs = text_pairs(4)
    _, result = add_rationales(Speaker(empty_for=[str(pairs[1].chosen).strip()]), [PairRow(pair) for pair in pairs])
    assert [line.pair.id for line in result.rows] == ["text0", "text2", "text3"]
    assert [row.source for row in result.dropped] == ["text1"]


def test_an_interrupted_call_generates_only_the_rest(tmp_path):
    lines = [PairRow(pair) for pair in text_pairs(5)]

    def kill(what, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_rationales(Speaker(), lines, target=tmp_path / "out.jsonl", batch=2, progress=kill)
    again = Speaker()
    progress_file, result = add_rationales(again, lines, target=tmp_path / "out.jsonl", batch=2)
    assert len(again.requests) == 1 and len(list(result.rows)) == 5
    other = Speaker()
    add_rationales(other, lines, target=tmp_path / "out.jsonl", batch=2, style="specific")
    assert len(other.requests) == 5  # another style: the progress file is not used
    progress_file.remove()


def test_inputs_without_rationales_are_refused():
    with pytest.raises(DataError, match="two texts"):
        add_rationales(Speaker(), [PairRow(Pair("a", "p", "x", None))])
    with pytest.raises(UserError, match="general or specific"):
        add_rationales(Speaker(), [], style="vague")
    painter = Speaker()
    painter.medium = "image"
    with pytest.raises(UserError, match="makes images"):
        add_rationales(painter, [])
