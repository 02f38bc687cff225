"""The model section of a recipe for text-to-video models: what they have beside the settings of all denoisers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.policies.config import BaseModelConfig
from diffalign.policies.diffusion.config import ModelConfig
from diffalign.policies.diffusion.families.source import Betas


class ClipConfig(BaseModel):
    """The frames of a clip, see `diffalign.data.media.clips`.

    Args:
        frames: Number of frames that the network sees together, and that a sample has.
        fps: Frames per second: which frames of a file are taken by ``"rate"``, and how fast a sample plays.
        rule: ``"rate"``: what a viewer sees at ``fps``, from the beginning. ``"span"``: the middles of ``frames`` equal
            parts of the whole clip. ``"stride"``: each ``stride``-th frame (as VideoDPO).
        stride: For ``"stride"``.
        short: What a clip is that ends too early: ``"drop"``, an error that names it, or ``"hold"``: its last frame
            stays.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    frames: int = Field(default=16, ge=1, le=1024)
    fps: float = Field(default=8.0, gt=0, le=240)
    rule: Literal["rate", "span", "stride"] = "rate"
    stride: int = Field(default=4, ge=1)
    short: Literal["drop", "hold"] = "drop"

    @property
    def frame_rule(self) -> FrameRule:
        """The rule by which frames are taken of a clip."""
        return FrameRule(self.rule, self.frames, self.fps, self.stride, self.short)


class VideoModelConfig(ModelConfig):
    """A text-to-video model.

    Args:
        motion: A motion adapter, as a folder or a hub name, which makes the image model of ``path`` (Stable Diffusion
            1.5 or XL) a video model (AnimateDiff). None: ``path`` is a video pipeline.
        schedule: Spacing of the noise levels: ``"own"`` of the scheduler's file, or ``"linear"`` or ``"scaled_linear"``
            betas between the file's first and last. None: ``"linear"``, which motion adapters are trained at, for an
            adapter that has no ``scheduler/`` of its own, otherwise ``"own"``.
        clip: The frames, see :class:`ClipConfig`.
        trains: Without an adapter (``adapter: null``), the weights that train: ``"everything"``, or the layers that
        join
            frames, ``"motion"``; the reference is then a copy of these alone.
        flip: As for images, one draw for all frames of a clip; default ``"none"``: prompts and motions name left and
            right.
        moments: Precision in which the autoencoder's means and deviations are kept.
        encode_batch: Frames, of any clips, that go through the autoencoder together.
    """

    motion: str | None = None
    schedule: Betas | None = None
    clip: ClipConfig = ClipConfig()
    trains: Literal["everything", "motion"] = "everything"
    flip: Literal["joint", "independent", "none"] = "none"
    moments: Literal["float16", "float32"] = "float16"

    @model_validator(mode="after")
    def _check_video(self) -> VideoModelConfig:
        if self.trains == "motion" and self.adapter is not None:
            raise ValueError(
                "trains: motion is for training without an adapter. Type: --set model.adapter=null   or, for an adapter"
                " on these layers: --set model.trains=everything --set model.adapter.targets=motion"
            )
        if self.masks is not None:
            raise ValueError("masks weight the positions of an image; clips have none. Type: --set model.masks=null")
        return self


def trains_motion(config: BaseModelConfig) -> bool:
    """Returns whether the layers that join frames train, without an adapter, and nothing else."""
    return config.adapter is None and getattr(config, "trains", "everything") == "motion"
