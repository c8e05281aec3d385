"""Writing of H.264 files that every player opens, for demos, notebooks and tests."""

import os
from fractions import Fraction

import av
import numpy as np


def write_video(path: str | os.PathLike, frames: np.ndarray, fps: float = 12) -> None:
    """Write a video file (libx264, yuv420p) in one thread, so that the same frames give the same bytes.

    Args:
        path: The file to write. Its suffix must name a container that holds H.264, such as `.mp4`.
        frames: RGB images, uint8, shape (frames, height, width, 3). 4:2:0 needs an even height and width.
        fps: Frames per second.

    Raises:
        ValueError: If `frames` or `fps` cannot be encoded.
    """
    frames = np.asarray(frames)
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or len(frames) == 0:
        raise ValueError(
            f"`frames` must be uint8 of shape (frames, height, width, 3) with at least one frame, "
            f"got {frames.dtype} of shape {frames.shape}."
        )
    _, height, width, _ = frames.shape
    if height % 2 or width % 2:
        raise ValueError(f"`frames` must have even height and width, got {height} x {width}. Crop or pad by one pixel.")
    if not fps > 0:
        raise ValueError(f"`fps` must be positive, got {fps}.")
    with av.open(os.fspath(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        # With its macroblock tree, x264 depends on uninitialised memory, and each run would write a different file.
        stream.options = {"x264-params": "mbtree=0"}
        for frame in frames:
            image = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
