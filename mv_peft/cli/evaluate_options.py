"""Measure how well a CLIP, zero-shot or with an adapter, finds videos by captions and captions by videos.

The command prints a table. For a benchmark's test split, published figures stand beside the measured ones, marked as
quoted. Under torchrun the processes share the work, and the result is the same.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from ..choices import FrameSampling, PostProcessingName, Precision, Ties
from ..training.settings import TrainSettings
from .settings_options import add_settings, describe
from .shared_options import add_data_options

EXAMPLES = """examples:
  mv-peft evaluate --model openai/clip-vit-base-patch16 --dataset msrvtt --root MSRVTT
  mv-peft evaluate --model openai/clip-vit-base-patch16 --adapter runs/msrvtt --dataset msrvtt --root MSRVTT \\
      --cache cache --output runs/msrvtt/metrics.json
  mv-peft evaluate --model clip --adapter lora --dataset custom --root holiday.csv --embeddings embeddings
  torchrun --nproc-per-node 2 -m mv_peft evaluate --model clip --dataset msvd --root MSVD --precision bf16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mv-peft evaluate`."""
    parser.add_argument("--model", required=True, metavar="NAME_OR_DIR", help="the CLIP to measure")
    parser.add_argument(
        "--adapter", metavar="NAME_OR_DIR", help="adapter of that CLIP, of any PEFT method (default: none, zero-shot)"
    )
    add_data_options(parser)
    add_settings(parser, TrainSettings, ["num_workers"])
    parser.set_defaults(num_workers=TrainSettings.num_workers)
    parser.add_argument("--split", metavar="NAME", help="split to measure on; custom data has none (default: test)")
    parser.add_argument("--synthetic", action="store_true", help="the videos are rendered; all results say so")
    parser.add_argument(
        "--skip-unreadable", action="store_true", help="leave out videos that cannot be read, and report them"
    )
    rules, ties, kinds, precisions = map(get_args, (FrameSampling, Ties, PostProcessingName, Precision))
    parser.add_argument(
        "--frame-sampling",
        choices=rules,
        metavar="NAME",
        help=describe("which frames stand for a video", rules, "as the adapter was trained, or fps_uniform"),
    )
    parser.add_argument(
        "--ties",
        default="strict",
        choices=ties,
        metavar="NAME",
        help=describe("how equal similarities are ranked", ties, "strict"),
    )
    parser.add_argument(
        "--post-processing",
        choices=kinds,
        metavar="NAME",
        help=describe("makes results that are not comparable with others", kinds, "none"),
    )
    parser.add_argument(
        "--query-bank",
        metavar="SPLIT",
        help="split of qb-norm's queries; for custom data a file or folder, as --root (default: train)",
    )
    parser.add_argument("--batch-size", type=int, default=32, metavar="N", help="videos at a time (default: 32)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, ... (default: cuda if there is one)")
    parser.add_argument(
        "--precision",
        default="fp32",
        choices=precisions,
        metavar="NAME",
        help=describe("precision of the computation", precisions, "fp32"),
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write all results as JSON, as in metrics.json")
    parser.add_argument("--embeddings", type=Path, metavar="DIR", help="save the embeddings")
