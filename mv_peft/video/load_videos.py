"""Many files -> many clips, with an account of those that cannot be read."""

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
    """What a list of files gave.

    Attributes:
        videos: one entry a path, in the order of the paths; None where a file was skipped, so that whatever stands
            beside the paths (captions, labels) still stands beside the videos.
        skipped: the reason, by path.
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
    """Read files one after the other into memory.

    Args:
        paths: video files.
        on_error: `raise` at the first unreadable file; `skip` leaves None in its place, and logs how many there are
            and the first names.
        read: how to read one file: `read_frames` with its arguments bound, by `functools.partial` for example.

    Raises:
        VideoDecodeError: a file gives no frames, and `on_error` is `raise`.
        ValueError: unknown `on_error`.
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
