"""PyAV, the default backend, read carefully: the frames asked for are those that sequential decoding gives.

Containers lie: the frame count they announce is missing or wrong (WebM, MPEG-TS, fragmented MP4, edit lists), and
seeking lands near the place asked for, not on it. So a file is first indexed by demuxing, which decodes nothing; each
chosen frame is then decoded from the key frame before it, and every time stamp on the way is compared with the index.
At the first difference the file is decoded from its beginning instead.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, dropwhile, islice

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from .failure import check_is_file, decode_error
from .frames import VideoFrames, scaled_size
from .index import FrameIndex, IndexMisleads, index_packets, seconds_from_first


def read(path: str, choose: Callable[[np.ndarray], np.ndarray], short_side: int | None = None) -> VideoFrames:
    """Decode the frames that `choose` picks from the times of all frames (seconds from the first one).

    Raises:
        VideoDecodeError: the file gives no frames.
    """
    check_is_file(path)
    try:
        return _read_seeking(path, choose, short_side)
    except IndexMisleads:
        return _read_sequentially(path, choose, short_side)


@contextmanager
def open_video(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video stream that is not cover art; closed when the block ends.

    One thread: FFmpeg's own threads can deadlock beside torch's, and a worker has one core to spend.

    Raises:
        VideoDecodeError: the file has no such stream, or FFmpeg gives up on it within the block.
    """
    # `file:` keeps a name with a colon from being read as a protocol; the white list keeps a playlist from the network.
    options = {"protocol_whitelist": "file"}
    try:
        with av.open(f"file:{path}", options=options, metadata_errors="ignore") as container:
            streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
            if not streams:
                raise decode_error(path, "no video stream")
            stream = streams[0]
            if stream.codec_context is None:
                raise decode_error(path, "no decoder for its video stream")
            stream.thread_type = "NONE"
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as err:
        raise decode_error(path, err.strerror or str(err)) from err


def index_stream(container: InputContainer, stream: VideoStream) -> tuple[FrameIndex, np.ndarray]:
    """Demux the whole stream; returns its index and the times of its frames in seconds from the first.

    Raises:
        IndexMisleads: demuxing does not tell what the frames are.
    """
    try:
        index = index_packets(_demux(container, stream), stream.codec_context.name)
    except av.FFmpegError as err:
        raise IndexMisleads from err
    return index, _seconds(index.pts, stream)


def _read_seeking(path: str, choose: Callable, short_side: int | None) -> VideoFrames:
    with open_video(path) as (container, stream):
        index, pts_seconds = index_stream(container, stream)
        chosen = choose(pts_seconds)
        frames = _to_rgb(_seek_frames(container, stream, index, chosen), short_side)
    return VideoFrames(frames, pts_seconds[chosen])


def _seek_frames(
    container: InputContainer, stream: VideoStream, index: FrameIndex, chosen: Sequence[int]
) -> Iterator[av.VideoFrame]:
    """Yield the frames with the chosen (ascending) ordinals, starting anew at a key frame wherever that skips some."""
    next_ordinal = -1
    for ordinal in chosen:
        key_ordinal, key = index.key_before(ordinal)
        if next_ordinal < 0 or key_ordinal > next_ordinal:
            frames, next_ordinal = _decode_from(container, stream, *key), key_ordinal
        for frame in frames:
            if frame.pts is not None and frame.pts < index.pts[key_ordinal]:
                continue  # the seek landed on an earlier key frame, or pictures lead this one
            if frame.pts != index.pts[next_ordinal] or frame.is_corrupt:
                raise IndexMisleads
            next_ordinal += 1
            if next_ordinal > ordinal:
                yield frame
                break
        else:
            raise IndexMisleads


def _decode_from(container: InputContainer, stream: VideoStream, key_pts: int, key_dts: int) -> Iterator[av.VideoFrame]:
    """Seek to a key frame, or to an earlier one, and decode from there on."""
    try:
        for timestamp in (key_pts, key_dts):  # MP4 and Matroska are searched by the former, MPEG-TS by the latter
            container.seek(timestamp, stream=stream)
            packets = dropwhile(lambda packet: not packet.is_keyframe, _demux(container, stream))
            key = next(packets, None)
            if key is not None and key.pts is not None and key.pts <= key_pts:
                break
        else:
            raise IndexMisleads
        for packet in chain([key], packets):
            yield from packet.decode()
    except av.FFmpegError as err:
        raise IndexMisleads from err


def _read_sequentially(path: str, choose: Callable, short_side: int | None) -> VideoFrames:
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
        message = f"Frames of {path!r} left out as damaged, or built on damaged ones: {num_damaged}."
        warnings.warn(message, RuntimeWarning, stacklevel=4)
    chosen = choose(pts_seconds)
    wanted = set(chosen.tolist())
    with open_video(path) as (container, stream):
        decoded = enumerate(frame for frame in _decode_all(container, stream) if frame is not None)
        kept = (frame for ordinal, frame in islice(decoded, max(wanted) + 1) if ordinal in wanted)
        frames = _to_rgb(kept, short_side)
    return VideoFrames(frames, pts_seconds[chosen])


def _decode_all(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame | None]:
    """Yield every frame, and None for each that is damaged, or builds on a damaged one before the next key packet.

    A decoder would go on after damage, and paint over what is missing.
    """
    intact = True
    try:
        for packet in _demux(container, stream):
            if not intact and packet.size and not packet.is_keyframe:
                yield None
                continue
            try:
                frames = packet.decode()
            except av.FFmpegError:
                intact = False
                yield None
            else:
                intact = True
                yield from (None if frame.is_corrupt else frame for frame in frames)
    except av.FFmpegError:  # the rest of the file cannot be demuxed
        yield None
        yield from stream.decode(None)


def _demux(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    while True:
        try:
            yield from container.demux(stream)
            return
        except IndexError:
            continue  # a packet of a stream that appeared after the header, for which PyAV has no place


def _seconds(pts: Sequence[int | None], stream: VideoStream) -> np.ndarray:
    return seconds_from_first(
        pts, stream.time_base or Fraction(1, av.time_base), stream.guessed_rate or stream.average_rate
    )


def _to_rgb(frames: Iterable[av.VideoFrame], short_side: int | None) -> np.ndarray:
    """Pictures as they are shown: uint8 (frames, height, width, 3), turned upright, the short side scaled if asked for.

    Where the size changes on the way, the first frame's rules.
    """
    pictures, size = [], None
    for frame in frames:
        size = size or scaled_size(frame.width, frame.height, short_side)
        picture = frame.to_ndarray(format="rgb24", width=size[0], height=size[1], threads=1)
        pictures.append(np.rot90(picture, k=round(frame.rotation / 90)))
    return np.stack(pictures)
