"""Clips whose images show their frame numbers, in every container and coding that the reader must handle."""

import struct
from fractions import Fraction

import av
import numpy as np

NUM_BITS = 8


def paint(number, height=48, width=128):
    """Return an image that shows `number` as eight black or white vertical bars, the highest bit first."""
    bits = [number >> bit & 1 for bit in reversed(range(NUM_BITS))]
    bars = np.array(bits, dtype=np.uint8)[np.arange(width) * NUM_BITS // width] * 219 + 16
    return np.broadcast_to(bars[None, :, None], (height, width, 3)).copy()


def read_numbers(frames):
    """Return the numbers that frames (frames, height, width, 3) show."""
    width = frames.shape[2]
    centres = (np.arange(NUM_BITS) * 2 + 1) * width // (2 * NUM_BITS)
    bits = frames[:, frames.shape[1] // 2, centres, 1] > 127
    return bits @ (1 << np.arange(NUM_BITS)[::-1])


def encode(
    path,
    num_frames=60,
    codec="libx264",
    pix_fmt="yuv420p",
    size=(48, 128),
    ticks=None,
    gop=10,
    bframes=2,
    options=None,
    muxing=None,
    metadata=None,
):
    """Write a clip of 25 frames a second; `ticks` are the times of its frames, `muxing` container options."""
    with av.open(str(path), "w", options=muxing or {}) as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size, pix_fmt
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = bframes
        stream.codec_context.thread_count = 1
        stream.options = options or {}
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(paint(number, *size), format="rgb24")
            frame.pts, frame.time_base = number if ticks is None else ticks[number], Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def find_box(data, name, start=0, end=None):
    """Return (offset, size) of the MP4 box `name` within a span, searching inside the containers that lead to it."""
    offset, end = start, len(data) if end is None else end
    while offset + 8 <= end:
        size, kind = struct.unpack(">I4s", data[offset : offset + 8])
        if kind == name:
            return offset, size
        if kind in (b"moov", b"trak", b"edts"):
            found = find_box(data, name, offset + 8, offset + size)
            if found:
                return found
        offset += max(size, 8)
    return None


def set_edit_list(path, entries):
    """Replace an MP4's edit list; `entries` are (duration in movie ticks, media time in stream ticks)."""
    data = bytearray(path.read_bytes())
    offset, old_size = find_box(data, b"elst")
    body = b"".join(struct.pack(">IiI", duration, media_time, 1 << 16) for duration, media_time in entries)
    box = struct.pack(">I4sII", 16 + len(body), b"elst", 0, len(entries)) + body
    for parent in (b"edts", b"trak", b"moov"):  # the index stands after the media: no offsets to move
        at, size = find_box(data, parent)
        data[at : at + 4] = struct.pack(">I", size + len(box) - old_size)
    data[offset : offset + old_size] = box
    path.write_bytes(data)
    return path


def set_rotation(path, degrees):
    """Mark an MP4 to be shown turned clockwise, as a phone held upright does."""
    data = bytearray(path.read_bytes())
    offset, _ = find_box(data, b"tkhd")
    cos, sin = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    matrix = [cos << 16, sin << 16, 0, -sin << 16, cos << 16, 0, 0, 0, 1 << 30]
    data[offset + 48 : offset + 84] = struct.pack(">9i", *matrix)
    path.write_bytes(data)
    return path


def cut_start(path, packets):
    """Remove packets of 188 bytes from an MPEG-TS, after the three that describe its content."""
    data = path.read_bytes()
    path.write_bytes(data[: 3 * 188] + data[(3 + packets) * 188 :])
    return path


def set_metadata(path, title):
    """Give an MP4 a title in bytes of any encoding."""
    placeholder = "?" * len(title)
    encode(path, metadata={"title": placeholder})
    path.write_bytes(path.read_bytes().replace(placeholder.encode(), title))
    return path


def encode_audio(path, cover=False):
    """Write a second of silence, with cover art if that is asked for."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        if cover:
            art = container.add_stream("mjpeg", rate=1)
            art.height, art.width, art.pix_fmt = 48, 128, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
        for _ in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if cover:
            container.mux(art.encode(av.VideoFrame.from_ndarray(paint(1), format="rgb24")))
    return path


X265 = {"x265-params": "log-level=none:pools=none:frame-threads=1"}
VP9 = {"cpu-used": "8", "deadline": "realtime"}

# An MP4 of 25 frames a second has 512 ticks a frame and 1,000 a second for the film; B-frames delay the first by two.
HOSTILE = {
    "h264.mp4": lambda path: encode(path),
    "open_gop.mp4": lambda path: encode(path, options={"x264-params": "open-gop=1"}),
    "all_key_frames.mp4": lambda path: encode(path, gop=1),
    "intra_refresh.mp4": lambda path: encode(path, options={"x264-params": "intra-refresh=1"}),
    "edit_hides_start.mp4": lambda path: set_edit_list(encode(path), [(1840, 512 * 16)]),
    "edit_hides_end.mp4": lambda path: set_edit_list(encode(path), [(1000, 1024)]),
    "edit_delays.mp4": lambda path: set_edit_list(encode(path), [(500, -1), (2400, 1024)]),
    "edit_twice.mp4": lambda path: set_edit_list(encode(path), [(400, 512 * 5), (800, 512 * 35)]),
    "variable_rate.mp4": lambda path: encode(path, ticks=[i * i // 7 + i for i in range(60)]),
    "rotated_90.mp4": lambda path: set_rotation(encode(path), 90),
    "odd_size.mp4": lambda path: encode(path, size=(37, 131), pix_fmt="yuv444p"),
    "odd_size.webm": lambda path: encode(path, size=(37, 131), codec="libvpx-vp9", options=VP9),
    "h264.ts": lambda path: encode(path),
    "cut_start.ts": lambda path: cut_start(encode(path), 30),
    "mpeg2.ts": lambda path: encode(path, codec="mpeg2video"),
    "mpeg2.mpg": lambda path: encode(path, codec="mpeg2video"),
    "mpeg4_b_frames.avi": lambda path: encode(path, codec="mpeg4"),
    "mpeg4.avi": lambda path: encode(path, codec="mpeg4", bframes=0),
    "mpeg4_b_frames.mp4": lambda path: encode(path, codec="mpeg4"),
    "h264_b_frames.avi": lambda path: encode(path),
    "fragmented.mp4": lambda path: encode(path, muxing={"movflags": "frag_keyframe+empty_moov"}),
    "no_duration.webm": lambda path: encode(path, codec="libvpx-vp9", options=VP9, muxing={"live": "1"}),
    "vp8.webm": lambda path: encode(
        path, codec="libvpx", options={"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "5"}
    ),
    "h264.mkv": lambda path: encode(path),
    "h264.flv": lambda path: encode(path),
    "hevc.mp4": lambda path: encode(path, codec="libx265", options=X265),
    "av1.mp4": lambda path: encode(path, size=(64, 128), codec="libsvtav1", options={"preset": "10"}),
    "ten_bit.mp4": lambda path: encode(path, pix_fmt="yuv420p10le"),
    "raw.h264": lambda path: encode(path),
    "latin_1_title.mp4": lambda path: set_metadata(path, "Pelé".encode("latin-1")),
    "one_frame.mp4": lambda path: encode(path, num_frames=1),
    "фильм 映像: 50%d.mp4": lambda path: encode(path),
}
