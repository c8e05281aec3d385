"""What the packets of a stream tell about its frames, before any but the first is decoded."""

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
    """Packets and decoded frames disagree: this file must be decoded from its beginning."""


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a stream in order of presentation; time stamps are in its time base.

    Attributes:
        pts: time stamp of each frame.
        keys: (pts, dts) of each packet where decoding can begin, also of those that an edit list hides.
        closed: whether no picture after a key packet refers to one before it.
        rotation: degrees by which the first frame is to be turned counterclockwise.
    """

    pts: list[int]
    keys: list[tuple[int, int]]
    closed: bool
    rotation: int

    def key_before(self, ordinal: int) -> tuple[int, tuple[int, int]]:
        """The last key packet from which frame `ordinal` can be decoded, behind the ordinal of its own frame."""
        key = bisect_right(self.keys, self.pts[ordinal], key=itemgetter(0)) - 1
        if key < 0:
            raise IndexMisleads
        return bisect_left(self.pts, self.keys[key][0]), self.keys[key]


def index_packets(packets: Iterable, codec: str) -> FrameIndex:
    """Index a stream from all its packets (PyAV's), the empty one at the end included.

    Raises:
        IndexMisleads: a packet is damaged, or has no time stamp or another's, or the first frame cannot be decoded.
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
    # What precedes the first key frame, or refers to pictures before it, comes out of no decoder.
    pts = sorted(stamp for stamp in pts if stamp >= first.pts)
    return FrameIndex(pts, sorted(keys), closed, first.rotation)


def seconds_from_first(pts: Sequence[int | None], time_base: Fraction, frame_rate: Fraction | None) -> np.ndarray:
    """Times of frames, counted by `frame_rate` where time stamps are missing or run backwards; shape (frames,)."""
    stamps = [stamp for stamp in pts if stamp is not None]
    if len(stamps) == len(pts) and all(earlier < later for earlier, later in pairwise(stamps)):
        ticks, seconds_a_tick = np.array([stamp - stamps[0] for stamp in stamps], dtype=np.int64), time_base
    else:
        ticks, seconds_a_tick = np.arange(len(pts)), 1 / (frame_rate or Fraction(25))
    return ticks * seconds_a_tick.numerator / seconds_a_tick.denominator


def _holds_idr(packet: bytes) -> bool:
    """Whether an H.264 packet, as MP4 and Matroska store it, resets the decoder.

    Open groups of pictures and intra refresh mark packets as keys that do not.
    """
    at = 0
    while at + _NAL_LENGTH_BYTES < len(packet):
        if packet[at + _NAL_LENGTH_BYTES] & 0x1F == _NAL_IDR:
            return True
        at += _NAL_LENGTH_BYTES + int.from_bytes(packet[at : at + _NAL_LENGTH_BYTES], "big")
    return False
