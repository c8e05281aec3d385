"""The decord backend, restricted to the files that decord decodes correctly.

Decord returns wrong frames without an error where a file hides some (edit lists), where its index of packets fails
(MPEG-TS, MPEG-4 with B-frames in AVI), and after seeking into open groups of pictures (HEVC's default). PyAV's index
shows this in advance. A file on which the two disagree is refused, and a file in which decord cannot seek is read from
its start. No index shows damage inside packets, which decord may paint over, or which may abort the process. Read
such files with PyAV.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
import torch  # before decord, or memory is corrupted as soon as a module moves to a GPU

from ..errors import VideoDecodeError
from . import pyav
from .failure import check_is_file, decode_error
from .frames import VideoFrames, scaled_size, stack_images
from .index import IndexMisleads

try:
    import decord
except ImportError as err:
    raise ImportError(
        "The decord backend is not installed. `pip install mv_peft[decord]`, or use `backend='pyav'`."
    ) from err

# Decord stores times in single precision.
_TIMES_RTOL = 1e-6
_TIMES_ATOL_SECONDS = 1e-3


def read(path: str, choose: Callable[[np.ndarray], np.ndarray], short_side: int | None = None) -> VideoFrames:
    """Decode the frames that `choose` picks from the times of all frames, in seconds from the first.

    Raises:
        VideoDecodeError: If the file gives no frames, or decord decodes it wrongly.
    """
    check_is_file(path)
    with pyav.open_video(path) as (container, stream):
        if container.format.name == "mpegts":
            raise _refusal(path, "decord loses the first frames of MPEG-TS")
        try:
            index, pts_seconds = pyav.index_stream(container, stream)
        except IndexMisleads as err:
            raise _refusal(path, "its time stamps are missing, repeated or damaged") from err
        if index.rotation:
            raise _refusal(path, "decord does not turn frames upright")
        width, height = scaled_size(stream.width, stream.height, short_side)
    chosen = choose(pts_seconds)
    reader = None
    try:
        with decord.bridge.use_torch():
            reader = decord.VideoReader(path, width=width, height=height, num_threads=1)
            _check_agreement(path, reader, pts_seconds)
            read_chosen = _read_seeking if index.closed else _read_sequentially
            frames = stack_images((frame.numpy() for frame in read_chosen(reader, chosen)), len(chosen))
    except VideoDecodeError:
        raise
    except (decord.DECORDError, RuntimeError, StopIteration, AssertionError) as err:
        raise _refusal(path, "decord cannot read it") from err
    finally:
        del reader  # an open reader would hang any process that is forked later
    return VideoFrames(frames, pts_seconds[chosen])


def _check_agreement(path: str, reader: decord.VideoReader, pts_seconds: np.ndarray) -> None:
    if len(reader) != len(pts_seconds):
        raise _refusal(path, f"decord counts {len(reader)} frames instead of {len(pts_seconds)}")
    times = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
    if not np.allclose(times - times[0], pts_seconds, rtol=_TIMES_RTOL, atol=_TIMES_ATOL_SECONDS):
        raise _refusal(path, "decord gives its frames different times")


def _read_seeking(reader: decord.VideoReader, chosen: np.ndarray) -> Iterator[torch.Tensor]:
    # One by one, because `get_batch` seeks by another rule, and hangs in DataLoader workers.
    return (reader[ordinal] for ordinal in chosen.tolist())


def _read_sequentially(reader: decord.VideoReader, chosen: np.ndarray) -> Iterator[torch.Tensor]:
    wanted = set(chosen.tolist())
    frames = chain([reader[0]], (reader.next() for _ in range(max(wanted))))
    return (frame for ordinal, frame in enumerate(frames) if ordinal in wanted)


def _refusal(path: str, reason: str) -> VideoDecodeError:
    return decode_error(path, reason, "Use `backend='pyav'`")
