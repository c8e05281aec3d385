"""Convert a checkpoint of the authors' program into an adapter folder, or an adapter folder back.

A checkpoint does not hold `num_heads` and `scaling`, and `tying_position` only in part. Give those of the run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from .shared_options import add_config_options

EXAMPLES = """examples:
  mv-peft convert best.pth --model openai/clip-vit-base-patch16 --preset msrvtt \\
      --set tying_position=down_out --output msrvtt-adapter
  mv-peft convert best.pth --model ./clip --set num_heads=4 --set 'tying_layers=[[2,0],[3,1]]' --output adapter
  mv-peft convert msrvtt-adapter --model ./clip --to-official --output msrvtt.safetensors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mv-peft convert`."""
    parser.add_argument(
        "source", metavar="CHECKPOINT", help=".pth or .safetensors file; with --to-official, an adapter folder"
    )
    parser.add_argument(
        "--model", required=True, metavar="NAME_OR_DIR", help="the CLIP, of which only config.json is read"
    )
    add_config_options(parser, default_preset="none")
    parser.add_argument(
        "--to-official", action="store_true", help="convert an adapter folder into an official checkpoint"
    )
    parser.add_argument(
        "--output", required=True, type=Path, metavar="PATH", help="adapter folder; with --to-official, a file"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an output that exists")
