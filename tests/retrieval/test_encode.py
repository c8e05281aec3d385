"""Each video and text embedded once, the same in any batch, and what cannot be read named."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mv_peft import enable_video
from mv_peft.data import VideoRecord
from mv_peft.demo.pretrained import load_tiny_clip
from mv_peft.errors import MVPeftError, VideoDecodeError
from mv_peft.retrieval import embed_records
from mv_peft.video import read_frames
from tests.retrieval.clips import adapted, processor, write_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("videos"), captions_each=2)


def embed(records, model=None, **arguments):
    return embed_records(model or adapted(), processor(), records, **{"progress": False, **arguments})


def with_broken(records, folder, place):
    (folder / "broken.mp4").write_bytes(b"no video at all")
    broken = VideoRecord("broken", folder / "broken.mp4", ("a red circle 0", "lost"))
    return [*records[:place], broken, *records[place:]]


def test_rows_are_what_the_model_makes_of_each_video_and_caption(records):
    model, process = adapted(), processor()
    embeddings = embed(records, model)
    model.eval()
    for number, record in enumerate(records):
        with torch.no_grad():
            output = model(**process(text=list(record.captions), videos=[record.path]))
        own = embeddings.video_of_caption == number
        torch.testing.assert_close(embeddings.video_embeds[[number]], output.image_embeds, rtol=0, atol=1e-6)
        torch.testing.assert_close(embeddings.text_embeds[own], output.text_embeds, rtol=0, atol=1e-6)
    assert embeddings.video_ids == tuple("01234")
    assert embeddings.captions == tuple(caption for record in records for caption in record.captions)
    assert torch.pdist(embeddings.video_embeds).min() > 1e-3
    assert repr(embeddings) == f"RetrievalEmbeddings(10 captions of 5 videos, dim {embeddings.text_embeds.shape[1]})"


def test_batches_and_workers_change_nothing(records):
    whole = embed(records, batch_size=32)
    for arguments in ({"batch_size": 1}, {"batch_size": 2}, {"batch_size": 3, "num_workers": 2}):
        other = embed(records, **arguments)
        torch.testing.assert_close(other.video_embeds, whole.video_embeds, rtol=0, atol=1e-6)
        torch.testing.assert_close(other.text_embeds, whole.text_embeds, rtol=0, atol=1e-6)


def test_what_is_equal_is_read_once_and_level(records):
    read_paths = []

    def read(path, *args, **kwargs):
        read_paths.append(path)
        return read_frames(path, *args, **kwargs)

    again = dataclasses.replace(records[0], video_id="again")
    moment = dataclasses.replace(records[3], end_seconds=1.0)
    embeddings = embed([*records, again, moment], read=read, batch_size=1)
    assert len(read_paths) == 6
    assert torch.equal(embeddings.video_embeds[0], embeddings.video_embeds[5])
    assert torch.equal(embeddings.text_embeds[:2], embeddings.text_embeds[10:12])
    assert not torch.equal(embeddings.video_embeds[3], embeddings.video_embeds[6])


def test_the_model_and_the_random_numbers_are_as_before(records):
    model = adapted()
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    embeddings = embed(records, model)
    assert [module.training for module in model.modules()] == modes
    assert True in modes
    assert False in modes
    assert torch.equal(torch.get_rng_state(), state)
    assert not embeddings.video_embeds.is_inference()


def test_autocast_and_sampling_reach_the_model(records):
    whole = embed(records)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = embed(records)
    assert rounded.video_embeds.dtype == torch.float32
    assert 1e-5 < (rounded.video_embeds - whole.video_embeds).abs().max() < 0.1
    assert (embed(records, frame_sampling="head").video_embeds - whole.video_embeds).abs().max() > 1e-4


def test_any_adapter_and_none(records):
    zero_shot = embed(records, enable_video(load_tiny_clip()))
    lora = get_peft_model(load_tiny_clip(), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    assert (embed(records, enable_video(lora)).video_embeds - zero_shot.video_embeds).abs().max() > 1e-3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_video_that_cannot_be_read_is_named(records, tmp_path, num_workers):
    with pytest.raises(VideoDecodeError, match=r"^Cannot decode '.*broken.mp4'"):
        embed(with_broken(records, tmp_path, 2), num_workers=num_workers, batch_size=2)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_skipping_changes_no_pairing(records, tmp_path, batch_size, caplog):
    expected = embed(records)
    with caplog.at_level(logging.WARNING):
        got = embed(with_broken(records, tmp_path, 2), on_error="skip", batch_size=batch_size)
    assert got.skipped == ("broken",)
    assert "Skipped 1 of 6 videos, with their captions: Cannot decode" in caplog.text
    assert (got.video_ids, got.captions) == (expected.video_ids, expected.captions)
    assert torch.equal(got.video_of_caption, expected.video_of_caption)
    torch.testing.assert_close(got.video_embeds, expected.video_embeds, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.text_embeds, expected.text_embeds, rtol=0, atol=1e-6)


def test_nothing_readable_is_an_error_even_if_skipped(tmp_path):
    with pytest.raises(MVPeftError, match=r"None of the 1 videos can be read. The first: .*broken.mp4"):
        embed(with_broken([], tmp_path, 0), on_error="skip")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be positive, got 0"),
        ({"on_error": "ignore"}, "Unknown on_error 'ignore'"),
        ({"records": []}, "at least one video, got none"),
        ({"records": [VideoRecord("gone", None, ("x",))]}, "'gone' has no path"),
        ({"frame_sampling": "random"}, "Unknown frame_sampling 'random'"),
    ],
)
def test_arguments_are_checked(arguments, message):
    there = [VideoRecord("a", Path("a.mp4"), ("x",))]
    with pytest.raises(ValueError, match=message):
        embed(**{"records": there, **arguments})
