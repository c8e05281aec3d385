"""Which frames stand for a video: pure arithmetic on frame counts and frame times.

A sampling is one of four index rules, over all frames or (`fps_`) over one frame a second, which is how the papers'
benchmarks were prepared:

| name        | frames kept of n, at most k       | where it comes from                                    |
|-------------|-----------------------------------|--------------------------------------------------------|
| `uniform`   | i * n // k for i < k              | MV-Adapter's program (arXiv 2301.07868)                |
| `clip4clip` | floor of linspace(0, n - 1, k)    | CLIP4Clip (arXiv 2104.08860), `slice_framepos=2`       |
| `head`      | the first k                       | both, `slice_framepos=0`                               |
| `tail`      | the last k                        | both, `slice_framepos=1`                               |

Every rule keeps all frames where n <= k: it never repeats one, and padding is the processor's business.
"""

import math
from collections.abc import Callable
from typing import get_args

import numpy as np

from ..choices import FrameSampling

# Container time stamps are rounded (Matroska to the millisecond, MPEG-TS to 1/90,000 s) and become floats here: a frame
# due at 1 s may stand at 0.9999999 s or after 1.0000000002 s, and must count as the frame of second 1 in both cases.
TIME_TOLERANCE_SECONDS = 1e-6


def uniform_indices(num_available: int, num_frames: int) -> np.ndarray:
    """Start of each of `num_frames` equal parts: the rule of MV-Adapter's authors. Its first frame is always 0."""
    kept = min(num_available, num_frames)
    return np.arange(kept) * num_available // kept


def clip4clip_indices(num_available: int, num_frames: int) -> np.ndarray:
    """Evenly from the first frame to the last: the rule of CLIP4Clip."""
    return np.linspace(0, num_available - 1, num=min(num_available, num_frames), dtype=np.int64)


def head_indices(num_available: int, num_frames: int) -> np.ndarray:
    """The first `num_frames` frames."""
    return np.arange(min(num_available, num_frames))


def tail_indices(num_available: int, num_frames: int) -> np.ndarray:
    """The last `num_frames` frames."""
    return np.arange(max(num_available - num_frames, 0), num_available)


_RULES: dict[str, Callable[[int, int], np.ndarray]] = {
    "uniform": uniform_indices,
    "clip4clip": clip4clip_indices,
    "head": head_indices,
    "tail": tail_indices,
}


def rule_indices(num_available: int, num_frames: int, sampling: FrameSampling) -> np.ndarray:
    """Apply the index rule of `sampling` to frames that have no times: `fps_` makes no difference."""
    return _RULES[sampling.removeprefix("fps_")](num_available, num_frames)


def frames_in_range(
    pts_seconds: np.ndarray, start_seconds: float | None = None, end_seconds: float | None = None
) -> np.ndarray:
    """Indices of the frames with start <= time < end, preceded by the frame that is still on screen at the start.

    Empty only if the range begins after the end: the last frame is taken to last as long as the one before it.
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
    """Indices of the frames on screen at the first frame's time and at every whole second after it."""
    seconds = np.arange(math.floor(pts_seconds[-1] - pts_seconds[0] + TIME_TOLERANCE_SECONDS) + 1)
    on_screen = np.searchsorted(pts_seconds, pts_seconds[0] + seconds + TIME_TOLERANCE_SECONDS, side="right") - 1
    return np.unique(on_screen)


def sample_frames(
    pts_seconds: np.ndarray,
    num_frames: int,
    sampling: FrameSampling = "uniform",
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
) -> np.ndarray:
    """Choose at most `num_frames` of the frames shown at `pts_seconds`, in order and without repetition.

    Args:
        pts_seconds: ascending times, counted from the first frame; at least one; shape (frames,).
        num_frames: the most frames to return.
        sampling: index rule, see the table above.
        start_seconds: begin of the moment; the frame on screen then is the first candidate.
        end_seconds: end of the moment, exclusive.

    Returns:
        Ascending indices into `pts_seconds`; none if the moment begins after the video's end.

    Raises:
        ValueError: `num_frames`, `sampling` or the moment makes no sense.
    """
    check_sampling(num_frames, sampling, start_seconds, end_seconds)
    candidates = frames_in_range(pts_seconds, start_seconds, end_seconds)
    if len(candidates) == 0:
        return candidates
    if sampling.startswith("fps_"):
        candidates = candidates[one_frame_a_second(pts_seconds[candidates])]
    return candidates[rule_indices(len(candidates), num_frames, sampling)]


def check_sampling(
    num_frames: int, sampling: str, start_seconds: float | None = None, end_seconds: float | None = None
) -> None:
    """Raise ValueError for arguments that no video could satisfy, before any file is opened."""
    if num_frames < 1:
        raise ValueError(f"`num_frames` must be positive, got {num_frames}.")
    if sampling not in get_args(FrameSampling):
        raise ValueError(f"Unknown sampling {sampling!r}. Choose from: {', '.join(sorted(get_args(FrameSampling)))}.")
    if start_seconds is not None and not 0 <= start_seconds < math.inf:
        raise ValueError(f"`start_seconds` must be finite and not negative, got {start_seconds}.")
    if end_seconds is not None and not end_seconds > (start_seconds or 0.0):
        raise ValueError(f"`end_seconds` must be later than {start_seconds or 0.0} (the start), got {end_seconds}.")
