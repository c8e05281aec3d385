"""Train a method on captioned videos, choose the best adapter on a validation split, and save it.

The validation split is carved out of the training videos by their ids. For several GPUs or machines, use `torchrun
--nproc-per-node 8 -m mv_peft train ...`: the processes share each batch. An interrupted training continues with
`--resume`, and gives the same adapter to the bit.
"""

from __future__ import annotations

import argparse

from ..training.settings import TrainSettings
from .settings_options import add_settings
from .shared_options import add_config_options, add_data_options

EXAMPLES = """examples:
  mv-peft train --model openai/clip-vit-base-patch16 --dataset msrvtt --root data/msrvtt --output runs/msrvtt
  mv-peft train --model openai/clip-vit-base-patch32 --dataset custom --root holiday.csv --output runs/holiday \\
      --batch-size 32 --epochs 10 --learning-rate 3e-4 --precision bf16
  mv-peft train ... --output runs/msrvtt --dry-run      # print what would be trained, steps, memory; train nothing
  mv-peft train ... --output runs/msrvtt --resume       # continue after an interruption
  torchrun --nproc-per-node 8 -m mv_peft train ...      # on eight GPUs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options. What is not given follows from the data set and the recipe."""
    parser.add_argument("--model", required=True, metavar="NAME_OR_DIR", help="the CLIP to train")
    add_data_options(parser)
    parser.add_argument("--synthetic", action="store_true", help="the videos are rendered; all results say so")
    method = parser.add_argument_group("what is trained")
    method.add_argument("--method", default="mv_adapter", metavar="NAME", help="method (default: mv_adapter)")
    add_config_options(method, default_preset="the data set's, if it has one")
    method.add_argument(
        "--max-frames", type=int, metavar="N", help="most frames of a video (default: the data set's, or 12)"
    )
    method.add_argument(
        "--max-text-tokens", type=int, metavar="N", help="most tokens of a caption (default: the data set's, or 32)"
    )
    groups = add_settings(parser, TrainSettings)
    chosen = groups["how the best adapter is chosen"]
    chosen.add_argument(
        "--validation-fraction",
        type=float,
        metavar="X",
        help="fraction of the training videos to carve out for validation (default: 0.05)",
    )
    chosen.add_argument(
        "--select-on-test",
        action="store_true",
        help="choose on the test split, as the papers do; all results say so",
    )
    running = groups["checkpoints and reports"]
    running.add_argument("--resume", action="store_true", help="continue from the last checkpoint, if there is one")
    running.add_argument("--dry-run", action="store_true", help="print what would be done, and stop")
