"""Frames decoded once: a cache that is asked like `read_frames`, and answers the same or decodes.

The cache knows the times of all frames of a video. So it chooses as `read_frames` does, by the same arithmetic, and
answers if it holds every chosen frame: with one frame a second stored, any number of frames by any `fps_` rule, and
moments that begin on a whole second. Otherwise it decodes the file.

Pictures are scaled by Pillow's bicubic filter to a short side of 224, which is CLIP's own first step: of uint8 frames,
CLIP's exact preprocessing makes the same pixel values, to the bit, as of the file itself.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from ...choices import FrameSampling
from ...errors import CacheError, VideoDecodeError
from ..frames import VideoFrames
from ..reader import read_frames
from ..sampling import sample_frames
from .store import CacheSettings, Entry, decode_block, read_index, read_settings

logger = logging.getLogger(__name__)


class VideoCache:
    """A frame cache that `mv-peft cache` made, for reading; DataLoader workers may share it.

    Args:
        folder: the cache.
        videos: folder of the videos, if it is no longer where it was when the cache was made.

    Raises:
        CacheError: the folder holds no cache.

    Example:
        >>> dataset = VideoCaptionDataset(records, sampling="fps_uniform", read=VideoCache("cache").read_frames)
    """

    def __init__(self, folder: str | os.PathLike, videos: str | os.PathLike | None = None) -> None:
        self.folder = Path(folder)
        self.settings: CacheSettings
        self.settings, made_of = read_settings(self.folder)
        self.videos = Path(made_of if videos is None else videos).resolve()
        self.entries, _ = read_index(self.folder)
        self._data: np.ndarray | None = None
        self._verified: set[str] = set()

    @classmethod
    def holding(
        cls, folder: str | os.PathLike, paths: Collection[str | os.PathLike], *, videos: str | os.PathLike
    ) -> VideoCache:
        """Open a cache for certain videos, whether or not they were moved since it was made.

        Args:
            folder: the cache.
            paths: the videos that shall be read.
            videos: folder of the videos, as it is now.

        Raises:
            CacheError: the folder holds no cache, or one that knows none of these videos and would change nothing.
        """
        for root in (None, videos):
            cache = cls(folder, root)
            if any(cache.find(path) is not None for path in paths):
                return cache
        raise CacheError(
            f"The cache '{folder}' holds none of these {len(paths)} videos, as they are now. "
            "Make it anew by `mv-peft cache`, or do without."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}  # a worker maps the file itself

    def __len__(self) -> int:
        return sum(entry.error is None for entry in self.entries.values())

    def __repr__(self) -> str:
        return f"VideoCache({str(self.folder)!r}, {len(self)} videos, {self.settings})"

    def read_frames(
        self,
        path: str | os.PathLike,
        num_frames: int = 12,
        sampling: FrameSampling = "uniform",
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> VideoFrames:
        """The frames that `mv_peft.video.read_frames` chooses, scaled if they come from the cache.

        Raises:
            VideoDecodeError: the video gives no frames, now or when the cache was made.
            CacheError: the cached block is damaged.
            ValueError: as `mv_peft.video.read_frames`.
        """
        entry = self.find(path)
        if entry is not None and entry.error is not None:
            raise VideoDecodeError(entry.error)
        if entry is not None:
            block = self._block(entry)
            times = block[: 8 * entry.num_frames].view("<f8")
            stored = block[8 * entry.num_frames :][: 8 * entry.shape[0]].view("<i8")
            chosen = sample_frames(times, num_frames, sampling, start_seconds=start_seconds, end_seconds=end_seconds)
            if len(chosen) and np.isin(chosen, stored).all():
                frames = decode_block(block, entry, self.settings.format, np.searchsorted(stored, chosen).tolist())
                return VideoFrames(frames, times[chosen].copy())
        logger.debug("Decoding '%s': the cache does not hold these frames.", path)
        return read_frames(path, num_frames, sampling, start_seconds=start_seconds, end_seconds=end_seconds)

    def find(self, path: str | os.PathLike) -> Entry | None:
        """The entry of a video; None if it is not cached, or was changed since."""
        entry = self.entries.get(video_key(path, self.videos))
        if entry is None:
            return None
        try:
            status = os.stat(path)
        except OSError:
            return None
        return entry if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns) else None

    def verify(self) -> list[str]:
        """Compare every block with its checksum; the videos whose blocks are damaged."""
        self._verified.clear()
        damaged = []
        for entry in self.entries.values():
            try:
                if entry.error is None:
                    self._block(entry)
            except CacheError:
                damaged.append(entry.video)
        return damaged

    def _block(self, entry: Entry) -> np.ndarray:
        """A video's bytes, compared with their checksum at the first look."""
        if self._data is None:
            self._data = np.memmap(self.folder / "data.bin", dtype=np.uint8, mode="r")
        block = np.asarray(self._data[entry.offset : entry.offset + entry.length])
        if entry.video not in self._verified:
            if len(block) != entry.length or hashlib.sha256(block.data).hexdigest() != entry.sha256:
                raise CacheError(
                    f"The cached frames of '{entry.video}' in '{self.folder}' are damaged. Make the cache anew."
                )
            self._verified.add(entry.video)
        return block


def video_key(path: str | os.PathLike, videos: Path) -> str:
    """Name of a video in the index: its path below the folder of videos.

    Links below the folder are names like others, wherever they lead; `videos` itself has none in it.
    """
    absolute = Path(os.path.abspath(os.fsdecode(path)))
    for folder in absolute.parents:
        if os.path.realpath(folder) == str(videos):
            return absolute.relative_to(folder).as_posix()
    return Path(os.path.relpath(os.path.realpath(absolute), videos)).as_posix()
