"""Pairs, the captions that each epoch draws, and batches from workers."""

import copy
import functools
import pickle
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader
from transformers import CLIPModel

import mv_peft.demo
from mv_peft import enable_video
from mv_peft.data import CaptionedVideos, VideoCaptionCollator, VideoCaptionDataset, VideoRecord
from mv_peft.encoders import MVProcessor
from mv_peft.errors import VideoDecodeError
from mv_peft.video import VideoFrames

TINY_CLIP = Path(mv_peft.demo.__file__).parent / "tiny_clip"


def records(num_videos=40, num_captions=5):
    return [
        VideoRecord(f"v{n}", Path(f"v{n}.mp4"), tuple(f"{n} {c}" for c in range(num_captions)))
        for n in range(num_videos)
    ]


def test_all_expands_every_caption():
    uneven = [VideoRecord("a", Path("a"), ("1",)), VideoRecord("b", Path("b"), ("2", "3", "4")), records(1, 2)[0]]
    dataset = VideoCaptionDataset(uneven)
    assert [dataset.pair(index)[1] for index in range(len(dataset))] == ["1", "2", "3", "4", "0 0", "0 1"]
    assert [dataset.pair(index)[0].video_id for index in (-1, -3, -6)] == ["v0", "b", "a"]
    dataset.set_epoch(3)
    assert dataset.pair(1)[1] == "2"
    assert repr(dataset) == "VideoCaptionDataset(6 pairs of 3 records, captions='all')"
    for index in (6, -7):
        with pytest.raises(IndexError, match=f"Pair {index} of 6"):
            dataset.pair(index)


def draws(dataset, epoch):
    dataset.set_epoch(epoch)
    return {record.video_id: caption for record, caption in map(dataset.pair, range(len(dataset)))}


def test_one_per_video_is_drawn_from_seed_epoch_and_id():
    dataset = VideoCaptionDataset(records(), "one_per_video", seed=1)
    assert len(dataset) == 40
    first = draws(dataset, 0)
    assert all(caption.split()[0] == video_id[1:] for video_id, caption in first.items())
    assert draws(dataset, 1) != first == draws(dataset, 0)
    assert draws(VideoCaptionDataset(records()[::-1], "one_per_video", seed=1), 0) == first
    assert draws(VideoCaptionDataset(records(), "one_per_video", seed=2), 0) != first
    assert first["v0"] == "0 4"  # from `sha256sum` of "1 0 v0", and must never change
    seen = {caption for epoch in range(60) for caption in draws(dataset, epoch).values()}
    assert len(seen) == 200


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="Unknown captions 'some'. Choose from: all, one_per_video."):
        VideoCaptionDataset(records(), "some")
    with pytest.raises(ValueError, match="`seed` 3 has no effect with `captions='all'`"):
        VideoCaptionDataset(records(), seed=3)
    with pytest.raises(ValueError, match="`max_frames` must be positive, got 0"):
        VideoCaptionDataset(records(), max_frames=0)
    with pytest.raises(ValueError, match="Unknown frame_sampling 'random'"):
        VideoCaptionDataset(records(), frame_sampling="random")
    with pytest.raises(ValueError, match="Video 'a' has no path"):
        VideoCaptionDataset([VideoRecord("a", None, ("b",))])


def test_moments_and_sampling_reach_the_reader(clips, tmp_path):
    clips("a.mp4", "b.mp4")
    videos = [
        VideoRecord("a", tmp_path / "a.mp4", ("x",), 0.5, 1.0),
        VideoRecord("b", tmp_path / "b.mp4", ("y",)),
    ]
    dataset = VideoCaptionDataset(videos, max_frames=3, frame_sampling="uniform")
    moment, whole = dataset[0].video, dataset[1].video
    np.testing.assert_allclose(moment.pts_seconds, [6 / 12, 8 / 12, 10 / 12])
    np.testing.assert_allclose(whole.pts_seconds, [0, 8 / 12, 16 / 12])
    assert abs(int(moment.frames[0].mean()) - 66) <= 2
    assert len(VideoCaptionDataset(videos)[1].video) == 2


def test_a_bad_video_fails_loudly(write, tmp_path):
    write("bad.mp4", "text")
    dataset = VideoCaptionDataset([VideoRecord("bad", tmp_path / "bad.mp4", ("a",))])
    with pytest.raises(VideoDecodeError, match="bad.mp4"):
        dataset[0]


def paint(path, max_frames, frame_sampling, start_seconds=None, end_seconds=None):
    """Give a video its number as grey value, and a length that depends on the number, in place of `read_frames`."""
    number = int(Path(path).stem[1:])
    length = 1 + number % max_frames
    return VideoFrames(np.full((length, 4, 4, 3), number, dtype=np.uint8), np.arange(length, dtype=np.float64))


def numbers(loader):
    """Return (caption, grey value, number of frames) of every pair, in order."""
    return [
        (caption, int(video.frames[0, 0, 0, 0]), len(video))
        for batch in loader
        for caption, video in ((sample.caption, sample.video) for sample in batch)
    ]


@pytest.mark.parametrize(("context", "num_workers"), [("fork", 2), ("spawn", 1)])
def test_workers_give_what_one_process_gives_in_every_epoch(context, num_workers):
    make = functools.partial(VideoCaptionDataset, records(12), "one_per_video", seed=5, read=paint)
    alone, shared = make(), make()
    options = {"num_workers": num_workers, "multiprocessing_context": context, "persistent_workers": True}
    workers = DataLoader(shared, batch_size=4, collate_fn=list, **options)
    epochs = []
    for epoch in range(2):
        alone.set_epoch(epoch)
        shared.set_epoch(epoch)
        expected = numbers(DataLoader(alone, batch_size=4, collate_fn=list))
        assert numbers(workers) == expected
        epochs.append(expected)
    assert epochs[0] != epochs[1]
    assert {int(caption.split()[0]) == grey for caption, grey, _ in epochs[0]} == {True}


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda dataset: pickle.loads(pickle.dumps(dataset))])
def test_copies_draw_the_same_captions_and_have_a_shared_epoch(duplicate):
    dataset = VideoCaptionDataset(records(), "one_per_video", seed=5, read=paint)
    dataset.set_epoch(4)
    twin = duplicate(dataset)
    assert [twin.pair(index) for index in range(40)] == [dataset.pair(index) for index in range(40)]
    assert twin._epoch.is_shared()


def test_a_batch_trains_the_model(write, clips):
    clips("a.mp4", "b.mp4")
    table = "video,caption,start_seconds,end_seconds\na.mp4,a red circle,,\nb.mp4,a blue square grows,0.5,0.75\n"
    videos = CaptionedVideos.load(write("own.csv", table))
    processor = MVProcessor.from_pretrained(TINY_CLIP, max_frames=6, frame_sampling="uniform")
    dataset = VideoCaptionDataset(videos, processor=processor)
    frames = VideoCaptionDataset(videos, max_frames=6, frame_sampling="uniform")
    assert isinstance(frames[0].video, VideoFrames)
    (batch,) = DataLoader(dataset, batch_size=2, collate_fn=VideoCaptionCollator(processor), num_workers=1)
    assert set(batch) == {"input_ids", "attention_mask", "pixel_values", "frame_mask", "return_loss"}
    assert batch["pixel_values"].shape[:3] == (2, 6, 3)
    assert batch["frame_mask"].tolist() == [[1] * 6, [1] * 3 + [0] * 3]
    expected = processor(text=["a red circle", "a blue square grows"], videos=[frames[0].video, frames[1].video])
    assert all(torch.equal(batch[name], expected[name]) for name in expected)
    assert dataset[0].video.shape == (6, 3, 32, 32)
    model = enable_video(CLIPModel.from_pretrained(TINY_CLIP))
    assert model(**batch).loss > 0


def test_limits_come_from_the_processor_unless_they_are_given():
    processor = MVProcessor.from_pretrained(TINY_CLIP, max_frames=6, frame_sampling="head")
    for arguments, expected in (
        ({}, (12, "fps_uniform")),
        ({"processor": processor}, (6, "head")),
        ({"processor": processor, "max_frames": 3, "frame_sampling": "tail"}, (3, "tail")),
    ):
        dataset = VideoCaptionDataset(records(), **arguments)
        assert (dataset.max_frames, dataset.frame_sampling) == expected


def test_whole_frames_of_a_batch_are_never_held_together():
    alive = []

    def read(path, max_frames, frame_sampling, start_seconds=None, end_seconds=None):
        assert not any(frames() is not None for frames in alive)
        video = paint(path, max_frames, frame_sampling)
        alive.append(weakref.ref(video.frames))
        return video

    processor = MVProcessor.from_pretrained(TINY_CLIP)
    dataset = VideoCaptionDataset(records(8, 1), processor=processor, read=read)
    (batch,) = DataLoader(dataset, batch_size=8, collate_fn=VideoCaptionCollator(processor))
    assert batch["frame_mask"].sum(1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(alive) == 8
