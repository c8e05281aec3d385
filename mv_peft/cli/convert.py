"""The work of `mv-peft convert`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..atomic import atomic_folder, atomic_write
from ..tuners.mv_adapter.conversion import (
    adapter_from_official,
    official_from_adapter,
    write_adapter,
    write_official,
)
from .adapter_config import mv_adapter_config

OFFICIAL_SUFFIXES = (".safetensors", ".pth")


def run(args: argparse.Namespace) -> int:
    """Convert, and print what became of the checkpoint."""
    return _to_official(args) if args.to_official else _from_official(args)


def _from_official(args: argparse.Namespace) -> int:
    if Path(args.source).is_dir():
        args.refuse(f"'{args.source}' is a folder. Give a checkpoint file, or `--to-official` for an adapter folder.")
    config = mv_adapter_config(args)
    _check_output(args.output, args.overwrite, is_folder=True)
    model, report = adapter_from_official(args.source, args.model, config)
    with atomic_folder(args.output) as folder:
        write_adapter(model, folder)
    print(f"{report}\nadapter written to {args.output}")
    return 0


def _to_official(args: argparse.Namespace) -> int:
    if args.preset or args.settings:
        args.refuse(
            "`--preset` and `--set` have no effect with `--to-official`: an adapter has its settings. Leave them out."
        )
    if args.output.suffix not in OFFICIAL_SUFFIXES:
        args.refuse(f"`--output` must end in .safetensors or .pth with `--to-official`, got '{args.output}'.")
    _check_output(args.output, args.overwrite, is_folder=False)
    state = official_from_adapter(args.source, args.model)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(args.output) as file:
        write_official(state, file)
    print(f"{len(state)} tensors copied\nofficial checkpoint written to {args.output}")
    return 0


def _check_output(output: Path, overwrite: bool, *, is_folder: bool) -> None:
    if output.exists() and output.is_dir() != is_folder:
        raise FileExistsError(f"'{output}' is a {'file' if is_folder else 'folder'}. Choose another output.")
    occupied = any(output.iterdir()) if output.is_dir() else output.exists()
    if occupied and not overwrite:
        raise FileExistsError(f"'{output}' exists. Choose another output, or replace it with `--overwrite`.")
