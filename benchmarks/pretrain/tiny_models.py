"""The tiny dual encoders of the rendered worlds: their sizes, their tokenizer, and how they are saved."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)
from transformers.image_processing_utils import BaseImageProcessor

IMAGE_SIZE = 32
MAX_TEXT_TOKENS = 16
# The order matters. Transformers takes an end token of id 2 for a checkpoint from before 2023 and then pools the text
# at the largest id.
SPECIAL_TOKENS = ["<|pad|>", "<|unknown|>", "<|startoftext|>", "<|endoftext|>"]
PIXEL_MEAN, PIXEL_STD = [0.5] * 3, [0.25] * 3
TOWER = {"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4}


def build_tokenizer(captions: list[str]) -> PreTrainedTokenizerFast:
    """Build a tokenizer that has one token for each word of the captions and adds CLIP's begin and end tokens."""
    words = sorted({word for caption in captions for word in caption.split()})
    vocabulary = {token: index for index, token in enumerate(SPECIAL_TOKENS + words)}
    pad, unknown, begin, end = SPECIAL_TOKENS
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}", special_tokens=[(token, vocabulary[token]) for token in (begin, end)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=begin,
        eos_token=end,
        unk_token=unknown,
        model_max_length=MAX_TEXT_TOKENS,
    )


def build_clip(tokenizer: PreTrainedTokenizerFast) -> CLIPModel:
    """Build a CLIP of 0.6 million random parameters."""
    config = CLIPConfig(
        text_config={**TOWER, **_text_config(tokenizer), "projection_dim": 64},
        vision_config={**TOWER, **_vision_config(), "projection_dim": 64},
        projection_dim=64,
    )
    return CLIPModel._from_config(config, attn_implementation="eager")


def build_siglip(tokenizer: PreTrainedTokenizerFast) -> SiglipModel:
    """Build a SigLIP of the CLIP's sizes.

    The scale and the bias of its sigmoid loss start at 10 and at -10, as in the SigLIP paper (arXiv 2303.15343,
    section 3.2); Transformers would start them at 1 and at 0.
    """
    config = SiglipConfig(text_config={**TOWER, **_text_config(tokenizer)}, vision_config={**TOWER, **_vision_config()})
    model = SiglipModel._from_config(config, attn_implementation="eager")
    with torch.no_grad():
        model.logit_scale.fill_(math.log(10))
        model.logit_bias.fill_(-10)
    return model


@dataclass(frozen=True)
class TinyFamily:
    """How a tiny model of one family is made.

    Attributes:
        build: Makes a model of random weights for a tokenizer.
        image_processor: Reads images as the model was trained on them.
    """

    build: Callable[[PreTrainedTokenizerFast], PreTrainedModel]
    image_processor: Callable[[], BaseImageProcessor]


FAMILIES = {
    "clip": TinyFamily(
        build_clip,
        lambda: CLIPImageProcessorPil(
            size={"shortest_edge": IMAGE_SIZE},
            crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
            image_mean=PIXEL_MEAN,
            image_std=PIXEL_STD,
        ),
    ),
    "siglip": TinyFamily(
        build_siglip,
        lambda: SiglipImageProcessorPil(
            size={"height": IMAGE_SIZE, "width": IMAGE_SIZE}, image_mean=PIXEL_MEAN, image_std=PIXEL_STD
        ),
    ),
}


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a model with its tokenizer and its image processor. The model itself is converted to fp16."""
    model.to(torch.float16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    FAMILIES[model.config.model_type].image_processor().save_pretrained(folder)


def _text_config(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "num_hidden_layers": 2,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": MAX_TEXT_TOKENS,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def _vision_config() -> dict[str, Any]:
    return {"num_hidden_layers": 3, "image_size": IMAGE_SIZE, "patch_size": 8}
