"""What commands share to name captioned videos: the options, the split that they name, and how its frames are read."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..data.benchmarks import BENCHMARKS
from ..data.custom import CUSTOM

if TYPE_CHECKING:
    from ..data import CaptionedVideos, VideoRecord
    from ..video import VideoFrames


def dataset_names() -> tuple[str, ...]:
    """What `--dataset` accepts: every registered benchmark, and `custom` for other data."""
    return (*BENCHMARKS, CUSTOM)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """`--dataset`, `--root` and `--videos`: where annotations and videos are."""
    names = dataset_names()
    parser.add_argument("--dataset", required=True, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument(
        "--root", required=True, type=Path, metavar="DIR", help="the annotation files; a file or folder for `custom`"
    )
    parser.add_argument("--videos", type=Path, metavar="DIR", help="the videos (default: below --root)")
    parser.set_defaults(refuse=parser.error)


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The options of a command that reads videos, for `load_split` and `frame_reader`."""
    add_source_options(parser)
    parser.add_argument("--cache", type=Path, metavar="CACHE", help="frames that `mv-peft cache` stored")
    parser.add_argument(
        "--skip-videos",
        nargs="+",
        action="extend",
        default=[],
        metavar="ID",
        help="videos to leave out; `@FILE` for a file of an id a line, as ids that begin with a hyphen need",
    )
    parser.add_argument("--strict", action="store_true", help="missing videos are an error, not a warning")
    parser.add_argument(
        "--num-workers", type=int, default=0, metavar="N", help="processes that read videos (default: 0, this one)"
    )


def check_data_options(args: argparse.Namespace) -> None:
    """Refuses values that make no sense, as a mistake in the arguments."""
    if args.num_workers < 0:
        args.refuse(f"`--num-workers` must not be negative, got {args.num_workers}.")


def load_split(args: argparse.Namespace, split: str) -> CaptionedVideos:
    """Loads a split of the data set that the options name.

    Args:
        args: With the options of `add_data_options`.
        split: One of the benchmark's. Own data has no splits: it is all that `--root` names.

    Raises:
        AnnotationError: A file is missing or malformed, no video is there, or `--strict`.
        ValueError: Unknown split, or `--skip-videos` names a video that is not in it.
    """
    from ..data import BENCHMARKS, CaptionedVideos

    skipped = _skipped(args)
    if args.dataset == CUSTOM:
        return CaptionedVideos.load(args.root, videos=args.videos, strict=args.strict, skip_videos=skipped)
    return BENCHMARKS[args.dataset].load(args.root, split, videos=args.videos, strict=args.strict, skip_videos=skipped)


def load_splits(args: argparse.Namespace, first: str, second: str) -> tuple[CaptionedVideos, CaptionedVideos]:
    """Loads two splits of a benchmark as `load_split` does; a video to leave out may be in either.

    Raises:
        AnnotationError: As `load_split`.
        ValueError: As `load_split`; `--skip-videos` names a video that is in neither.
    """
    from ..data import BENCHMARKS
    from ..data.annotations.annotation_folder import AnnotationFolder
    from ..data.annotations.video_folder import VideoFolder

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
                f"`--skip-videos` names '{unknown[0]}', which neither {args.dataset}/{first} nor "
                f"{args.dataset}/{second} has. Remove it."
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


def _skipped(args: argparse.Namespace) -> list[str]:
    return [video for given in args.skip_videos for video in _ids(given)]


def frame_reader(args: argparse.Namespace, records: Sequence[VideoRecord]) -> Callable[..., VideoFrames]:
    """Reads frames as `mv_peft.video.read_frames` does: out of `--cache`, where that holds them.

    Args:
        args: With the options of `add_data_options`.
        records: What shall be read.

    Raises:
        CacheError: The folder holds no cache, or one that knows none of these videos and would change nothing.
    """
    from ..video import VideoCache, read_frames

    if args.cache is None:
        return read_frames
    folder = args.videos or (args.root if args.root.is_dir() else args.root.parent)
    paths = [record.path for record in records if record.path is not None]
    return VideoCache.holding(args.cache, paths, videos=folder).read_frames


def _ids(given: str) -> list[str]:
    if not given.startswith("@"):
        return [given]
    lines = Path(given[1:]).read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip()]
