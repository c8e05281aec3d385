"""Makes a frame cache, or goes on with one that was interrupted."""

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
    """What a run did.

    Attributes:
        num_cached: videos that were decoded and stored.
        num_present: videos that the cache held already.
        unreadable: why a video gives no frames, by its path below the folder; those of earlier runs included.
    """

    num_cached: int
    num_present: int
    unreadable: dict[str, str]


@dataclass(frozen=True)
class _Decoded:
    entry: Entry
    times: np.ndarray
    stored: np.ndarray
    pictures: list[bytes]


def build_cache(
    folder: str | os.PathLike,
    videos: str | os.PathLike,
    paths: Iterable[str | os.PathLike],
    settings: CacheSettings | None = None,
    *,
    num_threads: int = 1,
    retry: bool = False,
) -> CacheReport:
    """Decode videos into a cache; those that it holds, unchanged since, are left as they are.

    Args:
        folder: the cache; made if it is not there.
        videos: the folder that holds all the videos.
        paths: the videos.
        settings: what to store; None: what the cache stores, or the default.
        num_threads: videos decoded at a time.
        retry: also try again what could not be read before.

    Raises:
        CacheError: the cache has other settings, or another process writes to it.
        ValueError: settings that make no sense, or a video outside `videos`.
    """
    folder, videos = Path(folder), Path(videos).resolve()
    settings = _settle(folder, videos, settings)
    jobs = {video_key(path, videos): Path(path) for path in paths}
    outside = [key for key in jobs if key.startswith("../") or os.path.isabs(key)]
    if outside:
        raise ValueError(
            f"'{outside[0]}' is not below the folder of videos '{videos}'. Name the folder that holds all."
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
                    writer.append(result.entry, result.times, result.stored, result.pictures)
    return CacheReport(len(todo) - sum(key in unreadable for key, _ in todo), len(present), unreadable)


def _settle(folder: Path, videos: Path, settings: CacheSettings | None) -> CacheSettings:
    """The settings to go by; written if the cache is new."""
    if (folder / "settings.json").exists():
        stored, made_of = read_settings(folder)
        if settings not in (None, stored):
            raise CacheError(f"The cache '{folder}' stores {stored}, not {settings}. Choose another folder for those.")
        if Path(made_of) != videos:
            raise CacheError(f"The cache '{folder}' is of the videos in '{made_of}'. Choose another folder for others.")
        return stored
    settings = settings or CacheSettings()
    check_sampling(settings.max_frames or 1, settings.sampling)
    if settings.max_frames is None and not settings.sampling.startswith("fps_"):
        raise ValueError(
            f"Sampling '{settings.sampling}' over all frames needs `max_frames`. Say how many, or use fps_."
        )
    if settings.short_side < 1:
        raise ValueError(f"`short_side` must be positive, got {settings.short_side}.")
    if settings.format not in ("uint8", "jpeg"):
        raise ValueError(f"Unknown format {settings.format!r}. Choose from: jpeg, uint8.")
    write_settings(folder, settings, str(videos))
    return settings


def _in_order(
    pool: ThreadPoolExecutor, todo: list[tuple[str, Path]], settings: CacheSettings, num_threads: int
) -> Iterator[_Decoded | Entry]:
    """Decode in threads, a few ahead of what is written: memory does not grow with the number of videos."""
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
        return sample_frames(pts_seconds, settings.max_frames, settings.sampling)

    try:
        status = path.stat()
    except OSError:
        return Entry(key, 0, 0, error=f"Cannot decode '{path}': it is not there. Restore it, or leave it out.")
    try:
        frames = read_chosen(path, choose).frames
    except VideoDecodeError as err:
        return Entry(key, status.st_size, status.st_mtime_ns, error=str(err))
    frames = scale(frames, settings.short_side)
    pictures = encode_frames(frames, settings.format)
    entry = Entry(
        key,
        status.st_size,
        status.st_mtime_ns,
        shape=frames.shape,
        num_frames=len(times),
        lengths=tuple(len(picture) for picture in pictures),
    )
    return _Decoded(entry, times, choose(times), pictures)


def scale(frames: np.ndarray, short_side: int) -> np.ndarray:
    """CLIP's resize of uint8 (frames, height, width, 3), where it makes pictures smaller; others stay as they are."""
    height, width = frames.shape[1:3]
    short = min(height, width)
    if short <= short_side:
        return frames
    size = int(short_side * width / short), int(short_side * height / short)
    return np.stack([np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC)) for frame in frames])
