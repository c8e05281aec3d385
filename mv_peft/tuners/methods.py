"""Every method of the comparison by its name: a CLIP goes in, a model ready to be trained on videos comes out.

    model = create_method(clip, "lora", r=16)
    model = create_method(clip, "lora+head", r=16, head={"num_layers": 1})

All give the same protocol: video input, pooling and loss of `enable_video`, `logit_scale` frozen, and, but for
"zero-shot", a `PeftModel` that is saved and loaded like any adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from peft import BeftConfig, IA3Config, LNTuningConfig, LoraConfig, OFTConfig, VeraConfig, get_peft_model
from peft.config import PeftConfig
from torch import nn

from ..encoders.video_input import enable_video
from .bottleneck_adapter import BottleneckAdapterConfig
from .deep_prompts import DeepPromptsConfig
from .full_fine_tuning import FullFineTuningConfig
from .mv_adapter.config import MVAdapterConfig
from .st_adapter import STAdapterConfig
from .temporal_head import TemporalHeadConfig

ATTENTION = ["q_proj", "v_proj"]
LINEAR = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
NORMS = ["layer_norm1", "layer_norm2", "pre_layrnorm", "post_layernorm", "final_layer_norm"]

_LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": ATTENTION}
_CONFIGS: dict[str, Callable[..., PeftConfig]] = {
    "full": FullFineTuningConfig,
    "mv_adapter": MVAdapterConfig,
    "lora": partial(LoraConfig, **_LORA),
    "dora": partial(LoraConfig, use_dora=True, **_LORA),
    "rslora": partial(LoraConfig, use_rslora=True, **_LORA),
    "ia3": partial(IA3Config, target_modules=["k_proj", "v_proj", "fc2"], feedforward_modules=["fc2"]),
    "ln_tuning": partial(LNTuningConfig, target_modules=NORMS),
    "bias": partial(BeftConfig, target_modules=LINEAR),
    "oft": partial(OFTConfig, oft_block_size=32, target_modules=ATTENTION),
    "vera": partial(VeraConfig, r=256, target_modules=ATTENTION),
    "prompts": DeepPromptsConfig,
    "adapter_parallel": partial(BottleneckAdapterConfig, insertion="parallel"),
    "adapter_sequential": partial(BottleneckAdapterConfig, insertion="sequential"),
    "st_adapter": partial(STAdapterConfig, layers_to_transform=None),
}
METHODS = ("zero-shot", "head", "lora_matched", *_CONFIGS)
HEAD_SUFFIX = "+head"


def create_method(clip: nn.Module, name: str, *, head: Mapping[str, Any] | None = None, **overrides: Any) -> nn.Module:
    """A CLIP with a method of the comparison in it, taking videos; the CLIP is changed in place.

    Args:
        clip: A CLIP of Transformers.
        name: One of `METHODS`, or one of them with "+head" for CLIP4Clip's temporal head beside it.
        head: Fields of the head's `TemporalHeadConfig`.
        overrides: Fields that replace those of the method's configuration.

    Returns:
        A `PeftModel`; for "zero-shot" the frozen CLIP.

    Raises:
        ValueError: For an unknown name, or fields where there are none.
        TypeError: For a field that the method does not have.
    """
    config = method_config(clip, name, head=head, **overrides)
    if config is None:
        return enable_video(clip.requires_grad_(False))
    return enable_video(get_peft_model(clip, config))


def method_config(
    clip: nn.Module, name: str, *, head: Mapping[str, Any] | None = None, **overrides: Any
) -> PeftConfig | None:
    """The configuration that `create_method` puts into a CLIP; arguments and errors are its.

    Returns:
        None for "zero-shot".
    """
    method = name.removesuffix(HEAD_SUFFIX)
    with_head = method != name or method == "head"
    if method not in METHODS or (method != name and method == "head"):
        raise ValueError(
            f"Unknown method {name!r}. Choose from: {', '.join(METHODS)}, or one of them with '{HEAD_SUFFIX}'."
        )
    if head is not None and not with_head:
        raise ValueError(f"`head` is for methods with '{HEAD_SUFFIX}', got the method {name!r}.")
    if method == "head":
        return TemporalHeadConfig(**{**(head or {}), **overrides})
    config = None
    if method != "zero-shot":
        config = matched_lora(clip, **overrides) if method == "lora_matched" else _CONFIGS[method](**overrides)
    elif overrides:
        raise ValueError(f"'zero-shot' trains nothing and has no fields, got {sorted(overrides)}.")
    return TemporalHeadConfig(**(head or {}), method=config) if with_head else config


def matched_lora(clip: nn.Module, match: PeftConfig | None = None, **overrides: Any) -> LoraConfig:
    """LoRA of the rank at which it has about as many parameters as another method, and `lora_alpha` twice that.

    Args:
        clip: The CLIP to be adapted.
        match: The other method's configuration; None: MV-Adapter's default.
        overrides: Fields of `LoraConfig` other than `r`.

    Raises:
        ValueError: If `r` is given.
    """
    if "r" in overrides:
        raise ValueError(
            f"The rank of a matched LoRA follows from the match, got {overrides['r']}. Use 'lora' instead."
        )
    fields = {**_LORA, **overrides}
    one = count_parameters(clip, LoraConfig(**{**fields, "r": 1}))
    rank = max(1, round(count_parameters(clip, match or MVAdapterConfig()) / one))
    return LoraConfig(**{**fields, "r": rank, "lora_alpha": overrides.get("lora_alpha", 2 * rank)})


def count_parameters(clip: nn.Module, config: PeftConfig) -> int:
    """How many parameters a method would train in a CLIP of this architecture; the CLIP is not touched."""
    with torch.device("meta"):
        skeleton = type(clip)(clip.config)
    model = get_peft_model(skeleton, config, low_cpu_mem_usage=True)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
