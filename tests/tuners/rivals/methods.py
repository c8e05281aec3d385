"""The methods of the contract at sizes that fit the tiny CLIP, and what all tests of it need."""

from __future__ import annotations

from collections.abc import Callable

import torch
from peft import (
    AdaLoraConfig,
    BeftConfig,
    IA3Config,
    LNTuningConfig,
    LoraConfig,
    OFTConfig,
    PeftModel,
    VeraConfig,
    get_peft_model,
)
from peft.config import PeftConfig
from torch import nn

from mv_peft import enable_video
from mv_peft.tuners import (
    BottleneckAdapterConfig,
    DeepPromptsConfig,
    FullFineTuningConfig,
    STAdapterConfig,
    TemporalHeadConfig,
)
from tests.models import adapter_config, tiny_clip

ATTENTION = ["q_proj", "v_proj"]
LINEAR = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
NORMS = ["layer_norm1", "layer_norm2", "pre_layrnorm", "post_layernorm", "final_layer_norm"]


def mv_adapter() -> PeftConfig:
    return adapter_config(init_weights=True)


def lora(**overrides: object) -> LoraConfig:
    return LoraConfig(**{"r": 2, "target_modules": ATTENTION, **overrides})


def st_adapter() -> STAdapterConfig:
    return STAdapterConfig(bottleneck_dim={"vision": 6, "text": 5}, layers_to_transform=None)


def prompts() -> DeepPromptsConfig:
    return DeepPromptsConfig(num_prompts={"vision": 3, "text": 2}, init_std=0.5)


def with_head(method: PeftConfig | None = None) -> TemporalHeadConfig:
    return TemporalHeadConfig(num_layers=2, num_heads=3, max_frames=8, method=method)


def adapter(insertion: str) -> BottleneckAdapterConfig:
    return BottleneckAdapterConfig(bottleneck_dim={"vision": 6, "text": 5}, scaling=0.7, insertion=insertion)


OURS: dict[str, Callable[[], PeftConfig]] = {
    "mv_adapter": mv_adapter,
    "adapter_parallel": lambda: adapter("parallel"),
    "adapter_sequential": lambda: adapter("sequential"),
    "st_adapter": st_adapter,
    "prompts": prompts,
    "full": FullFineTuningConfig,
    "head": with_head,
    "lora+head": lambda: with_head(lora(modules_to_save=["text_projection"])),
    "dora+head": lambda: with_head(lora(use_dora=True, target_modules=["q_proj", "visual_projection"])),
    "mv_adapter+head": lambda: with_head(mv_adapter()),
    "prompts+head": lambda: with_head(prompts()),
    "st_adapter+head": lambda: with_head(st_adapter()),
    "full+head": lambda: with_head(FullFineTuningConfig()),
    "ln_tuning+head": lambda: with_head(LNTuningConfig(target_modules=NORMS)),
}
PEFTS: dict[str, Callable[[], PeftConfig]] = {
    "lora": lora,
    "dora": lambda: lora(use_dora=True),
    "rslora": lambda: lora(use_rslora=True),
    "adalora": lambda: AdaLoraConfig(init_r=3, target_r=2, total_step=10, target_modules=ATTENTION),
    "ia3": lambda: IA3Config(target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"]),
    "ln_tuning": lambda: LNTuningConfig(target_modules=NORMS),
    "bias": lambda: BeftConfig(target_modules=LINEAR),
    "oft": lambda: OFTConfig(oft_block_size=4, target_modules=ATTENTION),
    "vera": lambda: VeraConfig(r=4, target_modules=ATTENTION),
}
ALL = {**OURS, **PEFTS}
TEMPORAL = {"mv_adapter", "st_adapter", *(name for name in OURS if "head" in name)}
SEES_FROM_THE_START = {"prompts", "prompts+head"}  # changes CLIP untrained
MERGES = {"full", *PEFTS}


def create(method: str, clip: nn.Module | None = None) -> PeftModel:
    """The method in a tiny CLIP, untrained; our tuners bring video input, PEFT's get it."""
    model = get_peft_model(tiny_clip() if clip is None else clip, ALL[method]())
    return (model if method in OURS else enable_video(model)).eval()


def shake(model: nn.Module, seed: int = 0) -> nn.Module:
    """Moves everything trainable, so that it has an effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def trained(method: str, seed: int = 0) -> PeftModel:
    return shake(create(method), seed)
