"""The rendered world: the same seed draws the same pixels, twins are opposites, and nothing held out is trained on."""

import numpy as np
import pytest

from mv_peft.demo.world import (
    COLOURS,
    GROUNDS,
    KINDS,
    PLACES,
    SHAPES,
    SIZES,
    Clip,
    Look,
    long_exposure,
    render_clip,
    sample_pairs,
    scenarios,
)

SPLITS = ("train", "validation", "test")
RED_CIRCLE = Look("red")
MOVE = Clip("circle", "snow", Look("red", place="left"), Look("red", place="right"), seed=7)


def with_twins(split):
    return [each for clips in scenarios(split).values() for clip in clips for each in (clip, clip.twin(seed=0))]


def redness(frames):
    """Return how much redder than the ground each pixel is, (frames, height, width)."""
    red, green, _ = np.moveaxis(frames.astype(float), -1, 0)
    return np.clip(red - green - 30, 0, None)


def centre_x(frames):
    """Return the position of the red object in each frame, from 0 at the left edge to 1 at the right edge."""
    columns = redness(frames).sum(axis=1)
    return columns @ np.linspace(0, 1, columns.shape[1]) / columns.sum(axis=1)


@pytest.mark.parametrize(
    ("start", "end", "caption"),
    [
        (Look("red", place="left"), Look("red", place="right"), "a red star moves from left to right over sand"),
        (Look("red", place="bottom"), Look("red", place="top"), "a red star moves from bottom to top over sand"),
        (Look("red"), Look("blue"), "a star turns from red to blue over sand"),
        (Look("red", visible=False), Look("red"), "a red star appears over sand"),
        (Look("red"), Look("red", visible=False), "a red star vanishes over sand"),
        (Look("red", size="small"), Look("red", size="large"), "a red star grows over sand"),
        (Look("red", size="large"), Look("red", size="small"), "a red star shrinks over sand"),
        (Look("red", "top", "small"), Look("red", "top", "small"), "a small red star rests at the top over sand"),
    ],
)
def test_captions_say_what_changes(start, end, caption):
    assert Clip("star", "sand", start, end).caption == caption


def test_the_twin_of_an_event_swaps_its_ends():
    for clip in with_twins("train"):
        twin = clip.twin(seed=5)
        assert twin.seed == 5
        assert twin.twin(seed=clip.seed) == clip
        assert twin.caption != clip.caption
        if clip.kind != "still":
            assert (twin.start, twin.end) == (clip.end, clip.start)


def test_the_captions_cover_the_world():
    words = {word for split in SPLITS for clip in with_twins(split) for word in clip.caption.split()}
    named = {*SHAPES, *COLOURS, *GROUNDS, *PLACES, *SIZES}
    verbs = {"moves", "turns", "appears", "vanishes", "grows", "shrinks", "rests"}
    assert named | verbs <= words
    assert {word for clip in with_twins("train") for word in clip.caption.split()} == words


def test_splits_share_no_caption_and_each_has_all_kinds():
    captions = {split: [clip.caption for clip in with_twins(split)] for split in SPLITS}
    for split in SPLITS:
        assert set(scenarios(split)) == set(KINDS)
        assert all(scenarios(split).values())
        assert len(set(captions[split])) == len(captions[split]), "each caption stands for one combination"
    assert not set(captions["train"]) & set(captions["validation"])
    assert not set(captions["train"]) & set(captions["test"])
    assert not set(captions["validation"]) & set(captions["test"])


def test_an_unknown_split_is_an_error():
    with pytest.raises(ValueError, match="Unknown split 'tset'"):
        scenarios("tset")


def test_pairs_are_twins_drawn_by_seed_without_repetition():
    pairs = sample_pairs("test", 40, seed=3)
    assert pairs == sample_pairs("test", 40, seed=3)
    assert pairs != sample_pairs("test", 40, seed=4)
    assert [clip.kind for clip, _ in pairs[:5]] == list(KINDS)
    for clip, twin in pairs:
        assert twin == clip.twin(twin.seed)
        assert twin.seed != clip.seed
    captions = [clip.caption for pair in pairs for clip in pair]
    assert len(set(captions)) == len(captions)


def test_captions_are_repeated_only_after_all_have_been_drawn():
    num_captions = sum(len(clips) for clips in scenarios("validation").values())
    pairs = sample_pairs("validation", num_captions + 1, seed=0)
    assert len({frozenset(clip.caption for clip in pair) for pair in pairs}) == num_captions


def test_the_same_clip_has_the_same_pixels_and_another_seed_has_others():
    frames = render_clip(MOVE, num_frames=6, size=48)
    assert frames.shape == (6, 48, 48, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, render_clip(MOVE, num_frames=6, size=48))
    assert not np.array_equal(frames, render_clip(MOVE.twin(8).twin(8), num_frames=6, size=48))


def test_all_image_sizes_show_the_same_scene():
    large, small = render_clip(MOVE, 4, size=128).astype(float), render_clip(MOVE, 4, size=32).astype(float)
    shrunk = large.reshape(4, 32, 4, 32, 4, 3).mean(axis=(2, 4))
    assert np.abs(shrunk - small).mean() < 1.0
    assert np.abs(large[0] - large[3]).mean() > 5.0, "a moving object should change the picture"


@pytest.mark.parametrize("seed", range(5))
def test_left_to_right_goes_to_the_right_and_its_twin_to_the_left(seed):
    x = centre_x(render_clip(MOVE.twin(seed).twin(seed), 12, size=48))
    assert x[0] < 0.35
    assert x[-1] > 0.65
    assert (np.diff(x) > -0.01).all()
    x = centre_x(render_clip(MOVE.twin(seed), 12, size=48))
    assert x[0] > 0.65
    assert x[-1] < 0.35


def test_appearing_growing_and_turning_can_be_seen():
    area = {
        name: redness(render_clip(Clip("circle", "snow", start, end, seed=1), 12, size=48)).sum(axis=(1, 2))
        for name, start, end in (
            ("appears", Look("red", visible=False), RED_CIRCLE),
            ("grows", Look("red", size="small"), Look("red", size="large")),
            ("turns", RED_CIRCLE, Look("blue")),
        )
    }
    assert area["appears"][0] == 0 < area["appears"][-1]
    assert 2 * area["grows"][0] < area["grows"][-1]
    assert area["turns"][0] > 0 == area["turns"][-1]


@pytest.mark.parametrize("shape", SHAPES)
def test_all_shapes_have_the_area_of_a_disc_of_their_size(shape):
    look = Look("red", place="middle", size="large")
    share = (redness(render_clip(Clip(shape, "slate", look, look, seed=2), 1, size=256)) > 0).mean()
    assert share == pytest.approx(np.pi * SIZES["large"] ** 2, rel=0.2)  # each clip stretches sizes a little


def test_a_long_exposure_shows_the_end_more_clearly_than_the_beginning():
    left, right = (
        redness(long_exposure(render_clip(MOVE, 12, size=48))[None])[0][:, half].sum()
        for half in (slice(24), slice(24, 48))
    )
    assert right > 1.5 * left
