"""PyAV, the default backend, read carefully: the frames asked for are those that sequential decoding gives.

Containers lie: the frame count they announce is missing or wrong (WebM, MPEG-TS, fragmented MP4, edit lists), and
seeking lands near the place asked for, not on it. So a file is first indexed by demuxing, which decodes nothing; each
chosen frame is then decoded from the key frame before it, and every time stamp on the way is compared with the index.
At the first difference the file is decoded from its beginning instead.
"""

import warnings
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from mv_peft.video.failure import check_is_file, decode_error
from mv_peft.video.frames import VideoFrames

Choose = Callable[[np.ndarray], np.ndarray]


class _IndexMisleads(Exception):
    """Demuxing and decoding disagree about the frames of this file."""


@dataclass(frozen=True)
class FrameIndex:
    """What demuxing tells about a stream, in its time base and in order of presentation.

    Attributes:
        pts: time stamp of each frame.
        key_pts: time stamp of each packet where decoding can begin, also of those that an edit list hides.
    """

    pts: list[int]
    key_pts: list[int]


def read(path: str, choose: Choose, short_side: int | None = None) -> VideoFrames:
    """Decode the frames that `choose` picks from the times of all frames (seconds from the first one).

    Raises:
        VideoDecodeError: the file gives no frames.
    """
    check_is_file(path)
    try:
        try:
            return _read_seeking(path, choose, short_side)
        except _IndexMisleads:
            return _read_sequentially(path, choose, short_side)
    except (av.FFmpegError, OSError) as err:
        raise decode_error(path, err.strerror) from err


@contextmanager
def open_video(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video stream that is not cover art; closed when the block ends.

    One thread: FFmpeg's own threads can deadlock beside torch's, and a worker has one core to spend.
    """
    # `file:` keeps a name with a colon from being read as a protocol; the white list keeps a playlist from the network.
    options = {"protocol_whitelist": "file"}
    with av.open(f"file:{path}", options=options, metadata_errors="ignore") as container:
        for stream in container.streams.video:
            if not stream.disposition & Disposition.attached_pic:
                break
        else:
            raise decode_error(path, "no video stream")
        if stream.codec_context is None:
            raise decode_error(path, "no decoder for its video stream")
        stream.thread_type = "NONE"
        stream.codec_context.thread_count = 1
        yield container, stream


def index_frames(container: InputContainer, stream: VideoStream) -> FrameIndex:
    """Demux the whole stream, decoding only as far as its first frame.

    Raises:
        _IndexMisleads: packets are damaged, or have missing or repeated time stamps.
    """
    first_pts, pts, key_pts = None, [], []
    try:
        for packet in container.demux(stream):
            if first_pts is None:
                first_pts = next((frame.pts for frame in packet.decode()), None)
            if packet.size == 0:
                continue  # asks the decoder for the frames it holds
            if packet.pts is None or packet.is_corrupt:
                raise _IndexMisleads
            if packet.is_keyframe:
                key_pts.append(packet.pts)
            if not packet.is_discard:
                pts.append(packet.pts)
    except av.FFmpegError as err:
        raise _IndexMisleads from err
    if first_pts is None or len(set(pts)) < len(pts):
        raise _IndexMisleads
    # What precedes the first key frame, or refers to pictures before it, comes out of no decoder.
    return FrameIndex(sorted(p for p in pts if p >= first_pts), sorted(key_pts))


def _read_seeking(path: str, choose: Choose, short_side: int | None) -> VideoFrames:
    with open_video(path) as (container, stream):
        index = index_frames(container, stream)
        pts_seconds = _seconds(index.pts, stream)
        chosen = choose(pts_seconds)
        pictures = [_to_rgb(frame, short_side) for frame in _seek_frames(container, stream, index, chosen)]
    return VideoFrames(np.stack(pictures), pts_seconds[chosen])


def _seek_frames(
    container: InputContainer, stream: VideoStream, index: FrameIndex, chosen: Sequence[int]
) -> Iterator[av.VideoFrame]:
    """Yield the frames with the chosen (ascending) ordinals, starting anew at a key frame wherever that skips some."""
    next_ordinal = -1
    for ordinal in chosen:
        key = bisect_right(index.key_pts, index.pts[ordinal]) - 1
        if key < 0:
            raise _IndexMisleads
        key_ordinal = bisect_left(index.pts, index.key_pts[key])
        if next_ordinal < 0 or key_ordinal > next_ordinal:
            frames = _decode_from(container, stream, index.key_pts[key])
            next_ordinal = key_ordinal
        for frame in frames:
            if frame.pts is not None and frame.pts < index.pts[key_ordinal]:
                continue  # the seek landed on an earlier key frame, or pictures lead this one
            if frame.pts != index.pts[next_ordinal]:
                raise _IndexMisleads
            next_ordinal += 1
            if next_ordinal > ordinal:
                yield frame
                break
        else:
            raise _IndexMisleads


def _decode_from(container: InputContainer, stream: VideoStream, key_pts: int) -> Iterator[av.VideoFrame]:
    try:
        container.seek(key_pts, stream=stream)
        landed = False
        for packet in container.demux(stream):
            landed = landed or packet.is_keyframe
            if landed:
                yield from packet.decode()
    except av.FFmpegError as err:
        raise _IndexMisleads from err


def _read_sequentially(path: str, choose: Choose, short_side: int | None) -> VideoFrames:
    """Decode from the beginning, twice: once to learn which frames there are, once to keep the chosen ones."""
    with open_video(path) as (container, stream):
        pts, num_damaged = [], 0
        for frame in _decode_all(container, stream):
            if frame is None:
                num_damaged += 1
            else:
                pts.append(frame.pts)
        pts_seconds = _seconds(pts, stream)
    if not pts:
        raise decode_error(path, "no frame of its video stream can be decoded")
    if num_damaged:
        warnings.warn(f"Skipped {num_damaged} damaged packets of {path!r}.", RuntimeWarning, stacklevel=4)
    chosen = choose(pts_seconds)
    with open_video(path) as (container, stream):
        decoded = (frame for frame in _decode_all(container, stream) if frame is not None)
        wanted = set(chosen.tolist())
        pictures = [
            _to_rgb(frame, short_side) for ordinal, frame in zip(range(max(wanted) + 1), decoded) if ordinal in wanted
        ]
    return VideoFrames(np.stack(pictures), pts_seconds[chosen])


def _decode_all(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame | None]:
    """Yield every frame, and None in place of what is damaged: a packet, or all that follows an unreadable one."""
    try:
        for packet in container.demux(stream):
            yield from _decode(packet)
    except av.FFmpegError:
        yield None
        yield from stream.decode(None)


def _decode(packet: av.Packet) -> list[av.VideoFrame | None]:
    try:
        return packet.decode()
    except av.FFmpegError:
        return [None]


def _seconds(pts: Sequence[int | None], stream: VideoStream) -> np.ndarray:
    """Times from the first frame, by the frame rate where time stamps are missing or run backwards."""
    if None not in pts and all(earlier < later for earlier, later in pairwise(pts)):
        ticks, seconds_a_tick = np.array([p - pts[0] for p in pts], dtype=np.int64), stream.time_base
    else:
        ticks, seconds_a_tick = np.arange(len(pts)), 1 / (stream.guessed_rate or stream.average_rate or 25)
    return ticks * seconds_a_tick.numerator / seconds_a_tick.denominator


def _to_rgb(frame: av.VideoFrame, short_side: int | None) -> np.ndarray:
    """The picture as it is shown: uint8 (height, width, 3), turned upright, its short side scaled if asked for."""
    width, height = frame.width, frame.height
    if short_side is not None:
        scale = short_side / min(width, height)
        width, height = round(width * scale), round(height * scale)
    picture = frame.to_ndarray(format="rgb24", width=width, height=height)
    return np.rot90(picture, k=round(frame.rotation / 90))
