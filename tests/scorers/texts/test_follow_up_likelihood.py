"""Follow-up likelihood: exactly the follow-up's own tokens count, by log-softmax, after the whole chat."""

import pytest
import torch

from diffalign.data.records.conversation import Conversation, Message
from diffalign.errors import UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.texts.chat_model import ChatModel
from diffalign.scorers.texts.follow_up_likelihood import FollowUpLikelihood, difference_of_means, read_follow_ups
from tests.tiny_text import tiny_llm, tiny_model, tiny_tokenizer

FEW = {"one": (("Yes, good.", "Fine"), ("No, bad!", "Wrong")), "two": (("I see",), ("What?",))}


@pytest.fixture(scope="module", params=["llama", "gpt2", "gemma3"])
def chat(request):
    longer = {"n_positions": 1024} if request.param == "gpt2" else {"max_position_embeddings": 1024}
    return ChatModel(tiny_model(request.param, **longer), tiny_tokenizer())


@torch.no_grad()
def plain(chat, prompt, answer, sentence):
    """Mean log-probability of a follow-up by one forward pass over the whole text."""
    before = f"<|user|>\n{prompt}<|end|>\n<|assistant|>\n{answer}<|end|>\n<|user|>\n"
    head = chat.tokenizer(before, add_special_tokens=False)["input_ids"]
    own = chat.tokenizer(sentence, add_special_tokens=False)["input_ids"]
    logps = chat.model(torch.tensor([head + own])).logits[0].float().log_softmax(-1)
    return sum(logps[len(head) + k - 1, token].item() for k, token in enumerate(own)) / len(own)


def test_scores_are_differences_of_mean_log_likelihoods(chat):
    scorer = FollowUpLikelihood(chat, FEW)
    pairs = [("why?", "because"), ("how are you", "I am fine, thanks!")]
    expected = [
        [
            difference_of_means(*([plain(chat, *pair, sentence) for sentence in side] for side in sides))
            for sides in FEW.values()
        ]
        for pair in pairs
    ]
    found = scorer.by_category([p for p, _ in pairs], [a for _, a in pairs])
    torch.testing.assert_close(found, torch.tensor(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(scorer.score(*zip(*pairs, strict=True)), found.mean(1))


def test_the_worked_case():
    positive = [sum(v) / len(v) for v in ((-0.2, -0.4, -0.3), (-0.5, -0.1))]
    negative = [sum(v) / len(v) for v in ((-1.0, -0.6), (-0.9, -0.3, -0.9))]
    assert difference_of_means(positive, negative) == pytest.approx(0.45)


def test_exchanged_sides_negate_and_repeated_sentences_change_nothing(chat):
    exchanged = {name: (no, yes) for name, (yes, no) in FEW.items()}
    doubled = {name: (yes * 2, no * 2) for name, (yes, no) in FEW.items()}
    score, other, twice = (FollowUpLikelihood(chat, f).score(["why?"], ["so"]) for f in (FEW, exchanged, doubled))
    torch.testing.assert_close(other, -score)
    torch.testing.assert_close(twice, score)


@pytest.mark.parametrize("size", [1, 2, 100])
def test_the_size_of_a_batch_does_not_matter(chat, size):
    score = FollowUpLikelihood(chat, FEW, batch_size=size).score(["why?"], ["so"])
    torch.testing.assert_close(score, FollowUpLikelihood(chat, FEW).score(["why?"], ["so"]), rtol=1e-5, atol=1e-5)


def test_a_sentence_that_the_chat_already_holds_is_scored_at_its_end(chat):
    scorer = FollowUpLikelihood(chat, {"one": (("I see",), ("Hm",))})
    expected = plain(chat, "I see", "I see", "I see") - plain(chat, "I see", "I see", "Hm")
    assert scorer.score(["I see"], ["I see"]).item() == pytest.approx(expected, abs=1e-4)


def test_the_packages_sentences_have_equal_sides_of_similar_length():
    found = read_follow_ups()
    assert len(found) == 6
    for positive, negative in found.values():
        assert len(positive) == len(negative) >= 3
        lengths = [sum(map(len, side)) / len(side) for side in (positive, negative)]
        assert abs(lengths[0] - lengths[1]) < 0.15 * max(lengths)


def test_a_file_of_follow_ups_is_given_before_the_model(tmp_path):
    folder = tiny_llm(tmp_path / "llm", max_position_embeddings=1024)
    path = tmp_path / "own.yaml"
    path.write_text("polite:\n  positive: [Thanks]\n  negative: [Go away]\n")
    own, default = load_scorer(f"follow_up:{path}:{folder}"), load_scorer(f"follow_up:{folder}")
    assert own.follow_ups == {"polite": (("Thanks",), ("Go away",))} and own.weights != default.weights
    turn = Conversation((Message("assistant", "so"),))
    assert torch.equal(own.score(["x"], [turn]), own.score(["x"], ["so"]))


@pytest.mark.parametrize(
    "text",
    ["[]", "a: 3", "a: {positive: [x]}", "a: {positive: [x], negative: [y, z]}", "a: {positive: [' x'], negative: [y]}",
     "a: {positive: [], negative: []}", "a: {positive: [3], negative: [y]}"],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UserError, match="x.yaml"):
        read_follow_ups(tmp_path / "x.yaml")
