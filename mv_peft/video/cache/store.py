"""The files of a frame cache: data that is only appended to, and an index that is never ahead of the data.

    settings.json    what is stored, fixed when the cache is created
    data.bin         one block per video: times of all its frames, indices of the stored ones, and their pixels
    index.jsonl      one line per video: position, length and checksum of its block, and the file it was made from

A block is on disk before its line is. Whatever ends the process, the next one finds complete lines, drops at most one
incomplete line, cuts off data that no line refers to, and continues.
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

from ...atomic import write_json
from ...choices import FrameFormat, FrameSampling
from ...errors import CacheError

VERSION = 1
JPEG_QUALITY = 90


@dataclass(frozen=True)
class CacheSettings:
    """What a cache stores of each video.

    Attributes:
        frame_sampling: Which frames are stored.
        max_frames: The most frames of a video. None, which the `fps_` rules allow, stores one frame a second.
        short_side: Size in pixels to which the short side of larger images is scaled, as CLIP scales it. None stores
            images in their original size, which exact preprocessing for SigLIP needs: it resizes to a square at once.
        format: "uint8" stores pixels without loss, "jpeg" takes about a ninth of that.
    """

    frame_sampling: FrameSampling = "fps_uniform"
    max_frames: int | None = None
    short_side: int | None = 224
    format: FrameFormat = "uint8"


@dataclass(frozen=True)
class Entry:
    """A line of the index.

    Attributes:
        video: Path relative to the folder of videos, with forward slashes.
        size: Size of the video file in bytes.
        mtime_ns: Time of its last change.
        error: Why it gives no frames, in which case the remaining fields are empty.
        offset: Position of its block in the data.
        shape: Shape of the stored frames (frames, height, width, 3).
        num_frames: How many frames the video has.
        lengths: Size of each stored image in bytes.
        sha256: Checksum of the block.
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
        """Size of the block in bytes."""
        return 8 * self.num_frames + 8 * self.shape[0] + sum(self.lengths)


def read_settings(folder: Path) -> tuple[CacheSettings, str]:
    """Read the settings of a cache, and the path of the folder of videos that it was built from.

    Raises:
        CacheError: If the folder holds no cache, or one of another version.
    """
    try:
        stored = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        version, videos = stored.pop("version"), stored.pop("videos")
        if "sampling" in stored:  # written by version 0.1.0
            stored["frame_sampling"] = stored.pop("sampling")
        settings = CacheSettings(**stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as err:
        raise CacheError(f"'{folder}' holds no frame cache. Create one with `mv-peft cache`.") from err
    if version != VERSION:
        raise CacheError(f"The cache '{folder}' has version {version}, this mv_peft reads {VERSION}. Build it again.")
    return settings, videos


def write_settings(folder: Path, settings: CacheSettings, videos: str) -> None:
    """Make the cache's folder with its settings in it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "settings.json", {"version": VERSION, "videos": videos, **asdict(settings)})


def read_index(folder: Path) -> tuple[dict[str, Entry], int]:
    """Read the last line of each video, and how many bytes of the index are complete lines.

    Raises:
        CacheError: If a complete line is not an entry.
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
            raise CacheError(f"Line {number} of '{folder / 'index.jsonl'}' is damaged. Build the cache again.") from err
        entries[entry.video] = entry
    return entries, whole


def encode_frames(frames: np.ndarray, format: FrameFormat) -> list[bytes]:
    """Encode each image of uint8 (frames, height, width, 3) for storage."""
    if format == "uint8":
        return [frame.tobytes() for frame in frames]
    images = []
    for frame in frames:
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        images.append(buffer.getvalue())
    return images


def decode_block(block: np.ndarray, entry: Entry, format: FrameFormat, positions: Sequence[int]) -> np.ndarray:
    """Decode the stored frames at some positions, uint8 (positions, height, width, 3)."""
    start = 8 * entry.num_frames + 8 * entry.shape[0]
    ends = start + np.cumsum(entry.lengths)
    frames = np.empty((len(positions), *entry.shape[1:]), dtype=np.uint8)
    for row, position in enumerate(positions):
        image = block[ends[position] - entry.lengths[position] : ends[position]]
        if format == "jpeg":
            frames[row] = np.asarray(Image.open(io.BytesIO(image.tobytes())).convert("RGB"))
        else:
            frames[row] = image.reshape(entry.shape[1:])
    return frames


class CacheWriter:
    """The one process that may append to a cache, opened by `writing`."""

    def __init__(self, folder: Path, data: IO[bytes], index: IO[bytes]) -> None:
        self._folder, self._data, self._index = folder, data, index

    def append(self, entry: Entry, times: np.ndarray, stored: np.ndarray, images: Sequence[bytes]) -> None:
        """Write the block of a video, then its line."""
        block = b"".join([times.astype("<f8").tobytes(), stored.astype("<i8").tobytes(), *images])
        offset = self._data.seek(0, os.SEEK_END)
        self._data.write(block)
        self._sync(self._data)
        line = {**asdict(entry), "offset": offset, "sha256": hashlib.sha256(block).hexdigest()}
        self._index.write(json.dumps(line).encode() + b"\n")
        self._sync(self._index)

    def append_error(self, entry: Entry) -> None:
        """Record that a video gives no frames."""
        self._index.write(json.dumps(asdict(entry)).encode() + b"\n")
        self._sync(self._index)

    @staticmethod
    def _sync(file: IO[bytes]) -> None:
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def writing(folder: Path) -> Iterator[CacheWriter]:
    """Open a cache for appending, after removing what an interrupted process left incomplete.

    Raises:
        CacheError: If another process writes to it.
    """
    with open(folder / "lock", "wb") as lock:
        try:
            _lock(lock)
        except OSError as err:
            raise CacheError(f"Another process writes to the cache '{folder}'. Wait for it, or stop it.") from err
        entries, whole = read_index(folder)
        with open(folder / "data.bin", "ab") as data, open(folder / "index.jsonl", "ab") as index:
            index.truncate(whole)
            data.truncate(max((entry.offset + entry.length for entry in entries.values()), default=0))
            yield CacheWriter(folder, data, index)


def _lock(file: IO[bytes]) -> None:
    """Take the lock, which ends with the process; raise OSError if another process has it."""
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
