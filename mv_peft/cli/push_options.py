"""Upload an adapter folder to the Hub, in one commit.

The commit holds the weights, the configuration, the metrics, the processor's files and a model card, and nothing else
of the folder. The token is that of `hf auth login`, or HF_TOKEN.
"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  mv-peft push runs/msrvtt --repo org/mv-adapter-clip-vit-base-patch16 --subfolder msrvtt
  mv-peft push runs/msrvtt --repo org/my-adapter --private --base-model openai/clip-vit-base-patch16
  mv-peft push runs/msrvtt --repo org/my-adapter --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mv-peft push`. There is none for the token, which a shell would keep in its history."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="folder that `mv-peft train` or PEFT wrote")
    parser.add_argument("--repo", required=True, metavar="NAME", help="repository; created if it does not exist")
    parser.add_argument("--subfolder", metavar="NAME", help="subfolder of the repository (default: its root)")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch; created if it does not exist (default: main)")
    parser.add_argument(
        "--base-model", metavar="NAME", help="name of the CLIP on the Hub, if the adapter was trained on a local copy"
    )
    parser.add_argument("--message", metavar="TEXT", help="commit message")
    parser.add_argument("--dry-run", action="store_true", help="show the files and the card, and do not ask the Hub")
