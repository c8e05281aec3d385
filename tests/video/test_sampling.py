import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mv_peft.video import FrameSampling, sample_frames
from mv_peft.video.sampling import clip4clip_indices, frames_in_range, one_frame_a_second, uniform_indices

SAMPLINGS = get_args(FrameSampling)
AUTHORS = json.loads(Path(__file__).with_name("frame_sampling.json").read_text())

times = st.lists(st.integers(1, 2_000), min_size=0, max_size=200).map(lambda gaps: np.cumsum([0, *gaps]) / 1000)
moments = st.tuples(st.floats(0, 100), st.floats(0.001, 100)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@pytest.mark.parametrize(("rule", "num_available", "num_frames", "indices"), AUTHORS)
def test_indices_are_those_of_the_authors_program(rule, num_available, num_frames, indices):
    assert sample_frames(np.arange(num_available) / 25, num_frames, rule).tolist() == indices


@given(st.integers(1, 5_000), st.integers(1, 200))
def test_clip4clips_rule_is_its_linspace(num_available, num_frames):
    expected = np.arange(num_available)
    if num_frames < num_available:
        expected = np.linspace(0, num_available - 1, num=num_frames, dtype=int)
    assert clip4clip_indices(num_available, num_frames).tolist() == expected.tolist()


@given(st.integers(1, 5_000), st.integers(1, 200))
def test_uniform_is_even(num_available, num_frames):
    indices = uniform_indices(num_available, num_frames)
    gaps = np.diff([*indices, num_available])
    assert indices[0] == 0
    assert gaps.max() - gaps.min() <= 1


@given(times, st.integers(1, 40), st.sampled_from(SAMPLINGS), st.none() | moments)
def test_any_frame_sampling_is_ascending_in_range_and_complete(pts_seconds, num_frames, sampling, moment):
    start, end = moment or (None, None)
    chosen = sample_frames(pts_seconds, num_frames, sampling, start_seconds=start, end_seconds=end)
    assert (np.diff(chosen) > 0).all()
    assert len(chosen) <= num_frames
    assert set(chosen) <= set(range(len(pts_seconds)))
    candidates = frames_in_range(pts_seconds, start, end)
    if sampling.startswith("fps_"):
        candidates = candidates[one_frame_a_second(pts_seconds[candidates])] if len(candidates) else candidates
    assert len(chosen) == min(num_frames, len(candidates))


@given(times, moments)
def test_a_moment_holds_what_is_on_screen_in_it(pts_seconds, moment):
    start, end = moment
    inside = frames_in_range(pts_seconds, start, end)
    ends = np.append(pts_seconds[1:], np.inf)
    if len(inside):
        shown = (pts_seconds < end - 1e-6) & (ends > start + 1e-6)
        assert inside.tolist() == np.flatnonzero(shown).tolist()
    else:
        assert start > pts_seconds[-1]


@given(st.integers(1, 400), st.sampled_from([1, 2, 24, 25, 30, 50, 60]), st.floats(0, 10_000))
def test_one_frame_a_second_is_every_fps_th_frame(num_frames, fps, offset_seconds):
    pts_seconds = np.arange(num_frames) / fps + offset_seconds  # the offset rounds the sums
    assert one_frame_a_second(pts_seconds).tolist() == list(range(0, num_frames, fps))


def test_one_frame_a_second_at_ntsc_rate_is_the_frame_on_screen():
    pts_seconds = np.arange(90) * 1001 / 30000
    assert one_frame_a_second(pts_seconds).tolist() == [0, 29, 59]


@pytest.mark.parametrize("rounding", [-1e-9, 1e-9])
def test_one_frame_a_second_forgives_rounded_times(rounding):
    pts_seconds = np.arange(0, 3, 0.5)
    pts_seconds[2:] += rounding
    assert one_frame_a_second(pts_seconds).tolist() == [0, 2, 4]


def test_one_frame_a_second_shows_a_still_once():
    assert one_frame_a_second(np.array([0.0, 0.5, 3.0])).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_frames": 0}, "`max_frames` must be positive, got 0"),
        ({"frame_sampling": "unifrom"}, "Unknown frame_sampling 'unifrom'. Choose from: clip4clip, .*uniform"),
        ({"start_seconds": -1.0}, "`start_seconds` must be finite and not negative, got -1.0"),
        ({"start_seconds": float("nan")}, "`start_seconds` must be finite and not negative, got nan"),
        ({"start_seconds": 3.0, "end_seconds": 3.0}, r"`end_seconds` must be later than 3.0 .*, got 3.0"),
        ({"end_seconds": float("nan")}, r"`end_seconds` must be later than 0.0 .*, got nan"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        sample_frames(np.arange(10.0), **{"max_frames": 3, **arguments})
