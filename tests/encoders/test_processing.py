"""Videos and captions become what Transformers makes of them, for every family."""

import json
import string
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from peft import get_peft_model
from PIL import Image
from transformers import BaseImageProcessor, CLIPProcessor, CLIPTokenizer, SiglipProcessor

from mv_peft.encoders import MVProcessor
from mv_peft.encoders.pixels import FramePreprocessor, in_pillow
from mv_peft.errors import VideoDecodeError
from mv_peft.video import read_frames
from tests.families import (
    FAMILIES,
    TEXT_LENGTH,
    pillow_image_processor,
    tiny_config,
    tiny_image_processor,
    tiny_model,
    tiny_processor,
    tiny_tokenizer,
)
from tests.models import adapter_config, tiny_clip

from ..video.clips import encode

BEGIN, END = 97, 98

ClipImageProcessor = pillow_image_processor("clip")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of 60 frames, 25 a second."""
    return encode(tmp_path_factory.mktemp("clip") / "clip.mp4")


@pytest.fixture(scope="module")
def tokenizer():
    letters = {letter: index for index, letter in enumerate(string.ascii_lowercase)}
    words = {letter + "</w>": index + 26 for letter, index in letters.items()}
    return CLIPTokenizer(vocab={**letters, **words, "<|startoftext|>": BEGIN, "<|endoftext|>": END}, merges=[])


@pytest.fixture(scope="module")
def image_processor():
    return ClipImageProcessor(
        size={"shortest_edge": 8}, crop_size={"height": 8, "width": 8}, image_mean=[0.1, 0.4, 0.5]
    )


@pytest.fixture
def processor(image_processor, tokenizer):
    return MVProcessor(image_processor, tokenizer, max_frames=4, max_text_tokens=10, frame_sampling="uniform")


def picture(height, width, seed=0):
    """An image of shapes, slopes and noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3)).repeat(8, axis=0).repeat(8, axis=1)
    slope = np.linspace(-60, 60, width)[None, :, None]
    noise = rng.normal(0, 10, (height, width, 3))
    return np.clip(coarse[:height, :width] + slope + noise, 0, 255).astype(np.uint8)


SIZES = [(240, 320), (320, 240), (360, 640), (224, 224), (131, 97), (50, 301), (225, 228), (3, 5), (500, 225)]
SQUARE = {"height": 224, "width": 224}
# SigLIP 2 resizes bilinearly, and the published Chinese-CLIP to a square, like SigLIP.
IMAGE_PROCESSORS = {
    "clip": lambda: ClipImageProcessor(),
    "siglip": lambda: pillow_image_processor("siglip")(),
    "siglip, bilinear": lambda: pillow_image_processor("siglip")(resample=2, size=SQUARE),
    "chinese_clip": lambda: pillow_image_processor("chinese_clip")(),
    "chinese_clip, square": lambda: pillow_image_processor("chinese_clip")(size=SQUARE, do_center_crop=False),
}


@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
@pytest.mark.parametrize("size", SIZES)
def test_exact_preprocessing_equals_transformers_to_the_bit(size, name, tokenizer):
    image_processor = IMAGE_PROCESSORS[name]()
    frames = np.stack([picture(*size, seed) for seed in range(3)])
    expected = image_processor(list(frames), input_data_format="channels_last", return_tensors="pt")["pixel_values"]
    processor = MVProcessor(image_processor, tokenizer)
    pixel_values = processor(videos=frames)["pixel_values"]
    assert pixel_values.shape == (1, 3, 3, 224, 224)
    assert torch.equal(pixel_values[0], expected)
    assert torch.equal(processor.pixel_values(frames), expected)
    assert expected.std() > 0.3


@pytest.mark.parametrize("name", IMAGE_PROCESSORS)
@pytest.mark.parametrize("size", SIZES)
def test_fast_preprocessing_is_within_two_levels(size, name, tokenizer):
    image_processor = IMAGE_PROCESSORS[name]()
    frames = np.stack([picture(*size, seed) for seed in range(3)])
    exact, fast = (
        MVProcessor(image_processor, tokenizer, preprocessing=preprocessing)(videos=frames)["pixel_values"]
        for preprocessing in ("exact", "fast")
    )
    levels = (exact - fast).abs() * torch.tensor(image_processor.image_std).view(3, 1, 1) * 255
    assert exact.std() > 0.3
    assert levels.max() < 2.001
    assert levels.mean() < 0.01


def test_sizes_mean_and_deviation_are_the_image_processors(tokenizer, clip):
    image_processor = ClipImageProcessor(
        size={"shortest_edge": 40},
        crop_size={"height": 32, "width": 36},
        image_mean=[0.1, 0.2, 0.3],
        image_std=[2, 3, 4],
    )
    settings = {"frame_sampling": "uniform"}
    exact, fast = (
        MVProcessor(image_processor, tokenizer, preprocessing=preprocessing, **settings)(videos=clip)["pixel_values"]
        for preprocessing in ("exact", "fast")
    )
    assert exact.shape == fast.shape == (1, 12, 3, 32, 36)
    torch.testing.assert_close(exact, fast, rtol=0, atol=2.001 / 255 / 2)


@pytest.mark.parametrize("preprocessing", ["fast", "official"])
def test_an_unknown_rule_of_preprocessing_is_refused(preprocessing, tokenizer):
    message = rf"{preprocessing.capitalize()} preprocessing .*do_center_crop': False.*Use `preprocessing='exact'`"
    with pytest.raises(ValueError, match=message):
        MVProcessor(ClipImageProcessor(do_center_crop=False), tokenizer, preprocessing=preprocessing)


@pytest.mark.parametrize("family", ["siglip", "chinese_clip"])
def test_official_preprocessing_is_clips_only(family, tokenizer):
    with pytest.raises(
        ValueError, match=r"Official preprocessing is that of OpenAI's CLIP.*Use `preprocessing='exact'`"
    ):
        MVProcessor(tiny_image_processor(family), tokenizer, preprocessing="official")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_implementation_for_pillow_is_found_from_any_other(family):
    pillow = tiny_image_processor(family)

    def named(name, base=BaseImageProcessor):
        other = type(name, (base,), {"to_dict": lambda self: pillow.to_dict()})
        return in_pillow(other())

    short = type(pillow).__name__.removesuffix("Pil")
    for name in (short, f"{short}Pil", f"{short}Fast"):
        assert type(named(name)) is type(pillow)
        assert named(name).to_dict() == pillow.to_dict()
    assert type(named("MyOwnImageProcessor", type(pillow))) is type(pillow)


def test_an_image_processor_without_an_implementation_for_pillow_is_refused():
    class Foreign(BaseImageProcessor):
        pass

    with pytest.raises(TypeError, match="no Pillow implementation of Foreign"):
        FramePreprocessor(Foreign())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_processor_loads_from_a_models_folder(family, tmp_path):
    tiny_config(family).save_pretrained(tmp_path)
    tiny_tokenizer(family).save_pretrained(tmp_path)
    tiny_image_processor(family).save_pretrained(tmp_path)
    loaded = MVProcessor.from_pretrained(tmp_path)
    assert type(in_pillow(loaded.image_processor)) is pillow_image_processor(family)
    always_pads = family == "siglip"
    assert loaded.pad_to_tokens == (TEXT_LENGTH if always_pads else None)
    assert loaded.max_text_tokens == TEXT_LENGTH
    loaded.tokenizer.backend_tokenizer.normalizer = None  # one that keeps upper case, as SigLIP 2's does
    upper, lower = (loaded(text=[text])["input_ids"] for text in ("A DOG", "a dog"))
    assert torch.equal(upper, lower) == loaded.lowercase == (family == "siglip")
    assert (loaded.max_frames, loaded.frame_sampling) == (12, "fps_uniform")
    loaded.save_pretrained(tmp_path / "saved")  # without the model
    again = MVProcessor.from_pretrained(tmp_path / "saved")
    assert again.to_dict() == loaded.to_dict()
    texts, frames = ["a dog", "cats"], [np.stack([picture(12, 20)] * 2)]
    for name, tensor in loaded(texts, frames).items():
        assert torch.equal(again(texts, frames)[name], tensor)
    limited = MVProcessor.from_pretrained(tmp_path, max_text_tokens=5, max_frames=3)
    assert (limited.max_text_tokens, limited.max_frames) == (5, 3)
    assert limited.pad_to_tokens == loaded.pad_to_tokens


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_takes_the_batch(family):
    model, processor = tiny_model(family), tiny_processor(family)
    frames = np.stack([picture(12, 20, seed) for seed in range(3)])
    texts = ["abcdefghijklmnopqrstuvwxyz", "a dog", "cats"]
    batch = processor(texts, [frames, frames[:1]])
    assert list(batch) == processor.model_input_names
    assert batch["frame_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    inputs = {name: batch[name] for name in ("input_ids", "attention_mask") if name in batch}
    with torch.no_grad():
        together = model.get_text_features(**inputs).pooler_output
        for row, text in enumerate(texts):
            alone = processor(text)
            tokens = {**alone, "token_type_ids": torch.zeros_like(alone["input_ids"])}
            if family not in ("chinese_clip", "altclip"):
                del tokens["token_type_ids"]
            own = model.get_text_features(**tokens).pooler_output[0]
            torch.testing.assert_close(together[row], own, rtol=0, atol=1e-5)
    assert torch.pdist(together).min() > 1e-2


def test_siglips_captions_are_padded_to_the_full_length_without_a_mask():
    end = 1
    processor = tiny_processor("siglip", max_text_tokens=6)
    assert processor(["a dog", "abcdefghijkl"])["input_ids"].tolist() == [
        [4, 7, 18, 10, *[end] * 12],
        [4, 5, 6, 7, 8, *[end] * 11],
    ]
    assert processor.model_input_names == ["input_ids", "pixel_values", "frame_mask"]


def test_siglips_batch_equals_that_of_its_own_processor(tmp_path):
    texts, image = ["a dog", "cats"], Image.fromarray(picture(12, 20))
    theirs = SiglipProcessor(tiny_image_processor("siglip"), tiny_tokenizer("siglip"))
    expected = theirs(text=texts, images=image, padding="max_length", max_length=TEXT_LENGTH, return_tensors="pt")
    theirs.save_pretrained(tmp_path)
    tiny_config("siglip").save_pretrained(tmp_path)
    batch = MVProcessor.from_pretrained(tmp_path)(texts, [[image]])
    assert torch.equal(batch["input_ids"], expected["input_ids"])
    assert torch.equal(batch["pixel_values"][:, 0], expected["pixel_values"])


@pytest.mark.parametrize(
    ("model_type", "message"),
    [("xclip", "X-CLIP lets the frames.*Use one of these classes"), ("siglip2", "NaFlex.*CLIPModel, ")],
)
def test_a_model_that_takes_no_videos_is_refused(model_type, message, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(TypeError, match=message):
        MVProcessor.from_pretrained(tmp_path)


@pytest.mark.parametrize("written", ["&#97; b", "&amp;#97; b"])
def test_html_entities_in_captions_are_replaced(written, processor):
    assert processor(written)["input_ids"].tolist() == processor("a b")["input_ids"].tolist()
    assert processor([written, "a b"])["input_ids"].unique(dim=0).shape[0] == 1


def test_all_forms_of_a_video_give_the_same_pixel_values(processor, clip):
    video = read_frames(clip, 4, "uniform")
    pictures = [Image.fromarray(frame) for frame in video.frames]
    forms = [clip, str(clip), video, video.frames, torch.tensor(video.frames), pictures, processor.pixel_values(clip)]
    batch = processor(videos=forms)
    assert batch["pixel_values"].shape == (7, 4, 3, 8, 8)
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
    everything = MVProcessor(image_processor, tokenizer).pixel_values(frames)
    assert torch.equal(pixel_values, processor(videos=frames[kept])["pixel_values"])
    assert torch.equal(pixel_values[0], processor.pixel_values(everything))


def test_limits_come_from_the_adapter(image_processor, tokenizer):
    config = SimpleNamespace(max_frames=3, max_text_tokens=5)
    processor = MVProcessor(image_processor, tokenizer, adapter_config=config)
    assert (processor.max_frames, processor.max_text_tokens) == (3, 5)
    assert processor("abcdefgh")["input_ids"].shape == (1, 5)


def test_saving_and_loading_changes_nothing(processor, clip, tmp_path):
    processor.frame_sampling = "fps_head"
    processor.save_pretrained(tmp_path)
    loaded = MVProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    before, after = processor("a dog", clip), loaded("a dog", clip)
    for name in processor.model_input_names:
        assert torch.equal(before[name], after[name])
    assert isinstance(CLIPProcessor.from_pretrained(tmp_path), CLIPProcessor)


def test_arguments_override_what_was_saved_and_do_not_reach_the_tokenizer(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    config = SimpleNamespace(max_frames=9, max_text_tokens=7)
    loaded = MVProcessor.from_pretrained(tmp_path, adapter_config=config, preprocessing="fast")
    assert (loaded.max_frames, loaded.max_text_tokens, loaded.preprocessing) == (9, 7, "fast")
    assert not {"adapter_config", "preprocessing"} & set(loaded.tokenizer.init_kwargs)


def test_the_frame_sampling_that_version_0_1_0_saved_is_kept(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    settings = json.loads(path.read_text())
    assert settings["frame_sampling"] == "uniform"
    del settings["pad_to_tokens"]
    path.write_text(json.dumps(settings))
    loaded = MVProcessor.from_pretrained(tmp_path)
    assert (loaded.frame_sampling, loaded.max_text_tokens, loaded.pad_to_tokens) == ("uniform", 10, None)


def test_loads_what_transformers_own_processor_saved(image_processor, tokenizer, tmp_path):
    CLIPProcessor(image_processor, tokenizer).save_pretrained(tmp_path)
    loaded = MVProcessor.from_pretrained(tmp_path, max_text_tokens=9)
    assert (loaded.max_frames, loaded.max_text_tokens) == (12, 9)
    assert loaded.image_processor.size["shortest_edge"] == 8


def test_a_clip_with_mv_adapter_takes_the_batch(image_processor, tokenizer, clip):
    config = adapter_config()
    model = get_peft_model(tiny_clip(), config).eval()
    processor = MVProcessor(image_processor, tokenizer, frame_sampling="uniform", adapter_config=config)
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
        ({"videos": np.zeros((0, 8, 8, 3), np.uint8)}, r"at least one frame, got .* of shape \(0, 8, 8, 3\)"),
        ({"videos": [[]]}, r"at least one frame, got .* of shape \(0,\)"),
        ({"videos": torch.zeros(4, 3, 9, 8)}, r"pixel values, float32 \(frames, 3, 8, 8\).*got .*\(4, 3, 9, 8\)"),
        ({"videos": torch.zeros(0, 3, 8, 8)}, "with at least one frame"),
        ({"videos": torch.zeros(4, 3, 8, 8).double()}, "got torch.float64"),
        ({"videos": []}, "`videos` must hold at least one video, got none"),
        ({"text": []}, "`text` must hold at least one caption, got none"),
    ],
)
def test_invalid_batches_are_refused(call, message, processor):
    with pytest.raises(ValueError, match=message):
        processor(**call)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_frames": 0}, "`max_frames` must be positive, got 0"),
        ({"max_text_tokens": 2}, "`max_text_tokens` must leave a token between begin and end, got 2"),
        ({"frame_sampling": "random"}, "Unknown frame_sampling 'random'"),
        ({"max_text_tokens": 17, "pad_to_tokens": 16}, "at most `pad_to_tokens` = 16.*got 17"),
        ({"preprocessing": "quick"}, "Unknown preprocessing 'quick'. Choose from: exact, fast"),
    ],
)
def test_invalid_processors_are_refused(arguments, message, image_processor, tokenizer):
    with pytest.raises(ValueError, match=message):
        MVProcessor(image_processor, tokenizer, **arguments)


def test_a_bad_video_fails_loudly(processor, tmp_path):
    with pytest.raises(VideoDecodeError, match=r"missing.mp4': No such file"):
        processor("a dog", tmp_path / "missing.mp4")
