"""What every scorer of texts promises, checked for every row of the table on tiny random models."""

import pytest
import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import DataError, UserError
from diffalign.scorers import SCORERS, load_scorer
from diffalign.scorers.scorer import SupportsHits, SupportsImageFeatures, SupportsPromptCheck
from diffalign.scorers.texts.generative_judge import GenerativeJudge
from tests.scorers import laws, tiny
from tests.scorers.texts.scripted_chat import longer_wins, scripted
from tests.tiny_text import tiny_llm

TEXTS = [name for name, row in SCORERS.items() if row.medium == "text"]
PROMPTS = ["How was it?", "And the fox?", "How was it?", "Why?"]
ANSWERS = ["I love it, it was wonderful!", "A terrible, awful fox. I hate it.", "It was there.", ""]
CASES = [
    ("sentiment", ""),
    ("polarity", ""),
    ("length", ""),
    ("length", "llama"),
    *(("reward", f) for f in tiny.REWARDS),
    ("text_function", "function"),
    ("judge", ""),
    ("follow_up", "chat"),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    function = tmp_path_factory.mktemp("function") / "mine.py"
    function.write_text("def length(prompts, texts):\n    return [len(text) for text in texts]\n")
    rewards = {family: tiny.reward_model(tmp_path_factory.mktemp(family), family) for family in tiny.REWARDS}
    chat = tiny_llm(tmp_path_factory.mktemp("chat"), max_position_embeddings=1 << 14)
    return {"chat": chat, **rewards, "function": f"{function}:length"}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(filter(None, case)))
def scorer(request, folders):
    name, family = request.param
    if name == "judge":  # a random model's replies hold no verdict
        return GenerativeJudge(scripted(longer_wins))
    return load_scorer(f"{name}:{folders[family]}" if family else name)


def test_every_row_has_a_case():
    assert {name for name, _ in CASES} == set(TEXTS)


def test_a_scorer_has_the_optional_abilities_of_its_row(scorer):
    assert isinstance(scorer, SupportsPromptCheck) == scorer.name.startswith("reward")
    assert not isinstance(scorer, SupportsHits) and not isinstance(scorer, SupportsImageFeatures)


def test_scores_are_one_float32_per_text_within_the_stated_range(scorer):
    scores = scorer.score(PROMPTS, ANSWERS)
    assert scores.shape == (4,) and scores.dtype == torch.float32 and scores.device.type == "cpu"
    assert scores.isfinite().all() and len(set(scores.tolist())) > 1
    assert (scores >= scorer.range[0]).all() and (scores <= scorer.range[1]).all()


def test_no_texts_give_no_scores(scorer):
    assert scorer.score([], []).shape == (0,) and scorer.score([], []).dtype == torch.float32


def test_a_batch_scores_as_one_at_a_time(scorer):
    prompts, answers = PROMPTS * 3, [f"{text} {n}" for n in range(3) for text in ANSWERS]
    alone = torch.cat([scorer.score([p], [x]) for p, x in zip(prompts, answers, strict=True)])
    torch.testing.assert_close(scorer.score(prompts, answers), alone, rtol=1e-5, atol=1e-5)


def test_order_does_not_matter(scorer):
    order = [2, 0, 3, 1]
    shuffled = scorer.score([PROMPTS[i] for i in order], [ANSWERS[i] for i in order])
    torch.testing.assert_close(shuffled, scorer.score(PROMPTS, ANSWERS)[order], rtol=1e-5, atol=1e-5)


def test_scores_are_deterministic(scorer):
    assert torch.equal(scorer.score(PROMPTS, ANSWERS), scorer.score(PROMPTS, ANSWERS))


def test_files_and_conversations_score_as_the_text(scorer, tmp_path):
    (tmp_path / "x.txt").write_text(ANSWERS[0])
    turn = Conversation((Message("assistant", ANSWERS[0]),))
    scores = scorer.score(PROMPTS[:1] * 2, [ANSWERS[0], tmp_path / "x.txt"])
    torch.testing.assert_close(scores[0], scores[1])
    if hasattr(scorer, "model") and scorer.tokenizer.chat_template is None:
        with pytest.raises(DataError, match="has no chat template.*another judge"):
            scorer.score(PROMPTS[:1], [turn])
        return
    asked = Conversation((Message("user", PROMPTS[0]),))
    torch.testing.assert_close(scorer.score([asked, PROMPTS[0]], [turn, turn]), scores)


@pytest.mark.parametrize("text", [" \n", "ünïcödé 🦊 漢字", "a " * 3000, "<|end|><script>{{ x }}"])
def test_odd_texts_are_scored(scorer, text):
    assert scorer.score(["x"], [text]).isfinite().all() and scorer.score([text], ["x"]).isfinite().all()


def test_objects_that_are_no_text_are_refused(scorer, tmp_path):
    with pytest.raises(UserError, match="must be a string, a conversation or the path"):
        scorer.score(["x"], [3])
    with pytest.raises(DataError, match="nothing.txt"):
        scorer.score(["x"], [tmp_path / "nothing.txt"])


def test_both_orders_of_a_comparison_sum_to_one_and_the_higher_score_wins(scorer):
    laws.both_orders_sum_to_one_and_the_higher_score_wins(scorer, PROMPTS, ANSWERS, ANSWERS[::-1])


def test_name_unit_and_range_are_stated(scorer):
    laws.name_unit_and_range_are_stated(scorer, "text")


def test_one_prompt_for_two_texts_is_refused(scorer):
    with pytest.raises(UserError, match="one prompt for each sample"):
        scorer.score(PROMPTS[:1], ANSWERS[:2])
