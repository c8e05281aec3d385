"""Checkpoints of the authors' program, in and out.

Their names are those of the program's state dict, `clip.visual.transformer.resblocks.{i}.mlp.adapter.` for the video
branch and `clip.transformer.resblocks.{i}.mlp.adapter.` for the text branch; `clip.prompt.{j}` is the factor of the
j-th tied pair, which a state dict repeats in both towers as `...adapter.shared_factor`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor, nn

from ..errors import CheckpointError
from ..tuner.config import MVAdapterConfig
from ..tuner.layer import MVAdapterLinear, SharedFactors

# Our name of a part of an adapter -> theirs. Weights keep their layout.
_TRANSFORMER = {
    "positions": "positional_embedding",
    "norm": "ln_pre",
    "block.attention_norm": "block.ln_1",
    "block.attention.in_proj.weight": "block.attn.in_proj_weight",
    "block.attention.in_proj.bias": "block.attn.in_proj_bias",
    "block.attention.out_proj": "block.attn.out_proj",
    "block.mlp_norm": "block.ln_2",
    "block.fc1": "block.mlp.c_fc",
    "block.fc2": "block.mlp.c_proj",
}
_NAMES = {
    "pre_norm": "ln_in",
    "down": "down",
    "up": "up",
    "tying.projection": "md_proj",
    "temporal.token": "cc",
    "temporal.calibration.context": "conv_rf_c.g",
    "temporal.calibration.hidden": "conv_rf_c.a",
    "temporal.calibration.out": "conv_rf_c.b",
    **{f"temporal.sequence.{ours}": theirs for ours, theirs in _TRANSFORMER.items()},  # video
    **{f"sequence.{ours}": theirs for ours, theirs in _TRANSFORMER.items()},  # text
}
_OUR_LAYER = re.compile(r"(vision|text)_model\.(?:.*\.)?layers\.(\d+)\.mlp\.fc2$")
_THEIR_PREFIX = {"vision": "clip.visual.transformer.resblocks", "text": "clip.transformer.resblocks"}
_THEIR_ADAPTER = re.compile(r"clip\.(?:visual\.)?transformer\.resblocks\.\d+\.mlp\.adapter\.(?P<part>.+)$")


@dataclass(frozen=True)
class ConversionReport:
    """What became of the keys of an official checkpoint.

    Attributes:
        used: Keys whose values were copied.
        repeated: Further copies of the shared factors.
        without_effect: Parameters that the authors' program holds and never uses.
        backbone: CLIP's own weights, which an adapter does not hold.
    """

    used: tuple[str, ...]
    repeated: tuple[str, ...]
    without_effect: tuple[str, ...]
    backbone: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.used)} tensors copied; passed over: {len(self.repeated)} repetitions of shared factors, "
            f"{len(self.without_effect)} tensors without effect, {len(self.backbone)} of CLIP itself"
        )


def official_state_dict(model: nn.Module, adapter_name: str | None = None) -> dict[str, Tensor]:
    """An MV-Adapter in the names of the authors' program, each shared factor once, as `clip.prompt.{j}`.

    Args:
        model: A PeftModel with an MV-Adapter, or a CLIP model into which Transformers loaded one.
        adapter_name: The adapter; None: the active one.

    Returns:
        Detached copies on the CPU.

    Raises:
        ValueError: If the model has no such adapter.
    """
    return {key: tensor.detach().cpu().clone() for key, tensor in _official_parameters(model, adapter_name).items()}


def load_official_checkpoint(
    model: nn.Module,
    checkpoint: str | os.PathLike[str] | Mapping[str, Tensor],
    adapter_name: str | None = None,
) -> ConversionReport:
    """Copies a checkpoint of the authors' program into an MV-Adapter of a fitting configuration.

    Args:
        model: A PeftModel with an MV-Adapter, or a CLIP model into which Transformers loaded one.
        checkpoint: A `.safetensors` file, a file of `torch.save` (nothing in it is executed), or a state dict.
        adapter_name: The adapter to fill; None: the active one.

    Returns:
        What was used and what was passed over.

    Raises:
        CheckpointError: If a key is missing or left over, a shape differs, or the file is none of those. Nothing has
            been copied then.
        ValueError: If the model has no such adapter.
    """
    source = _read(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else dict(checkpoint)
    source = {key.removeprefix("module."): value for key, value in source.items()}
    targets = _official_parameters(model, adapter_name)
    report, left_over = _sort_keys(source, targets)
    _check(source, targets, left_over)
    with torch.no_grad():
        for key, target in targets.items():
            target.copy_(source[key])
    return report


def _official_parameters(model: nn.Module, adapter_name: str | None) -> dict[str, Tensor]:
    """Our parameters (or, for the factors, views of them) under their names."""
    name = _resolve_adapter(model, adapter_name)
    official: dict[str, Tensor] = {}
    for module_name, module in model.named_modules():
        if isinstance(module, SharedFactors) and name in module.mv_adapter_factors:
            factors = module.mv_adapter_factors[name]
            official |= {f"clip.prompt.{j}": factors[j] for j in range(len(factors))}
        elif isinstance(module, MVAdapterLinear) and name in module.mv_adapter_block:
            place = _OUR_LAYER.search(module_name)
            assert place is not None, module_name
            prefix = f"{_THEIR_PREFIX[place[1]]}.{place[2]}.mlp.adapter"
            for key, parameter in module.mv_adapter_block[name].named_parameters():
                official[f"{prefix}.{_their_name(key)}"] = parameter
    return official


def _their_name(key: str) -> str:
    if key in _NAMES:
        return _NAMES[key]
    part, _, leaf = key.rpartition(".")
    return f"{_NAMES[part]}.{leaf}"


def _resolve_adapter(model: nn.Module, adapter_name: str | None) -> str:
    configs: dict[str, Any] = getattr(model, "peft_config", {})
    ours = [name for name, config in configs.items() if isinstance(config, MVAdapterConfig)]
    if adapter_name is None:
        active = model.active_adapters() if callable(getattr(model, "active_adapters", None)) else None
        if isinstance(model, PeftModel):
            active = model.active_adapters
        candidates = [name for name in active or [] if name in ours]
        if len(candidates) != 1:
            raise ValueError(f"`adapter_name` must say which adapter is meant, the active ones are {candidates}.")
        return candidates[0]
    if adapter_name not in ours:
        raise ValueError(f"The model has no MV-Adapter {adapter_name!r}. It has: {', '.join(ours) or 'none'}.")
    return adapter_name


def _read(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A state dict from a file; never runs code from it."""
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at '{path}'. Give the path of a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"Cannot read '{path}' as a checkpoint: {reason}. It must hold tensors only; objects are never unpickled."
        ) from error
    for key in ("state_dict", "model_state_dict", "model"):  # a state dict inside a training checkpoint
        if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
            loaded = loaded[key]
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise CheckpointError(f"'{path}' holds no state dict. Save the program's `model.state_dict()`.")
    return loaded


def _sort_keys(source: Mapping[str, Tensor], targets: Mapping[str, Tensor]) -> tuple[ConversionReport, list[str]]:
    used, repeated, without_effect, backbone, left_over = [], [], [], [], []
    for key in source:
        adapter = _THEIR_ADAPTER.match(key)
        if key in targets:
            used.append(key)
        elif adapter is None:
            (backbone if key.startswith("clip.") and not key.startswith("clip.prompt.") else left_over).append(key)
        elif adapter["part"] == "shared_factor":
            repeated.append(key)
        elif adapter["part"] == "ratio_p" or adapter["part"].startswith("md_proj."):
            without_effect.append(key)  # never used, or the projection of a layer that is not tied
        else:
            left_over.append(key)
    return ConversionReport(tuple(used), tuple(repeated), tuple(without_effect), tuple(backbone)), left_over


def _check(source: Mapping[str, Tensor], targets: Mapping[str, Tensor], left_over: list[str]) -> None:
    missing = [key for key in targets if key not in source]
    if missing or left_over:
        raise CheckpointError(
            "The checkpoint does not fit the adapter's configuration: "
            + "; ".join(_some(what, keys) for what, keys in (("missing", missing), ("left over", left_over)) if keys)
            + ". Compare layers_to_transform, tying_layers, pre_norm and calibration with the run's settings."
        )
    differing = [
        f"{key} is {tuple(source[key].shape)}, not {tuple(target.shape)}"
        for key, target in targets.items()
        if source[key].shape != target.shape
    ]
    if differing:
        raise CheckpointError(
            f"The checkpoint does not fit the adapter's configuration: {_some('different shapes', differing)}. "
            "Compare bottleneck_dim, max_frames, max_text_tokens, tying_position and factor_dim with the run's settings."
        )


def _some(what: str, items: list[str], most: int = 4) -> str:
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return f"{len(items)} {what} ({', '.join(items[:most])}{more})"
