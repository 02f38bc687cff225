"""VQAScore: the probability of yes, against one plain pass of the same model of transformers."""

import pytest
import torch

from diffalign.errors import UserError
from diffalign.scorers import load_scorer
from diffalign.scorers.images.vqa import QUESTION
from tests.scorers import tiny, tiny_vqa
from tests.scorers.images import odd_images

IMAGES = [odd_images.noise(57, 41, 1), odd_images.noise(33, 90, 2), odd_images.noise(32, 32, 3)]
PROMPTS = ["a fox on a red background", "two foxes", "a fox on a red background"]


@pytest.fixture(scope="module")
def llava(tmp_path_factory):
    return tiny_vqa.llava(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def blip2(tmp_path_factory):
    return tiny_vqa.blip2(tmp_path_factory.mktemp("blip2"))


def test_the_paper_s_question_is_asked():
    assert QUESTION.format("a fox") == 'Does this figure show "a fox"? Please answer yes or no.'


def yes(logits, words):
    probabilities = logits.softmax(-1)
    return sum(probabilities[words.convert_tokens_to_ids(answer)] for answer in ("Yes", "yes")).item()


def test_a_decoder_s_score_is_the_probability_of_yes_after_the_chat(llava):
    from transformers import AutoProcessor, LlavaForConditionalGeneration

    model, processor = LlavaForConditionalGeneration.from_pretrained(llava).eval(), AutoProcessor.from_pretrained(llava)
    scores = load_scorer(f"vqa:{llava}").score(PROMPTS, IMAGES)
    for prompt, image, score in zip(PROMPTS, IMAGES, scores, strict=True):
        text = f"USER: <image> {QUESTION.format(prompt)} ASSISTANT:"
        inputs = processor(images=image, text=text, return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1]
        assert score.item() == pytest.approx(yes(logits, processor.tokenizer), abs=1e-4)
    assert len({round(score, 4) for score in scores.tolist()}) == 3


def test_an_encoder_decoder_s_score_is_that_of_its_first_decoded_token(blip2):
    from transformers import AutoProcessor, Blip2ForConditionalGeneration

    model, processor = Blip2ForConditionalGeneration.from_pretrained(blip2).eval(), AutoProcessor.from_pretrained(blip2)
    scores = load_scorer(f"vqa:{blip2}").score(PROMPTS, IMAGES)
    for prompt, image, score in zip(PROMPTS, IMAGES, scores, strict=True):
        inputs = processor(images=image, text=QUESTION.format(prompt), return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs, decoder_input_ids=torch.zeros(1, 1, dtype=torch.long)).logits[0, 0]
        assert score.item() == pytest.approx(yes(logits, processor.tokenizer), abs=1e-4)


def test_any_question_may_be_asked(llava):
    scorer = load_scorer(f"vqa:{llava}")
    asked = scorer.probability_of_yes([QUESTION.format(prompt) for prompt in PROMPTS], IMAGES)
    assert torch.equal(asked, scorer.score(PROMPTS, IMAGES))


@pytest.mark.parametrize("argument, words", [("", "vqa:Qwen/"), ("CLIP", "Cannot load a model of images and texts")])
def test_what_answers_no_questions_is_refused(tmp_path, argument, words):
    argument = str(tiny.dual_encoder(tmp_path)) if argument else ""
    with pytest.raises(UserError, match=words):
        load_scorer(f"vqa:{argument}")
