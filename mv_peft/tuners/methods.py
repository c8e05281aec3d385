"""Every method of the comparison by its name: a dual encoder goes in, a model to be trained on videos comes out.

    model = create_method(clip, "lora", r=16)
    model = create_method(clip, "lora+head", r=16, head={"num_layers": 1})

All give the same protocol: the video input and pooling of `enable_video`, the family's loss with its scale frozen, and,
except for "zero-shot", a `PeftModel` that is saved and loaded like any adapter. To add a method, write its file and add
a line to `_CONFIGS`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from peft import BeftConfig, IA3Config, LNTuningConfig, LoraConfig, OFTConfig, VeraConfig, get_peft_model
from peft.config import PeftConfig
from torch import nn

from ..encoders.families import LayerNames, towers
from ..encoders.video_input import enable_video
from .bottleneck_adapter import BottleneckAdapterConfig
from .deep_prompts import DeepPromptsConfig
from .full_fine_tuning import FullFineTuningConfig
from .mv_adapter.config import MVAdapterConfig
from .st_adapter import STAdapterConfig
from .temporal_head import TemporalHeadConfig

Names = tuple[str, ...]
_LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16}


def _attention(layer: LayerNames) -> Names:
    return layer.query, layer.value


def _linear(layer: LayerNames) -> Names:
    return layer.linear


def _keys_values_mlp(layer: LayerNames) -> Names:
    return layer.key, layer.value, layer.mlp_out


@dataclass(frozen=True)
class _Method:
    """How a method is configured.

    Attributes:
        config: Makes the configuration, from its fields.
        targets: For a method of PEFT, which modules of an encoder layer it adapts unless `target_modules` says so.
        norms: Whether it adapts the LayerNorms, in the layers and outside of them.
        feedforward: For IA3, which of the targets scale their input.
    """

    config: Callable[..., PeftConfig]
    targets: Callable[[LayerNames], Names] | None = None
    norms: bool = False
    feedforward: Callable[[LayerNames], Names] | None = None


_CONFIGS = {
    "full": _Method(FullFineTuningConfig),
    "mv_adapter": _Method(MVAdapterConfig),
    "lora": _Method(partial(LoraConfig, **_LORA), _attention),
    "dora": _Method(partial(LoraConfig, use_dora=True, **_LORA), _attention),
    "rslora": _Method(partial(LoraConfig, use_rslora=True, **_LORA), _attention),
    "ia3": _Method(IA3Config, _keys_values_mlp, feedforward=lambda layer: (layer.mlp_out,)),
    "ln_tuning": _Method(LNTuningConfig, lambda layer: layer.norms, norms=True),
    "bias": _Method(BeftConfig, _linear),
    "oft": _Method(partial(OFTConfig, oft_block_size=32), _attention),
    "vera": _Method(partial(VeraConfig, r=256), _attention),
    "prompts": _Method(DeepPromptsConfig),
    "adapter_parallel": _Method(partial(BottleneckAdapterConfig, insertion="parallel")),
    "adapter_sequential": _Method(partial(BottleneckAdapterConfig, insertion="sequential")),
    "st_adapter": _Method(partial(STAdapterConfig, layers_to_transform=None)),
}
METHODS = ("zero-shot", "head", "lora_matched", *_CONFIGS)
HEAD_SUFFIX = "+head"


def create_method(model: nn.Module, name: str, *, head: Mapping[str, Any] | None = None, **overrides: Any) -> nn.Module:
    """Put a method of the comparison into a dual encoder, in place, and let it take videos.

    Args:
        model: A model of one of the families in `mv_peft.encoders.families`.
        name: One of `METHODS`, or one of them with "+head" for CLIP4Clip's temporal head beside it.
        head: Fields of the head's `TemporalHeadConfig`.
        overrides: Fields that replace those of the method's configuration.

    Returns:
        A `PeftModel`; for "zero-shot" the frozen model itself.

    Raises:
        ValueError: For an unknown name, or fields where there are none.
        TypeError: For a field that the method does not have, or a model that is not in the table.
    """
    config = method_config(model, name, head=head, **overrides)
    if config is None:
        return enable_video(model.requires_grad_(False))
    return enable_video(get_peft_model(model, config))


def method_config(
    model: nn.Module, name: str, *, head: Mapping[str, Any] | None = None, **overrides: Any
) -> PeftConfig | None:
    """Give the configuration that `create_method` puts into a model; arguments and errors are the same.

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
    if method == "lora_matched":
        config = matched_lora(model, **overrides)
    elif method != "zero-shot":
        config = _CONFIGS[method].config(**{**_targets(model, _CONFIGS[method]), **overrides})
    elif overrides:
        raise ValueError(f"'zero-shot' trains nothing and has no fields, got {sorted(overrides)}.")
    return TemporalHeadConfig(**(head or {}), method=config) if with_head else config


def matched_lora(model: nn.Module, match: PeftConfig | None = None, **overrides: Any) -> LoraConfig:
    """Give LoRA the rank at which it has about as many parameters as another method, and `lora_alpha` twice that.

    Args:
        model: The model to be adapted.
        match: The other method's configuration; None for MV-Adapter's default.
        overrides: Fields of `LoraConfig` other than `r`.

    Raises:
        ValueError: If `r` is given.
    """
    if "r" in overrides:
        raise ValueError(
            f"The rank of a matched LoRA follows from the match, got {overrides['r']}. Use 'lora' instead."
        )
    fields = {**_LORA, **_targets(model, _CONFIGS["lora"]), **overrides}
    one = count_parameters(model, LoraConfig(**{**fields, "r": 1}))
    rank = max(1, round(count_parameters(model, match or MVAdapterConfig()) / one))
    return LoraConfig(**{**fields, "r": rank, "lora_alpha": overrides.get("lora_alpha", 2 * rank)})


def count_parameters(model: nn.Module, config: PeftConfig) -> int:
    """Count the parameters that a method would train in a model of this architecture, which is not touched."""
    with torch.device("meta"):
        skeleton = type(model)(model.config)
    adapted = get_peft_model(skeleton, config, low_cpu_mem_usage=True)
    return sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)


def _targets(model: nn.Module, method: _Method) -> dict[str, Any]:
    """Give the fields by which a method of PEFT finds its modules in this model."""
    if method.targets is None:
        return {}
    fields = {"target_modules": target_modules(model, method.targets, norms=method.norms)}
    if method.feedforward is not None:
        fields["feedforward_modules"] = target_modules(model, method.feedforward)
    return fields


def target_modules(model: nn.Module, inside: Callable[[LayerNames], Names], *, norms: bool = False) -> list[str] | str:
    """Name modules of the encoder layers in PEFT's way.

    Args:
        model: A model of one of the families in `mv_peft.encoders.families`.
        inside: Gives their names inside a layer.
        norms: Whether to name the LayerNorms outside of the layers as well.

    Returns:
        The last parts of their names, where no other module ends so; else a regular expression for whole names.
    """
    wanted, patterns = set(), []
    for tower in towers(model).values():
        outside = [f"{tower.prefix}{name}" for name in tower.names.norms] if norms else []
        layers = [f"{tower.prefix}{tower.names.layers}.{index}" for index in range(len(tower.layers))]
        wanted |= {f"{layer}.{name}" for layer in layers for name in inside(tower.names.layer)} | set(outside)
        patterns += [tower.pattern(*inside(tower.names.layer)), *map(re.escape, outside)]
    ends = {name.rpartition(".")[2] for name in wanted}
    if {name for name, _ in model.named_modules() if name.rpartition(".")[2] in ends} == wanted:
        return sorted(ends)
    return "|".join(patterns)
