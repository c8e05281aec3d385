"""An index of a stream's frames, made from its packets while only the first frame is decoded."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from operator import itemgetter

import numpy as np

_NAL_LENGTH_BYTES = 4
_NAL_IDR = 5


class IndexMisleads(Exception):
    """Raised where packets and decoded frames disagree, so that the file must be decoded from its beginning."""


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a stream in the order in which they are shown, with time stamps in the stream's time base.

    Attributes:
        pts: Time stamp of each frame.
        keys: (pts, dts) of each packet where decoding can begin, including those that an edit list hides.
        closed: Whether no frame after a key packet refers to one before it.
        rotation: Degrees by which the first frame must be turned counterclockwise to be upright.
    """

    pts: list[int]
    keys: list[tuple[int, int]]
    closed: bool
    rotation: int

    def key_before(self, ordinal: int) -> tuple[int, tuple[int, int]]:
        """Return the last key packet from which frame `ordinal` can be decoded, as (ordinal of its frame, packet)."""
        key = bisect_right(self.keys, self.pts[ordinal], key=itemgetter(0)) - 1
        if key < 0:
            raise IndexMisleads
        return bisect_left(self.pts, self.keys[key][0]), self.keys[key]


def index_packets(packets: Iterable, codec: str) -> FrameIndex:
    """Index a stream.

    Args:
        packets: All packets of the stream, as PyAV gives them, including the empty one at the end.
        codec: FFmpeg's name of the codec.

    Raises:
        IndexMisleads: If a packet is damaged, has no time stamp or that of another packet, or the first frame cannot
            be decoded.
    """
    first, pts, keys, closed = None, [], [], True
    for packet in packets:
        if first is None:
            first = next(iter(packet.decode()), None)
        if packet.size == 0:
            continue
        if packet.pts is None or packet.is_corrupt:
            raise IndexMisleads
        if packet.is_keyframe:
            keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
            closed = closed and (codec != "h264" or _holds_idr(bytes(packet)))
        closed = closed and bool(keys) and packet.pts >= keys[-1][0]
        if not packet.is_discard:
            pts.append(packet.pts)
    if first is None or first.pts is None or len(set(pts)) < len(pts):
        raise IndexMisleads
    # No decoder outputs frames that precede the first key frame, or that refer to frames before it.
    pts = sorted(stamp for stamp in pts if stamp >= first.pts)
    return FrameIndex(pts, sorted(keys), closed, first.rotation)


def seconds_from_first(pts: Sequence[int | None], time_base: Fraction, frame_rate: Fraction | None) -> np.ndarray:
    """Return the times of frames, shape (frames,); by `frame_rate` where time stamps are missing or run backwards."""
    stamps = [stamp for stamp in pts if stamp is not None]
    if len(stamps) == len(pts) and all(earlier < later for earlier, later in pairwise(stamps)):
        ticks, seconds_a_tick = np.array([stamp - stamps[0] for stamp in stamps], dtype=np.int64), time_base
    else:
        ticks, seconds_a_tick = np.arange(len(pts)), 1 / (frame_rate or Fraction(25))
    return ticks * seconds_a_tick.numerator / seconds_a_tick.denominator


def _holds_idr(packet: bytes) -> bool:
    """Tell whether an H.264 packet, as MP4 and Matroska store it, resets the decoder.

    With open groups of pictures or intra refresh, some packets that are marked as key packets do not.
    """
    at = 0
    while at + _NAL_LENGTH_BYTES < len(packet):
        if packet[at + _NAL_LENGTH_BYTES] & 0x1F == _NAL_IDR:
            return True
        at += _NAL_LENGTH_BYTES + int.from_bytes(packet[at : at + _NAL_LENGTH_BYTES], "big")
    return False
