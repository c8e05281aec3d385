"""A larger version of the demo's world: 8,640 captions, one coloured shape in each clip, drawn by `mv_peft.demo.world`.

Captions use the words of the demo but say more: they name size and place as well as what changes, movements go in any
direction, and colours come in sequences of three. Each of twelve combinations of shape and ground has 360 scenarios; a
clip and its reversal are one scenario. A fifth of the scenarios of each kind is for testing and a tenth for validation.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from mv_peft.demo.world import COLOURS, GROUNDS, OPPOSITES, PLACES, SHAPES, SIZES, Clip, Look, render_clip

from .base import SPLITS, ClipSet, Split, collect, endless, share

# Kinds whose twin is a reversal in time.
EVENTS = ("move", "turn", "order", "fade", "scale")
# How many of 40 clips are of each kind.
MIX = {"move": 11, "turn": 9, "order": 8, "fade": 6, "scale": 3, "still": 3}
IMAGE_SIZE = 32


@dataclass(frozen=True)
class ShapeClip:
    """One captioned clip: an object that passes from one look to the next.

    Attributes:
        kind: A key of `MIX`.
        shape: A key of `SHAPES`.
        ground: A key of `GROUNDS`.
        looks: Two looks, or three for the kind "order".
        seed: Seed of everything that the caption leaves open.
    """

    kind: str
    shape: str
    ground: str
    looks: tuple[Look, ...]
    seed: int = 0

    @property
    def caption(self) -> str:
        """The sentence that describes the clip, of at most 13 words."""
        first, last = self.looks[0], self.looks[-1]
        event = {
            "move": f"a {first.size} {first.colour} {self.shape} moves from {first.place} to {last.place}",
            "turn": f"a {first.size} {self.shape} turns from {first.colour} to {last.colour} at the {first.place}",
            "order": f"a {first.size} {self.shape} turns from {' to '.join(look.colour for look in self.looks)}",
            "fade": f"a {first.size} {first.colour} {self.shape} {'appears' if last.visible else 'vanishes'} "
            f"at the {first.place}",
            "scale": f"a {first.colour} {self.shape} {'grows' if last.size == 'large' else 'shrinks'} "
            f"at the {first.place}",
            "still": f"a {first.size} {first.colour} {self.shape} rests at the {first.place}",
        }[self.kind]
        return f"{event} over {self.ground}"

    @property
    def scenario(self) -> str:
        """The caption of this clip or of its reversal, whichever sorts first."""
        reversal = replace(self, looks=self.looks[::-1])
        return min(self.caption, reversal.caption)

    def twin(self, seed: int) -> ShapeClip:
        """The reversal in time from another seed; of a still, one of the opposite size at the opposite place."""
        if self.kind != "still":
            return replace(self, looks=self.looks[::-1], seed=seed)
        look = self.looks[0]
        opposite = replace(look, place=OPPOSITES[look.place], size=OPPOSITES[look.size])
        return replace(self, looks=(opposite, opposite), seed=seed)


def scenarios(split: Split) -> dict[str, list[ShapeClip]]:
    """The scenarios of a split by kind, each given by one of its two clips."""
    changes = _changes()
    return {
        kind: share(
            [
                ShapeClip(kind, shape, ground, looks)
                for shape, ground, looks in itertools.product(SHAPES, GROUNDS, changes[kind])
            ],
            split,
        )
        for kind in MIX
    }


def draw(split: Split, num_clips: int, *, paired: bool, num_frames: int, seed: int) -> ClipSet:
    """Draw and render clips of evenly mixed kinds. No caption of a kind comes twice before all have come once.

    Args:
        split: The split whose scenarios are drawn.
        num_clips: Number of clips; even if `paired`.
        paired: Whether each clip is followed by its twin. Otherwise clips are drawn one by one.
        num_frames: Frames of a clip; even.
        seed: Seed of the draw and of the clips.

    Raises:
        ValueError: If `num_clips` is odd although clips come with their twins, or if `num_frames` is odd.
    """
    if paired and num_clips % 2:
        raise ValueError(f"`num_clips` must be even because clips come with their twins, got {num_clips}.")
    if num_frames % 2:
        raise ValueError(f"`num_frames` must be even because a sequence of colours has two halves, got {num_frames}.")
    pool = scenarios(split)
    generator = np.random.default_rng([seed, SPLITS.index(split), paired])
    if not paired:
        pool = {kind: [each for clip in clips for each in (clip, clip.twin(0))] for kind, clips in pool.items()}
    queues = {kind: endless(clips, generator) for kind, clips in pool.items()}
    clips: list[ShapeClip] = []
    for kind in itertools.cycle(_turns()):
        if len(clips) >= num_clips:
            break
        one, other = (int(number) for number in generator.integers(2**31, size=2))
        clip = replace(next(queues[kind]), seed=one)
        pair = (clip, clip.twin(other))
        clips += (pair if generator.random() < 0.5 else pair[::-1]) if paired else pair[:1]
    return collect(clips, partial(render, num_frames=num_frames), are_twins=paired)


def render(clip: ShapeClip, num_frames: int) -> np.ndarray:
    """Render a clip: uint8 (frames, height, width, 3)."""
    changes = list(itertools.pairwise(clip.looks))
    parts = [
        render_clip(Clip(clip.shape, clip.ground, start, end, clip.seed), num_frames // len(changes), IMAGE_SIZE)
        for start, end in changes
    ]
    return np.concatenate(parts)


def _turns() -> list[str]:
    """The kinds of 40 clips, spread so that any stretch of them is mixed."""
    places = [((turn + 0.5) / number, kind) for kind, number in MIX.items() for turn in range(number)]
    return [kind for _, kind in sorted(places)]


def _changes() -> dict[str, list[tuple[Look, ...]]]:
    """The looks of every clip by kind, without those of its twin."""
    looks = [Look(*which) for which in itertools.product(COLOURS, PLACES, SIZES)]
    small = [look for look in looks if look.size == "small"]
    orders = [order for order in itertools.permutations(COLOURS, 3) if order < order[::-1]]
    return {
        "move": [
            (Look(colour, start, size), Look(colour, end, size))
            for colour, size in itertools.product(COLOURS, SIZES)
            for start, end in itertools.combinations(PLACES, 2)
        ],
        "turn": [
            (Look(start, place, size), Look(end, place, size))
            for place, size in itertools.product(PLACES, SIZES)
            for start, end in itertools.combinations(COLOURS, 2)
        ],
        "order": [
            tuple(Look(colour, size=size) for colour in order) for order, size in itertools.product(orders, SIZES)
        ],
        "fade": [(replace(look, visible=False), look) for look in looks],
        "scale": [(look, replace(look, size="large")) for look in small],
        "still": [(look, look) for look in small],
    }
