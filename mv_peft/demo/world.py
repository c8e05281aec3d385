"""A rendered world of captioned clips in which the order of frames carries meaning.

A clip shows one object on a plain ground, which changes from a first look to a second. Swapping the two looks gives the
reversed clip, which has the opposite caption. Some combinations of attributes are held out, so that test captions never
occur in training. Everything else about a clip (exact place, size, time) is drawn from its seed, so that the same clip
with the same seed has the same pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Split = Literal["train", "validation", "test"]

# Every shape is a star, given by its number of corners and the radius of the dents between corners of radius 1.
SHAPES = {"circle": (48, 1.0), "triangle": (3, 0.5), "square": (4, math.sqrt(0.5)), "star": (5, 0.45)}
COLOURS = {
    "red": (0.90, 0.16, 0.18),
    "yellow": (0.98, 0.82, 0.12),
    "green": (0.12, 0.66, 0.30),
    "blue": (0.14, 0.36, 0.92),
    "purple": (0.62, 0.22, 0.78),
}
GROUNDS = {"snow": (0.95, 0.96, 0.98), "sand": (0.80, 0.70, 0.56), "slate": (0.20, 0.23, 0.28)}
# Centres in units of the image, x to the right and y down; None means that the clip's seed draws the coordinate.
PLACES = {
    "left": (0.25, None),
    "right": (0.75, None),
    "top": (None, 0.25),
    "bottom": (None, 0.75),
    "middle": (0.5, 0.5),
}
SIZES = {"small": 0.09, "large": 0.17}  # radius of the disc of equal area, in units of the image
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
    """The appearance of the object at one time; what is None is not in the caption, and the clip's seed draws it."""

    colour: str
    place: str | None = None
    size: str | None = None
    visible: bool = True


@dataclass(frozen=True)
class Clip:
    """A captioned clip of an object that changes from one look to another.

    Attributes:
        shape: A key of `SHAPES`.
        ground: A key of `GROUNDS`.
        start: The look in the first frame.
        end: The look in the last frame, which equals `start` in a still clip. At most one attribute differs.
        seed: Seed that draws what the caption does not say.
    """

    shape: str
    ground: str
    start: Look
    end: Look
    seed: int = 0

    @property
    def kind(self) -> str:
        """The kind of change: "move", "turn" (of the colour), "fade", "scale", or "still" where nothing changes."""
        changes = {"place": "move", "colour": "turn", "visible": "fade", "size": "scale"}
        changed = [kind for name, kind in changes.items() if getattr(self.start, name) != getattr(self.end, name)]
        assert len(changed) <= 1, "a caption has words for one change only"
        return changed[0] if changed else "still"

    @property
    def caption(self) -> str:
        """A sentence of at most ten words that describes the clip."""
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
        """Return the clip with the opposite caption, drawn from another seed.

        The twin of an event is its reversal in time, which no single frame distinguishes. A still clip has no reversal;
        its twin is a still clip of the opposite size at the opposite place.
        """
        if self.kind != "still":
            return replace(self, start=self.end, end=self.start, seed=seed)
        look = replace(self.start, place=OPPOSITES[self.start.place], size=OPPOSITES[self.start.size])
        return replace(self, start=look, end=look, seed=seed)


def scenarios(split: Split) -> dict[str, list[Clip]]:
    """Return every combination of attributes in a split, by kind; each clip represents itself and its twin.

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
    """Yield the first and the last look of every event and every still clip, one of each pair of twins."""
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
    """Draw pairs of a clip and its twin, of each kind in turn; no caption is repeated before all have been drawn.

    Args:
        split: Split whose combinations of attributes to draw from.
        num_pairs: How many pairs.
        seed: Seed of the draw, and of the seeds of the clips.
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
    """Render a clip.

    Args:
        clip: The clip.
        num_frames: Number of frames, evenly spaced from the clip's beginning to its end.
        size: Height and width in pixels.

    Returns:
        RGB frames, uint8, shape (frames, height, width, 3).
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
        """Return x, y, radius, opacity and colour as one vector, which can be interpolated."""
        named = np.array(PLACES[look.place] if look.place else (None, None), dtype=float)  # NaN where left open
        x, y = np.where(np.isnan(named), open_place, named + wobble)
        radius = SIZES[look.size] * stretch if look.size else open_radius
        return np.array([x, y, radius, look.visible, *COLOURS[look.colour]])

    time = np.linspace(0, 1, num_frames)
    progress = np.clip((time - begin) / duration, 0, 1)
    progress = progress * progress * (3 - 2 * progress)  # smooth at both ends
    start, end = pose(clip.start), pose(clip.end)
    poses = start + progress[:, None] * (end - start)
    angles = tilt + 0.12 * np.sin(2 * math.pi * time + sway)  # a gentle rocking, so that no frames are identical
    return _draw(clip.shape, clip.ground, poses, angles, size)


def long_exposure(frames: np.ndarray) -> np.ndarray:
    """Merge a clip into one image, in which the last frame is the clearest.

    Args:
        frames: (frames, height, width, 3), uint8.

    Returns:
        (height, width, 3), uint8.
    """
    weights = np.exp(np.linspace(-2, 0, len(frames)))
    return np.rint(np.tensordot(weights / weights.sum(), frames, axes=1)).astype(np.uint8)


def _draw(shape: str, ground: str, poses: np.ndarray, angles: np.ndarray, size: int) -> np.ndarray:
    """Draw the object in each pose (frames, 7) and angle (frames,), with a shadow: (frames, size, size, 3)."""
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
    """Return the signed distance to the outline, negative inside, of a shape with the area of a disc of a radius.

    By symmetry only one edge is needed, from the corner (reach, 0) to the dent at half the angle between two corners.
    """
    corners, dent = SHAPES[shape]
    half = math.pi / corners
    reach = radius * math.sqrt(math.pi / (corners * dent * math.sin(half)))
    upright = half if corners % 2 == 0 else 0  # a square rests on a side, a star points up
    turned = np.arctan2(x, -y) - angle + upright
    folded = np.abs((turned + half) % (2 * half) - half)
    distance = np.hypot(x, y)
    normal_x, normal_y = dent * math.sin(half), 1 - dent * math.cos(half)
    length = math.hypot(normal_x, normal_y)
    return ((distance * np.cos(folded) - reach) * normal_x + distance * np.sin(folded) * normal_y) / length
