"""The CLIPs of the worlds: what is kept knows its world's stills, and what is trained here is trained once."""

from __future__ import annotations

import torch

from benchmarks.pretrain.clip import _without_repetition, draw_stills, load_clip, still_recall
from benchmarks.worlds import draw


def test_the_kept_clip_finds_stills_of_captions_that_it_has_not_seen() -> None:
    clip, processor = load_clip("shapes")
    clips = draw("shapes", "validation", 400, paired=True, num_frames=12, seed=0)
    assert still_recall(clip, processor.tokenizer, clips) > 85
    assert clip.dtype == torch.float32


def test_the_kept_clip_does_not_tell_frames_one_by_one_from_their_reversal() -> None:
    """What long exposures taught it is no use on frames: that is what the methods are compared in."""
    from benchmarks.compare.in_memory import similarity
    from benchmarks.compare.measure import caption_groups, order_metrics
    from mv_peft import enable_video

    clip, processor = load_clip("shapes")
    clips = draw("shapes", "validation", 200, paired=True, num_frames=6, seed=0)
    captions, _ = caption_groups(clips.captions)
    found = order_metrics(similarity(enable_video(clip), processor, clips, captions), clips, ("move", "turn", "order"))
    assert 35 < found["t2v order accuracy"] < 65


def test_stills_come_in_twins_and_from_other_clips_than_methods_train_on() -> None:
    captions, stills = draw_stills("shapes", 40)
    assert stills.shape == (40, 32, 32, 3)
    assert stills.dtype == torch.uint8
    assert len(captions) == 40
    trained_on = draw("shapes", "train", 40, paired=True, num_frames=12, seed=0)
    assert set(captions) != set(trained_on.captions)
    events = [(one, other) for one, other in zip(captions[::2], captions[1::2], strict=True) if " turns " in one]
    assert events
    for one, other in events:
        assert one != other
        assert sorted(one.split()) == sorted(other.split())


def test_a_batch_holds_no_caption_twice() -> None:
    number = torch.tensor([0, 1, 0, 2, 1])
    assert _without_repetition(torch.tensor([4, 2, 0, 3, 1]), number).tolist() == [4, 2, 3]


def test_a_clip_is_trained_once(tmp_path) -> None:
    one, _ = load_clip("shapes", steps=2, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    written = (folder / "model.safetensors").stat().st_mtime_ns
    other, processor = load_clip("shapes", steps=2, cache=tmp_path)
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert processor(text=["a red star grows at the top over snow"]).input_ids.shape == (1, 11)
