"""Reading of many video files into memory, with a report of those that cannot be read."""

import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from ..errors import VideoDecodeError, some_of
from .frames import VideoFrames
from .reader import read_frames

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False)
class LoadedVideos:
    """The videos that were read, and the files that were skipped.

    Attributes:
        videos: One entry for each path, in the same order. A file that was skipped has None, so that the positions of
            captions or labels remain valid.
        skipped: Why a file was skipped, by path.
    """

    videos: tuple[VideoFrames | None, ...]
    skipped: dict[str, str]

    def __repr__(self) -> str:
        return f"LoadedVideos({sum(video is not None for video in self.videos)} videos, {len(self.skipped)} skipped)"


def load_videos(
    paths: Iterable[str | os.PathLike],
    *,
    on_error: Literal["raise", "skip"] = "raise",
    read: Callable[[str | os.PathLike], VideoFrames] = read_frames,
) -> LoadedVideos:
    """Read files into memory, one after the other.

    Args:
        paths: Video files.
        on_error: "raise" stops at the first unreadable file; "skip" gives None for it, and logs how many there are with
            the first names.
        read: Reads one file: `read_frames`, or `functools.partial` of it with arguments.

    Raises:
        VideoDecodeError: If a file gives no frames, and `on_error` is "raise".
        ValueError: If `on_error` is unknown.
    """
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Unknown on_error {on_error!r}. Choose from: raise, skip.")
    videos: list[VideoFrames | None] = []
    skipped: dict[str, str] = {}
    for path in paths:
        try:
            videos.append(read(path))
        except VideoDecodeError as err:
            if on_error == "raise":
                raise
            videos.append(None)
            skipped[os.fsdecode(path)] = str(err)
    if skipped:
        logger.warning("Skipped %d of %d videos: %s.", len(skipped), len(videos), some_of(map(repr, skipped)))
    return LoadedVideos(tuple(videos), skipped)
