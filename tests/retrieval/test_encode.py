"""Texts and videos have the same embeddings in any form and any batch, and unreadable videos are named."""

from __future__ import annotations

import dataclasses
import logging
import weakref
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mv_peft import enable_video
from mv_peft.data import VideoRecord
from mv_peft.demo.pretrained import load_tiny_clip
from mv_peft.errors import MVPeftError, VideoDecodeError
from mv_peft.retrieval import Moment, embed_records, encode_texts, encode_video_stream, encode_videos
from mv_peft.video import read_frames
from tests.retrieval.clips import adapted, processor, write_records


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return write_records(tmp_path_factory.mktemp("videos"), captions_each=2)


def embed(records, model=None, **arguments):
    return embed_records(model or adapted(), processor(), records, **{"progress": False, **arguments})


def encode(function, videos, model=None, **arguments):
    return function(model or adapted(), processor(), videos, **{"progress": False, **arguments})


def assert_unit_vectors(embeds, rows):
    assert embeds.dtype == torch.float32
    assert len(embeds) == rows
    assert not embeds.is_inference()
    torch.testing.assert_close(embeds.norm(dim=-1), torch.ones(rows))


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


def test_equal_videos_are_read_once_and_have_equal_embeddings(records):
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


def test_training_modes_and_random_numbers_are_restored(records):
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


def test_any_adapter_or_none_is_taken(records):
    zero_shot = embed(records, enable_video(load_tiny_clip()))
    lora = get_peft_model(load_tiny_clip(), LoraConfig(target_modules=["q_proj"], init_lora_weights=False))
    assert (embed(records, enable_video(lora)).video_embeds - zero_shot.video_embeds).abs().max() > 1e-3


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_video_that_cannot_be_read_is_named(records, tmp_path, num_workers):
    with pytest.raises(VideoDecodeError, match=r"^Cannot decode '.*broken.mp4'"):
        embed(with_broken(records, tmp_path, 2), num_workers=num_workers, batch_size=2)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_skipping_keeps_captions_with_their_videos(records, tmp_path, batch_size, caplog):
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


def test_records_are_texts_and_videos(records):
    whole = embed(records, batch_size=2)
    text_embeds = encode_texts(adapted(), processor(), whole.captions, batch_size=2, progress=False)
    videos = encode(encode_videos, [record.path for record in records], batch_size=2)
    assert torch.equal(text_embeds, whole.text_embeds)
    assert torch.equal(videos.embeds, whole.video_embeds)
    assert (videos.indices, videos.failures) == ((0, 1, 2, 3, 4), {})
    assert_unit_vectors(text_embeds, 10)
    assert_unit_vectors(videos.embeds, 5)
    assert repr(videos) == f"EncodedVideos(5 videos, dim {videos.embeds.shape[1]})"


def test_one_text_and_one_video(records):
    model = adapted()
    text, texts = (encode_texts(model, processor(), given, progress=False) for given in ("a star", ["a star"]))
    assert torch.equal(text, texts)
    video, videos = (encode(encode_videos, given, model).embeds for given in (records[0].path, [records[0].path]))
    assert torch.equal(video, videos)


def forms(records):
    """The same videos in every form that can be encoded."""
    process = processor()
    decoded = [read_frames(record.path, process.max_frames, process.frame_sampling) for record in records]
    yield "paths", [str(record.path) for record in records]
    yield "moments", [Moment(record.path) for record in records]
    yield "frames", decoded
    yield "arrays", tuple(video.frames for video in decoded)
    yield "pixel values", [process.pixel_values(video) for video in decoded]
    yield "mixed", [records[0].path, Moment(records[1].path), *decoded[2:]]
    yield "generator", (video for video in decoded)


def test_all_forms_of_videos_have_the_same_embeddings(records):
    expected = encode(encode_videos, [record.path for record in records], batch_size=2)
    for name, videos in forms(records):
        encoded = encode(encode_videos, videos, batch_size=2)
        assert torch.equal(encoded.embeds, expected.embeds), name
        assert encoded.indices == expected.indices, name


def test_a_batch_of_pixel_values_is_a_sequence_of_videos(records):
    path = records[3].path
    pixel_values = processor().pixel_values(path)
    encoded = encode(encode_videos, torch.stack([pixel_values, pixel_values.flip(0)]))
    assert len(encoded.embeds) == 2
    torch.testing.assert_close(encoded.embeds[:1], encode(encode_videos, path).embeds, rtol=0, atol=1e-6)
    assert not torch.equal(encoded.embeds[0], encoded.embeds[1])


def test_a_stream_yields_batches_as_they_are_done(records):
    expected = encode(encode_videos, [record.path for record in records], batch_size=2)
    consumed = []

    def videos():
        for record in records:
            consumed.append(record.video_id)
            yield record.path

    model = adapted()
    modes = [module.training for module in model.modules()]
    parts = []
    for part in encode(encode_video_stream, videos(), model, batch_size=2):
        assert len(consumed) == part.indices[-1] + 1
        assert [module.training for module in model.modules()] == modes
        assert not torch.is_inference_mode_enabled()
        assert_unit_vectors(part.embeds, len(part.indices))
        parts.append(part)
    assert [part.indices for part in parts] == [(0, 1), (2, 3), (4,)]
    assert torch.equal(torch.cat([part.embeds for part in parts]), expected.embeds)
    endless = encode(encode_video_stream, (records[0].path for _ in iter(int, 1)), batch_size=2)
    assert next(endless).indices == (0, 1)


def test_whole_frames_of_a_batch_are_never_held_together(records):
    alive = []

    def read(*args, **kwargs):
        assert not any(frames() is not None for frames in alive)
        video = read_frames(*args, **kwargs)
        alive.append(weakref.ref(video.frames))
        return video

    encoded = encode(encode_videos, [record.path for record in records], read=read)
    assert len(encoded.indices) == len(alive) == 5


@pytest.mark.parametrize("lazily", [False, True])
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_videos_that_cannot_be_read_are_left_out_or_raise(records, tmp_path, batch_size, lazily):
    def paths():
        found = [record.path for record in with_broken(records, tmp_path, 2)]
        return iter(found) if lazily else found

    expected = encode(encode_videos, [record.path for record in records])
    encoded = encode(encode_videos, paths(), on_error="skip", batch_size=batch_size)
    assert encoded.indices == (0, 1, 3, 4, 5)
    assert list(encoded.failures) == [2]
    assert "broken.mp4" in encoded.failures[2]
    assert repr(encoded).endswith(", 1 failed)")
    torch.testing.assert_close(encoded.embeds, expected.embeds, rtol=0, atol=1e-6)
    for function in (encode_videos, lambda *args, **kwargs: list(encode_video_stream(*args, **kwargs))):
        with pytest.raises(VideoDecodeError, match=r"^Cannot decode '.*broken.mp4'"):
            encode(function, paths(), batch_size=batch_size)


@pytest.mark.parametrize("function", [encode_videos, encode_video_stream])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "`batch_size` must be positive, got 0"),
        ({"on_error": "ignore"}, "Unknown on_error 'ignore'"),
        ({"frame_sampling": "random"}, "Unknown frame_sampling 'random'"),
        ({"videos": iter(["a.mp4"]), "num_workers": 2}, "`num_workers` 2 has no effect on videos that are no sequence"),
    ],
)
def test_arguments_of_the_encoding_are_checked(function, arguments, message):
    with pytest.raises(ValueError, match=message):
        encode(function, **{"videos": ["a.mp4"], **arguments})


def test_nothing_gives_no_rows():
    assert len(encode_texts(adapted(), processor(), [], progress=False)) == 0
    assert len(encode(encode_videos, []).embeds) == 0
