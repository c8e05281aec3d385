"""Reading of a frame cache, which takes the place of `read_frames` and returns the same frames.

The cache knows the times of all frames of a video. It therefore chooses exactly as `read_frames` does, and returns the
stored frames if it holds every chosen one; otherwise it decodes the file. A cache of one frame a second holds the
frames of every `fps_` rule, for any number of frames and for moments that start on a whole second.

By default, images are scaled by Pillow's bicubic filter to a short side of 224. This is the first step of CLIP's exact
preprocessing, which therefore gives the same pixel values, to the bit, from uint8 frames of the cache as from the file.
SigLIP's first step is a resize to a square, so only a cache with `short_side=None` gives the same values for it.
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
    """A frame cache opened for reading, which DataLoader workers may share.

    Args:
        folder: Folder of the cache, as `build_cache` or `mv-peft cache` made it.
        videos: Folder of the videos, if it has moved since the cache was built.

    Raises:
        CacheError: If the folder holds no cache.

    Example:
        >>> dataset = VideoCaptionDataset(records, processor=processor, read=VideoCache("cache").read_frames)
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
        """Open a cache for certain videos, whether or not they have moved since it was built.

        Args:
            folder: Folder of the cache.
            paths: The videos that will be read.
            videos: Folder of the videos as it is now.

        Raises:
            CacheError: If the folder holds no cache, or one that holds none of these videos.
        """
        for root in (None, videos):
            cache = cls(folder, root)
            if any(cache.find(path) is not None for path in paths):
                return cache
        raise CacheError(
            f"The cache '{folder}' holds none of these {len(paths)} videos as they are now. "
            "Build it again with `mv-peft cache`, or read the videos without a cache."
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_data": None}  # each worker maps the file itself

    def __len__(self) -> int:
        return sum(entry.error is None for entry in self.entries.values())

    def __repr__(self) -> str:
        return f"VideoCache({str(self.folder)!r}, {len(self)} videos, {self.settings})"

    def read_frames(
        self,
        path: str | os.PathLike,
        max_frames: int = 12,
        frame_sampling: FrameSampling = "fps_uniform",
        *,
        start_seconds: float | None = None,
        end_seconds: float | None = None,
    ) -> VideoFrames:
        """Read the frames that `mv_peft.video.read_frames` chooses, scaled if they come from the cache.

        Raises:
            VideoDecodeError: If the video gives no frames, or gave none when the cache was built.
            CacheError: If the cached block is damaged.
            ValueError: If an argument is wrong for every video.
        """
        entry = self.find(path)
        if entry is not None and entry.error is not None:
            raise VideoDecodeError(entry.error)
        if entry is not None:
            block = self._block(entry)
            times = block[: 8 * entry.num_frames].view("<f8")
            stored = block[8 * entry.num_frames :][: 8 * entry.shape[0]].view("<i8")
            chosen = sample_frames(
                times, max_frames, frame_sampling, start_seconds=start_seconds, end_seconds=end_seconds
            )
            if len(chosen) and np.isin(chosen, stored).all():
                frames = decode_block(block, entry, self.settings.format, np.searchsorted(stored, chosen).tolist())
                return VideoFrames(frames, times[chosen].copy())
        logger.debug("Decoding '%s': the cache does not hold these frames.", path)
        return read_frames(path, max_frames, frame_sampling, start_seconds=start_seconds, end_seconds=end_seconds)

    def find(self, path: str | os.PathLike) -> Entry | None:
        """Return the entry of a video, or None if it is not cached or has changed since."""
        entry = self.entries.get(video_key(path, self.videos))
        if entry is None:
            return None
        try:
            status = os.stat(path)
        except OSError:
            return None
        return entry if (status.st_size, status.st_mtime_ns) == (entry.size, entry.mtime_ns) else None

    def verify(self) -> list[str]:
        """Compare every block with its checksum, and return the videos whose blocks are damaged."""
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
        """Return the block of a video, after comparing it with its checksum the first time."""
        if self._data is None:
            self._data = np.memmap(self.folder / "data.bin", dtype=np.uint8, mode="r")
        block = np.asarray(self._data[entry.offset : entry.offset + entry.length])
        if entry.video not in self._verified:
            if len(block) != entry.length or hashlib.sha256(block.data).hexdigest() != entry.sha256:
                raise CacheError(
                    f"The cached frames of '{entry.video}' in '{self.folder}' are damaged. Build the cache again."
                )
            self._verified.add(entry.video)
        return block


def video_key(path: str | os.PathLike, videos: Path) -> str:
    """Return the name of a video in the index, which is its path relative to the folder of videos.

    Links inside that folder are not resolved, wherever they lead; `videos` itself must be resolved.
    """
    absolute = Path(os.path.abspath(os.fsdecode(path)))
    for folder in absolute.parents:
        if os.path.realpath(folder) == str(videos):
            return absolute.relative_to(folder).as_posix()
    return Path(os.path.relpath(os.path.realpath(absolute), videos)).as_posix()
