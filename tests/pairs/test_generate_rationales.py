"""Reasons are asked for in the order in which training shows the answers, and end up where training looks for them."""

import pytest

from diffalign.data.readers.rows_with_columns import PairRow
from diffalign.data.records.pair import Pair
from diffalign.errors import DataError, UserError
from diffalign.pairs.generate_rationales import add_rationales, rationale_prompt
from diffalign.pairs.rationales import explained
from tests.tiny_text import chat_pairs, text_pairs


class Speaker:
    """Answers with the end of what it is asked, and counts."""

    medium = "text"

    def __init__(self, silent=()):
        self.format_prompt, self.silent = [], silent

    def fingerprint(self):
        return "speaker"

    def state(self):
        return {}

    def sample(self, prompts, seeds, **settings):
        self.format_prompt += prompts
        return [" " if any(word in p for word in self.silent) else f" because {len(p)} " for p in prompts]


@pytest.mark.parametrize("pairs", [text_pairs(20), chat_pairs(20)])
@pytest.mark.parametrize("style", ["general", "specific"])
def test_the_better_answer_is_named_by_the_letter_that_training_gives_it(pairs, style):
    progress_file, outcome = add_rationales(Speaker(), [PairRow(pair) for pair in pairs], style=style, batch=7)
    letters = set()
    for line in outcome.lines:
        asked = rationale_prompt(line.pair, style)
        trained = explained(line.pair)
        letter = str(trained.further["rationale"].candidate).split("Answer ")[1][0]
        assert f"Answer {letter} is better." in asked
        assert asked.index("Answer A:") < asked.index("Answer B:")
        block = asked.split(f"Answer {letter}:\n")[1].split("\n\n")[0]
        assert block in str(line.pair.chosen) and block not in str(line.pair.rejected)
        assert "not A and B" in asked and "because" in str(trained.further["rationale"].candidate)
        letters.add(letter)
    assert letters == {"A", "B"}


def test_pairs_about_which_nothing_is_said_are_left_out_and_counted():
    pairs = text_pairs(4)
    _, outcome = add_rationales(Speaker(silent=[str(pairs[1].chosen).strip()]), [PairRow(pair) for pair in pairs])
    assert [line.pair.id for line in outcome.lines] == ["text0", "text2", "text3"]
    assert [row.source for row in outcome.dropped] == ["text1"]


def test_a_killed_command_asks_about_the_rest_alone(tmp_path):
    lines = [PairRow(pair) for pair in text_pairs(5)]

    def kill(what, done, total):
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_rationales(Speaker(), lines, target=tmp_path / "out.jsonl", batch=2, progress=kill)
    again = Speaker()
    progress_file, outcome = add_rationales(again, lines, target=tmp_path / "out.jsonl", batch=2)
    assert len(again.format_prompt) == 1 and len(list(outcome.lines)) == 5
    other = Speaker()
    add_rationales(other, lines, target=tmp_path / "out.jsonl", batch=2, style="specific")
    assert len(other.format_prompt) == 5  # another question: nothing of the notes is taken
    progress_file.remove()


def test_what_has_no_reason_is_refused():
    with pytest.raises(DataError, match="two texts"):
        add_rationales(Speaker(), [PairRow(Pair("a", "p", "x", None))])
    with pytest.raises(UserError, match="general or specific"):
        add_rationales(Speaker(), [], style="vague")
    painter = Speaker()
    painter.medium = "image"
    with pytest.raises(UserError, match="makes images"):
        add_rationales(painter, [])
