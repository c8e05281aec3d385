"""Check a folder of videos and annotation files before anything is trained on it."""

from __future__ import annotations

import argparse

from .shared_options import add_source_options

EXAMPLES = """examples:
  mv-peft data check --dataset msrvtt --root MSRVTT
  mv-peft data check --dataset didemo --root annotations --videos /data/didemo --split test --threads 8
  mv-peft data check --dataset custom --root holiday.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `mv-peft data`, and their arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check",
        help="print a table of splits, pairs, videos, seconds and long captions",
        description="Print a table of what is there. The exit code is 1 if a video is missing or unreadable.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source_options(check)
    check.add_argument("--split", action="append", metavar="NAME", help="check this split; repeatable (default: all)")
    check.add_argument(
        "--max-text-tokens", type=int, metavar="N", help="longest caption, in tokens (default: the benchmark's, or 32)"
    )
    check.add_argument("--no-read", action="store_true", help="look whether the videos are there, but do not open them")
    check.add_argument("--threads", type=int, metavar="N", help="read N videos at a time (default: 1)")
    check.set_defaults(refuse=check.error)
