"""Checks a folder of videos and annotation files before anything is trained on it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..data.custom import CUSTOM
from .data_options import add_source_options

if TYPE_CHECKING:
    from ..data.records import VideoRecord

HELP = "check a data set: what is there, what is missing, what cannot be read"
EXAMPLES = """examples:
  mv-peft data check --dataset msrvtt --root MSRVTT
  mv-peft data check --dataset didemo --root annotations --videos /data/didemo --split test --threads 8
  mv-peft data check --dataset custom --root holiday.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `mv-peft data`, and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="print a table of splits, pairs, videos, seconds and long captions",
        description="Prints a table of what is there; exits with 1 if a video is missing or unreadable.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source_options(check)
    check.add_argument("--split", action="append", metavar="NAME", help="only this one; repeatable (default: all)")
    check.add_argument("--max-text-tokens", type=int, metavar="N", help="limit of a caption (default: the benchmark's)")
    check.add_argument("--no-read", action="store_true", help="look whether videos are there, do not open them")
    check.add_argument("--threads", type=int, metavar="N", help="read this many videos at a time (default: 1)")


def run(args: argparse.Namespace) -> int:
    """Prints the table, and below it what is missing or wrong."""
    from ..data.check import check_split, format_table, read_videos

    _check_options(args)
    if args.dataset == CUSTOM:
        splits, remarks, max_text_tokens = _own_records(args)
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


def _own_records(args: argparse.Namespace) -> tuple[dict[str, list[VideoRecord]], list[str], int]:
    from ..data.custom import read_custom

    records, silent = read_custom(args.root, args.videos)
    return {CUSTOM: records}, [f"'{name}' has no captions in a .txt file beside it." for name in silent], 32


def _benchmark_records(args: argparse.Namespace) -> tuple[dict[str, list[VideoRecord]], list[str], int]:
    from ..data import BENCHMARKS
    from ..data.annotations.annotation_folder import AnnotationFolder, AnnotationNotFoundError
    from ..data.annotations.video_folder import VideoFolder

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
