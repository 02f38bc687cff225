"""The scorers of clips, one row each."""

from __future__ import annotations

from functools import partial

from diffalign.scorers.clips.clip_input import as_clip
from diffalign.scorers.clips.flicker import Flicker
from diffalign.scorers.clips.flow_dynamic import FlowDynamic
from diffalign.scorers.clips.flow_motion import FlowMotion
from diffalign.scorers.clips.flow_smoothness import FlowSmoothness
from diffalign.scorers.clips.neighbour_consistency import NeighbourConsistency
from diffalign.scorers.clips.still_blend import StillBlend
from diffalign.scorers.clips.video_reward import VideoReward
from diffalign.scorers.clips.video_score import VideoScore
from diffalign.scorers.clips.x_clip import XClip
from diffalign.scorers.scorer import ScorerEntry
from diffalign.scorers.user_function import UserFunction

MOTION = ("flow_dynamic", "flow_motion")
"""Scorers that rise with motion."""
STILLNESS = ("flicker", "still_blend", "neighbour_consistency")
"""Scorers that are highest for a clip that stands still."""

CLIP_SCORERS: dict[str, ScorerEntry] = {
    "flicker": ScorerEntry(
        Flicker.load,
        "nothing",
        "how little neighbouring frames differ (VBench's temporal flickering): 1 for a still clip",
        medium="video",
        beside=MOTION,
    ),
    "still_blend": ScorerEntry(
        StillBlend.load,
        "nothing",
        "how well a frame equals the mean of its neighbours: 1 for a still clip",
        medium="video",
        beside=MOTION,
    ),
    "flow_smoothness": ScorerEntry(
        FlowSmoothness.load,
        "nothing",
        "how well a frame lies between its neighbours, moved by optical flow: 1 for steady motion",
        medium="video",
        extra="flow",
    ),
    "flow_dynamic": ScorerEntry(
        FlowDynamic.load,
        "dis or farneback, the method of optical flow; dis without",
        "whether the clip moves: 1 or 0",
        medium="video",
        extra="flow",
    ),
    "flow_motion": ScorerEntry(
        FlowMotion.load,
        "dis or farneback, the method of optical flow; dis without",
        "how far the fastest parts of the clip move: share of the short side per step",
        medium="video",
        extra="flow",
    ),
    "neighbour_consistency": ScorerEntry(
        NeighbourConsistency.load,
        "folder or hub id of a dual encoder (CLIP, SigLIP, ...)",
        "how alike an encoder finds the frames of a clip: mean cosine, 1 for a still clip",
        medium="video",
    ),
    "xclip": ScorerEntry(
        XClip.load,
        "folder or hub id of an X-CLIP; its base model without",
        "how well the clip fits its prompt, by a dual encoder of videos: cosine",
        medium="video",
    ),
    "video_reward": ScorerEntry(
        VideoReward.load,
        "VQ, MQ or TA, and folder or hub id of the weights, as in MQ:FOLDER; the sum and the published ones without",
        "visual quality, motion quality and fit to the prompt, by a vision-language model: standard deviations",
        medium="video",
    ),
    "video_score": ScorerEntry(
        VideoScore.load,
        "visual, temporal, dynamic, alignment or factual, and folder or hub id of the weights, as in factual:FOLDER; "
        "the mean and the published ones without",
        "five qualities as people grade them, by a vision-language model: 1 to 4",
        medium="video",
    ),
    "clip_function": ScorerEntry(
        partial(UserFunction.load, prepare=as_clip, medium="video", name="clip_function"),
        "FILE.py:FUNCTION or MODULE:FUNCTION, which takes prompts and clips",
        "a function of your own: one number for each clip",
        medium="video",
    ),
}
