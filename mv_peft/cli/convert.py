"""Converts a checkpoint of the authors' program into an adapter folder, or an adapter folder back.

A checkpoint does not say `num_heads` and `scaling`, and `tying_position` only in part: give those of the run.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..atomic import atomic_folder, atomic_write
from .config_options import add_config_options, mv_adapter_config

HELP = "an official checkpoint into an adapter folder, and back"
EXAMPLES = """examples:
  mv-peft convert best.pth --model openai/clip-vit-base-patch16 --preset msrvtt \\
      --set tying_position=down_out --output msrvtt-adapter
  mv-peft convert best.pth --model ./clip --set num_heads=4 --set 'tying_layers=[[2,0],[3,1]]' --output adapter
  mv-peft convert msrvtt-adapter --model ./clip --to-official --output msrvtt.safetensors
"""
OFFICIAL_SUFFIXES = (".safetensors", ".pth")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mv-peft convert`."""
    parser.add_argument(
        "source", metavar="CHECKPOINT", help="a .pth or .safetensors file; an adapter folder to go back"
    )
    parser.add_argument("--model", required=True, metavar="NAME_OR_DIR", help="the CLIP; only its config.json is read")
    add_config_options(parser, "start from a published setting, not from the default one")
    parser.add_argument(
        "--to-official", action="store_true", help="convert an adapter folder into an official checkpoint"
    )
    parser.add_argument("--output", required=True, type=Path, metavar="PATH", help="a folder; a file to go back")
    parser.add_argument("--overwrite", action="store_true", help="replace what is at the output")


def run(args: argparse.Namespace) -> int:
    """Converts, and prints what became of the checkpoint."""
    return _to_official(args) if args.to_official else _from_official(args)


def _from_official(args: argparse.Namespace) -> int:
    from ..tuners.mv_adapter.conversion import adapter_from_official, write_adapter

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
    from ..tuners.mv_adapter.conversion import official_from_adapter, write_official

    if args.preset or args.settings:
        args.refuse("`--preset` and `--set` have no effect with `--to-official`: the adapter has its own settings.")
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
        raise FileExistsError(f"'{output}' exists. Choose another output, or replace it by `--overwrite`.")
