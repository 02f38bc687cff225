"""Settings of text generation."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

BeamMode = Literal["policy", "reward", "mixed"]


class BeamSettings(BaseModel):
    """Settings of beam search, see `implicit_reward_beam`.

    Args:
        beams: Number of beams; 0 samples answers instead. With beams, temperature and seed have no effect.
        beam_mode: What a token adds to a beam's score: ``"policy"``, ``"reward"`` or ``"mixed"``.
        beam_weight: Factor of the log-ratio that ``"mixed"`` adds to the reference, 1 or more.
        length_penalty: Scores are divided by the length to this power; 0 compares sums, 1 means.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    beams: int = Field(default=0, ge=0)
    beam_mode: BeamMode = "policy"
    beam_weight: float = Field(default=1.0, ge=1.0)
    length_penalty: float = Field(default=0.0, ge=0.0)


class TextCandidates(BaseModel):
    """Settings for sampling answers that become candidates of pairs.

    Args:
        max_new_tokens: Largest number of tokens of an answer.
        temperature: Divides the logits; 0 takes the likeliest token each time.
        top_p: Sample from the likeliest tokens that together have this probability; 1 means all.
        top_k: Sample from this number of likeliest tokens; 0 means all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_new_tokens: int = Field(default=128, ge=1)
    temperature: float = Field(default=1.0, ge=0.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=0)


class TextSampling(TextCandidates, BeamSettings):
    """Settings for answers that people read and scorers judge.

    Args:
        raw: Continue a plain prompt as it is, also with a chat template. Otherwise it becomes the user's turn.
    """

    raw: bool = False

    @model_validator(mode="after")
    def _check_reward_search(self) -> TextSampling:
        if self.beams and self.beam_mode == "reward" and self.top_p == 1.0 and not self.top_k:
            raise ValueError(
                "beam_mode 'reward' prefers tokens that the reference finds very unlikely, unless the search is "
                "restricted to the policy's likely tokens. Set top_p=0.9, or top_k"
            )
        return self
