"""List the adapters in a repository on the Hub: their size, data, metrics and base model."""

from __future__ import annotations

import argparse

EXAMPLES = """examples:
  mv-peft list org/mv-adapter-clip-vit-base-patch16
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `mv-peft list`."""
    parser.add_argument("repo", metavar="REPO", help="repository on the Hub")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: main)")
