"""A tiny dual encoder of each family with its processor and a batch; everything from configurations."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from mv_peft.encoders import MVProcessor

FAMILIES = ("clip", "metaclip_2", "siglip", "chinese_clip", "altclip")

IMAGE_SIZE = 8
VOCABULARY_SIZE = 100
TEXT_LENGTH = 16  # the most tokens that a text tower takes
CLASS_NAMES = {
    "clip": "CLIP",
    "metaclip_2": "MetaClip2",
    "siglip": "Siglip",
    "chinese_clip": "ChineseCLIP",
    "altclip": "AltCLIP",
}
# Ids of the begin, end and padding tokens. SigLIP has no begin token, and pads with the end token.
SPECIAL_TOKENS: dict[str, tuple[int | None, int, int]] = {
    "clip": (97, 98, 0),
    "metaclip_2": (0, 2, 1),
    "siglip": (None, 1, 1),
    "chinese_clip": (2, 3, 0),
    "altclip": (0, 2, 1),
}
FIRST_WORD = 4  # smaller ids are special tokens in some family


def tiny_config(family: str) -> transformers.PreTrainedConfig:
    """Towers of 3 layers of 24 channels (vision) and 2 layers of 16 (text), 8 x 8 images in patches of 4."""
    begin, end, padding = SPECIAL_TOKENS[family]
    text: dict[str, Any] = {
        "vocab_size": VOCABULARY_SIZE,
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": TEXT_LENGTH,
        "bos_token_id": begin,
        "eos_token_id": end,
        "pad_token_id": padding,
    }
    vision: dict[str, Any] = {
        "hidden_size": 24,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": IMAGE_SIZE,
        "patch_size": 4,
    }
    joint: dict[str, Any] = {"projection_dim": 12}
    match family:
        case "clip" | "metaclip_2":
            text |= joint
            vision |= joint
        case "siglip":
            text["projection_size"] = vision["hidden_size"]
            joint = {}
        case "chinese_clip" | "altclip":
            vision |= joint
            # With the default range all captions of a BERT this small have almost the same embedding.
            text |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "initializer_range": 0.3}
            if family == "altclip":
                # Positions are counted from the padding id on.
                text |= {"max_position_embeddings": TEXT_LENGTH + padding + 1, "project_dim": 20}
    return getattr(transformers, f"{CLASS_NAMES[family]}Config")(text_config=text, vision_config=vision, **joint)


def tiny_model(family: str, seed: int = 0) -> PreTrainedModel:
    """A model with both towers in evaluation mode; the same weights for the same seed."""
    torch.manual_seed(seed)
    return getattr(transformers, f"{CLASS_NAMES[family]}Model")(tiny_config(family)).eval()


def tiny_tokenizer(family: str) -> PreTrainedTokenizerBase:
    """A tokenizer of letters with the special tokens of the family, where its own makes them."""
    begin, end, padding = SPECIAL_TOKENS[family]
    names = {end: "</s>"} if padding == end else {end: "</s>", padding: "<pad>"}
    if begin is not None:
        names[begin] = "<s>"
    letters = {letter: FIRST_WORD + number for number, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
    tokenizer = Tokenizer(models.WordLevel({**letters, "<unk>": 40, **{name: i for i, name in names.items()}}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    template = "$A </s>" if begin is None else "<s> $A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[(name, number) for number, name in names.items()]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=names.get(begin) if begin is not None else None,
        eos_token="</s>",
        pad_token=names[padding],
        unk_token="<unk>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def tiny_image_processor(family: str) -> transformers.BaseImageProcessor:
    """The family's own image processor in Pillow, for 8 x 8 images."""
    name = {"siglip": "Siglip", "chinese_clip": "ChineseCLIP"}.get(family, "CLIP") + "ImageProcessor"
    processor_class = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name)
    square = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    if family == "siglip":
        return processor_class(size=square)
    return processor_class(size={"shortest_edge": IMAGE_SIZE}, crop_size=square)


def tiny_processor(family: str, **settings: Any) -> MVProcessor:
    """A processor for the tiny model: 6 frames, and 10 tokens or, where the family always pads, its full length."""
    limits: dict[str, Any] = {"max_frames": 6, "max_text_tokens": 10}
    if family == "siglip":
        limits |= {"max_text_tokens": TEXT_LENGTH, "pad_to_tokens": TEXT_LENGTH}
    return MVProcessor(tiny_image_processor(family), tiny_tokenizer(family), **limits | settings)


def batch(family: str, videos: int = 3, frames: int = 5, tokens: int = 7, seed: int = 1) -> dict[str, Tensor]:
    """Videos of uneven length with noise in their padded frames, and as many captions of uneven length.

    The captions are padded as the family pads them: to `tokens` with an attention mask, or, in SigLIP, to the full
    length of the text tower without one.
    """
    generator = torch.Generator().manual_seed(seed)
    begin, end, padding = SPECIAL_TOKENS[family]
    lengths = [max(1, frames - 2 * video) for video in range(videos)]
    words = torch.randint(FIRST_WORD, 90, (videos, tokens), generator=generator)
    length = TEXT_LENGTH if family == "siglip" else tokens
    input_ids = torch.full((videos, length), padding)
    attention_mask = torch.zeros(videos, length, dtype=torch.int64)
    for row in range(videos):
        last = max(2, tokens - 1 - row)
        input_ids[row, :last] = words[row, :last]
        input_ids[row, last] = end
        attention_mask[row, : last + 1] = 1
    if begin is not None:
        input_ids[:, 0] = begin
    made = {"input_ids": input_ids, "attention_mask": attention_mask}
    if family == "siglip":
        del made["attention_mask"]
    return {
        **made,
        "pixel_values": torch.randn(videos, frames, 3, IMAGE_SIZE, IMAGE_SIZE, generator=generator),
        "frame_mask": torch.tensor([[int(f < length) for f in range(frames)] for length in lengths]),
    }
