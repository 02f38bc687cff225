import io
import tracemalloc

import av
import numpy as np
import pytest
from PIL import Image

from diffalign.data.media.clips import decode_video, limits
from diffalign.data.media.clips.clip import Clip
from diffalign.data.media.clips.frame_rule import FrameRule
from diffalign.data.media.clips.open_clip import open_clip
from diffalign.data.media.decode import media_digest
from diffalign.data.storage.frame_files import frames_of
from diffalign.errors import DataError
from tests.data.clips import moving, noise, numbered, numbers, turn_header, write_sound, write_video

VARIABLE = [0, 0.04, 0.08, 0.5, 0.54, 0.58, 2.0, 2.04]


@pytest.mark.parametrize(
    "suffix, codec, pixels",
    [
        (".mp4", "libx264rgb", "rgb24"),
        (".mov", "libx264rgb", "rgb24"),
        (".mkv", "libx264rgb", "rgb24"),
        (".avi", "ffv1", "bgr0"),
        (".webm", "libvpx-vp9", "gbrp"),
    ],
)
def test_every_container_gives_its_frames_rate_and_size(tmp_path, suffix, codec, pixels):
    clip = noise(30, fps=30.0)
    path = write_video(tmp_path / f"a{suffix}", clip, codec, pixels)
    found = open_clip(path)
    assert np.array_equal(found.frames, clip.frames) and found.fps == pytest.approx(30, rel=1e-3)
    assert open_clip(path.read_bytes()) == found
    chosen = open_clip(path, FrameRule("rate", frames=8, fps=8))
    assert np.array_equal(chosen.frames, clip.frames[[0, 3, 7, 11, 15, 18, 22, 26]]) and chosen.fps == 8


def test_frames_that_are_stored_out_of_order_come_in_the_order_of_their_times(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(60, fps=24.0), bf="3", **{"x264-params": "b-adapt=0"})
    assert numbers(open_clip(path)) == list(range(60))
    assert numbers(open_clip(path, FrameRule("stride", frames=6, stride=10))) == list(range(0, 60, 10))


def test_a_rotated_clip_stands_upright(tmp_path):
    clip = noise(4, 48, 32)
    found = open_clip(turn_header(write_video(tmp_path / "a.mp4", clip)))
    assert found.size == (32, 48)
    assert np.array_equal(found.frames, np.rot90(clip.frames, k=-1, axes=(1, 2)))
    assert open_clip(tmp_path / "a.mp4", side=16).size == (16, 24)


def test_pixels_that_are_not_square_are_shown_at_their_width(tmp_path):
    path = write_video(tmp_path / "a.mkv", moving(4), aspect=2)
    assert open_clip(path).size == (64, 32) and open_clip(path, side=16).size == (32, 16)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_variable_rate_is_read_by_the_times_of_frames(tmp_path, suffix):
    path = write_video(tmp_path / f"a{suffix}", numbered(8, fps=25.0), times=VARIABLE)
    assert numbers(open_clip(path)) == list(range(8))
    found = open_clip(path, FrameRule("rate", frames=16, fps=8))
    assert numbers(found)[:10] == [0, 2, 2, 2, 3, 5, 5, 5, 5, 5]


def test_odd_sizes_are_read(tmp_path):
    assert open_clip(write_video(tmp_path / "a.mp4", noise(3, 61, 63), pixels="rgb24")).size == (61, 63)


def test_transparency_of_vp9_is_laid_on_white(tmp_path):
    path = tmp_path / "a.webm"
    rgba = np.zeros((4, 32, 32, 4), np.uint8)
    rgba[:, 8:24, 8:24] = (200, 0, 0, 255)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx-vp9", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuva420p"
        stream.options = {"crf": "4", "b:v": "0"}
        stream.metadata["alpha_mode"] = "1"
        for picture in rgba:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgba")))
        out.mux(stream.encode())
    found = open_clip(path)
    assert len(found) == 4
    assert (found.frames[:, :4, :4] > 245).all() and (found.frames[:, 12:20, 12:20, 1] < 40).all()


@pytest.mark.parametrize("kind", ["WEBP", "GIF", "PNG"])
def test_frames_that_an_animation_merged_are_there_again(kind):
    frames = [Image.fromarray(frame) for frame in np.repeat(moving(3, step=4).frames, 2, axis=0)]
    out = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=120, **options)
    with Image.open(io.BytesIO(out.getvalue())) as image:
        assert image.n_frames == 3
    found = open_clip(out.getvalue(), FrameRule("rate", frames=6, fps=1000 / 120))
    assert [int((frame == np.asarray(frames[0])).all()) for frame in found.frames] == [1, 1, 0, 0, 0, 0]
    assert np.array_equal(found.frames[::2], found.frames[1::2])


def test_an_animation_without_a_rule_gets_the_largest_step_that_divides_its_durations():
    frames = [Image.fromarray(frame) for frame in moving(3, step=4).frames]
    out = io.BytesIO()
    frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=[250, 125, 125], lossless=True)
    found = open_clip(out.getvalue())
    assert len(found) == 4 and found.fps == 8 and np.array_equal(found.frames[0], found.frames[1])


def test_a_folder_of_frames_is_a_clip_in_the_order_of_its_numbers(tmp_path):
    clip = numbered(12)
    for k, frame in enumerate(clip.frames):
        Image.fromarray(frame).save(tmp_path / f"frame{k}.png")
    (tmp_path / "notes.txt").write_text("no frame")
    assert open_clip(tmp_path) == clip
    assert numbers(open_clip(frames_of(tmp_path, 24.0), FrameRule("rate", frames=4, fps=8))) == [0, 3, 6, 9]
    files = [tmp_path / "frame3.png", tmp_path / "frame1.png"]
    assert numbers(open_clip(frames_of(files))) == [3, 1]


def test_the_digest_of_frames_follows_their_content_and_rate(tmp_path):
    for k, frame in enumerate(noise(3).frames):
        Image.fromarray(frame).save(tmp_path / f"{k}.png")
    before = media_digest(tmp_path)
    assert media_digest(frames_of(tmp_path)) == before != media_digest(frames_of(tmp_path, 24.0))
    Image.fromarray(noise(3, seed=1).frames[1]).save(tmp_path / "1.png")
    assert media_digest(tmp_path) != before


def test_frames_of_different_sizes_are_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    Image.new("RGB", (8, 9)).save(tmp_path / "1.png")
    with pytest.raises(DataError, match=r"1\.png' has 8 x 9 pixels and the first frame of its clip 8 x 8"):
        open_clip(tmp_path)


def test_frames_are_reduced_while_decoding_and_never_enlarged(tmp_path):
    for path in (write_video(tmp_path / "a.mp4", noise(4, 64, 32)), tmp_path / "a.gif"):
        if path.suffix == ".gif":
            first, *rest = (Image.fromarray(frame) for frame in noise(4, 64, 32).frames)
            first.save(path, save_all=True, append_images=rest, duration=100)
        assert open_clip(path, side=16).size == (32, 16) and open_clip(path, side=100).size == (64, 32)


def _bad_files(folder):
    good = write_video(folder / "good.mp4", noise(30, 64, 64))
    matroska = write_video(folder / "good.mkv", noise(60, 64, 64, fps=24.0))
    (folder / "truncated.mp4").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (folder / "truncated.mkv").write_bytes(matroska.read_bytes()[: matroska.stat().st_size // 3])
    random = np.random.default_rng(0).integers(0, 256, 5000, dtype=np.uint8).tobytes()
    data = bytearray(good.read_bytes())
    middle = data.index(b"mdat") + 2000
    data[middle : middle + len(random)] = random
    (folder / "garbled.mp4").write_bytes(bytes(data))
    (folder / "garbage.mp4").write_bytes(random)
    (folder / "empty.mp4").write_bytes(b"")
    write_sound(folder / "sound.mkv")
    write_video(folder / "one.mp4", noise(1))
    Image.new("RGB", (8, 8)).save(folder / "still.png")
    webp = folder / "cut.webp"
    first, *rest = (Image.fromarray(frame) for frame in noise(6).frames)
    first.save(webp, save_all=True, append_images=rest, lossless=True, duration=125)
    webp.write_bytes(webp.read_bytes()[:-2000])
    (folder / "no_frames").mkdir()


@pytest.mark.parametrize(
    "name, reason",
    [
        ("truncated.mp4", "cannot be decoded"),
        ("truncated.mkv", "it was cut off: .* of 2.5 seconds"),
        ("garbled.mp4", r"frame \d+ is damaged"),
        ("garbage.mp4", "cannot be decoded"),
        ("empty.mp4", "it is empty"),
        ("sound.mkv", "it holds sound and no frames"),
        ("one.mp4", "holds one picture; a clip has at least two frames"),
        ("still.png", "holds one picture"),
        ("cut.webp", "cannot be decoded"),
        ("no_frames", "holds no frames"),
        ("missing.mp4", "there is no file"),
    ],
)
def test_a_bad_file_is_named_with_its_reason(tmp_path, name, reason):
    _bad_files(tmp_path)
    with pytest.raises(DataError, match=f"(?s){name}.*{reason}|{reason}.*{name}"):
        open_clip(tmp_path / name)


def test_a_clip_that_is_too_short_is_named_unless_its_last_frame_is_held(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(5))
    with pytest.raises(DataError, match=r"a\.mp4' is too short: 5 frames in 0\.62 seconds give 5 of 8"):
        open_clip(path, FrameRule(frames=8))
    assert numbers(open_clip(path, FrameRule(frames=8, short="hold"))) == [0, 1, 2, 3, 4, 4, 4, 4]
    assert numbers(open_clip(path, FrameRule(frames=1))) == [0]


def test_limits_are_named(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", noise(20))
    for limit, value, words in (
        ("MAX_PIXELS", 500, "pixels"),
        ("MAX_SECONDS", 2.0, "seconds"),
        ("MAX_FRAMES", 19, "more than 19 frames"),
        ("MAX_BYTES", 1000, "model.clip.frames"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, value)
            with pytest.raises(DataError, match=words):
                open_clip(path)
            if limit != "MAX_FRAMES":
                first, *rest = (Image.fromarray(frame) for frame in noise(20).frames)
                first.save(tmp_path / "a.gif", save_all=True, append_images=rest, duration=150)
                with pytest.raises(DataError, match=words):
                    open_clip(tmp_path / "a.gif")


def test_a_playlist_opens_no_other_file(tmp_path):
    write_video(tmp_path / "inner.ts", noise(10), "mpeg4", "yuv420p")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\ninner.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(DataError, match="cannot be decoded"):
        open_clip(tmp_path / "list.m3u8")


def test_never_more_frames_are_held_than_are_kept(tmp_path):
    path = write_video(tmp_path / "a.mp4", numbered(200, 320, 240, fps=24.0))
    open_clip(path, FrameRule("span", frames=4))  # what the first call imports is not counted
    tracemalloc.start()
    found = open_clip(path, FrameRule("span", frames=4))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers(found) == [25, 75, 125, 175] and peak < 3 * found.frames.nbytes


def test_a_late_start_is_sought_and_gives_the_frames_of_a_full_decode(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered(250, fps=10.0), g="10", bf="0")
    counts = []
    plain = limits.refuse_size
    monkeypatch.setattr(decode_video.limits, "refuse_size", lambda *given: (counts.append(1), plain(*given)))
    late = open_clip(path, FrameRule("rate", frames=8, fps=5, start=1.0))
    assert numbers(late) == list(range(234, 250, 2)) and len(counts) < 40


def test_frames_are_right_where_packets_and_frames_disagree(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", numbered(40, fps=10.0))
    plain = decode_video.packet_times

    def wrong(*given):
        times, end, last = plain(*given)
        return [t + 0.03 for t in times], end, last

    monkeypatch.setattr(decode_video, "packet_times", wrong)
    assert numbers(open_clip(path, FrameRule("span", frames=4))) == [5, 15, 25, 35]
    monkeypatch.setattr(decode_video, "packet_times", lambda *given: ([], 0.0, 0.0))
    assert open_clip(path).fps == pytest.approx(10)


def test_a_text_is_no_clip():
    with pytest.raises(DataError, match="got the text 'a fox'"):
        open_clip("a fox")
    assert isinstance(open_clip(noise_bytes()), Clip)


def noise_bytes():
    from diffalign.data.media.clips.write_clip import encode_clip

    return encode_clip(noise())
