"""Checks of configuration fields; an error names the field and the value."""

from __future__ import annotations

import math
from typing import Any

from ...encoders.families import TOWERS

# Far above what makes sense, and far below what would fill a memory: a configuration may come from a stranger.
MAX_SIZES = {"bottleneck_dim": 1024, "calibration_dim": 1024, "num_layers": 64}
MAX_SIZE = 4096  # of every other field
MAX_ENTRIES = 1024  # of a list of layers or names


def is_int(value: Any) -> bool:
    """Whether a value is an integer, which True is not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_real(value: Any) -> bool:
    """Whether a value is a finite number, which True is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check_positive_int(name: str, value: Any) -> None:
    """Raise unless the value is an integer above 0 and of a size that makes sense."""
    if not is_int(value):
        raise TypeError(f"`{name}` must be an integer, got {value!r}.")
    if value < 1:
        raise ValueError(f"`{name}` must be positive, got {value}.")
    most = MAX_SIZES.get(name, MAX_SIZE)
    if value > most:
        raise ValueError(f"`{name}` must be at most {most}, got {value}.")


def check_flag(name: str, value: Any) -> None:
    """Raise unless the value is True or False."""
    if not isinstance(value, bool):
        raise TypeError(f"`{name}` must be True or False, got {value!r}.")


def check_number(name: str, value: Any) -> None:
    """Raise unless the value is a finite number."""
    if not is_real(value):
        raise ValueError(f"`{name}` must be a finite number, got {value!r}.")


def check_std(name: str, value: Any) -> None:
    """Raise unless the value is a standard deviation."""
    if not is_real(value) or value < 0:
        raise ValueError(f"`{name}` must be a number of at least 0, got {value!r}.")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raise unless the value is one of the choices."""
    if value not in choices:
        raise ValueError(f"Unknown `{name}` {value!r}. Choose from: {', '.join(choices)}.")


def check_towers(name: str, value: Any) -> None:
    """Raise if the value is a dict of anything but the two towers."""
    if isinstance(value, dict) and set(value) != set(TOWERS):
        raise ValueError(f"`{name}` must have the keys 'vision' and 'text', got {sorted(map(str, value))}.")


def check_entries(name: str, value: Any) -> None:
    """Raise if the value is a list of more entries than make sense."""
    if isinstance(value, (list, tuple, set, frozenset)) and len(value) > MAX_ENTRIES:
        raise ValueError(f"`{name}` must have at most {MAX_ENTRIES} entries, got {len(value)}.")


def checked_layers(value: Any) -> int | list[int] | None:
    """Give None, a layer, or a sorted list of layers; raise for anything else."""
    check_entries("layers_to_transform", value)
    many = isinstance(value, (list, tuple, set, frozenset))
    if value is not None and not all(is_int(layer) and layer >= 0 for layer in (value if many else [value])):
        raise ValueError(f"`layers_to_transform` must name layers from 0 up, got {value!r}.")
    return sorted(set(value)) if many else value


def checked_names(name: str, value: Any) -> list[str] | str | None:
    """Give names as a list, sorted where they came as a set, so that the saved configuration is always the same."""
    if value is None or (isinstance(value, str) and name != "modules_to_save"):
        return value
    check_entries(name, value)
    many = isinstance(value, (list, tuple, set, frozenset))
    if not many or not all(isinstance(item, str) for item in value):
        raise TypeError(f"`{name}` must hold names, got {value!r}.")
    return sorted(value) if isinstance(value, (set, frozenset)) else list(value)
