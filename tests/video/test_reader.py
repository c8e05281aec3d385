import numpy as np
import pytest

from mv_peft.errors import VideoDecodeError
from mv_peft.video import VideoFrames, pyav, read_frames, sample_frames

from .clips import HOSTILE, encode, paint, read_numbers, set_rotation

SCANNED = {"edit_twice.mp4", "intra_refresh.mp4", "h264_b_frames.avi", "mpeg2.mpg", "raw.h264"}


@pytest.fixture
def scans(monkeypatch):
    """Record the files that were decoded from their beginning."""
    scanned, read_sequentially = [], pyav._read_sequentially
    monkeypatch.setattr(
        pyav, "_read_sequentially", lambda path, *rest: scanned.append(path) or read_sequentially(path, *rest)
    )
    return scanned


@pytest.mark.parametrize("name", HOSTILE)
def test_the_requested_frames_are_returned(name, hostile, decode_in_order, scans):
    path = hostile(name)
    everything = decode_in_order(path)
    assert name == "one_frame.mp4" or len(np.unique(everything, axis=0)) > 20
    for num_frames in (1, 5, 12, 1000):
        for sampling in ("uniform", "clip4clip", "head", "tail"):
            video = read_frames(path, num_frames, sampling)
            wanted = sample_frames(np.arange(len(everything)), num_frames, sampling)
            np.testing.assert_array_equal(video.frames, everything[wanted])
            assert video.pts_seconds.shape == (len(wanted),)
            assert (np.diff(video.pts_seconds) > 0).all()
    assert bool(scans) == (name in SCANNED)


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - {"rotated_90.mp4", "one_frame.mp4"}))
def test_painted_numbers_are_read_in_order(name, hostile):
    numbers = read_numbers(read_frames(hostile(name), 1000, "uniform").frames)
    expected = {
        "edit_hides_start.mp4": list(range(14, 60)),
        "edit_hides_end.mp4": list(range(25)),
        "edit_twice.mp4": [*range(3, 13), *range(33, 53)],
        "cut_start.ts": list(range(16, 60)),
    }.get(name, list(range(60)))
    assert numbers.tolist() == expected


@pytest.mark.parametrize(
    "name", ["h264.mp4", "h264.ts", "mpeg4_b_frames.avi", "no_duration.webm", "raw.h264", "av1.mp4"]
)
def test_times_count_from_the_first_frame(name, hostile):
    np.testing.assert_allclose(read_frames(hostile(name), 1000, "uniform").pts_seconds, np.arange(60) / 25, atol=1e-9)


def test_times_follow_a_variable_rate(hostile):
    expected = [(i * i // 7 + i) / 25 for i in range(60)]
    np.testing.assert_allclose(
        read_frames(hostile("variable_rate.mp4"), 1000, "uniform").pts_seconds, expected, atol=1e-9
    )


def test_one_frame_a_second_of_a_variable_rate(hostile):
    ticks = np.array([i * i // 7 + i for i in range(60)])
    seconds = np.arange(0, ticks[-1] + 1, 25)
    expected = np.searchsorted(ticks, seconds, side="right") - 1
    numbers = read_numbers(read_frames(hostile("variable_rate.mp4"), 1000, "fps_uniform").frames)
    assert numbers.tolist() == np.unique(expected).tolist()


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_images_are_upright(degrees, tmp_path):
    path = set_rotation(encode(tmp_path / "phone.mp4", num_frames=3, bframes=0), degrees)
    turned = read_frames(path, frame_sampling="uniform").frames
    assert turned.shape[1:3] == ((48, 128) if degrees == 180 else (128, 48))
    unturned = np.rot90(turned, k=degrees // 90, axes=(1, 2))  # the file says clockwise, rot90 goes the other way
    assert read_numbers(unturned).tolist() == [0, 1, 2]


def test_a_moment(clip):
    video = read_frames(clip, 4, "uniform", start_seconds=0.8, end_seconds=1.6)
    assert read_numbers(video.frames).tolist() == [20, 25, 30, 35]
    np.testing.assert_allclose(video.pts_seconds, [0.8, 1.0, 1.2, 1.4])


def test_a_moment_between_two_frames_is_the_one_on_screen(clip):
    video = read_frames(clip, frame_sampling="uniform", start_seconds=0.81, end_seconds=0.83)
    assert read_numbers(video.frames).tolist() == [20]


def test_a_moment_after_the_end_is_an_error(clip):
    with pytest.raises(VideoDecodeError, match=r"clip.mp4': the moment starts at 9 s, but the last frame is at 2.36 s"):
        read_frames(clip, start_seconds=9)


def test_few_packets_are_decoded_of_a_long_file(tmp_path, monkeypatch):
    path = encode(tmp_path / "long.mp4", num_frames=200)
    decoded = []
    decode_from = pyav._decode_from
    monkeypatch.setattr(
        pyav, "_decode_from", lambda *args: (decoded.append(frame.pts) or frame for frame in decode_from(*args))
    )
    assert read_numbers(read_frames(path, 3, "uniform").frames).tolist() == [0, 66, 133]
    assert len(decoded) <= 3 * 10  # a group of pictures has ten


def test_a_change_of_size_is_scaled_to_the_first(tmp_path):
    parts = [encode(tmp_path / f"{h}.ts", num_frames=20, size=(h, 128)).read_bytes() for h in (48, 64)]
    path = tmp_path / "both.ts"
    path.write_bytes(b"".join(parts))
    frames = read_frames(path, 1000, "uniform").frames
    assert frames.shape[1:] == (48, 128, 3)
    assert len(frames) > 20


def test_a_name_with_a_colon_is_not_taken_for_a_protocol(tmp_path, monkeypatch):
    encode(tmp_path / "clip.mp4", num_frames=2).rename(tmp_path / "http:clip.mp4")
    monkeypatch.chdir(tmp_path)
    assert len(read_frames("http:clip.mp4", frame_sampling="uniform")) == 2


def test_short_side_scales_in_the_decoder(clip):
    frames = read_frames(clip, 3, "uniform", short_side=24).frames
    assert frames.shape == (3, 24, 64, 3)
    assert read_numbers(frames).tolist() == [0, 20, 40]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"short_side": 0}, "`short_side` must be positive, got 0"),
        ({"backend": "opencv"}, "Unknown backend 'opencv'. Choose from: decord, pyav"),
        ({"frame_sampling": "random"}, "Unknown frame_sampling 'random'"),
    ],
)
def test_invalid_arguments_are_refused_before_opening(arguments, message):
    with pytest.raises(ValueError, match=message):
        read_frames("no such file.mp4", **arguments)


def test_frames_check_their_shapes():
    frames = paint(3)[None]
    with pytest.raises(ValueError, match=r"`frames` must be uint8 of shape .*, got float32 of shape \(1, 48, 128, 3\)"):
        VideoFrames(frames.astype(np.float32), np.zeros(1))
    with pytest.raises(ValueError, match=r"`pts_seconds` must have shape \(frames,\) = \(1,\), got \(2,\)"):
        VideoFrames(frames, np.zeros(2))


def test_repr_shows_shapes_instead_of_pixels(clip):
    assert (
        repr(read_frames(clip, 2, "uniform")) == "VideoFrames(frames: uint8 (2, 48, 128, 3), pts_seconds: 0.000..1.200)"
    )
