"""Curricula: the published example, stages of both kinds, exact reversal, and files that say how to go on."""

import pytest

from diffalign.data.readers import read_pairs
from diffalign.data.records.pair import TIE, Pair
from diffalign.data.transforms import build_curriculum
from diffalign.data.transforms.curriculum_files import read_stages, write_stages
from diffalign.errors import DataError, UserError
from tests.data.transforms.sets import PairRow, ranked, texts


def gaps(stage):
    return [line.pair.scores["pair"]["gap"] for line in stage]


def test_of_four_ratings_come_three_pairs_from_easy_to_hard():
    made = build_curriculum([ranked(9, 3, 7, 5)], key="rating", stages=3)
    pairs = [line.pair for stage in made.stages for line in stage]
    rated = lambda text: int(text.split()[1])
    assert [(rated(p.chosen), rated(p.rejected)) for p in pairs] == [(9, 3), (9, 5), (9, 7)]
    assert [gaps(stage) for stage in made.stages] == [[6.0], [4.0], [2.0]]
    assert pairs[0].scores["chosen"] == {"rating": 9} and pairs[0].scores["rejected"] == {"rating": 3}
    assert not pairs[0].further and len({p.id for p in pairs}) == 3


def test_every_prompt_gives_a_pair_to_each_stage():
    lines = [ranked(9, 7, 5, 3, name="a"), ranked(8, 6, 5, 1, name="b"), ranked(4, 3, 2, 1, name="c")]
    made = build_curriculum(lines, key="rating", stages=3)
    for stage in made.stages:
        assert sorted(line.pair.id.split("/")[0] for line in stage) == ["a", "b", "c"]
    assert not made.dropped and made.pairs == 9


def test_answers_that_are_rated_alike_are_left_out():
    made = build_curriculum([ranked(9, 9, 5, 3), ranked(7, 6, 5, 4, name="other")], key="rating", stages=2)
    assert [row.reason for row in made.dropped] == [TIE] and sum(map(len, made.stages)) == 5
    assert "dropped: 1 tie" in made.summary()


def test_equal_gaps_keep_the_order_of_the_data():
    lines = [PairRow(Pair(f"id{n}", "p", "a", "b", scores={"pair": {"m": 1.0}})) for n in range(6)]
    made = build_curriculum(lines, key="m", stages=2, by="global")
    assert [line.pair.id for stage in made.stages for line in stage] == [f"id{n}" for n in range(6)]


def test_hard_first_is_the_exact_reverse():
    lines = texts(30)
    for by in ("prompt", "global"):
        easy = build_curriculum(lines, key="judge0", stages=2, by=by).stages
        hard = build_curriculum(lines, key="judge0", stages=2, by=by, order="hard_first").stages
        assert hard == [stage[::-1] for stage in easy[::-1]]


def test_buckets_of_all_pairs_are_equal_parts_in_order():
    made = build_curriculum(texts(10), key="judge1", stages=3, by="global")
    assert [len(stage) for stage in made.stages] == [3, 3, 4]
    together = [gap for stage in made.stages for gap in gaps(stage)]
    assert together == sorted(together, reverse=True)


def test_shuffled_stages_hold_the_same_pairs_in_no_order():
    lines = texts(40)
    easy = build_curriculum(lines, key="judge0", stages=2, by="global").stages
    mixed = build_curriculum(lines, key="judge0", stages=2, order="shuffled", seed=1).stages
    names = lambda stages: {line.pair.id for stage in stages for line in stage}
    assert names(easy) == names(mixed) and [len(s) for s in mixed] == [20, 20]
    assert max(gaps(mixed[1])) > min(gaps(mixed[0]))
    assert mixed == build_curriculum(lines, key="judge0", stages=2, order="shuffled", seed=1).stages


def test_keys_are_scores_numbers_of_the_pair_and_probability():
    pair = Pair("1", "p", "a", "b", 0.75, scores={"chosen": {"x": 3.0}, "rejected": {"x": 1.0}, "pair": {"m": 0.25}})
    for key, gap in (("x", 2.0), ("m", 0.25), ("probability", 0.5)):
        assert gaps(build_curriculum([PairRow(pair)], key=key, stages=1).stages[0]) == [gap]
    with pytest.raises(DataError, match=r"scores of both candidates by 'xx'.*number of the pair \(m\), or probability"):
        build_curriculum([PairRow(pair)], key="xx", stages=1)
    with pytest.raises(DataError, match="its answer '.*' has no score 'ratings'. Did you mean 'rating'"):
        build_curriculum([ranked(3, 2, 1)], key="ratings", stages=1)


def test_a_prompt_with_other_numbers_of_pairs_is_spread_evenly():
    lines = []
    for name, count in (("one", 1), ("two", 2), ("six", 6)):
        for n in range(count):
            lines.append(PairRow(Pair(f"{name}{n}", name, "a", "b", scores={"pair": {"m": 10.0 - n}})))
    made = build_curriculum(lines, key="m", stages=3)
    of = lambda name: [[p for p in (line.pair.id for line in s) if p.startswith(name)] for s in made.stages]
    assert of("one") == [[], ["one0"], []] and of("two") == [["two0"], [], ["two1"]]
    assert of("six") == [["six0", "six1"], ["six2", "six3"], ["six4", "six5"]]


def test_unknown_settings_and_empty_stages_are_errors():
    lines = [PairRow(Pair("1", "p", "a", "b", scores={"pair": {"m": 1.0}}))]
    with pytest.raises(UserError, match="Did you mean 'easy_first'"):
        build_curriculum(lines, key="m", order="easyfirst")
    with pytest.raises(UserError, match="by is one of prompt, global"):
        build_curriculum(lines, key="m", by="user")
    with pytest.raises(UserError, match="at least 1"):
        build_curriculum(lines, key="m", stages=0)
    with pytest.raises(DataError, match="stage 1 of 3 stays empty.*--by global"):
        build_curriculum(lines, key="m", stages=3)


def test_stages_on_disk_store_their_order_and_reference(tmp_path):
    made = build_curriculum(texts(30), key="judge0", stages=3, by="global")
    write_stages(tmp_path, build_curriculum(texts(30), key="judge0", stages=5, by="global"), "fixed")
    written = write_stages(tmp_path, made)
    assert read_stages(tmp_path) == written and written.pairs == (10, 10, 10)
    assert sorted(p.name for p in tmp_path.glob("*.jsonl")) == ["stage-1.jsonl", "stage-2.jsonl", "stage-3.jsonl"]
    assert written.reference == "previous_stage" and written.steps(4) == [3, 3, 3] and written.steps(4, 2) == [5, 5, 5]
    read = [pair.id for file in written.files for pair in read_pairs(file).pairs]
    assert read == [line.pair.id for stage in made.stages for line in stage]


def test_folders_without_stages_are_errors(tmp_path):
    with pytest.raises(DataError, match="there is no curriculum.yaml"):
        read_stages(tmp_path)
    (tmp_path / "curriculum.yaml").write_text("stages: [{file: a.jsonl}]")
    with pytest.raises(DataError, match="does not list stages"):
        read_stages(tmp_path)
    (tmp_path / "curriculum.yaml").write_text("stages: [{file: a.jsonl, pairs: 3}]")
    with pytest.raises(DataError, match="names 'a.jsonl', which does not exist"):
        read_stages(tmp_path)
    (tmp_path / "curriculum.yaml").write_text("stages: []\nreference: previous")
    with pytest.raises(UserError, match="Did you mean 'previous_stage'"):
        read_stages(tmp_path)


def test_the_best_rated_answer_is_chosen_at_any_position():
    made = build_curriculum([ranked(3, 9, 5, 7)], key="rating", stages=1)
    assert [line.pair.chosen for line in made.stages[0]] == ["answer 9 of 2"] * 3
    assert gaps(made.stages[0]) == [6.0, 4.0, 2.0]


@pytest.mark.parametrize("name", ["../stage.jsonl", "/etc/passwd", "a/../../stage.jsonl", ".."])
def test_a_curriculum_names_no_stage_outside_its_folder(name, tmp_path):
    (tmp_path / "stage.jsonl").write_text("{}")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "curriculum.yaml").write_text(f"stages: [{{file: {name}, pairs: 1}}]")
    with pytest.raises(DataError, match="lies outside its folder and is not read"):
        read_stages(tmp_path / "set")
