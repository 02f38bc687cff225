"""The scorers of texts, one row each."""

from __future__ import annotations

from functools import partial

from diffalign.scorers.scorer import ScorerEntry
from diffalign.scorers.texts.follow_up_likelihood import FollowUpLikelihood
from diffalign.scorers.texts.generative_judge import GenerativeJudge
from diffalign.scorers.texts.polarity import Polarity
from diffalign.scorers.texts.reward_model import Reward
from diffalign.scorers.texts.text_input import as_answer
from diffalign.scorers.texts.text_length import Length
from diffalign.scorers.texts.vader_sentiment import Sentiment
from diffalign.scorers.user_function import UserFunction

TEXT_SCORERS: dict[str, ScorerEntry] = {
    "sentiment": ScorerEntry(
        Sentiment.load,
        "nothing",
        "how friendly the text is, by VADER's lexicon and rules: compound in [-1, 1]",
        medium="text",
        extra="text",
    ),
    "polarity": ScorerEntry(
        Polarity.load,
        "nothing",
        "how friendly the text's words are, by another lexicon (TextBlob's): mean in [-1, 1]",
        medium="text",
        extra="text",
    ),
    "length": ScorerEntry(
        Length.load,
        "folder or hub id of a tokenizer; words without",
        "how long the text is: a preference that is easy to see",
        medium="text",
    ),
    "reward": ScorerEntry(
        Reward.load,
        "folder or hub id of a sequence classifier with one label",
        "the score of a reward model: logit",
        medium="text",
    ),
    "text_function": ScorerEntry(
        partial(UserFunction.load, prepare=as_answer, medium="text", name="text_function"),
        "FILE.py:FUNCTION or MODULE:FUNCTION, which takes prompts and texts",
        "a function of your own: one number for each text",
        medium="text",
    ),
    "judge": ScorerEntry(
        GenerativeJudge.load,
        "folder or hub id of a chat model, after a template file where there is one, as in FILE.yaml:FOLDER",
        "a chat model that compares two answers in both orders, or grades one: grade on the template's scale",
        medium="text",
    ),
    "follow_up": ScorerEntry(
        FollowUpLikelihood.load,
        "folder or hub id of a chat model, after a file of follow-ups where there is one, as in FILE.yaml:FOLDER",
        "how much likelier praise than complaint follows the answer, by a chat model: nats per token",
        medium="text",
    ),
}
