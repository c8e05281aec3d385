"""Files and folders that are there whole or not at all, whenever the process that writes them is killed.

It stands beside `errors`, below every room, because the frame cache of `video/` writes this way too.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to, and move that file to `path` if the block ends without an error.

    The temporary file has the suffix of `path`, since some writers choose the format by it. A killed process leaves it
    behind; the next write to `path` replaces it.
    """
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside `path` to write to, and move it to `path` if the block ends without an error.

    Where `path` is a folder that holds something, its files are replaced one by one and others stay.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".mv-peft-", dir=path.parent) as temporary:
        whole = Path(temporary, path.name)
        whole.mkdir()
        yield whole
        if path.is_dir() and any(path.iterdir()):
            for file in whole.iterdir():
                os.replace(file, path / file.name)
            return
        if path.is_dir():
            path.rmdir()
        whole.rename(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
