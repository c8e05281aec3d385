"""The files of a frame cache: one that only grows, and an index of it that is never ahead of it.

    settings.json    what is stored, fixed when the cache is made
    data.bin         one block a video: times of all its frames, numbers of the stored ones, and their pixels
    index.jsonl      one line a video: where its block is, how long, its checksum, and what file it was made of

A block is on the disk before its line is. Whatever ends the process, the next one finds complete lines, drops at most
one that was begun, cuts off data that no line speaks of, and goes on.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image

from ...choices import FrameFormat, FrameSampling
from ...errors import CacheError

VERSION = 1
JPEG_QUALITY = 90


@dataclass(frozen=True)
class CacheSettings:
    """What a cache stores of each video.

    Attributes:
        sampling: index rule of the stored frames.
        max_frames: the most of them a video; None, for the `fps_` rules: every one of one frame a second.
        short_side: pixels that larger pictures are scaled to, as CLIP scales them.
        format: `uint8` as they are, `jpeg` about a ninth of it.
    """

    sampling: FrameSampling = "fps_uniform"
    max_frames: int | None = None
    short_side: int = 224
    format: FrameFormat = "uint8"


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Attributes:
        video: path below the folder of videos, with forward slashes.
        size: of the video file, in bytes.
        mtime_ns: when it was last changed.
        error: why it gives no frames; then the rest is empty.
        offset: of its block in the data.
        shape: of the stored frames (frames, height, width, 3).
        num_frames: how many frames the video has.
        lengths: bytes of each stored picture.
        sha256: of the block.
    """

    video: str
    size: int
    mtime_ns: int
    error: str | None = None
    offset: int = 0
    shape: tuple[int, ...] = (0, 0, 0, 3)
    num_frames: int = 0
    lengths: tuple[int, ...] = ()
    sha256: str = ""

    @property
    def length(self) -> int:
        """Bytes of the block."""
        return 8 * self.num_frames + 8 * self.shape[0] + sum(self.lengths)


def read_settings(folder: Path) -> tuple[CacheSettings, str]:
    """Settings, and the folder of videos that it was made of.

    Raises:
        CacheError: the folder holds no cache, or one of another version.
    """
    try:
        stored = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        version, videos = stored.pop("version"), stored.pop("videos")
        settings = CacheSettings(**stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise CacheError(f"'{folder}' holds no frame cache. Make one with `mv-peft cache`.") from err
    if version != VERSION:
        raise CacheError(f"The cache '{folder}' has version {version}, this mv_peft reads {VERSION}. Make it anew.")
    return settings, videos


def write_settings(folder: Path, settings: CacheSettings, videos: str) -> None:
    """Make the cache's folder, under another name first: it is there whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "settings.json.part"
    temporary.write_text(
        json.dumps({"version": VERSION, "videos": videos, **asdict(settings)}, indent=1), encoding="utf-8"
    )
    temporary.replace(folder / "settings.json")


def read_index(folder: Path) -> tuple[dict[str, Entry], int]:
    """The last line of each video, and how many bytes of the index are whole lines.

    Raises:
        CacheError: a whole line is no entry: the index was changed by something else.
    """
    try:
        text = (folder / "index.jsonl").read_bytes()
    except FileNotFoundError:
        return {}, 0
    whole = text.rfind(b"\n") + 1
    entries = {}
    for number, line in enumerate(text[:whole].splitlines(), start=1):
        try:
            stored = json.loads(line)
            entry = Entry(**{**stored, "shape": tuple(stored["shape"]), "lengths": tuple(stored["lengths"])})
        except (ValueError, KeyError, TypeError) as err:
            raise CacheError(f"Line {number} of '{folder / 'index.jsonl'}' is damaged. Make the cache anew.") from err
        entries[entry.video] = entry
    return entries, whole


def encode_frames(frames: np.ndarray, format: FrameFormat) -> list[bytes]:
    """Each picture of uint8 (frames, height, width, 3) as it is stored."""
    if format == "uint8":
        return [frame.tobytes() for frame in frames]
    pictures = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        pictures.append(buffer.getvalue())
    return pictures


def decode_block(block: np.ndarray, entry: Entry, format: FrameFormat, positions: Sequence[int]) -> np.ndarray:
    """Frames at some positions among the stored ones, uint8 (positions, height, width, 3)."""
    start = 8 * entry.num_frames + 8 * entry.shape[0]
    ends = start + np.cumsum(entry.lengths)
    frames = np.empty((len(positions), *entry.shape[1:]), dtype=np.uint8)
    for row, position in enumerate(positions):
        picture = block[ends[position] - entry.lengths[position] : ends[position]]
        if format == "jpeg":
            frames[row] = np.asarray(Image.open(io.BytesIO(picture.tobytes())).convert("RGB"))
        else:
            frames[row] = picture.reshape(entry.shape[1:])
    return frames


class CacheWriter:
    """Appends to a cache; one at a time, which `writing` sees to."""

    def __init__(self, folder: Path, data: IO[bytes], index: IO[bytes]) -> None:
        self._folder, self._data, self._index = folder, data, index

    def append(self, entry: Entry, times: np.ndarray, stored: np.ndarray, pictures: Sequence[bytes]) -> None:
        """Write a video's block, then its line."""
        block = b"".join([times.astype("<f8").tobytes(), stored.astype("<i8").tobytes(), *pictures])
        offset = self._data.seek(0, os.SEEK_END)
        self._data.write(block)
        self._sync(self._data)
        line = {**asdict(entry), "offset": offset, "sha256": hashlib.sha256(block).hexdigest()}
        self._index.write(json.dumps(line).encode() + b"\n")
        self._sync(self._index)

    def append_error(self, entry: Entry) -> None:
        """Note that a video gives no frames."""
        self._index.write(json.dumps(asdict(entry)).encode() + b"\n")
        self._sync(self._index)

    @staticmethod
    def _sync(file: IO[bytes]) -> None:
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def writing(folder: Path) -> Iterator[CacheWriter]:
    """Open a cache for appending, after dropping what an interrupted process left half done.

    Raises:
        CacheError: another process writes to it.
    """
    with open(folder / "lock", "wb") as lock:
        try:
            _lock(lock)
        except OSError as err:
            raise CacheError(f"Another process writes to the cache '{folder}'. Wait for it, or end it.") from err
        entries, whole = read_index(folder)
        with open(folder / "data.bin", "ab") as data, open(folder / "index.jsonl", "ab") as index:
            index.truncate(whole)
            data.truncate(max((entry.offset + entry.length for entry in entries.values()), default=0))
            yield CacheWriter(folder, data, index)


def _lock(file: IO[bytes]) -> None:
    """Take the lock, which ends with the process; OSError if it is taken."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
