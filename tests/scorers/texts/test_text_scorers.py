"""Single scorers of texts: published numbers, reward models against transformers' own forward, and their errors."""

import json
import sys
from pathlib import Path

import pytest
import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import DataError, UserError
from diffalign.scorers import SCORERS, load_scorer, scorer_entry
from diffalign.scorers.texts.text_input import as_answer, as_chat
from tests.scorers import tiny
from tests.tiny_text import tiny_llm


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    return {family: tiny.reward_model(tmp_path_factory.mktemp(family), family) for family in tiny.REWARDS}


@pytest.mark.parametrize(
    ("text", "compound"),
    [
        ("VADER is smart, handsome, and funny.", 0.8316),
        ("The book was kind of good.", 0.3832),
        ("At least it isn't a horrible book.", 0.431),
        ("Today SUX!", -0.5461),
    ],
)
def test_sentiment_gives_the_numbers_of_vaders_own_page(text, compound):
    assert load_scorer("sentiment").score(["x"], [text]).item() == pytest.approx(compound, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "polarity"),
    [
        ("Textblob is amazingly simple to use. What great fun!", 0.39166666666666666),  # the package's own page
        ("great", 0.8),  # and by the lexicon and rules of the package
        ("not great", -0.5 * 0.8),
        ("a great car and a table", 0.8),
        ("a table", 0.0),
    ],
)
def test_polarity_is_the_mean_over_the_words_in_the_lexicon(text, polarity):
    assert load_scorer("polarity").score(["x"], [text]).item() == pytest.approx(polarity, abs=1e-6)


def test_both_lexicons_rank_a_kind_answer_over_an_unkind_one_and_ignore_the_prompt():
    for name in ("sentiment", "polarity"):
        scorer = load_scorer(name)
        kind, unkind = scorer.score(["a terrible idea", "x"], ["What a wonderful day.", "What a terrible day."])
        assert kind > 0 > unkind and scorer.score(["x"], ["What a wonderful day."]) == kind


def test_length_counts_words_or_tokens(rewards):
    words, tokens = load_scorer("length"), load_scorer(f"length:{rewards['llama']}")
    assert words.score(["x"] * 2, ["one  two\nthree", ""]).tolist() == [3, 0] and words.unit == "words"
    assert tokens.score(["x"], ["one two"]).item() == 7 and tokens.unit == "tokens"  # one token per character
    assert load_scorer("length:words").name == "length"


@torch.no_grad()
def test_a_reward_is_the_output_of_the_model_for_the_chat(rewards):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(rewards["llama"]).eval()
    tokenizer = AutoTokenizer.from_pretrained(rewards["llama"])
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
    theirs = model(input_ids=ids).logits[0, 0]
    scorer = load_scorer(f"reward:{rewards['llama']}")
    torch.testing.assert_close(scorer.score(["Why?"], ["So."])[0], theirs)
    system = Conversation((Message("system", "Be kind."), Message("user", "Why?")))
    assert scorer.score([system], ["So."])[0] != theirs


@torch.no_grad()
def test_a_reward_without_a_template_reads_two_texts_or_one_behind_the_other(rewards):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    for family, given in (("bert", ("a fox", "good !")), ("gpt2", ("a foxgood !",))):
        model = AutoModelForSequenceClassification.from_pretrained(rewards[family]).eval()
        inputs = AutoTokenizer.from_pretrained(rewards[family])(*given, return_tensors="pt")
        theirs = model(**inputs).logits[0, 0]
        scorer = load_scorer(f"reward:{rewards[family]}")
        torch.testing.assert_close(scorer.score(["a fox"], ["good !"])[0], theirs)


@torch.no_grad()
def test_a_reward_is_read_at_the_last_token_without_a_padding_token(tmp_path):
    """Transformers refuses such a batch; with the end token as padding it would judge one token too early."""
    scorer = load_scorer(f"reward:{tiny.reward_model(tmp_path, 'gpt2', pad=None)}")
    prompts, answers = ["Why?", "How is it?"], ["So.", "A longer answer."]
    texts = [scorer.tokenizer(p + x, return_tensors="pt")["input_ids"] for p, x in zip(prompts, answers, strict=True)]
    theirs = torch.cat([scorer.model(input_ids=ids).logits[0] for ids in texts])
    torch.testing.assert_close(scorer.score(prompts, answers), theirs, rtol=1e-5, atol=1e-5)
    assert scorer.model.config.pad_token_id is None


@pytest.mark.parametrize("family", tiny.REWARDS)
def test_long_texts_are_truncated_at_the_beginning(rewards, family):
    scorer = load_scorer(f"reward:{rewards[family]}")
    one, other, end = scorer.score(["fox " * 300, "apple " + "fox " * 299, "fox " * 300], ["good", "good", "bad"])
    assert end != one
    if family != "bert":  # which cuts the longer of two texts, and keeps where each begins
        torch.testing.assert_close(one, other)


def test_folders_that_hold_no_reward_model_are_refused(tmp_path):
    with pytest.raises(UserError, match="has 2 classes.*reward:Skywork"):
        load_scorer(f"reward:{tiny.reward_model(tmp_path / 'two', labels=2)}")
    writer = tiny_llm(tmp_path / "llm")
    config = json.loads((writer / "config.json").read_text())
    (writer / "config.json").write_text(json.dumps({**config, "id2label": {"0": "x"}, "label2id": {"x": 0}}))
    with pytest.raises(
        UserError, match="not hold a complete LlamaForSequence.* 1 missing .first score.weight.*reward:Skywork"
    ):
        load_scorer(f"reward:{writer}")


@pytest.mark.parametrize(
    ("spec", "hint"),
    [
        ("reward", "reward:FOLDER"),
        ("reward:/nowhere/at/all", "reward:Skywork"),
        ("length:/nowhere/at/all", "length for words"),
        ("sentiment:x", "takes no argument"),
        ("polarity:x", "takes no argument"),
        ("sentimint", "'sentiment'"),
    ],
)
def test_a_wrong_name_names_the_next_step(spec, hint):
    with pytest.raises(UserError, match=hint):
        load_scorer(spec)


@pytest.mark.parametrize(
    ("name", "package"), [("sentiment", "vaderSentiment.vaderSentiment"), ("polarity", "textblob")]
)
def test_a_missing_package_names_the_extra(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UserError, match=r"pip install 'diffalign\[text\]'"):
        load_scorer(name)
    assert scorer_entry(name).extra == "text"


def test_entries_state_their_medium_without_loading():
    assert {name for name, row in SCORERS.items() if row.medium == "text"} == {
        "sentiment",
        "polarity",
        "length",
        "reward",
        "judge",
        "follow_up",
        "text_function",
    }
    assert scorer_entry("reward:/nowhere/at/all").medium == "text"


def test_a_conversation_is_judged_by_the_turns_of_the_assistant():
    turns = (Message("assistant", "One."), Message("user", "Two?"), Message("assistant", "Three."))
    assert as_answer(Conversation(turns)) == "One.\nThree."
    assert [row["role"] for row in as_chat("Zero?", Conversation(turns))] == ["user", "assistant", "user", "assistant"]
    with pytest.raises(DataError, match="UTF-8"):
        as_answer(Path("nowhere.txt"))
