"""Small CLIP models and inputs that the tests share; everything from configurations, nothing downloaded."""

from __future__ import annotations

import pytest
import torch
import transformers
from packaging.version import Version
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from mv_peft import MVAdapterConfig

EOS = 98

needs_transformers_5_6 = pytest.mark.skipif(
    Version(transformers.__version__) < Version("5.6"),
    reason="before Transformers 5.6 CLIP loads LoRA natively but not us, and re-enters checkpoints without gradient",
)


def clip_config(vision_layers: int = 3, text_layers: int = 2, vision_dim: int = 24, text_dim: int = 16) -> CLIPConfig:
    """A CLIP of 24 and 16 channels, 8 x 8 images in patches of 4, towers of different depth and width."""
    text = {
        "vocab_size": 100,
        "hidden_size": text_dim,
        "intermediate_size": 2 * text_dim,
        "num_hidden_layers": text_layers,
        "num_attention_heads": 2,
        "max_position_embeddings": 16,
        "bos_token_id": 97,
        "eos_token_id": EOS,
        "pad_token_id": 0,
        "projection_dim": 12,
    }
    vision = {
        "hidden_size": vision_dim,
        "intermediate_size": 2 * vision_dim,
        "num_hidden_layers": vision_layers,
        "num_attention_heads": 2,
        "image_size": 8,
        "patch_size": 4,
        "projection_dim": 12,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=12)


def tiny_clip(seed: int = 0, **sizes: int) -> CLIPModel:
    """The same weights for the same seed."""
    torch.manual_seed(seed)
    return CLIPModel(clip_config(**sizes)).eval()


def adapter_config(**overrides: object) -> MVAdapterConfig:
    """A small adapter that has an effect from the start, unless `init_weights=True` is asked for."""
    settings: dict[str, object] = {
        "bottleneck_dim": {"vision": 8, "text": 4},
        "max_frames": 6,
        "max_text_tokens": 10,
        "factor_dim": 5,
        "calibration_dim": 3,
        "init_weights": False,
        "scaling": 1.0,
    }
    return MVAdapterConfig(**{**settings, **overrides})


def batch(videos: int = 3, frames: int = 5, tokens: int = 7, seed: int = 1) -> dict[str, Tensor]:
    """Videos of uneven length with noise in their padded frames, and as many captions of uneven length."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [max(1, frames - 2 * video) for video in range(videos)]
    input_ids = torch.randint(1, 90, (videos, tokens), generator=generator)
    for row in range(videos):
        end = max(2, tokens - 1 - row)
        input_ids[row, end] = EOS
        input_ids[row, end + 1 :] = 0
    return {
        "input_ids": input_ids,
        "attention_mask": (input_ids != 0).long(),
        "pixel_values": torch.randn(videos, frames, 3, 8, 8, generator=generator),
        "frame_mask": torch.tensor([[int(f < length) for f in range(frames)] for length in lengths]),
    }
