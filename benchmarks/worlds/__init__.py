"""The rendered worlds of the benchmark by name. Each is a module with `draw` and `EVENTS`, imported on first use."""

from __future__ import annotations

import importlib
from functools import lru_cache
from types import ModuleType

from .base import SPLITS, ClipSet, Split

DATA = ("shapes", "digits", "babyai")

__all__ = ["DATA", "SPLITS", "ClipSet", "Split", "draw", "events"]


@lru_cache(maxsize=8)
def draw(data: str, split: Split, num_clips: int, *, paired: bool, num_frames: int, seed: int) -> ClipSet:
    """Draw clips of a world. They are cached; arguments and errors are those of the `draw` of the world's module."""
    return _world(data).draw(split, num_clips, paired=paired, num_frames=num_frames, seed=seed)


def events(data: str) -> tuple[str, ...]:
    """The kinds of clips that have a twin which shows the opposite order."""
    return _world(data).EVENTS


def _world(data: str) -> ModuleType:
    if data not in DATA:
        raise ValueError(f"Unknown data {data!r}. Choose from: {', '.join(DATA)}.")
    return importlib.import_module(f"{__name__}.{data}")
