"""BabyAI's rooms: held-out pairs, twins with opposite instructions, and a whole run on repeated captions."""

import numpy as np
import pytest

from benchmarks.compare.in_memory import WorldInMemory
from benchmarks.compare.run import run
from benchmarks.compare.settings import WorldSettings
from benchmarks.worlds import draw
from benchmarks.worlds.babyai import EVENTS, IMAGE_SIZE, pairs

pytest.importorskip("minigrid", reason="the rooms are minigrid's: pip install 'mv_peft[benchmarks]'")

SPLITS = ("train", "validation", "test")


def turned_round(caption):
    if caption.startswith("put"):
        moved, fixed = caption.removeprefix("put the ").split(" next to the ")
        return f"put the {fixed} next to the {moved}"
    return " then ".join(caption.split(" then ")[::-1])


def test_twins_have_opposite_instructions_in_the_same_room():
    clips = draw("babyai", "test", 16, paired=True, num_frames=6, seed=0)
    assert clips.frames.shape == (16, 6, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert set(clips.kinds) == set(EVENTS)
    for index in range(0, 16, 2):
        assert clips.captions[index + 1] == turned_round(clips.captions[index]) != clips.captions[index]
        first, twin = clips.frames[index], clips.frames[index + 1]
        assert not np.array_equal(first[0], first[-1])
        assert not np.array_equal(first, twin)
        if clips.kinds[index] == "put":
            assert np.array_equal(first[0], twin[0])


def test_held_out_pairs_are_not_trained_on():
    for kind, number in (("put", 153), ("order", 15)):
        of = [set(pairs(split)[kind]) for split in SPLITS]
        assert all(of)
        assert sum(map(len, of)) == len(set().union(*of)) == number
    captions = {split: set(draw("babyai", split, 40, paired=True, num_frames=2, seed=0).captions) for split in SPLITS}
    assert not captions["train"] & captions["test"]
    assert not captions["train"] & captions["validation"]
    assert not captions["validation"] & captions["test"]


def test_the_same_seed_gives_the_same_clips():
    first, other = (draw("babyai", "test", 6, paired=False, num_frames=4, seed=seed) for seed in (1, 2))
    again = draw.__wrapped__("babyai", "test", 6, paired=False, num_frames=4, seed=1)
    assert first.captions == again.captions
    assert np.array_equal(first.frames, again.frames)
    assert not np.array_equal(first.frames, other.frames)


def test_a_whole_run(tmp_path):
    sizes = {"steps": 2, "batch_size": 8, "num_train_clips": 16, "num_gallery_clips": 12, "num_frames": 6}
    settings = WorldSettings(method="lora", data="babyai", learning_rate=1e-3, **sizes)
    result = run(settings, source=WorldInMemory(settings, clip_steps=2, clip_cache=tmp_path))
    assert {"t2v order accuracy put", "v2t order accuracy order"} <= set(result["metrics"]["order"])
    assert result["metrics"]["twin"]["order-blind ceiling"] == 100.0
