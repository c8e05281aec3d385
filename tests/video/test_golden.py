"""Agreement with recordings of the authors' program in the pixels of images and the ids of captions."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from mv_peft.encoders import MVProcessor
from mv_peft.encoders.pixels import FramePreprocessor
from tests.families import pillow_image_processor

GOLDEN = Path(__file__).parent.parent / "golden"
PICTURES = ("gray", "landscape", "portrait", "square", "upscale")
CAPTIONS = json.loads((GOLDEN / "_tokenisation" / "tokenisation.json").read_text(encoding="utf-8"))
BEGIN, END = 49406, 49407


@pytest.fixture(scope="module")
def image_processor():
    return pillow_image_processor("clip")(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


@pytest.fixture(scope="module")
def tokenizer():
    """CLIP's tokenizer, reduced to the merges that the recorded captions need; the ids are those of CLIP."""
    parts = json.loads((GOLDEN / "_tokenisation" / "bpe.json").read_text(encoding="utf-8"))
    return CLIPTokenizer(vocab=parts["vocab"], merges=[tuple(pair) for pair in parts["merges"]])


def picture(name):
    recorded = load_file(GOLDEN / "_data" / "image_transform.safetensors")
    pixels = recorded[f"{name}.uint8"].numpy()
    frame = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=-1)
    return frame[None], recorded[f"{name}.out"][None]


@pytest.mark.parametrize("name", PICTURES)
def test_official_pixels_to_the_bit(name, image_processor):
    frames, expected = picture(name)
    assert expected.std() > 0.5
    assert torch.equal(FramePreprocessor(image_processor, "official")(frames), expected)


@pytest.mark.parametrize("name", PICTURES)
def test_exact_pixels_are_the_same_unless_the_margin_is_odd(name, image_processor):
    """The margin of "landscape" is 43, half of which is 22 in the authors' program and 21 in Transformers."""
    frames, expected = picture(name)
    exact = FramePreprocessor(image_processor, "exact")(frames)
    assert torch.equal(exact, expected) == (name != "landscape")
    if name == "landscape":
        assert torch.equal(exact[..., 1:], expected[..., :-1])


def test_official_pixels_of_a_portrait_with_an_odd_margin(image_processor):
    frames, expected = picture("landscape")
    turned = FramePreprocessor(image_processor, "official")(np.ascontiguousarray(frames.transpose(0, 2, 1, 3)))
    torch.testing.assert_close(
        turned, expected.transpose(2, 3), rtol=0, atol=0.02
    )  # a level, because one side is scaled first


@pytest.mark.parametrize("max_text_tokens", [int(length) for length in CAPTIONS["ids"]])
def test_ids_of_captions(max_text_tokens, image_processor, tokenizer):
    processor = MVProcessor(image_processor, tokenizer, max_text_tokens=max_text_tokens)
    recorded = CAPTIONS["ids"][str(max_text_tokens)]
    assert len(recorded) == 17
    for caption, padded in zip(CAPTIONS["captions"], recorded, strict=True):
        ids = padded[: max(place for place, token in enumerate(padded) if token == END) + 1]  # the authors pad with 0
        batch = processor(text=caption)
        assert batch["input_ids"][0].tolist() == ids, caption
        assert batch["attention_mask"].all()


def test_captions_padded_together_keep_their_ids(image_processor, tokenizer):
    processor = MVProcessor(image_processor, tokenizer, max_text_tokens=12)
    batch = processor(text=CAPTIONS["captions"])
    recorded = torch.tensor(CAPTIONS["ids"]["12"])
    real = batch["attention_mask"].bool()
    assert torch.equal(batch["input_ids"][real], recorded[real])
    assert (recorded[~real] == 0).all()
    assert (batch["input_ids"][:, 0] == BEGIN).all()
