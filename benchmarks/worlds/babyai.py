"""BabyAI's rooms, solver and instructions (without commas) from the package `minigrid`: a world from elsewhere.

The solver follows an instruction: "put the red ball next to the blue key" or "open the red door then open the blue
door". The twin of a clip has the same room and the instruction turned round: the two things, or the two doors, change
places in it. A twin is not a reversal of the frames, and a single frame may give it away, because a red door that is
open beside a blue one that is shut was opened first. A fifth of the pairs of things, and of the pairs of door colours,
is for testing and a tenth for validation. Captions repeat.
"""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .base import SPLITS, ClipSet, Split, collect, endless, share

EVENTS = ("put", "order")
COLOURS = ("blue", "green", "grey", "purple", "red", "yellow")
THINGS = tuple(f"{colour} {kind}" for colour in COLOURS for kind in ("ball", "box", "key"))
IMAGE_SIZE, ROOM_SIZE, TILE_SIZE = 32, 6, 16
MOST_STEPS = 60


@dataclass(frozen=True, eq=False)
class Episode:
    """The frames of one episode of the solver, uint8 (frames, height, width, 3), and its instruction as the caption."""

    kind: str
    caption: str
    frames: np.ndarray

    @property
    def scenario(self) -> str:
        """The caption, because single frames may tell a clip from its twin."""
        return self.caption


def pairs(split: Split) -> dict[str, list[tuple[str, str]]]:
    """The pairs of things and of door colours that belong to a split; each stands for both orders."""
    return {
        "put": share(list(itertools.combinations(THINGS, 2)), split),
        "order": share(list(itertools.combinations(COLOURS, 2)), split),
    }


def draw(split: Split, num_clips: int, *, paired: bool, num_frames: int, seed: int) -> ClipSet:
    """Play and render clips of both kinds in turn; arguments and errors are those of `shapes.draw`."""
    if paired and num_clips % 2:
        raise ValueError(f"`num_clips` must be even because clips come with their twins, got {num_clips}.")
    pool = pairs(split)
    generator = np.random.default_rng([seed, SPLITS.index(split), paired])
    doors = endless(pool["order"], generator)
    things = {frozenset(pair) for pair in pool["put"]}
    episodes: list[Episode] = []
    for kind in itertools.cycle(EVENTS):
        if len(episodes) >= num_clips:
            break
        both = _put(things, generator) if kind == "put" else _open(next(doors), generator)
        both = both if generator.random() < 0.5 else both[::-1]
        episodes += both if paired else both[:1]
    return collect(episodes, lambda episode: _chosen(episode.frames, num_frames), are_twins=paired)


def _put(things: set[frozenset[str]], generator: np.random.Generator) -> list[Episode]:
    """Play a room in which one thing of a pair is put next to the other, and the twin of that."""
    from minigrid.envs.babyai.core.verifier import ObjDesc, PutNextInstr
    from minigrid.envs.babyai.putnext import PutNextLocal

    env = PutNextLocal(room_size=ROOM_SIZE, num_objs=4)

    def turn_round() -> None:
        told = env.instrs
        descriptions = [ObjDesc(each.type, each.color) for each in (told.desc_fixed, told.desc_move)]
        env.instrs = PutNextInstr(*descriptions)
        env.instrs.reset_verifier(env)
        env.mission = env.instrs.surface(env)

    while True:
        seed = int(generator.integers(2**31))
        _reset(env, seed)
        moved, fixed = (f"{each.color} {each.type}" for each in (env.instrs.desc_move, env.instrs.desc_fixed))
        if frozenset((moved, fixed)) in things:
            both = [_play(env, "put", seed), _play(env, "put", seed, turn_round)]
            if None not in both:
                return both


def _open(colours: tuple[str, str], generator: np.random.Generator) -> list[Episode]:
    """Play a room with two doors that are opened one after the other, in both orders."""
    from minigrid.envs.babyai.open import OpenTwoDoors

    while True:
        seed = int(generator.integers(2**31))
        both = [
            _play(OpenTwoDoors(first_color=first, second_color=second), "order", seed)
            for first, second in (colours, colours[::-1])
        ]
        if None not in both:
            return both


def _play(env: Any, kind: str, seed: int, change: Callable[[], None] = lambda: None) -> Episode | None:
    """Let the solver play a room; None if it does not finish."""
    from minigrid.utils.baby_ai_bot import BabyAIBot

    _reset(env, seed)
    change()
    bot = BabyAIBot(env)
    frames = [_picture(env)]
    action, is_done = None, False
    for _ in range(MOST_STEPS):
        action = bot.replan(action)
        _, _, is_done, is_cut_short, _ = env.step(action)
        frames.append(_picture(env))
        if is_done or is_cut_short:
            break
    return Episode(kind, env.mission.replace(",", ""), np.stack(frames)) if is_done else None


def _reset(env: Any, seed: int) -> None:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints which rooms it rejects
        env.reset(seed=seed)


def _picture(env: Any) -> np.ndarray:
    """A picture of the room, or of the middle one of nine rooms with its doors, uint8 (height, width, 3)."""
    first = (env.width - ROOM_SIZE) // 2
    picture = env.get_frame(highlight=False, tile_size=TILE_SIZE)
    size = ROOM_SIZE * TILE_SIZE
    corner = first * TILE_SIZE
    room = picture[corner : corner + size, corner : corner + size]
    block = size // IMAGE_SIZE
    return room.reshape(IMAGE_SIZE, block, IMAGE_SIZE, block, 3).mean(axis=(1, 3)).round().astype(np.uint8)


def _chosen(frames: np.ndarray, num_frames: int) -> np.ndarray:
    """Take frames evenly from the first to the last, some of them twice if there are too few."""
    return frames[np.linspace(0, len(frames) - 1, num_frames).round().astype(int)]
