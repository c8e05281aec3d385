"""Moving digits: held-out combinations and handwriting, twins that are reversals, and a whole run."""

import numpy as np
import pytest

from benchmarks.compare.in_memory import WorldInMemory
from benchmarks.compare.run import run
from benchmarks.compare.settings import WorldSettings
from benchmarks.worlds import draw
from benchmarks.worlds.digits import EVENTS, DigitClip, _handwriting, render, scenarios

pytest.importorskip("sklearn", reason="the digits are scikit-learn's: pip install 'mv_peft[benchmarks]'")

SPLITS = ("train", "validation", "test")


def test_held_out_captions_and_handwriting_are_not_trained_on():
    captions = {
        split: {each.caption for clips in scenarios(split).values() for c in clips for each in (c, c.twin(0))}
        for split in SPLITS
    }
    assert sum(map(len, captions.values())) == len(set().union(*captions.values())) == 130
    for digit in range(10):
        pictures = [{picture.tobytes() for picture in _handwriting(split)[digit]} for split in SPLITS]
        assert sum(map(len, pictures)) == len(set().union(*pictures)) > 100


def test_twins_are_reversals():
    move = DigitClip((7,), ("left", "right"), seed=3)
    assert (move.caption, move.twin(3).caption) == ("a seven moves left", "a seven moves right")
    assert np.array_equal(render(move, 6), render(move.twin(3), 6)[::-1])
    order = DigitClip((7, 3), seed=3)
    assert (order.caption, order.twin(3).caption) == ("a seven comes before a three", "a three comes before a seven")
    frames, reversal = render(order, 6), render(order.twin(3), 6)
    assert np.array_equal(frames[0], reversal[-1])
    assert np.array_equal(frames[-1], reversal[0])
    assert not np.array_equal(frames[0], frames[-1])


def test_drawn_clips_are_twins():
    clips = draw("digits", "validation", 12, paired=True, num_frames=6, seed=0)
    assert set(clips.kinds) == set(EVENTS)
    assert clips.scenarios[::2] == clips.scenarios[1::2]
    assert all(one != other for one, other in zip(clips.captions[::2], clips.captions[1::2], strict=True))


def test_a_whole_run(tmp_path):
    """The world's CLIP is trained for two steps on first use and then kept."""
    sizes = {"steps": 2, "batch_size": 8, "num_train_clips": 16, "num_gallery_clips": 12, "num_frames": 6}
    settings = WorldSettings(method="mv_adapter", data="digits", learning_rate=1e-3, **sizes)
    first = run(settings, source=WorldInMemory(settings, clip_steps=2, clip_cache=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["digits-2"]
    assert (
        run(settings, source=WorldInMemory(settings, clip_steps=2, clip_cache=tmp_path))["metrics"] == first["metrics"]
    )
    assert {"t2v order accuracy move", "t2v order accuracy order"} <= set(first["metrics"]["order"])
