"""The work of `mv-peft push`."""

from __future__ import annotations

import argparse
import warnings
from dataclasses import replace

from ..hub import push_adapter
from ..hub.card import render_card
from ..hub.folder import read_folder
from ..hub.names import checked_repo_id, checked_subfolder, in_subfolder


def run(args: argparse.Namespace) -> int:
    """Upload the adapter, and print what was uploaded."""
    with warnings.catch_warnings(record=True) as remarks:
        warnings.simplefilter("always", UserWarning)
        if args.dry_run:
            ineffective = [name for name in ("private", "revision", "message") if getattr(args, name)]
            if ineffective:
                args.refuse(f"`--{ineffective[0]}` has no effect with `--dry-run`. Leave one of them out.")
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
    """Print the files that would be uploaded, and the card of a repository that holds nothing else."""
    subfolder = checked_subfolder(args.subfolder)
    checked_repo_id(args.repo)
    files, info = read_folder(args.folder, args.base_model)
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        print(f"{size:>12,}  {in_subfolder(subfolder, name)}")
    print("\n" + render_card(args.repo, [replace(info, subfolder=subfolder)]))
