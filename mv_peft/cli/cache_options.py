"""Decode every video of a folder once, into a cache that training reads instead of the files.

An interrupted run continues where it stopped when it is started again. The exit code is 1 if a video gives no frames
or, with --verify, if a cached video is damaged.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ..choices import FrameFormat, FrameSampling
from .settings_options import describe

EXAMPLES = """examples:
  mv-peft cache --videos MSRVTT/videos --out cache
  mv-peft cache --videos MSRVTT/videos --out cache-jpeg --format jpeg --threads 4
  mv-peft cache --videos MSRVTT/videos --out cache-uniform --frame-sampling uniform --max-frames 12
  mv-peft cache --out cache --verify
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options. Those that are not given are as in the cache, if there is one, or else the defaults."""
    formats, rules = get_args(FrameFormat), get_args(FrameSampling)
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of the videos, with its subfolders")
    parser.add_argument("--out", required=True, type=Path, metavar="CACHE", help="folder of the cache")
    parser.add_argument(
        "--frame-sampling",
        choices=rules,
        metavar="NAME",
        help=describe("which frames to store", rules, "fps_uniform, one frame a second"),
    )
    parser.add_argument(
        "--max-frames",
        type=int,
        metavar="N",
        help="most frames of a video (default: all that the rule gives)",
    )
    parser.add_argument("--short-side", type=int, metavar="N", help="scale larger pictures to N pixels (default: 224)")
    parser.add_argument(
        "--format",
        choices=formats,
        metavar="NAME",
        help=describe("how frames are stored; jpeg takes a ninth of the space", formats, "uint8"),
    )
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="decode N videos at a time (default: 1)")
    parser.add_argument("--retry", action="store_true", help="try again what could not be read before")
    parser.add_argument("--verify", action="store_true", help="only compare every cached video with its checksum")
