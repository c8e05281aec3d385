"""Lists the adapters in a repository on the Hub: where, how large, trained on what, how good, for which CLIP."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..hub import AdapterInfo

HELP = "list the adapters in a repository on the Hub"
EXAMPLES = """examples:
  mv-peft list org/mv-adapter-clip-vit-base-patch16
"""
HEADER = ("subfolder", "method", "bytes", "data", "t2v R@1", "v2t R@1", "base model")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mv-peft list`."""
    parser.add_argument("repo", metavar="REPO", help="repository on the Hub")
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit (default: main)")


def run(args: argparse.Namespace) -> int:
    """Prints a line for each adapter; what is not known stays empty."""
    from ..hub import list_adapters

    adapters = list_adapters(args.repo, revision=args.revision)
    if not adapters:
        print(f"'{args.repo}' holds no adapter.")
        return 0
    rows = [HEADER, *map(_row, adapters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(adapter: AdapterInfo) -> tuple[str, ...]:
    data, metrics = adapter.metrics_file.data, adapter.metrics_file.metrics
    name = " ".join(fact for fact in (data.dataset, data.split) if fact is not None)
    base = adapter.base_model or ""
    cells = (
        adapter.subfolder or ".",
        adapter.method,
        "no safetensors" if adapter.num_bytes is None else f"{adapter.num_bytes:,}",
        name + (" (synthetic)" if data.synthetic else ""),
        *(f"{metrics[figure]:.1f}" if figure in metrics else "" for figure in ("t2v R@1", "v2t R@1")),
        base + (f" @ {adapter.base_revision}" if base and adapter.base_revision else ""),
    )
    return tuple("".join(letter for letter in cell if letter.isprintable()) for cell in cells)
