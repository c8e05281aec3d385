"""Download an adapter from the Hub into a folder, and nothing else of its repository.

`mv_peft.load` takes a name on the Hub as well. This command is for folders that are carried elsewhere.
"""

from __future__ import annotations

import argparse
from pathlib import Path

EXAMPLES = """examples:
  mv-peft pull org/mv-adapter-clip-vit-base-patch16 --subfolder msrvtt --output msrvtt-adapter
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mv-peft pull`."""
    parser.add_argument("repo", metavar="REPO", help="repository on the Hub")
    parser.add_argument("--subfolder", metavar="NAME", help="subfolder of the repository (default: its root)")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: main)")
    parser.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder, which must be new or empty")
