"""The PyAV backend, the default, which seeks and yet returns exactly the frames that sequential decoding gives.

Containers cannot be trusted. The number of frames that they announce may be missing or wrong (WebM, MPEG-TS, fragmented
MP4, edit lists), and a seek may land near the requested frame instead of on it. A file is therefore indexed first, by
demuxing, which decodes nothing. Each chosen frame is then decoded from the key frame before it, and every time stamp on
the way is compared with the index. At the first difference the file is decoded from its beginning instead.
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
from .frames import VideoFrames, scaled_size, stack_images
from .index import FrameIndex, IndexMisleads, index_packets, seconds_from_first


def read(path: str, choose: Callable[[np.ndarray], np.ndarray], short_side: int | None = None) -> VideoFrames:
    """Decode the frames that `choose` picks from the times of all frames, in seconds from the first.

    Raises:
        VideoDecodeError: If the file gives no frames.
    """
    check_is_file(path)
    try:
        return _read_seeking(path, choose, short_side)
    except IndexMisleads:
        return _read_sequentially(path, choose, short_side)


@contextmanager
def open_video(path: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its first video stream that is not cover art, and close it when the block ends.

    Decoding uses one thread, because FFmpeg's threads can deadlock beside torch's, and a worker has one core.

    Raises:
        VideoDecodeError: If the file has no such stream, or FFmpeg raises an error inside the block.
    """
    # `file:` prevents a name with a colon from being read as a protocol, the white list a playlist from using the net.
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
    """Demux a whole stream, and return its index and the times of its frames in seconds from the first.

    Raises:
        IndexMisleads: If the packets do not show what the frames are.
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
        images = _rgb_images(_seek_frames(container, stream, index, chosen), short_side)
        frames = stack_images(images, len(chosen))
    return VideoFrames(frames, pts_seconds[chosen])


def _seek_frames(
    container: InputContainer, stream: VideoStream, index: FrameIndex, chosen: Sequence[int]
) -> Iterator[av.VideoFrame]:
    """Yield the frames of the chosen ordinals, which ascend; seek to a key frame wherever that skips some frames."""
    next_ordinal = -1
    for ordinal in chosen:
        key_ordinal, key = index.key_before(ordinal)
        if next_ordinal < 0 or key_ordinal > next_ordinal:
            frames, next_ordinal = _decode_from(container, stream, *key), key_ordinal
        for frame in frames:
            if frame.pts is not None and frame.pts < index.pts[key_ordinal]:
                continue  # the seek landed on an earlier key frame, or this frame leads the key frame
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
        for timestamp in (key_pts, key_dts):  # MP4 and Matroska seek by the former, MPEG-TS by the latter
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
    """Decode from the beginning twice, first to learn which frames there are, then to keep the chosen ones."""
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
        message = f"Left out frames of {path!r} that are damaged or depend on damaged ones: {num_damaged}."
        warnings.warn(message, RuntimeWarning, stacklevel=4)
    chosen = choose(pts_seconds)
    wanted = set(chosen.tolist())
    with open_video(path) as (container, stream):
        decoded = enumerate(frame for frame in _decode_all(container, stream) if frame is not None)
        kept = (frame for ordinal, frame in islice(decoded, max(wanted) + 1) if ordinal in wanted)
        frames = stack_images(_rgb_images(kept, short_side), len(wanted))
    return VideoFrames(frames, pts_seconds[chosen])


def _decode_all(container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame | None]:
    """Yield every frame, and None for each one that is damaged or depends on a damaged one.

    After damage, nothing is decoded up to the next key packet, because a decoder would paint over what is missing.
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
            continue  # a packet of a stream that appeared after the header, which PyAV cannot index


def _seconds(pts: Sequence[int | None], stream: VideoStream) -> np.ndarray:
    return seconds_from_first(
        pts, stream.time_base or Fraction(1, av.time_base), stream.guessed_rate or stream.average_rate
    )


def _rgb_images(frames: Iterable[av.VideoFrame], short_side: int | None) -> Iterator[np.ndarray]:
    """Yield upright images, uint8 (height, width, 3), with the short side scaled if that is asked for.

    Where the size changes within a video, all images have the size of the first.
    """
    size = None
    for frame in frames:
        size = size or scaled_size(frame.width, frame.height, short_side)
        image = frame.to_ndarray(format="rgb24", width=size[0], height=size[1], threads=1)
        yield np.rot90(image, k=round(frame.rotation / 90))
