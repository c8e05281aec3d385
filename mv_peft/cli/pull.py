"""The work of `mv-peft pull`."""

from __future__ import annotations

import argparse

from ..hub import pull_adapter


def run(args: argparse.Namespace) -> int:
    """Download the adapter, and print where it is."""
    folder = pull_adapter(args.repo, args.output, subfolder=args.subfolder, revision=args.revision)
    print(f"adapter written to {folder}")
    return 0
