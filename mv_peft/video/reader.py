"""Reading of the frames that represent a video."""

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
    max_frames: int = 12,
    frame_sampling: FrameSampling = "fps_uniform",
    *,
    start_seconds: float | None = None,
    end_seconds: float | None = None,
    short_side: int | None = None,
    backend: Backend = "pyav",
) -> VideoFrames:
    """Read the frames that represent a video, and decode no more than they need.

    Args:
        path: A video file.
        max_frames: The most frames to return. A shorter video gives those it has.
        frame_sampling: Which frames to choose, see `mv_peft.video.sampling`. `fps_uniform`, the protocol of the
            benchmarks, chooses evenly among one frame a second; `uniform` chooses evenly among all frames.
        start_seconds: Start of the moment to read, in seconds from the first frame.
        end_seconds: End of the moment, exclusive.
        short_side: Size to which the decoder scales the short side. This is cheap, but it is not the resize that the
            models were trained with. None keeps the pixels of the file.
        backend: `pyav`, or `decord`, which refuses the files that it is known to decode wrongly.

    Returns:
        Upright frames as uint8 RGB (frames, height, width, 3), with their times.

    Raises:
        VideoDecodeError: If the file gives no frames, or none in the moment.
        ValueError: If an argument is wrong for every file.
        ImportError: If the backend is not installed.
    """
    check_sampling(max_frames, frame_sampling, start_seconds, end_seconds)
    if short_side is not None and short_side < 1:
        raise ValueError(f"`short_side` must be positive, got {short_side}.")
    if backend not in get_args(Backend):
        raise ValueError(f"Unknown backend {backend!r}. Choose from: {', '.join(sorted(get_args(Backend)))}.")
    path = os.fsdecode(path)

    def choose(pts_seconds: np.ndarray) -> np.ndarray:
        chosen = sample_frames(
            pts_seconds, max_frames, frame_sampling, start_seconds=start_seconds, end_seconds=end_seconds
        )
        if len(chosen) == 0:
            raise decode_error(
                path,
                f"the moment starts at {start_seconds:g} s, but the last frame is at {pts_seconds[-1]:g} s",
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
    """Read the frames whose indices `choose` picks from the times of all frames, in seconds from the first.

    Raises:
        VideoDecodeError: If the file gives no frames.
    """
    # Imported on demand, because decord is optional. Each backend is one file.
    return import_module(f"mv_peft.video.{backend}").read(os.fsdecode(path), choose, short_side)
