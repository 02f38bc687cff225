"""Places of a prompt: as many in each round, filled as the judges say, silent where no two answers are told apart."""

from dataclasses import replace

import numpy as np
import pytest

from diffalign.data.records.pair import Pair
from diffalign.data.records.to_sample import ToSample
from diffalign.pairs.making.judged_answers import JudgedAnswers
from diffalign.pairs.making.pairings import PairingSettings
from diffalign.pairs.rounds.answers import PromptAnswers
from diffalign.pairs.rounds.form_pairs import PLACES, form_pairs, waiting_pairs
from diffalign.pairs.rounds.judging import Judged

ROW = Pair("row", "ask", "data", None, source="file:3", group="a")
SETTINGS = PairingSettings(threshold=0.5, keep=4)
SCORES = (0.1, 0.9, 0.4, 0.7)


def formed(pairing, scores=SCORES, settings=SETTINGS, groups=()):
    answers = tuple(f"answer {k}" for k in range(len(scores)))
    judged = Judged(JudgedAnswers.by_scores(scores, groups=groups), {"judge": tuple(scores)})
    places = PLACES[pairing](len(scores), settings)
    item = PromptAnswers(ROW, answers, len(answers))
    return form_pairs(item, judged, pairing, places, settings, np.random.default_rng(0))


def told(pairs):
    return [(pair.chosen, pair.rejected) for pair in pairs if not pair.silent]


@pytest.mark.parametrize("pairing", PLACES)
@pytest.mark.parametrize("scores", [SCORES, (0.2, 0.2, 0.2, 0.2), (0.9, 0.8, 0.7, 0.6), (0.1, 0.9)], ids=str)
def test_the_number_of_places_is_that_of_every_round_and_ids_are_their_own(pairing, scores):
    pairs = formed(pairing, scores)
    waiting = waiting_pairs(ROW, [ToSample(k) for k in range(len(scores))], {}, pairing, len(pairs), ["judge"])
    assert [pair.id for pair in pairs] == [pair.id for pair in waiting]
    assert len({pair.id for pair in pairs}) == len(pairs) == PLACES[pairing](len(scores), SETTINGS)
    assert [set(pair.answers) for pair in pairs] == [set(pair.answers) for pair in waiting]
    assert all(pair.scores.keys() == pair.answers.keys() for pair in (*pairs, *waiting))
    assert all((pair.source, pair.group) == ("file:3", "a") for pair in pairs)


def test_pairs_are_those_of_the_pairing_and_the_rest_is_silent():
    assert told(formed("best_worst")) == [("answer 1", "answer 0")]
    assert len(told(formed("all"))) == 6
    assert told(formed("threshold")) == [
        ("answer 1", "answer 2"),
        ("answer 1", "answer 0"),
        ("answer 3", "answer 2"),
        ("answer 3", "answer 0"),
    ]
    assert told(formed("threshold", (0.9, 0.8, 0.7, 0.1))) == [(f"answer {k}", "answer 3") for k in range(3)]
    assert len(told(formed("tournament"))) == 3 and len(told(formed("rejection"))) == 2


def test_a_single_place_has_the_id_of_its_row():
    assert formed("best_worst")[0].id == "row" and formed("tournament")[0].id == "row/0"


@pytest.mark.parametrize("pairing", PLACES)
def test_equal_scores_are_silent(pairing):
    assert told(formed(pairing, (0.7, 0.7, 0.7))) == []


def test_a_gap_that_is_too_small_is_silent():
    wide = replace(SETTINGS, gap=0.9)
    assert told(formed("best_worst", settings=wide)) == [] == told(formed("list", settings=wide))


def test_equal_answers_are_no_pair_even_where_a_judge_ranks_them_apart():
    assert told(formed("best_worst", groups=(0, 0, 1, 1))) == []


def test_a_list_holds_all_answers_by_rank_with_their_numbers():
    (ranked,) = formed("list")
    assert [answer.candidate for answer in ranked.answers.values()] == ["answer 1", "answer 0", "answer 3", "answer 2"]
    assert list(ranked.answers) == ["chosen", "rejected", "2", "3"]
    assert [ranked.scores[role]["score"] for role in ("chosen", "2", "3", "rejected")] == [0.9, 0.7, 0.4, 0.1]


def test_the_best_answer_alone_has_no_rejected_one():
    (best,) = formed("best_only")
    assert best.chosen == "answer 1" and best.rejected is None and not best.silent


def test_answers_have_scores_win_rates_and_centred_advantages_under_names_of_their_own():
    (pair,) = formed("best_worst")
    assert set(pair.scores["chosen"]) == {"judge", "score", "win", "advantage"}
    assert pair.scores["chosen"]["win"] > 0.5 > pair.scores["rejected"]["win"]
    assert pair.scores["chosen"]["advantage"] == pytest.approx(0.9 - 0.525)


def test_answers_of_the_data_stand_first_where_samples_do_not_exist_yet():
    (pair,) = waiting_pairs(ROW, [ToSample(0), "known"], {}, "best_worst", 1, ["judge"])
    assert pair.chosen == "known" and isinstance(pair.rejected, ToSample)
    assert pair.scores["chosen"] == {"judge": 0.0, "score": 0.0, "win": 0.5, "advantage": 0.0}
