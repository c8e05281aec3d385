"""The work of `mv-peft data`."""

from __future__ import annotations

import argparse

from ..data import BENCHMARKS, VideoRecord
from ..data.annotations.annotation_folder import AnnotationFolder, AnnotationNotFoundError
from ..data.annotations.video_folder import VideoFolder
from ..data.check import check_split, format_table, read_videos
from ..data.custom import CUSTOM, read_custom


def run(args: argparse.Namespace) -> int:
    """Print the table and, below it, what is missing or wrong."""
    _check_options(args)
    if args.dataset == CUSTOM:
        splits, remarks, max_text_tokens = _custom_records(args)
    else:
        splits, remarks, max_text_tokens = _benchmark_records(args)
    paths = [record.path for records in splits.values() for record in records if record.path is not None]
    videos = None if args.no_read else read_videos(paths, args.threads or 1)
    limit = args.max_text_tokens or max_text_tokens
    checks = [check_split(split, records, limit, videos) for split, records in splits.items()]
    print(format_table(checks))
    for remark in remarks + [remark for check in checks for remark in check.remarks()]:
        print(remark)
    return 0 if all(check.is_complete for check in checks) else 1


def _check_options(args: argparse.Namespace) -> None:
    if args.no_read and args.threads is not None:
        args.refuse("`--threads` has no effect with `--no-read`. Leave one of them out.")
    if args.dataset == CUSTOM and args.split:
        args.refuse("`--split` has no effect with `--dataset custom`, which has none. Leave it out.")
    for option, value, least in (("--threads", args.threads, 1), ("--max-text-tokens", args.max_text_tokens, 3)):
        if value is not None and value < least:
            args.refuse(f"`{option}` must be at least {least}, got {value}.")


def _custom_records(args: argparse.Namespace) -> tuple[dict[str, list[VideoRecord]], list[str], int]:
    """Read custom data: its records as one split, remarks on them, and the most tokens of a caption."""
    records, undescribed = read_custom(args.root, args.videos)
    return {CUSTOM: records}, [f"'{name}' has no captions in a .txt file beside it." for name in undescribed], 32


def _benchmark_records(args: argparse.Namespace) -> tuple[dict[str, list[VideoRecord]], list[str], int]:
    """Read a benchmark: the records of each split, remarks on them, and the most tokens of a caption."""
    benchmark = BENCHMARKS[args.dataset]
    annotations, videos = AnnotationFolder(args.root), VideoFolder(args.videos or args.root)
    splits, remarks = {}, []
    for split in args.split or benchmark.splits:
        benchmark.check_split(split)
        try:
            records = benchmark.find_records(annotations, split, videos)
        except AnnotationNotFoundError as error:
            if args.split:
                raise
            remarks.append(f"{split}: {error}")
            continue
        remarks += [f"{split} {difference}." for difference in benchmark.differences(records, split)]
        splits[split] = benchmark.join_captions(records, split)
    if not splits:
        raise AnnotationNotFoundError("\n".join(remarks))
    return splits, remarks, benchmark.max_text_tokens
