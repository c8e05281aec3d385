"""What an adapter consists of on the Hub: the files that go up and come down, and nothing else of any folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import CheckpointError

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
PROCESSOR_FILES = (
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)
ADAPTER_FILES = (WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE, *PROCESSOR_FILES)
SETTINGS_FILES = (CONFIG_FILE, METRICS_FILE, *(name for name in PROCESSOR_FILES if name.endswith("config.json")))

MAX_JSON_BYTES = 2**20  # of a settings file; real ones have some kilobytes
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_PATH = re.compile(r"file://|~?/[^\s/]+/|~/|[A-Za-z]:[\\/]|\\\\")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def checked_subfolder(subfolder: str | None) -> str:
    """The subfolder of a repository, "" for its root.

    Raises:
        ValueError: If it is no plain path below the root.
    """
    if subfolder is None:
        return ""
    if not isinstance(subfolder, str) or not all(_NAME.fullmatch(part) for part in subfolder.split("/")):
        raise ValueError(
            f"`subfolder` must be names of letters, digits, '.', '_' and '-', as 'msrvtt', got {subfolder!r}."
        )
    return subfolder


def checked_repo_id(repo_id: str) -> str:
    """The name of a repository.

    Raises:
        ValueError: If it is none.
    """
    if not is_repo_id(repo_id):
        raise ValueError(f"A repository is named as 'organisation/name' or 'name', got {repo_id!r}.")
    return repo_id


def is_repo_id(name: object) -> bool:
    """Whether it can be the name of a repository on the Hub."""
    parts = name.split("/") if isinstance(name, str) else []
    return len(parts) in (1, 2) and all(_NAME.fullmatch(part) and ".." not in part for part in parts)


def in_subfolder(subfolder: str, name: str) -> str:
    """The path in the repository of a file of an adapter."""
    return f"{subfolder}/{name}" if subfolder else name


def read_settings(path: Path) -> dict[str, Any]:
    """A JSON object from a file that anybody may have written.

    Raises:
        CheckpointError: If it is large, or no JSON object.
    """
    size = path.stat().st_size
    if size > MAX_JSON_BYTES:
        raise CheckpointError(f"'{path.name}' has {size} bytes; no such file needs more than {MAX_JSON_BYTES}.")
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"'{path.name}' is not JSON: {type(error).__name__}. Save the adapter again.") from error
    if not isinstance(settings, dict):
        raise CheckpointError(f"'{path.name}' holds no JSON object but {type(settings).__name__}.")
    return settings


def private_strings(settings: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """What must not leave this machine, as (key, what it is): local paths and tokens."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            yield from private_strings(value, f"{where}.{key}" if where else str(key))
    elif isinstance(settings, (list, tuple)):
        for value in settings:
            yield from private_strings(value, where)
    elif isinstance(settings, str) and _TOKEN.search(settings):
        yield where, "a token"
    elif isinstance(settings, str) and _PATH.match(settings):
        yield where, f"the local path '{settings}'"
