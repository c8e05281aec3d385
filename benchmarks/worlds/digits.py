"""Handwritten digits in motion and in sequence, from scikit-learn's `load_digits`: the smallest world, for tests.

Captions are like "a seven moves left" and "a seven comes before a three"; a twin is the reversal. There are few
captions, so they repeat. Of the 45 pairs of digits and the 20 pairs of a digit and an axis, a fifth is for testing and
a tenth for validation. No picture of a digit is in two splits.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from .base import SPLITS, ClipSet, Split, collect, endless, share

EVENTS = ("move", "order")
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
IMAGE_SIZE, DIGIT_SIZE = 32, 16


@dataclass(frozen=True)
class DigitClip:
    """One captioned clip: a digit that moves, or two that follow each other.

    Attributes:
        digits: One digit, or two.
        ways: The direction of the movement, and its opposite; empty for two digits.
        split: The split whose handwriting is shown.
        seed: Seed of the handwriting and of the position.
    """

    digits: tuple[int, ...]
    ways: tuple[str, ...] = ()
    split: Split = "train"
    seed: int = 0

    @property
    def kind(self) -> str:
        return "move" if self.ways else "order"

    @property
    def caption(self) -> str:
        names = [f"a {NAMES[digit]}" for digit in self.digits]
        return f"{names[0]} moves {self.ways[0]}" if self.ways else " comes before ".join(names)

    @property
    def scenario(self) -> str:
        return min(self.caption, self.twin(0).caption)

    def twin(self, seed: int) -> DigitClip:
        """The reversal in time, drawn from another seed."""
        if self.ways:
            return replace(self, ways=self.ways[::-1], seed=seed)
        return replace(self, digits=self.digits[::-1], seed=seed)


def scenarios(split: Split) -> dict[str, list[DigitClip]]:
    """The scenarios of a split by kind, each given by one of its two clips."""
    axes = (("left", "right"), ("up", "down"))
    moves = [DigitClip((digit,), axis, split) for digit, axis in itertools.product(range(10), axes)]
    orders = [DigitClip(pair, split=split) for pair in itertools.combinations(range(10), 2)]
    return {"move": share(moves, split), "order": share(orders, split)}


def draw(split: Split, num_clips: int, *, paired: bool, num_frames: int, seed: int) -> ClipSet:
    """Draw and render clips of both kinds in turn; arguments and errors are those of `shapes.draw`."""
    if paired and num_clips % 2:
        raise ValueError(f"`num_clips` must be even because clips come with their twins, got {num_clips}.")
    pool = scenarios(split)
    generator = np.random.default_rng([seed, SPLITS.index(split), paired])
    queues = {kind: endless(clips, generator) for kind, clips in pool.items()}
    clips: list[DigitClip] = []
    for kind in itertools.cycle(queues):
        if len(clips) >= num_clips:
            break
        one, other = (int(number) for number in generator.integers(2**31, size=2))
        clip = replace(next(queues[kind]), seed=one)
        pair = (clip, clip.twin(other))
        pair = pair if generator.random() < 0.5 else pair[::-1]
        clips += pair if paired else pair[:1]
    return collect(clips, partial(render, num_frames=num_frames), are_twins=paired)


def render(clip: DigitClip, num_frames: int) -> np.ndarray:
    """Render a clip: uint8 (frames, height, width, 3)."""
    generator = np.random.default_rng(clip.seed)
    # Drawn in the order of the digits, not of their appearance, so that a clip and its reversal show the same pictures.
    pictures = {digit: generator.choice(_handwriting(clip.split)[digit]) for digit in sorted(clip.digits)}
    room = IMAGE_SIZE - DIGIT_SIZE
    corner = generator.integers(room // 4, room - room // 4, size=2, endpoint=True)
    switch = generator.integers(num_frames // 3, num_frames - num_frames // 3, endpoint=True)
    frames = np.zeros((num_frames, IMAGE_SIZE, IMAGE_SIZE), dtype=np.uint8)
    for number, frame in enumerate(frames):
        place, digit = corner.copy(), clip.digits[0]
        if clip.ways:
            way = np.array(WAYS[clip.ways[0]])
            progress = number / max(1, num_frames - 1)
            along = round(room * (progress if way.sum() > 0 else 1 - progress))
            place = np.where(way != 0, along, corner)
        elif number >= switch:
            digit = clip.digits[1]
        x, y = place
        frame[y : y + DIGIT_SIZE, x : x + DIGIT_SIZE] = pictures[digit]
    return np.repeat(frames[..., None], 3, axis=-1)


@lru_cache
def _handwriting(split: Split) -> dict[int, np.ndarray]:
    """The pictures of each digit in a split, enlarged twice: uint8 (pictures, height, width)."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    pictures = np.rint(images.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8).repeat(2, axis=1).repeat(2, axis=2)
    return {digit: np.stack(share(pictures[labels == digit], split)) for digit in range(10)}
