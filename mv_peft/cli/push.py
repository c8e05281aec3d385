"""Puts an adapter folder on the Hub: weights, configuration, metrics, the processor's files and a card, in one commit.

Nothing else of the folder goes up. The token is the one of `hf auth login`, or HF_TOKEN.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path

HELP = "put an adapter on the Hub, with a model card"
EXAMPLES = """examples:
  mv-peft push runs/msrvtt --repo org/mv-adapter-clip-vit-base-patch16 --subfolder msrvtt
  mv-peft push runs/msrvtt --repo org/my-adapter --private --base-model openai/clip-vit-base-patch16
  mv-peft push runs/msrvtt --repo org/my-adapter --dry-run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `mv-peft push`; there is none for the token, which would stand in the shell's history."""
    parser.add_argument("folder", metavar="DIR", type=Path, help="what `mv-peft train` or PEFT wrote")
    parser.add_argument("--repo", required=True, metavar="NAME", help="repository; made if it does not exist")
    parser.add_argument("--subfolder", metavar="NAME", help="where in the repository (default: its root)")
    parser.add_argument("--private", action="store_true", default=None, help="make a new repository private")
    parser.add_argument("--revision", metavar="BRANCH", help="branch; made if it does not exist (default: main)")
    parser.add_argument(
        "--base-model", metavar="NAME", help="the CLIP's name on the Hub, if the adapter has a folder's"
    )
    parser.add_argument("--message", metavar="TEXT", help="of the commit")
    parser.add_argument("--dry-run", action="store_true", help="show files and card, and ask the Hub nothing")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Pushes, and prints what went up."""
    from ..hub import push_adapter

    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        if args.dry_run:
            useless = [name for name in ("private", "revision", "message") if getattr(args, name)]
            if useless:
                args.refuse(f"`--{useless[0]}` has no effect with `--dry-run`. Leave one of them out.")
            _show(args)
        else:
            commit = push_adapter(
                args.folder,
                args.repo,
                subfolder=args.subfolder,
                private=args.private,
                revision=args.revision,
                base_model=args.base_model,
                commit_message=args.message,
            )
            print(f"pushed: {commit.commit_url}")
    for remark in remarks:
        if issubclass(remark.category, UserWarning):
            print(f"note: {remark.message}")
    return 0


def _show(args: argparse.Namespace) -> None:
    """The files that would go up, and the card of a repository that holds nothing else."""
    from dataclasses import replace

    from ..hub.card import render_card
    from ..hub.folder import read_folder
    from ..hub.names import checked_repo_id, checked_subfolder, in_subfolder

    place = checked_subfolder(args.subfolder)
    checked_repo_id(args.repo)
    files, info = read_folder(args.folder, args.base_model)
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        print(f"{size:>12,}  {in_subfolder(place, name)}")
    print("\n" + render_card(args.repo, [replace(info, subfolder=place)]))
