"""Copies an adapter from the Hub into a folder: its own files, and nothing else of the repository.

`mv_peft.load` takes a name on the Hub as well: this is for folders to be carried elsewhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "copy an adapter from the Hub into a folder"
EXAMPLES = """examples:
  mv-peft pull org/mv-adapter-clip-vit-base-patch16 --subfolder msrvtt --output msrvtt-adapter
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mv-peft pull`."""
    parser.add_argument("repo", metavar="REPO", help="repository on the Hub")
    parser.add_argument("--subfolder", metavar="NAME", help="where in the repository (default: its root)")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: main)")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="a folder that is new or empty")


def run(args: argparse.Namespace) -> int:
    """Pulls, and says where to."""
    from ..hub import pull_adapter

    folder = pull_adapter(args.repo, args.output, subfolder=args.subfolder, revision=args.revision)
    print(f"adapter written to {folder}")
    return 0
