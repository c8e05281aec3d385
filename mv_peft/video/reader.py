"""A file -> the frames that stand for it."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Literal, get_args

import numpy as np

from ..choices import FrameSampling
from .failure import decode_error
from .frames import VideoFrames
from .sampling import check_sampling, sample_frames

Backend = Literal["pyav", "decord"]


def read_frames(
    path: str | os.PathLike,
    num_frames: int = 12,
    sampling: FrameSampling = "uniform",
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    short_side: int | None = None,
    backend: Backend = "pyav",
) -> VideoFrames:
    """Decode the frames that stand for a video, and only what they need.

    Args:
        path: a video file.
        num_frames: the most frames to return; a video that has fewer gives those it has.
        sampling: which ones, see `mv_peft.video.sampling`. `uniform` is the MV-Adapter authors' index rule over all
            frames; `fps_uniform` the same over one frame a second, the benchmarks' protocol.
        start_seconds: begin of the moment, in seconds from the first frame.
        end_seconds: end of the moment, exclusive.
        short_side: scale in the decoder to this short side. It is cheap, and it is not CLIP's resize: leave it None to
            get the file's own pixels.
        backend: `pyav`, or `decord`, which refuses the files that it is known to get wrong.

    Returns:
        Frames as uint8 RGB (frames, height, width, 3), upright, with their times.

    Raises:
        VideoDecodeError: the file gives no frames, or none in the moment.
        ValueError: an argument that no file could satisfy.
        ImportError: the backend is not installed.
    """
    check_sampling(num_frames, sampling, start_seconds, end_seconds)
    if short_side is not None and short_side < 1:
        raise ValueError(f"`short_side` must be positive, got {short_side}.")
    if backend not in get_args(Backend):
        raise ValueError(f"Unknown backend {backend!r}. Choose from: {', '.join(sorted(get_args(Backend)))}.")
    path = os.fsdecode(path)

    def choose(pts_seconds: np.ndarray) -> np.ndarray:
        chosen = sample_frames(pts_seconds, num_frames, sampling, start_seconds=start_seconds, end_seconds=end_seconds)
        if len(chosen) == 0:
            raise decode_error(
                path,
                f"the moment starts at {start_seconds:g} s, its last frame is at {pts_seconds[-1]:g} s",
                "Correct `start_seconds`, or skip the moment with `on_error='skip'`",
            )
        return chosen

    return read_chosen(path, choose, short_side, backend)


def read_chosen(
    path: str | os.PathLike,
    choose: Callable[[np.ndarray], np.ndarray],
    short_side: int | None = None,
    backend: Backend = "pyav",
) -> VideoFrames:
    """Decode the frames whose numbers `choose` picks from the times of all frames, in seconds from the first.

    Raises:
        VideoDecodeError: the file gives no frames.
    """
    # Imported when asked for: decord is optional, and each backend is one file.
    return import_module(f"mv_peft.video.{backend}").read(os.fsdecode(path), choose, short_side)
