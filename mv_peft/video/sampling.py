"""Frame sampling, the choice of the frames that represent a video: arithmetic on frame counts and frame times.

A frame sampling is one of four index rules, applied to all frames or, with the prefix `fps_`, to one frame a second,
which is how the papers prepare the benchmarks. `fps_uniform` is the default everywhere.

| name        | frames kept of n, at most k       | source                                                 |
|-------------|-----------------------------------|--------------------------------------------------------|
| `uniform`   | i * n // k for i < k              | MV-Adapter's program (arXiv 2301.07868)                |
| `clip4clip` | floor of linspace(0, n - 1, k)    | CLIP4Clip (arXiv 2104.08860), `slice_framepos=2`       |
| `head`      | the first k                       | both, `slice_framepos=0`                               |
| `tail`      | the last k                        | both, `slice_framepos=1`                               |

Every rule keeps all frames where n <= k. None repeats a frame; the processor pads instead.
"""

import math
from collections.abc import Callable
from typing import get_args

import numpy as np

from ..choices import FrameSampling

# Containers round time stamps (Matroska to the millisecond, MPEG-TS to 1/90,000 s), and they become floats here. A
# frame due at 1 s may have the time 0.9999999 s or 1.0000000002 s, and must be the frame of second 1 in both cases.
TIME_TOLERANCE_SECONDS = 1e-6


def uniform_indices(num_available: int, max_frames: int) -> np.ndarray:
    """Return the first frame of each of `max_frames` equal parts, the rule of MV-Adapter's authors."""
    kept = min(num_available, max_frames)
    return np.arange(kept) * num_available // kept


def clip4clip_indices(num_available: int, max_frames: int) -> np.ndarray:
    """Return evenly spaced frames from the first to the last, the rule of CLIP4Clip."""
    return np.linspace(0, num_available - 1, num=min(num_available, max_frames), dtype=np.int64)


def head_indices(num_available: int, max_frames: int) -> np.ndarray:
    """Return the first `max_frames` frames."""
    return np.arange(min(num_available, max_frames))


def tail_indices(num_available: int, max_frames: int) -> np.ndarray:
    """Return the last `max_frames` frames."""
    return np.arange(max(num_available - max_frames, 0), num_available)


_RULES: dict[str, Callable[[int, int], np.ndarray]] = {
    "uniform": uniform_indices,
    "clip4clip": clip4clip_indices,
    "head": head_indices,
    "tail": tail_indices,
}


def rule_indices(num_available: int, max_frames: int, frame_sampling: FrameSampling) -> np.ndarray:
    """Apply an index rule to frames without times, for which the prefix `fps_` makes no difference."""
    return _RULES[frame_sampling.removeprefix("fps_")](num_available, max_frames)


def frames_in_range(
    pts_seconds: np.ndarray, start_seconds: float | None = None, end_seconds: float | None = None
) -> np.ndarray:
    """Return the indices of the frames that are shown between two times, including the one on screen at the start.

    The last frame is assumed to be shown for as long as the one before it. The result is empty only if the range starts
    after its end.
    """
    start = start_seconds or 0.0
    end = math.inf if end_seconds is None else end_seconds
    last_frame_seconds = pts_seconds[-1] - pts_seconds[-2] if len(pts_seconds) > 1 else math.inf
    if start > pts_seconds[-1] + last_frame_seconds - TIME_TOLERANCE_SECONDS:
        return np.arange(0)
    first = int(np.searchsorted(pts_seconds, start + TIME_TOLERANCE_SECONDS, side="right")) - 1
    stop = int(np.searchsorted(pts_seconds, end - TIME_TOLERANCE_SECONDS, side="left"))
    return np.arange(first, max(stop, first + 1))


def one_frame_a_second(pts_seconds: np.ndarray) -> np.ndarray:
    """Return the indices of the frames on screen at the time of the first frame and at every whole second after it."""
    seconds = np.arange(math.floor(pts_seconds[-1] - pts_seconds[0] + TIME_TOLERANCE_SECONDS) + 1)
    on_screen = np.searchsorted(pts_seconds, pts_seconds[0] + seconds + TIME_TOLERANCE_SECONDS, side="right") - 1
    return np.unique(on_screen)


def sample_frames(
    pts_seconds: np.ndarray,
    max_frames: int,
    frame_sampling: FrameSampling = "fps_uniform",
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Choose frames of a video by their times, in order and without repetition.

    Args:
        pts_seconds: Times of all frames, ascending from 0, at least one, shape (frames,).
        max_frames: The most frames to choose.
        frame_sampling: Which frames to choose, see the table above.
        start_seconds: Start of the moment. The frame on screen at this time is the first candidate.
        end_seconds: End of the moment, exclusive.

    Returns:
        Ascending indices into `pts_seconds`; none if the moment starts after the video's end.

    Raises:
        ValueError: If `max_frames`, `frame_sampling` or the moment is invalid.
    """
    check_sampling(max_frames, frame_sampling, start_seconds, end_seconds)
    candidates = frames_in_range(pts_seconds, start_seconds, end_seconds)
    if len(candidates) == 0:
        return candidates
    if frame_sampling.startswith("fps_"):
        candidates = candidates[one_frame_a_second(pts_seconds[candidates])]
    return candidates[rule_indices(len(candidates), max_frames, frame_sampling)]


def check_sampling(
    max_frames: int, frame_sampling: str, start_seconds: float | None = None, end_seconds: float | None = None
) -> None:
    """Check the arguments of frame sampling before any file is opened.

    Raises:
        ValueError: If they are wrong for every video.
    """
    if max_frames < 1:
        raise ValueError(f"`max_frames` must be positive, got {max_frames}.")
    if frame_sampling not in get_args(FrameSampling):
        choices = ", ".join(sorted(get_args(FrameSampling)))
        raise ValueError(f"Unknown frame_sampling {frame_sampling!r}. Choose from: {choices}.")
    if start_seconds is not None and not 0 <= start_seconds < math.inf:
        raise ValueError(f"`start_seconds` must be finite and not negative, got {start_seconds}.")
    if end_seconds is not None and not end_seconds > (start_seconds or 0.0):
        raise ValueError(f"`end_seconds` must be later than {start_seconds or 0.0} (the start), got {end_seconds}.")
