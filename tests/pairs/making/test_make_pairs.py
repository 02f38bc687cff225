"""Best against worst: a model's own samples and their scores become pairs that any run reads."""

import json
import zlib
from pathlib import Path

import pytest
import torch

from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.readers import read_pairs
from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import DataError, RunError, UserError
from diffalign.pairs.making.judged_answers import win_rates
from diffalign.pairs.making.make_pairs import make_pairs
from diffalign.policies.language.load import LanguageConfig, load_policy
from diffalign.scorers import load_scorer
from diffalign.scorers.images.image_input import as_rgb
from tests.evaluation.fakes import Motion, MovingPolicy, Praise, TalkingPolicy
from tests.tiny_text import tiny_llm


class Numbered(TalkingPolicy):
    """Answers with its seed; raises when it should make more than ``raises_at`` answers."""

    def __init__(self, raises_at=10**9):
        super().__init__()
        self.raises_at = raises_at

    def format_prompt(self, prompt, **settings):
        return prompt

    def sample(self, prompts, seeds, *, reference=False, **settings):
        if self.drawn + len(prompts) > self.raises_at:
            raise KeyboardInterrupt
        super().sample(prompts, seeds, reference=reference, **settings)
        return [f" {seed}" for seed in seeds]


class Table(Praise):
    """Scores answers by a table of their texts; 0 for others."""

    name = "table"

    def __init__(self, **scores):
        self.scores = scores

    def score(self, prompts, texts):
        return torch.tensor([float(self.scores.get(f"s{text.strip()}", 0.0)) for text in texts])


class Letters(Praise):
    """Scores any two texts differently, so that random ones make pairs."""

    name = "letters"

    def score(self, prompts, texts):
        return torch.tensor([float(letters(text)) for text in texts])


def letters(content) -> int:
    """Returns a number for a text, or for an image or its file, small enough for float32."""
    return zlib.crc32(content.encode() if isinstance(content, str) else as_rgb(content).tobytes()) % 2**20


def rows(made):
    return [json.loads(line) for line in made.path.read_text().splitlines()]


def test_the_best_answer_is_preferred_to_the_worst(tmp_path):
    judge = Table(s3=2.0, s1=-1.0, s4=-5.0, s6=0.5)
    made = make_pairs(Numbered(), ["a", "b"], judge, tmp_path, answers=4)
    made_rows = rows(made)
    wins = [[row.pop(f"{side}_win") for side in ("chosen", "rejected")] for row in made_rows]
    assert wins == [
        [win_rates(s)[k] for k in places] for s, places in (([0, -1, 0, 2], (3, 1)), ([-5, 0, 0.5, 0], (2, 0)))
    ]
    centred = [[row.pop(f"{side}_advantage") for side in ("chosen", "rejected")] for row in made_rows]
    assert centred == [[2.0 - 0.25, -1.0 - 0.25], [0.5 + 1.125, -5.0 + 1.125]]
    assert made_rows == [
        {"prompt": "a", "chosen": " 3", "rejected": " 1", "chosen_score": 2.0, "rejected_score": -1.0, "seed_chosen": 3,
         "seed_rejected": 1},
        {"prompt": "b", "chosen": " 6", "rejected": " 4", "chosen_score": 0.5, "rejected_score": -5.0, "seed_chosen": 6,
         "seed_rejected": 4},
    ]  # fmt: skip
    assert (made.pairs, made.tied, made.gap) == (2, 0, pytest.approx((3.0 + 5.5) / 2))
    assert "left out" not in made.summary()
    answers = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [row["scores"]["table"] for row in answers] == [0.0, -1.0, 0.0, 2.0, -5.0, 0.0, 0.5, 0.0]
    assert [pair.scores["chosen"]["score"] for pair in read_pairs(made.path).pairs] == [2.0, 0.5]
    ranked = read_pairs(tmp_path / "lists.jsonl").pairs
    assert [pair.scores["chosen"] for pair in ranked] == [{"score": 2.0}, {"score": 0.5}]
    assert [len(pair.answers) for pair in ranked] == [4, 4]


def test_every_prompt_has_its_own_seeds(tmp_path):
    policy = Numbered()
    make_pairs(policy, ["a", "b", "c"], Table(s7=1, s10=1, s12=1), tmp_path, answers=2, seed=7, batch_size=4)
    asked = [pair for prompts, seeds, *_ in policy.calls for pair in zip(prompts, seeds, strict=True)]
    assert asked == [("a", 7), ("a", 8), ("b", 9), ("b", 10), ("c", 11), ("c", 12)]


def test_ties_and_small_gaps_are_left_out_and_counted(tmp_path):
    judge = Table(s0=1.0, s3=0.1, s5=0.2, s4=0.1)
    made = make_pairs(Numbered(), ["far", "near", "near too", "tied"], judge, tmp_path, answers=2, gap=0.25)
    assert [row["prompt"] for row in rows(made)] == ["far"] and made.tied == 3
    assert "3 prompts left out, their answers were judged alike" in made.summary()
    assert make_pairs(Numbered(), ["far", "tied"], Table(s0=1.0), tmp_path / "zero", answers=2).tied == 1


def test_equal_scores_everywhere_are_an_error_with_advice(tmp_path):
    with pytest.raises(DataError, match="table tells no two answers .* in 2 prompts.*temperature"):
        make_pairs(Numbered(), ["a", "b"], Table(), tmp_path)
    assert not (tmp_path / "pairs.jsonl").exists()


def test_an_interrupted_call_resumes_and_makes_no_answer_twice(tmp_path):
    judge, prompts = Table(s1=1.0, s2=1.0, s5=1.0), ["a", "b", "c"]
    whole = make_pairs(Numbered(), prompts, judge, tmp_path / "whole", answers=2)
    killed = Numbered(raises_at=4)
    with pytest.raises(KeyboardInterrupt):
        make_pairs(killed, prompts, judge, tmp_path / "killed", answers=2, batch_size=2)
    assert killed.drawn == 4 and not (tmp_path / "killed" / "pairs.jsonl").exists()
    again = Numbered(raises_at=2)
    assert rows(make_pairs(again, prompts, judge, tmp_path / "killed", answers=2)) == rows(whole)
    assert again.drawn == 2
    finished = Numbered(raises_at=0)
    assert rows(make_pairs(finished, prompts, judge, tmp_path / "killed", answers=2)) == rows(whole)


def test_answers_of_other_settings_are_not_mixed(tmp_path):
    make_pairs(Numbered(), ["a"], Table(s0=1.0), tmp_path, answers=2, temperature=0.5)
    with pytest.raises(RunError, match="other settings"):
        make_pairs(Numbered(), ["a"], Table(s0=1.0), tmp_path, answers=2, temperature=0.7)


@pytest.mark.parametrize("raw", [False, True], ids=["turns", "plain"])
def test_pairs_of_a_chat_model_are_turns_and_raw_ones_plain_text(tmp_path, raw):
    policy = load_policy(LanguageConfig(path=str(tiny_llm(tmp_path / "llm")), adapter=None), "cpu")
    prompts = ["a fox", "two owls"]
    settings = {"answers": 2, "max_new_tokens": 12, "raw": raw}
    made = make_pairs(policy, prompts, Letters(), tmp_path / "pairs", **settings)
    pairs = read_pairs(made.path).pairs
    assert len(pairs) == made.pairs == 2
    for prompt, pair, row in zip(prompts, pairs, rows(made), strict=True):
        asked = prompt if raw else Conversation((Message("user", prompt),))
        assert pair.prompt == asked and isinstance(pair.chosen, str) is raw and pair.chosen != pair.rejected
        says = str if raw else (lambda answer: answer.messages[-1].content)
        assert letters(says(pair.chosen)) == row["chosen_score"] > row["rejected_score"]
        assert letters(says(pair.rejected)) == row["rejected_score"]


def test_images_are_files_that_a_reader_finds(tmp_path, make):
    policy = make()
    prompts, judge = ["a fox", "an owl"], Letters()
    judge.medium = "image"
    made = make_pairs(policy, prompts, judge, tmp_path / "pairs", answers=2, steps=1)
    pairs = read_pairs(made.path).pairs
    assert [pair.prompt for pair in pairs] == prompts
    for pair, row in zip(pairs, rows(made), strict=True):
        assert pair.chosen.is_file() and pair.chosen.parent == made.path.parent
        assert letters(pair.chosen) == row["chosen_score"] > row["rejected_score"] == letters(pair.rejected)


def test_prompts_that_the_scorer_cannot_score_are_refused_before_anything_is_made(tmp_path, make):
    with pytest.raises(DataError, match="'a fox' names no colour"):
        make_pairs(make(), ["a fox"], load_scorer("background:prompt"), tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


@pytest.mark.parametrize(
    ("scorer", "answers", "says"),
    [
        (load_scorer("background:red"), 2, "background:red judges images, but this model makes texts"),
        (Praise(), 1, "needs two answers of a prompt; got answers = 1"),
    ],
    ids=["medium", "answers"],
)
def test_inputs_that_give_no_pairs_are_refused_before_anything_is_made(tmp_path, scorer, answers, says):
    policy = Numbered()
    with pytest.raises(UserError, match=says):
        make_pairs(policy, ["a"], scorer, tmp_path / "pairs", answers=answers)
    assert not policy.calls and not (tmp_path / "pairs").exists()


def test_win_rates_are_those_worked_out_by_hand_and_ignore_a_constant():
    # Wu et al. 2024's preference model as the logistic function of five scores.
    scores = [1.0, 0.2, -0.5, 0.4, -1.1]
    assert win_rates(scores) == pytest.approx([0.708822, 0.542843, 0.389789, 0.586540, 0.272006], abs=5e-7)
    assert sum(win_rates(scores)) / 5 == pytest.approx(0.5)
    assert win_rates([s + 70.0 for s in scores]) == pytest.approx(win_rates(scores))


class Paced(MovingPolicy):
    """A square that moves by as many pixels a frame as the seed modulo four."""

    def sample(self, prompts, seeds, **settings):
        return [self.clip(len(prompt), seed % 4) for prompt, seed in zip(prompts, seeds, strict=True)]


def test_clips_become_pairs_with_their_frames_and_seeds_that_are_read_back(tmp_path):
    made = make_pairs(Paced(fps=12.0), ["a fox", "an owl"], Motion(), tmp_path, answers=4)
    row = rows(made)[0]
    assert Path(row["chosen"]).suffix == Path(row["rejected"]).suffix == ".webp"
    assert {"frames": 8, "fps": 12.0, "seed_chosen": 3, "seed_rejected": 0}.items() <= row.items()
    pair = read_pairs(made.path).pairs[0]
    assert open_clip(pair.chosen) == Paced(fps=12.0).clip(5, 3) and open_clip(pair.rejected).fps == 12.0
    assert len(open_clip(pair.rejected)) == 8, "the rejected clip stands still and is stored as one picture"
    assert pair.scores["chosen"]["seed"] == 3 and pair.scores["chosen"]["score"] > pair.scores["rejected"]["score"]
    assert read_pairs(tmp_path).pairs == read_pairs(made.path).pairs, "the folder is its pairs, not its samples"
    # The same pairs in the layout of the Hub's viewers, as the reader of pair folders takes them.
    named = [
        {f"{role}_file_name": row[role] for role in ("chosen", "rejected")} | {"prompt": row["prompt"]}
        for row in rows(made)
    ]
    folder = tmp_path / "folder"
    folder.mkdir()
    for names in named:
        for role in ("chosen_file_name", "rejected_file_name"):
            (folder / names[role]).write_bytes((tmp_path / names[role]).read_bytes())
    (folder / "metadata.jsonl").write_text(
        "".join(json.dumps({**names, "frames": 8, "fps": 12.0}) + "\n" for names in named)
    )
    again = read_pairs(folder, format="pair_folder").pairs
    assert [open_clip(pair.chosen) for pair in again] == [
        open_clip(pair.chosen) for pair in read_pairs(made.path).pairs
    ]


def test_a_judge_of_images_may_not_make_pairs_of_clips(tmp_path):
    with pytest.raises(UserError, match="judges images, but this model makes clips"):
        make_pairs(Paced(), ["a fox"], load_scorer("background:red"), tmp_path)
