"""What must not leave this machine: local paths and tokens in the settings that go to the Hub."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_PATH = re.compile(r"file://|~?/[^\s/]+/|~/|[A-Za-z]:[\\/]|\\\\")
_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}")


def private_strings(content: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Find local paths and tokens in JSON, among its keys as well as its values.

    Args:
        content: An object, a list or a value.
        where: The key under which it stands, for the result.

    Yields:
        The key under which a private string stands, and what it is. A token is not repeated.
    """
    if isinstance(content, dict):
        for key, value in content.items():
            yield from _judge(str(key), where)
            yield from private_strings(value, f"{where}.{key}" if where else str(key))
    elif isinstance(content, (list, tuple)):
        for value in content:
            yield from private_strings(value, where)
    elif isinstance(content, str):
        yield from _judge(content, where)


def _judge(text: str, where: str) -> Iterator[tuple[str, str]]:
    if _TOKEN.search(text):
        yield where, "a token"
    elif _PATH.match(text):
        yield where, f"the local path '{text}'"
