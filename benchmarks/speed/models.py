"""The models of random weights whose speed is measured, and batches for them. They cost as much as trained ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from mv_peft import MVAdapterConfig, enable_video

SIZES: dict[str, dict[str, Any]] = {
    "B/16": {"vision_config": {"patch_size": 16}},
    "tiny": {
        "vision_config": {
            "hidden_size": 96,
            "num_hidden_layers": 4,
            "num_attention_heads": 3,
            "intermediate_size": 384,
        },
        "text_config": {"num_hidden_layers": 4},
    },
}
METHODS: dict[str, Callable[[CLIPModel], nn.Module]] = {
    "frozen CLIP": lambda clip: enable_video(clip.requires_grad_(False)),
    "LoRA r=8 (q, v)": lambda clip: enable_video(
        get_peft_model(clip, LoraConfig(r=8, target_modules=["q_proj", "v_proj"]))
    ),
    "MV-Adapter": lambda clip: get_peft_model(clip, MVAdapterConfig()),
    "full fine-tuning": enable_video,
}


def clip_config(size: str) -> CLIPConfig:
    """The configuration of a CLIP of a size of `SIZES`."""
    return CLIPConfig(**SIZES[size])


def make_batch(config: CLIPConfig, num_pairs: int, num_frames: int, device: str = "cpu") -> dict[str, Tensor]:
    """Draw random videos for a CLIP, and captions of 32 tokens."""
    size = config.vision_config.image_size
    return {
        "input_ids": random_captions(num_pairs, 32, device),
        "pixel_values": torch.randn(num_pairs, num_frames, 3, size, size, device=device),
    }


def random_captions(num_captions: int, num_tokens: int, device: str = "cpu") -> Tensor:
    """Draw token ids of CLIP's vocabulary that end with its end token, (captions, tokens)."""
    input_ids = torch.randint(1000, 40000, (num_captions, num_tokens), device=device)
    input_ids[:, -1] = 49407
    return input_ids
