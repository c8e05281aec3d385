import string
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import get_peft_model
from PIL import Image
from transformers import CLIPProcessor, CLIPTokenizer

from mv_peft.encoders import MVProcessor
from mv_peft.encoders.pixels import CLIPImageProcessorPil  # Transformers', under whichever name
from mv_peft.errors import VideoDecodeError
from mv_peft.video import read_frames
from tests.models import adapter_config, tiny_clip

from ..video.clips import encode

BEGIN, END = 97, 98


@pytest.fixture(scope="module")
def tokenizer():
    letters = {letter: index for index, letter in enumerate(string.ascii_lowercase)}
    words = {letter + "</w>": index + 26 for letter, index in letters.items()}
    return CLIPTokenizer(vocab={**letters, **words, "<|startoftext|>": BEGIN, "<|endoftext|>": END}, merges=[])


@pytest.fixture(scope="module")
def image_processor():
    return CLIPImageProcessorPil(
        size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}, image_mean=[0.1, 0.4, 0.5]
    )


@pytest.fixture
def processor(image_processor, tokenizer):
    return MVProcessor(image_processor, tokenizer, max_frames=4, max_text_tokens=10)


def picture(height, width, seed=0):
    """Shapes, slopes and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, axis=0).repeat(8, axis=1)
    slope = np.linspace(-60, 60, width)[None, :, None]
    noise = rng.normal(0, 10, (height, width, 3))
    return np.clip(coarse[:height, :width] + slope + noise, 0, 255).astype(np.uint8)


SIZES = [(240, 320), (320, 240), (360, 640), (224, 224), (131, 97), (50, 301), (225, 228), (3, 5)]


@pytest.mark.parametrize("size", SIZES)
def test_exact_preprocessing_is_transformers_to_the_bit(size, tokenizer):
    image_processor = CLIPImageProcessorPil()
    frames = np.stack([picture(*size, seed) for seed in range(3)])
    expected = torch.cat(
        [
            image_processor(frame, input_data_format="channels_last", return_tensors="pt")["pixel_values"]
            for frame in frames
        ]
    )
    pixel_values = MVProcessor(image_processor, tokenizer)(videos=frames)["pixel_values"]
    assert pixel_values.shape == (1, 3, 3, 224, 224)
    assert torch.equal(pixel_values[0], expected)


@pytest.mark.parametrize("size", SIZES)
def test_fast_preprocessing_is_within_two_levels(size, tokenizer):
    image_processor = CLIPImageProcessorPil()
    frames = np.stack([picture(*size, seed) for seed in range(3)])
    exact, fast = (
        MVProcessor(image_processor, tokenizer, preprocessing=preprocessing)(videos=frames)["pixel_values"]
        for preprocessing in ("exact", "fast")
    )
    levels = (exact - fast).abs() * torch.tensor(image_processor.image_std).view(3, 1, 1) * 255
    assert exact.std() > 0.5
    assert levels.max() < 2.001
    assert levels.mean() < 0.01


def test_sizes_mean_and_deviation_are_the_image_processors(tokenizer, clip):
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 40},
        crop_size={"height": 32, "width": 36},
        image_mean=[0.1, 0.2, 0.3],
        image_std=[2, 3, 4],
    )
    exact, fast = (
        MVProcessor(image_processor, tokenizer, preprocessing=preprocessing)(videos=clip)["pixel_values"]
        for preprocessing in ("exact", "fast")
    )
    assert exact.shape == fast.shape == (1, 12, 3, 32, 36)
    torch.testing.assert_close(exact, fast, rtol=0, atol=2.001 / 255 / 2)


@pytest.mark.parametrize("preprocessing", ["fast", "official"])
def test_an_image_processor_that_is_not_known_is_refused(preprocessing, tokenizer):
    message = rf"{preprocessing.capitalize()} preprocessing .*do_center_crop': False.*Use `preprocessing='exact'`"
    with pytest.raises(ValueError, match=message):
        MVProcessor(CLIPImageProcessorPil(do_center_crop=False), tokenizer, preprocessing=preprocessing)


@pytest.mark.parametrize("written", ["&#97; b", "&amp;#97; b"])
def test_entities_in_captions_are_what_they_stand_for(written, processor):
    assert processor(written)["input_ids"].tolist() == processor("a b")["input_ids"].tolist()
    assert processor([written, "a b"])["input_ids"].unique(dim=0).shape[0] == 1


def test_paths_arrays_tensors_and_pictures_are_the_same_video(processor, clip):
    video = read_frames(clip, 4)
    pictures = [Image.fromarray(frame) for frame in video.frames]
    batch = processor(videos=[clip, str(clip), video, video.frames, torch.tensor(video.frames), pictures])
    assert batch["pixel_values"].shape == (6, 4, 3, 8, 8)
    assert batch["pixel_values"][0].std() > 0.5
    for pixel_values in batch["pixel_values"][1:]:
        assert torch.equal(pixel_values, batch["pixel_values"][0])


def test_a_batch_of_two_is_two_batches_of_one(processor, clip, tmp_path):
    short = encode(tmp_path / "short.mp4", num_frames=2)
    texts = ["a dog", "a dog runs"]
    together = processor(texts, [short, clip])
    assert together["frame_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert together["frame_mask"].dtype == torch.int64
    assert (together["pixel_values"][0, 2:] == 0).all()
    for row, (text, video) in enumerate(zip(texts, [short, clip], strict=True)):
        alone = processor(text, video)
        num_frames, num_tokens = alone["frame_mask"].sum(), alone["attention_mask"].sum()
        assert torch.equal(together["pixel_values"][row, :num_frames], alone["pixel_values"][0])
        assert torch.equal(together["input_ids"][row, :num_tokens], alone["input_ids"][0])
        assert together["attention_mask"][row].sum() == num_tokens


def test_a_long_caption_is_truncated_and_keeps_its_end(processor):
    batch = processor(["abcdefghijklmnop", "a b"])
    assert batch["input_ids"].tolist() == [
        [BEGIN, 0, 1, 2, 3, 4, 5, 6, 7, END],
        [BEGIN, 26, 27, END, END, END, END, END, END, END],
    ]
    assert batch["attention_mask"][1].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_text_alone_and_videos_alone(processor, clip):
    assert set(processor("a dog")) == {"input_ids", "attention_mask"}
    assert set(processor(videos=clip)) == {"pixel_values", "frame_mask"}
    assert set(processor("a dog", clip)) == set(processor.model_input_names)


@pytest.mark.parametrize(("frame_sampling", "kept"), [("uniform", [0, 2, 5, 7]), ("fps_head", [0, 1, 2, 3])])
def test_frames_beyond_the_limit_are_sampled(frame_sampling, kept, image_processor, tokenizer):
    processor = MVProcessor(image_processor, tokenizer, max_frames=4, frame_sampling=frame_sampling)
    frames = np.stack([picture(16, 16, seed) for seed in range(10)])
    pixel_values = processor(videos=frames)["pixel_values"]
    assert torch.equal(pixel_values, processor(videos=frames[kept])["pixel_values"])


def test_limits_come_from_the_adapter(image_processor, tokenizer):
    config = SimpleNamespace(max_frames=3, max_text_tokens=5)
    processor = MVProcessor(image_processor, tokenizer, adapter_config=config)
    assert (processor.max_frames, processor.max_text_tokens) == (3, 5)
    assert processor("abcdefgh")["input_ids"].shape == (1, 5)


def test_saved_and_loaded_is_as_it_was(processor, clip, tmp_path):
    processor.frame_sampling = "fps_uniform"
    processor.save_pretrained(tmp_path)
    loaded = MVProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    before, after = processor("a dog", clip), loaded("a dog", clip)
    for name in processor.model_input_names:
        assert torch.equal(before[name], after[name])
    assert isinstance(CLIPProcessor.from_pretrained(tmp_path), CLIPProcessor)


def test_arguments_override_what_was_saved_and_spare_the_tokenizer(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    config = SimpleNamespace(max_frames=9, max_text_tokens=7)
    loaded = MVProcessor.from_pretrained(tmp_path, adapter_config=config, preprocessing="fast")
    assert (loaded.max_frames, loaded.max_text_tokens, loaded.preprocessing) == (9, 7, "fast")
    assert not {"adapter_config", "preprocessing"} & set(loaded.tokenizer.init_kwargs)


def test_loads_from_a_clip_models_folder(image_processor, tokenizer, tmp_path):
    CLIPProcessor(image_processor, tokenizer).save_pretrained(tmp_path)
    loaded = MVProcessor.from_pretrained(tmp_path, max_text_tokens=9)
    assert (loaded.max_frames, loaded.max_text_tokens) == (12, 9)
    assert loaded.image_processor.size["shortest_edge"] == 8


def test_a_clip_with_mv_adapter_takes_the_batch(image_processor, tokenizer, clip):
    config = adapter_config()
    model = get_peft_model(tiny_clip(), config).eval()
    processor = MVProcessor(image_processor, tokenizer, adapter_config=config)
    logits = model(**processor(["a dog", "a cat sleeps"], [clip, clip])).logits_per_text
    assert logits.shape == (2, 2)
    assert logits.isfinite().all()
    assert torch.equal(logits[:, 0], logits[:, 1])
    assert not torch.equal(logits[0], logits[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({}, "A batch needs `text`, `videos` or both, got neither"),
        ({"videos": np.zeros((4, 8, 8, 3))}, r"got float64 of shape \(4, 8, 8, 3\)"),
        ({"videos": np.zeros((8, 8, 3), np.uint8)}, r"got uint8 of shape \(8, 8, 3\)"),
        ({"videos": np.zeros((0, 8, 8, 3), np.uint8)}, r"at least one frame, got .* of shape \(0,\)"),
        ({"videos": []}, "`videos` must hold at least one video, got none"),
        ({"text": []}, "`text` must hold at least one caption, got none"),
    ],
)
def test_senseless_batches_are_refused(call, message, processor):
    with pytest.raises(ValueError, match=message):
        processor(**call)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_frames": 0}, "`max_frames` must be positive, got 0"),
        ({"max_text_tokens": 2}, "`max_text_tokens` must leave a token between begin and end, got 2"),
        ({"frame_sampling": "random"}, "Unknown sampling 'random'"),
        ({"preprocessing": "quick"}, "Unknown preprocessing 'quick'. Choose from: exact, fast"),
    ],
)
def test_senseless_processors_are_refused(arguments, message, image_processor, tokenizer):
    with pytest.raises(ValueError, match=message):
        MVProcessor(image_processor, tokenizer, **arguments)


def test_a_bad_video_fails_loudly(processor, tmp_path):
    with pytest.raises(VideoDecodeError, match=r"missing.mp4': No such file"):
        processor("a dog", tmp_path / "missing.mp4")
