"""Names on the Hub: of repositories, of subfolders in them, and of the files there."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def checked_subfolder(subfolder: str | None) -> str:
    """Return the subfolder of a repository, "" for its root.

    Raises:
        ValueError: If it is not a plain path below the root.
    """
    if subfolder is None:
        return ""
    if not isinstance(subfolder, str) or not all(_NAME.fullmatch(part) for part in subfolder.split("/")):
        raise ValueError(
            f"`subfolder` must be names of letters, digits, '.', '_' and '-', as 'msrvtt', got {subfolder!r}."
        )
    return subfolder


def checked_repo_id(repo_id: str) -> str:
    """Return the name of a repository.

    Raises:
        ValueError: If it cannot be one.
    """
    if not is_repo_id(repo_id):
        raise ValueError(f"A repository is named as 'organisation/name' or 'name', got {repo_id!r}.")
    return repo_id


def is_repo_id(name: object) -> bool:
    """Tell whether a name can be that of a repository on the Hub."""
    parts = name.split("/") if isinstance(name, str) else []
    return len(parts) in (1, 2) and all(_NAME.fullmatch(part) and ".." not in part for part in parts)


def is_hub_name(name: object) -> bool:
    """Tell whether a name can only mean a repository: it has an owner, and no folder here is called so.

    A name without an owner is what `mv-peft train` notes of a local folder; on the Hub anybody could own it.
    """
    return is_repo_id(name) and "/" in str(name) and not Path(str(name)).is_dir()


def in_subfolder(subfolder: str, name: str) -> str:
    """Return the path in a repository of a file in a subfolder."""
    return f"{subfolder}/{name}" if subfolder else name
