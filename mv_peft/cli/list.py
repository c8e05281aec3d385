"""The work of `mv-peft list`."""

from __future__ import annotations

import argparse

from ..hub import AdapterInfo, list_adapters

HEADER = ("subfolder", "method", "bytes", "data", "t2v R@1", "v2t R@1", "base model")


def run(args: argparse.Namespace) -> int:
    """Print a line for each adapter, with blanks for what is not known."""
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
