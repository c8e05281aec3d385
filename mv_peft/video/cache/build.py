"""Building of a frame cache, which continues where an earlier run was interrupted."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...errors import CacheError, VideoDecodeError
from ..reader import read_chosen
from ..sampling import check_sampling, one_frame_a_second, sample_frames
from .read import VideoCache, video_key
from .store import CacheSettings, Entry, encode_frames, read_settings, write_settings, writing


@dataclass(frozen=True)
class CacheReport:
    """The result of a run.

    Attributes:
        num_cached: Number of videos that were decoded and stored.
        num_present: Number of videos that the cache already held.
        unreadable: Why a video gives no frames, by its path relative to the folder, including those of earlier runs.
    """

    num_cached: int
    num_present: int
    unreadable: dict[str, str]


@dataclass(frozen=True)
class _Decoded:
    entry: Entry
    times: np.ndarray
    stored: np.ndarray
    images: list[bytes]


def build_cache(
    folder: str | os.PathLike,
    videos: str | os.PathLike,
    paths: Iterable[str | os.PathLike],
    settings: CacheSettings | None = None,
    *,
    num_threads: int = 1,
    retry: bool = False,
) -> CacheReport:
    """Decode videos into a cache, except those that it holds already and that have not changed since.

    Args:
        folder: Folder of the cache, which is created if it does not exist.
        videos: Folder that holds all the videos.
        paths: The videos.
        settings: What to store. None keeps the settings of an existing cache, and else means the defaults.
        num_threads: How many videos to decode at a time.
        retry: Whether to try again the videos that could not be read before.

    Raises:
        CacheError: If the cache has other settings, or another process writes to it.
        ValueError: If the settings are invalid, or a video is outside `videos`.
    """
    folder, videos = Path(folder), Path(videos).resolve()
    settings = _settle(folder, videos, settings)
    jobs = {video_key(path, videos): Path(path) for path in paths}
    outside = [key for key in jobs if key.startswith("../") or os.path.isabs(key)]
    if outside:
        raise ValueError(
            f"'{outside[0]}' is not inside the folder of videos '{videos}'. Pass the folder that holds all videos."
        )
    with writing(folder) as writer:
        cache = VideoCache(folder, videos)
        found = {key: cache.find(path) for key, path in jobs.items()}
        present = {key for key, entry in found.items() if entry is not None and not (retry and entry.error)}
        unreadable = {key: entry.error for key in present if (entry := found[key]) is not None and entry.error}
        todo = [(key, path) for key, path in jobs.items() if key not in present]
        bar = tqdm(total=len(todo), desc="caching", unit="video", disable=None)
        with bar, ThreadPoolExecutor(num_threads) as pool:
            for result in _in_order(pool, todo, settings, num_threads):
                bar.update()
                if isinstance(result, Entry):
                    writer.append_error(result)
                    unreadable[result.video] = str(result.error)
                else:
                    writer.append(result.entry, result.times, result.stored, result.images)
    return CacheReport(len(todo) - sum(key in unreadable for key, _ in todo), len(present), unreadable)


def _settle(folder: Path, videos: Path, settings: CacheSettings | None) -> CacheSettings:
    """Return the settings that apply, and write them if the cache is new."""
    if (folder / "settings.json").exists():
        stored, made_of = read_settings(folder)
        if settings not in (None, stored):
            raise CacheError(
                f"The cache '{folder}' stores {stored}, not {settings}. Choose another folder for these settings."
            )
        if Path(made_of) != videos:
            raise CacheError(
                f"The cache '{folder}' was built from the videos in '{made_of}'. Choose another folder for others."
            )
        return stored
    settings = settings or CacheSettings()
    frame_sampling, short_side = settings.frame_sampling, settings.short_side
    check_sampling(1 if settings.max_frames is None else settings.max_frames, frame_sampling)
    if settings.max_frames is None and not frame_sampling.startswith("fps_"):
        raise ValueError(
            f"`frame_sampling` '{frame_sampling}' chooses among all frames and needs `max_frames`. Set it, or use "
            f"'fps_{frame_sampling}'."
        )
    if short_side is not None and short_side < 1:
        raise ValueError(f"`short_side` must be positive, or None for the original size, got {short_side}.")
    if settings.format not in ("uint8", "jpeg"):
        raise ValueError(f"Unknown format {settings.format!r}. Choose from: jpeg, uint8.")
    write_settings(folder, settings, str(videos))
    return settings


def _in_order(
    pool: ThreadPoolExecutor, todo: list[tuple[str, Path]], settings: CacheSettings, num_threads: int
) -> Iterator[_Decoded | Entry]:
    """Decode in threads, only a few videos ahead of the writer, so that memory does not grow with their number."""
    jobs = iter(todo)
    waiting: list[Future] = [pool.submit(_decode, *job, settings) for job in islice(jobs, 2 * num_threads)]
    while waiting:
        result = waiting.pop(0).result()
        waiting += [pool.submit(_decode, *job, settings) for job in islice(jobs, 1)]
        yield result


def _decode(key: str, path: Path, settings: CacheSettings) -> _Decoded | Entry:
    times = np.empty(0)

    def choose(pts_seconds: np.ndarray) -> np.ndarray:
        nonlocal times
        times = pts_seconds
        if settings.max_frames is None:
            return one_frame_a_second(pts_seconds)
        return sample_frames(pts_seconds, settings.max_frames, settings.frame_sampling)

    try:
        status = path.stat()
    except OSError:
        return Entry(key, 0, 0, error=f"Cannot decode '{path}': the file does not exist. Restore it, or leave it out.")
    try:
        frames = read_chosen(path, choose).frames
    except VideoDecodeError as err:
        return Entry(key, status.st_size, status.st_mtime_ns, error=str(err))
    frames = scale(frames, settings.short_side)
    images = encode_frames(frames, settings.format)
    entry = Entry(
        key,
        status.st_size,
        status.st_mtime_ns,
        shape=frames.shape,
        num_frames=len(times),
        lengths=tuple(len(image) for image in images),
    )
    return _Decoded(entry, times, choose(times), images)


def scale(frames: np.ndarray, short_side: int | None) -> np.ndarray:
    """Resize uint8 (frames, height, width, 3) as CLIP does; images that this would enlarge are returned unchanged."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    if short_side is None or short <= short_side:
        return frames
    size = int(short_side * width / short), int(short_side * height / short)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames])
