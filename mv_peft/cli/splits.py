"""The captioned videos that the options of `shared_options.add_data_options` name, and how their frames are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from ..data import BENCHMARKS, CaptionedVideos, VideoRecord
from ..data.annotations.annotation_folder import AnnotationFolder
from ..data.annotations.video_folder import VideoFolder
from ..data.custom import CUSTOM
from ..video import VideoCache, VideoFrames, read_frames


def load_split(args: argparse.Namespace, split: str) -> CaptionedVideos:
    """Load a split of the data set that the options name.

    Args:
        args: With the options of `add_data_options`.
        split: One of the benchmark's. Custom data has no splits: it is all that `--root` names.

    Raises:
        AnnotationError: If a file is missing or malformed, no video is there, or one is missing with `--strict`.
        ValueError: If the split is unknown, or `--skip-videos` names a video that is not in it.
    """
    skipped = _skipped(args)
    if args.dataset == CUSTOM:
        return CaptionedVideos.load(args.root, videos=args.videos, strict=args.strict, skip_videos=skipped)
    return BENCHMARKS[args.dataset].load(args.root, split, videos=args.videos, strict=args.strict, skip_videos=skipped)


def load_splits(args: argparse.Namespace, first: str, second: str) -> tuple[CaptionedVideos, CaptionedVideos]:
    """Load two splits of a benchmark as `load_split` does; a video of `--skip-videos` may be in either.

    Raises:
        AnnotationError: As `load_split`.
        ValueError: As `load_split`, or if `--skip-videos` names a video that is in neither.
    """
    benchmark, skipped = BENCHMARKS[args.dataset], _skipped(args)
    ids: dict[str, set[str]] = {first: set(), second: set()}
    if skipped:
        annotations, videos = AnnotationFolder(args.root), VideoFolder(args.videos or args.root)
        ids = {
            split: {record.video_id for record in benchmark.find_records(annotations, split, videos)} for split in ids
        }
        unknown = [video for video in skipped if video not in ids[first] | ids[second]]
        if unknown:
            raise ValueError(
                f"`--skip-videos` names '{unknown[0]}', which is in neither {args.dataset}/{first} nor "
                f"{args.dataset}/{second}. Remove it."
            )
    loaded = [
        benchmark.load(
            args.root,
            split,
            videos=args.videos,
            strict=args.strict,
            skip_videos=[video for video in skipped if video in ids[split]],
        )
        for split in (first, second)
    ]
    return loaded[0], loaded[1]


def frame_reader(args: argparse.Namespace, records: Sequence[VideoRecord]) -> Callable[..., VideoFrames]:
    """Return what reads frames as `mv_peft.video.read_frames` does, from `--cache` where that holds them.

    Args:
        args: With the options of `add_data_options`.
        records: The videos to be read.

    Raises:
        CacheError: If the folder holds no cache, or one that holds none of these videos and would have no effect.
    """
    if args.cache is None:
        return read_frames
    folder = args.videos or (args.root if args.root.is_dir() else args.root.parent)
    paths = [record.path for record in records if record.path is not None]
    return VideoCache.holding(args.cache, paths, videos=folder).read_frames


def _skipped(args: argparse.Namespace) -> list[str]:
    return [video for given in args.skip_videos for video in _ids(given)]


def _ids(given: str) -> list[str]:
    if not given.startswith("@"):
        return [given]
    lines = Path(given[1:]).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]
