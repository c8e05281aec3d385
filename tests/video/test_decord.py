import subprocess
import sys

import numpy as np
import pytest

from mv_peft.errors import VideoDecodeError
from mv_peft.video import read_frames, sample_frames

from .clips import HOSTILE, read_numbers

decord = pytest.importorskip("mv_peft.video.decord")

REFUSED = {
    "edit_hides_start.mp4": "decord counts 52 frames instead of 46",
    "edit_hides_end.mp4": "decord counts 33 frames instead of 25",
    "edit_twice.mp4": "time stamps are missing, repeated or damaged",
    "rotated_90.mp4": "decord does not turn frames upright",
    "h264.ts": "decord loses the first frames of MPEG-TS",
    "cut_start.ts": "decord loses the first frames of MPEG-TS",
    "mpeg2.ts": "decord loses the first frames of MPEG-TS",
    "mpeg2.mpg": "decord gives its frames different times",
    "mpeg4_b_frames.avi": "decord gives its frames different times",
    "h264_b_frames.avi": "decord gives its frames different times",
    "no_duration.webm": "decord cannot read it",
    "av1.mp4": "decord cannot read it",
    "raw.h264": "time stamps are missing",
}
# Decord scales the chroma of odd sizes by another rule.
ROUNDED = {"odd_size.webm": 1}


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - set(REFUSED)))
def test_decord_gives_the_frames_that_pyav_gives(name, hostile, decode_in_order):
    everything = decode_in_order(hostile(name)).astype(int)
    for num_frames in (1, 5, 12, 1000):
        for sampling in ("uniform", "clip4clip", "tail"):
            video = read_frames(hostile(name), num_frames, sampling, backend="decord")
            wanted = sample_frames(np.arange(len(everything)), num_frames, sampling)
            np.testing.assert_allclose(video.frames, everything[wanted], rtol=0, atol=ROUNDED.get(name, 0))
            reference = read_frames(hostile(name), num_frames, sampling)
            np.testing.assert_array_equal(video.pts_seconds, reference.pts_seconds)


@pytest.mark.parametrize("name", REFUSED)
def test_decord_refuses_what_it_decodes_wrongly(name, hostile):
    with pytest.raises(VideoDecodeError, match=f"{REFUSED[name]}.*Use `backend='pyav'`"):
        read_frames(hostile(name), backend="decord")


def test_decord_scales_and_takes_moments(clip):
    video = read_frames(clip, 2, "uniform", start_seconds=1.0, end_seconds=1.4, short_side=24, backend="decord")
    assert video.frames.shape == (2, 24, 64, 3)
    assert read_numbers(video.frames).tolist() == [25, 30]


def test_decord_works_with_any_bridge(clip):
    bridge = decord.decord.bridge
    expected = read_frames(clip, 3, "uniform", backend="decord").frames
    bridge.set_bridge("torch")
    try:
        np.testing.assert_array_equal(read_frames(clip, 3, "uniform", backend="decord").frames, expected)
    finally:
        bridge.reset_bridge()


def test_without_decord_the_rest_works_and_the_error_names_it(clip):
    program = f"""
import sys
sys.modules["decord"] = None
from mv_peft.video import read_frames
print(len(read_frames({str(clip)!r}, 3, "uniform")))
try:
    read_frames({str(clip)!r}, backend="decord")
except ImportError as err:
    print(err)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("3\n")
    assert "pip install mv_peft[decord]" in done.stdout
