"""Captioned clips in memory, and the helpers that every world draws them with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from tqdm import tqdm

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
_SHARES = {"test": (0.0, 0.2), "validation": (0.2, 0.3), "train": (0.3, 1.0)}
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False, repr=False)
class ClipSet:
    """Captioned clips.

    Attributes:
        captions: One for each clip. All clips with the same caption are positives of it.
        kinds: What happens in each clip, in one word.
        scenarios: What each clip shows apart from the order of its frames; the same for a clip and its reversal.
        frames: uint8 (clips, frames, height, width, 3).
        are_twins: Whether clips 2i and 2i + 1 are twins.
    """

    captions: tuple[str, ...]
    kinds: tuple[str, ...]
    scenarios: tuple[str, ...]
    frames: np.ndarray
    are_twins: bool

    def __post_init__(self) -> None:
        lengths = {len(self.captions), len(self.kinds), len(self.scenarios), len(self.frames)}
        assert len(lengths) == 1, "each clip needs a caption, a kind and a scenario"
        assert not (self.are_twins and len(self) % 2), "twins come in pairs"

    def __len__(self) -> int:
        return len(self.captions)

    def __repr__(self) -> str:
        return f"ClipSet({len(self)} clips, {len(set(self.captions))} captions, frames {self.frames.shape[1:]})"


def share(items: Sequence[Item], split: Split) -> list[Item]:
    """Select the items of a split: a tenth for validation, a fifth for testing, the rest for training; always the same.

    Raises:
        ValueError: If `split` is unknown.
    """
    if split not in SPLITS:
        raise ValueError(f"Unknown split {split!r}. Choose from: {', '.join(SPLITS)}.")
    order = np.random.default_rng(2023).permutation(len(items))
    first, last = (round(bound * len(items)) for bound in _SHARES[split])
    return [items[index] for index in sorted(order[first:last])]


def endless(items: Sequence[Item], generator: np.random.Generator) -> Iterator[Item]:
    """Yield items in random order without end, none twice before all have come once."""
    while True:
        yield from (items[index] for index in generator.permutation(len(items)))


def collect(clips: Sequence[Any], render: Callable[[Any], np.ndarray], *, are_twins: bool) -> ClipSet:
    """Render clips, which have the attributes `caption`, `kind` and `scenario`.

    Args:
        clips: The clips.
        render: Draws one clip, uint8 (frames, height, width, 3).
        are_twins: As for `ClipSet`.
    """
    bar = tqdm(clips, desc="rendering", unit="clip", disable=None)
    return ClipSet(
        captions=tuple(clip.caption for clip in clips),
        kinds=tuple(clip.kind for clip in clips),
        scenarios=tuple(clip.scenario for clip in clips),
        frames=np.stack([render(clip) for clip in bar]),
        are_twins=are_twins,
    )
