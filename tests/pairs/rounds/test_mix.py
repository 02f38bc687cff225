"""Places of a round that hold the data's own pairs, or pairs of earlier rounds, by their shares."""

import pytest

from diffalign.data.records.pair import Pair
from diffalign.errors import RunError
from diffalign.pairs.rounds.mix import KeptPlaces, mix

ROW = Pair("row", "ask", "good", "bad", scores={"chosen": {"judge": 2.0}})
NEUTRAL = {"chosen": {"win": 0.5}, "rejected": {"win": 0.5}}
PLACES = [Pair(f"row/{k}", "ask", f"best {k}", f"worst {k}", scores=NEUTRAL) for k in range(4000)]
BEFORE = [Pair(f"old/{k}", "else", f"was {k}", "was worse") for k in range(7)]
LONG_AGO = [Pair("ancient", "first", "was", "is")]


def test_without_shares_pairs_stay_as_they_are():
    assert mix(PLACES, ROW, 3, 5, 0.0, []) == PLACES


def test_each_share_is_met_and_ids_stay():
    mixed = mix(PLACES, ROW, 3, 5, 0.4, [(0.2, BEFORE), (0.1, LONG_AGO)])
    assert [pair.id for pair in mixed] == [pair.id for pair in PLACES]
    shares = [sum(pair.prompt == prompt for pair in mixed) / 4000 for prompt in ("else", "first")]
    assert shares == pytest.approx([0.2, 0.1], abs=0.02)
    assert sum(pair.chosen == "good" for pair in mixed) / 4000 == pytest.approx(0.4, abs=0.02)
    assert len({pair.chosen for pair in mixed if pair.prompt == "else"}) == 7


def test_a_place_draws_for_itself():
    settings = (ROW, 3, 5, 0.4, [(0.2, BEFORE)])
    assert mix(PLACES[10:20], *settings) == mix(PLACES, *settings)[10:20]
    assert mix(PLACES, ROW, 4, 5, 0.4, [(0.2, BEFORE)]) != mix(PLACES, *settings)


def test_the_datas_own_pair_has_the_datas_scores_and_is_heard():
    silent = [Pair("row", "ask", "a", "b", scores=NEUTRAL, silent=True)]
    (own,) = mix(silent, ROW, 0, 5, 0.999, [])
    assert (own.chosen, own.rejected, own.silent) == ("good", "bad", False)
    assert own.scores["chosen"] == {"win": 0.5, "judge": 2.0}


def test_a_round_without_earlier_pairs_keeps_its_own():
    assert mix(PLACES[:20], ROW, 1, 5, 0.0, [(0.9, [])]) == PLACES[:20]


def test_the_prompts_of_a_round_come_back_and_a_missing_file_is_named(tmp_path):
    kept = KeptPlaces(tmp_path / "places")
    kept.write(2, [1, 4])
    assert kept.read(2) == [1, 4]
    (tmp_path / "places" / "round-000001.json").write_text("[1,")
    for number in (0, 1):
        with pytest.raises(RunError, match="missing or damaged.*--set pairs.replay=0"):
            kept.read(number)
