"""The world of shapes: no caption is in two splits, twins are reversals, and the CLIP knows every word."""

import numpy as np
import pytest

from benchmarks.worlds import draw
from benchmarks.worlds.shapes import EVENTS, IMAGE_SIZE, MIX, render, scenarios
from mv_peft.demo.pretrained import MAX_TEXT_TOKENS, load_tiny_processor

SPLITS = ("train", "validation", "test")


def with_twins(split):
    return [each for clips in scenarios(split).values() for clip in clips for each in (clip, clip.twin(0))]


def clips(split="validation", paired=True, seed=0, num_clips=80):
    return draw("shapes", split, num_clips, paired=paired, num_frames=6, seed=seed)


def test_held_out_captions_and_scenarios_are_not_trained_on():
    captions = {split: {clip.caption for clip in with_twins(split)} for split in SPLITS}
    assert sum(map(len, captions.values())) == len(set().union(*captions.values())) == 8640
    assert len(captions["test"]) == 1728, "enough for galleries of 1,000 clips"
    drawn = {split: set(clips(split).captions) | set(clips(split, paired=False).captions) for split in SPLITS}
    for split in SPLITS:
        assert drawn[split] <= captions[split]


def test_test_galleries_repeat_no_caption():
    """This holds at the full size, which needs 76 of the 120 stills."""
    for kind, of_kind in scenarios("test").items():
        assert 2 * len(of_kind) >= 1000 * MIX[kind] / sum(MIX.values())
    drawn = draw("shapes", "test", 400, paired=False, num_frames=2, seed=0)
    assert len(set(drawn.captions)) == 400
    shares = {kind: drawn.kinds.count(kind) for kind in MIX}
    assert shares == {kind: 10 * number for kind, number in MIX.items()}


def test_twins_stand_side_by_side_and_swap_the_order():
    drawn = clips()
    assert drawn.are_twins
    for index in range(0, len(drawn), 2):
        assert drawn.kinds[index] == drawn.kinds[index + 1]
        assert drawn.captions[index] != drawn.captions[index + 1]
        is_event = drawn.kinds[index] in EVENTS
        assert (drawn.scenarios[index] == drawn.scenarios[index + 1]) == is_event


@pytest.mark.parametrize("kind", EVENTS)
def test_the_twin_begins_where_the_clip_ends(kind):
    for clip in scenarios("validation")[kind][:5]:
        frames, reversal = (render(each, 8).astype(float) for each in (clip, clip.twin(clip.seed)))
        changed = np.abs(frames[0] - frames[-1]).mean()
        assert changed > 1.0
        assert np.abs(frames[-1] - reversal[0]).mean() < 0.4 * changed
        assert np.abs(frames[0] - reversal[-1]).mean() < 0.4 * changed


def test_a_sequence_of_colours_has_the_same_middle_in_its_twin():
    clip = next(each for each in scenarios("test")["order"] if each.shape == "circle")
    frames, reversal = render(clip, 8), render(clip.twin(clip.seed), 8)
    assert np.abs(frames[4].astype(float) - reversal[3]).mean() < np.abs(frames[4].astype(float) - reversal[0]).mean()
    assert " to ".join(look.colour for look in clip.looks) in clip.caption


def test_the_clip_knows_every_word_of_every_caption():
    processor = load_tiny_processor()
    captions = [clip.caption for split in SPLITS for clip in with_twins(split)]
    batch = processor(text=captions)
    assert not (batch["input_ids"] == processor.tokenizer.unk_token_id).any()
    longest = max(len(caption.split()) for caption in captions) + 2
    assert batch["input_ids"].shape[1] == longest <= MAX_TEXT_TOKENS


def test_the_same_seed_draws_the_same_clips_and_another_one_others():
    first, other = clips(seed=1), clips(seed=2)
    again = draw.__wrapped__(
        "shapes", "validation", 80, paired=True, num_frames=6, seed=1
    )  # not from the cache of `draw`
    assert first is not again
    assert first.captions == again.captions
    assert np.array_equal(first.frames, again.frames)
    assert first.frames.shape == (80, 6, IMAGE_SIZE, IMAGE_SIZE, 3)
    assert first.captions != other.captions


def test_wrong_arguments_are_errors():
    with pytest.raises(ValueError, match="`num_clips` must be even.*got 3"):
        draw("shapes", "test", 3, paired=True, num_frames=6, seed=0)
    with pytest.raises(ValueError, match="`num_frames` must be even.*got 5"):
        draw("shapes", "test", 4, paired=True, num_frames=5, seed=0)
    with pytest.raises(ValueError, match="Unknown data 'shpaes'"):
        draw("shpaes", "test", 4, paired=True, num_frames=6, seed=0)
    with pytest.raises(ValueError, match="Unknown split 'tset'"):
        draw("shapes", "tset", 4, paired=False, num_frames=6, seed=0)
