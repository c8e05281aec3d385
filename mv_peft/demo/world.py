"""A rendered world of captioned clips in which the order of frames carries meaning.

A clip shows one object over a plain ground. It is two looks of that object, and time goes from the first to the
second: swapping the two gives the reversed clip, and its caption is the opposite one. Of all combinations of
attributes some are held out, so that a test caption is never seen in training. Everything else about a clip (where
exactly, how large, when) is drawn from its seed: the same clip with the same seed has the same pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "validation", "test"]

# A shape is a star: its number of corners, and the radius of the dents between them where corners lie at radius 1.
SHAPES = {"circle": (48, 1.0), "triangle": (3, 0.5), "square": (4, math.sqrt(0.5)), "star": (5, 0.45)}
COLOURS = {
    "red": (0.90, 0.16, 0.18),
    "yellow": (0.98, 0.82, 0.12),
    "green": (0.12, 0.66, 0.30),
    "blue": (0.14, 0.36, 0.92),
    "purple": (0.62, 0.22, 0.78),
}
GROUNDS = {"snow": (0.95, 0.96, 0.98), "sand": (0.80, 0.70, 0.56), "slate": (0.20, 0.23, 0.28)}
# Centres in units of the picture, x to the right and y down; None leaves a coordinate to the clip's seed.
PLACES = {
    "left": (0.25, None),
    "right": (0.75, None),
    "top": (None, 0.25),
    "bottom": (None, 0.75),
    "middle": (0.5, 0.5),
}
SIZES = {"small": 0.09, "large": 0.17}  # radius of the disc of equal area, in units of the picture
OPPOSITES: dict[str | None, str] = {
    "left": "right",
    "right": "left",
    "top": "bottom",
    "bottom": "top",
    "middle": "middle",
    "small": "large",
    "large": "small",
}
KINDS = ("move", "turn", "fade", "scale", "still")


@dataclass(frozen=True)
class Look:
    """What a caption may say of the object at one moment; `None` is left open, and drawn from the clip's seed."""

    colour: str
    place: str | None = None
    size: str | None = None
    visible: bool = True


@dataclass(frozen=True)
class Clip:
    """One captioned clip: an object over a ground, changing from one look to another.

    Attributes:
        shape: A key of `SHAPES`.
        ground: A key of `GROUNDS`.
        start: The look at the first frame.
        end: The look at the last frame; equal to `start` in a still clip. At most one attribute differs.
        seed: Draws what the caption leaves open.
    """

    shape: str
    ground: str
    start: Look
    end: Look
    seed: int = 0

    @property
    def kind(self) -> str:
        """What changes: "move", "turn" (the colour), "fade", "scale", or nothing, "still"."""
        changes = {"place": "move", "colour": "turn", "visible": "fade", "size": "scale"}
        changed = [kind for name, kind in changes.items() if getattr(self.start, name) != getattr(self.end, name)]
        assert len(changed) <= 1, "a caption has words for one change only"
        return changed[0] if changed else "still"

    @property
    def caption(self) -> str:
        """The sentence that describes the clip, of at most ten words."""
        thing = f"a {self.start.colour} {self.shape}"
        event = {
            "move": f"{thing} moves from {self.start.place} to {self.end.place}",
            "turn": f"a {self.shape} turns from {self.start.colour} to {self.end.colour}",
            "fade": f"{thing} {'appears' if self.end.visible else 'vanishes'}",
            "scale": f"{thing} {'grows' if self.end.size == 'large' else 'shrinks'}",
            "still": f"a {self.start.size} {self.start.colour} {self.shape} rests at the {self.start.place}",
        }[self.kind]
        return f"{event} over {self.ground}"

    def twin(self, seed: int) -> Clip:
        """The clip of the opposite caption, drawn from its own seed.

        Of an event it is the reversal in time, which no single frame tells apart. A still clip has no reversal; its
        twin is a still of the opposite size at the opposite place.
        """
        if self.kind != "still":
            return replace(self, start=self.end, end=self.start, seed=seed)
        look = replace(self.start, place=OPPOSITES[self.start.place], size=OPPOSITES[self.start.size])
        return replace(self, start=look, end=look, seed=seed)


def scenarios(split: Split) -> dict[str, list[Clip]]:
    """Every combination of attributes that belongs to a split, by kind; a clip stands for itself and its twin.

    A tenth of each kind is for validation and a fifth for testing, always the same ones.

    Raises:
        ValueError: If `split` is unknown.
    """
    if split not in get_args(Split):
        raise ValueError(f"Unknown split {split!r}. Choose from: {', '.join(get_args(Split))}.")
    every: dict[str, list[Clip]] = {kind: [] for kind in KINDS}
    for (shape, ground), (start, end) in itertools.product(itertools.product(SHAPES, GROUNDS), _changes()):
        clip = Clip(shape, ground, start, end)
        every[clip.kind].append(clip)
    chosen = {}
    for kind, clips in every.items():
        order = np.random.default_rng(2023).permutation(len(clips))
        bounds = {"test": (0.0, 0.2), "validation": (0.2, 0.3), "train": (0.3, 1.0)}[split]
        first, last = (round(bound * len(clips)) for bound in bounds)
        chosen[kind] = [clips[index] for index in sorted(order[first:last])]
    return chosen


def _changes() -> Iterator[tuple[Look, Look]]:
    """The first and the last look of every event and every still, one of each pair of twins."""
    yield from ((Look(one), Look(other)) for one, other in itertools.combinations(COLOURS, 2))
    for look in map(Look, COLOURS):
        yield replace(look, place="left"), replace(look, place="right")
        yield replace(look, place="top"), replace(look, place="bottom")
        yield replace(look, visible=False), look
        yield replace(look, size="small"), replace(look, size="large")
        for place in PLACES:
            still = replace(look, place=place, size="small")
            yield still, still


def sample_pairs(split: Split, num_pairs: int, seed: int) -> list[tuple[Clip, Clip]]:
    """Draws pairs of a clip and its twin, the kinds in turn; no caption comes twice before all have come once.

    Args:
        split: Which combinations of attributes to draw from.
        num_pairs: How many pairs.
        seed: Of the draw, and of the clips' own seeds.
    """
    generator = np.random.default_rng([seed, get_args(Split).index(split)])
    pool = scenarios(split)

    def endless() -> Iterator[Clip]:
        while True:
            queues = [[clips[index] for index in generator.permutation(len(clips))] for clips in pool.values()]
            yield from (clip for turn in itertools.zip_longest(*queues) for clip in turn if clip is not None)

    pairs = []
    for clip in itertools.islice(endless(), num_pairs):
        clip_seed, twin_seed = (int(seed) for seed in generator.integers(2**31, size=2))
        pair = (replace(clip, seed=clip_seed), clip.twin(twin_seed))
        pairs.append(pair if generator.random() < 0.5 else pair[::-1])
    return pairs


def render_clip(clip: Clip, num_frames: int = 36, size: int = 128) -> np.ndarray:
    """Draws a clip.

    Args:
        clip: What to draw.
        num_frames: Frames, evenly spaced from the clip's beginning to its end.
        size: Height and width in pixels.

    Returns:
        Frames of shape (frames, height, width, 3), uint8, RGB.
    """
    generator = np.random.default_rng(clip.seed)
    open_place = generator.uniform(0.25, 0.75, size=2)
    wobble = generator.uniform(-0.04, 0.04, size=2)
    open_radius = generator.uniform(0.10, 0.16)
    stretch = generator.uniform(0.94, 1.08)
    tilt, sway = generator.uniform(-0.25, 0.25), generator.uniform(0, 2 * math.pi)
    gradual = clip.kind in ("move", "scale")
    duration = generator.uniform(0.6, 0.95) if gradual else generator.uniform(0.1, 0.2)
    begin = generator.uniform(0, 1 - duration) if gradual else generator.uniform(0.3, 0.7) - duration / 2

    def pose(look: Look) -> np.ndarray:
        """x, y, radius, opacity and the colour, as one vector that can be interpolated."""
        named = np.array(PLACES[look.place] if look.place else (None, None), dtype=float)  # NaN where left open
        x, y = np.where(np.isnan(named), open_place, named + wobble)
        radius = SIZES[look.size] * stretch if look.size else open_radius
        return np.array([x, y, radius, look.visible, *COLOURS[look.colour]])

    time = np.linspace(0, 1, num_frames)
    progress = np.clip((time - begin) / duration, 0, 1)
    progress = progress * progress * (3 - 2 * progress)  # smooth at both ends
    start, end = pose(clip.start), pose(clip.end)
    poses = start + progress[:, None] * (end - start)
    angles = tilt + 0.12 * np.sin(2 * math.pi * time + sway)  # a gentle rocking: nothing in this world is frozen
    return _draw(clip.shape, clip.ground, poses, angles, size)


def long_exposure(frames: np.ndarray) -> np.ndarray:
    """One still that shows a whole clip: what is past has faded, what is last is clearest.

    Args:
        frames: (frames, height, width, 3), uint8.

    Returns:
        (height, width, 3), uint8.
    """
    weights = np.exp(np.linspace(-2, 0, len(frames)))
    return np.rint(np.tensordot(weights / weights.sum(), frames, axes=1)).astype(np.uint8)


def _draw(shape: str, ground: str, poses: np.ndarray, angles: np.ndarray, size: int) -> np.ndarray:
    """Draws the object in each pose (frames, 7) at each angle (frames,) with a soft shadow: (frames, size, size, 3)."""
    x, y, radius, opacity = poses[:, :4, None, None].astype(np.float32).swapaxes(0, 1)
    across = ((np.arange(size, dtype=np.float32) + 0.5) / size)[None, None, :]
    down = across.swapaxes(1, 2)

    def cover(x: np.ndarray, y: np.ndarray, softness: float) -> np.ndarray:
        distance = _distance(shape, across - x, down - y, radius, angles[:, None, None].astype(np.float32))
        return np.clip(0.5 - distance / softness, 0, 1) * opacity

    picture = np.asarray(GROUNDS[ground], dtype=np.float32) * (1.04 - 0.10 * down[..., None])  # lit from above
    shadow = cover(x + 0.012, y + 0.03, softness=0.08)[..., None]
    picture = picture * (1 - 0.3 * shadow)
    body = cover(x, y, softness=1 / size)[..., None]
    colour = poses[:, None, None, 4:].astype(np.float32)
    picture = picture + body * (colour - picture)
    return np.rint(picture.clip(0, 1) * 255).astype(np.uint8)


def _distance(shape: str, x: np.ndarray, y: np.ndarray, radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, negative inside, of a shape whose area is that of a disc of the given radius.

    By symmetry only one edge is needed, from the corner (reach, 0) to the dent at half the angle between two corners.
    """
    corners, dent = SHAPES[shape]
    half = math.pi / corners
    reach = radius * math.sqrt(math.pi / (corners * dent * math.sin(half)))
    upright = half if corners % 2 == 0 else 0  # a square stands on a side, a star points up
    turned = np.arctan2(x, -y) - angle + upright
    folded = np.abs((turned + half) % (2 * half) - half)
    distance = np.hypot(x, y)
    normal_x, normal_y = dent * math.sin(half), 1 - dent * math.cos(half)
    length = math.hypot(normal_x, normal_y)
    return ((distance * np.cos(folded) - reach) * normal_x + distance * np.sin(folded) * normal_y) / length
