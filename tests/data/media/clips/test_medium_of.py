import io

import numpy as np
import pytest
from PIL import Image

from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.medium_of import medium_of
from diffalign.data.media.clips.write_clip import encode_clip, write_clip
from diffalign.data.media.find_problem import find_problem
from diffalign.data.storage.frame_files import frames_of
from tests.data.clips import moving, noise, write_video


def _png():
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("suffix, codec", [(".mp4", "libx264rgb"), (".webm", "libvpx-vp9"), (".avi", "ffv1")])
def test_videos_are_known_by_their_name_or_their_first_bytes(tmp_path, suffix, codec):
    pixels = {"libx264rgb": "rgb24", "libvpx-vp9": "yuv420p", "ffv1": "bgr0"}[codec]
    path = write_video(tmp_path / f"a{suffix}", noise(3), codec, pixels)
    assert medium_of(path) == medium_of(path.read_bytes()) == "video"
    assert medium_of(tmp_path / "missing.mp4") == "video"


def test_animations_still_clips_and_folders_of_frames_are_clips(tmp_path):
    still = Clip(np.repeat(noise(1).frames, 8, axis=0), 8.0)
    assert medium_of(encode_clip(noise())) == medium_of(write_clip(tmp_path / "a.webp", still)) == "video"
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "0.png").write_bytes(_png())
    assert medium_of(tmp_path / "frames") == medium_of(frames_of(tmp_path / "frames")) == "video"


def test_pictures_texts_and_what_cannot_be_read(tmp_path):
    (tmp_path / "a.png").write_bytes(_png())
    (tmp_path / "bad.png").write_bytes(_png()[:20])
    assert medium_of(_png()) == medium_of(tmp_path / "a.png") == medium_of(tmp_path / "bad.png") == "image"
    assert medium_of("a fox") == "text" and medium_of(tmp_path / "missing.png") == ""


def test_a_clip_that_claims_too_many_pixels_is_no_image(tmp_path):
    sound = encode_clip(noise())
    at = sound.index(b"VP8X") + 12  # where an extended WebP states width and height, less one
    (tmp_path / "bomb.webp").write_bytes(sound[:at] + (16_382).to_bytes(3, "little") * 2 + sound[at + 6 :])
    (tmp_path / "cut.webp").write_bytes(sound[:64])
    out = io.BytesIO()
    frames = [Image.new("P", (8, 8), colour) for colour in (0, 1)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    gif = out.getvalue()
    (tmp_path / "bomb.gif").write_bytes(gif[:6] + b"\xff\xff\xff\xff" + gif[10:])
    assert medium_of(tmp_path / "bomb.webp") == medium_of(tmp_path / "cut.webp") == "video"
    assert medium_of(tmp_path / "bomb.gif") == ""  # how many frames it has is not looked at
    for name in ("bomb.webp", "bomb.gif"):
        assert f"{name}' is refused: Image size" in find_problem(tmp_path / name, FrameRule(frames=8))


def test_a_problem_of_a_clip_is_found_in_its_last_frames_too(tmp_path):
    good = write_video(tmp_path / "a.mkv", noise(40, 64, 64, fps=10.0))
    assert find_problem(good) == ""
    (tmp_path / "b.mkv").write_bytes(good.read_bytes()[: good.stat().st_size * 3 // 4])
    assert "b.mkv' cannot be decoded: it was cut off" in find_problem(tmp_path / "b.mkv")
    assert "too short" in find_problem(good, FrameRule(frames=64)) and not find_problem(good, FrameRule(frames=16))
    assert find_problem(encode_clip(moving())) == ""
