"""Checkpoints of the authors' program, loaded into an MV-Adapter and made from one.

The program has CLIP only, and its state dict names the parts of an adapter
`clip.visual.transformer.resblocks.{i}.mlp.adapter.` in the video branch and
`clip.transformer.resblocks.{i}.mlp.adapter.` in the text branch. `clip.prompt.{j}` is the factor of the j-th tied pair,
which a state dict repeats in both towers as `...adapter.shared_factor`.

Names and shapes show whether a checkpoint fits a configuration, with three exceptions: `num_heads`, `scaling`, and for
`tying_position` the difference between "down_in" and "up_out", and between "down_out" and "up_in".
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...encoders.families import DualEncoder, towers
from ...errors import CheckpointError, some_of
from .adapter import TextAdapter, VideoAdapter
from .layer import MVAdapterLinear, SharedFactors
from .official_file import read_official

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
_THEIR_PREFIX = {"vision": "clip.visual.transformer.resblocks", "text": "clip.transformer.resblocks"}
# What the program holds and never uses: `ratio_p`, and `md_proj` in a layer that is not tied.
_WITHOUT_EFFECT = re.compile(r"clip\.(?:visual\.)?transformer\.resblocks\.\d+\.mlp\.adapter\.(?:ratio_p|md_proj\..+)$")
_OF_ADAPTERS = re.compile(r"clip\.(?:prompt|.*adapter)")


@dataclass(frozen=True)
class ConversionReport:
    """What became of the keys of an official checkpoint.

    Attributes:
        used: Keys whose values were copied.
        repeated: Further copies of the shared factors, equal to the first.
        without_effect: Parameters that the authors' program holds and never uses.
        backbone: Weights of CLIP, which an adapter does not hold.
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
    """Return an MV-Adapter under the names of the authors' program, each shared factor once, as `clip.prompt.{j}`.

    Args:
        model: A `PeftModel` with an MV-Adapter, or a CLIP model into which Transformers loaded one.
        adapter_name: The adapter; None for the active one.

    Returns:
        Detached copies on the CPU, in the adapter's dtype. What `modules_to_save` trained is not among them.

    Raises:
        ValueError: If the base model is not CLIP, or the model has no such adapter or one on the meta device, without
            values.
    """
    official = _official_parameters(model, _resolve_adapter(model, adapter_name))
    return {key: tensor.detach().cpu().contiguous().clone() for key, tensor in official.items()}


def load_official_checkpoint(
    model: nn.Module,
    path_or_state_dict: str | os.PathLike[str] | Mapping[str, Any],
    adapter_name: str | None = None,
) -> ConversionReport:
    """Copy a checkpoint of the authors' program into an MV-Adapter of a fitting configuration.

    Args:
        model: A `PeftModel` with an MV-Adapter, or a CLIP model into which Transformers loaded one.
        path_or_state_dict: As `read_official` takes it. Values are cast to the adapter's dtype and device.
        adapter_name: The adapter to fill; None for the active one.

    Returns:
        What was used and what was passed over.

    Raises:
        CheckpointError: If a key is missing or left over, a shape differs, copies of a shared factor disagree, or it is
            no checkpoint. Nothing has been copied then.
        ValueError: If the base model is not CLIP, or the model has no such adapter or one on the meta device, without
            values.
    """
    name = _resolve_adapter(model, adapter_name)
    source = read_official(path_or_state_dict)
    targets, repeats = _official_parameters(model, name), _repeats(model, name)
    report, left_over = _sort_keys(source, targets, repeats)
    _check(source, targets, repeats, left_over)
    with torch.no_grad():
        for key, target in targets.items():
            target.copy_(source[key])
    return report


def _resolve_adapter(model: nn.Module, adapter_name: str | None) -> str:
    # The layers know their adapters, whether PEFT or Transformers put them into the model.
    layers = [module for module in model.modules() if isinstance(module, MVAdapterLinear)]
    names = list(dict.fromkeys(name for layer in layers for name in layer.mv_adapter_block))
    if not names:
        raise ValueError(
            f"The {type(model).__name__} has no MV-Adapter. Put one in with `get_peft_model(clip, MVAdapterConfig())`."
        )
    if adapter_name is None:
        active = [name for name in names if any(name in layer.active_adapters for layer in layers)]
        if len(active) != 1:
            raise ValueError(
                f"{len(active)} of the MV-Adapters {', '.join(names)} are active. Say which is meant by `adapter_name`."
            )
        return active[0]
    if adapter_name not in names:
        raise ValueError(f"The model has no MV-Adapter {adapter_name!r}. Choose from: {', '.join(names)}.")
    return adapter_name


def _blocks(model: nn.Module, name: str) -> Iterator[tuple[str, VideoAdapter | TextAdapter]]:
    """Yield the adapter of each layer, with the prefix of its keys in the authors' program.

    Raises:
        ValueError: If the base model is not CLIP.
    """
    base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
    family = DualEncoder.of(base)
    if family.model_type != "clip":
        raise ValueError(
            f"The authors' program has CLIP only, and this MV-Adapter is in a {type(base).__name__} ({family.title}). "
            "Use PEFT's own format: `save_pretrained` and `from_pretrained`."
        )
    found = towers(base).values()
    for module_name, module in base.named_modules():
        if isinstance(module, MVAdapterLinear) and name in module.mv_adapter_block:
            location = next(filter(None, (tower.locate(module_name) for tower in found)))
            prefix = f"{_THEIR_PREFIX[location.tower]}.{location.layer}.mlp.adapter"
            yield prefix, module.mv_adapter_block[name]


def _official_parameters(model: nn.Module, name: str) -> dict[str, Tensor]:
    """Return our parameters, or views of them in the case of the factors, under the program's names."""
    official: dict[str, Tensor] = {}
    for module in model.modules():
        if isinstance(module, SharedFactors) and name in module.mv_adapter_factors:
            official |= {
                f"clip.prompt.{j}": factor for j, factor in enumerate(module.mv_adapter_factors[name].detach())
            }
    for prefix, block in _blocks(model, name):
        official |= {f"{prefix}.{_their_name(key)}": parameter for key, parameter in block.named_parameters()}
    if any(parameter.is_meta for parameter in official.values()):
        raise ValueError(f"MV-Adapter {name!r} is on the meta device and has no values. Materialise or load it first.")
    return official


def _repeats(model: nn.Module, name: str) -> dict[str, str]:
    """Map each key under which a state dict may repeat a shared factor to the key of that factor."""
    return {
        f"{prefix}.shared_factor": f"clip.prompt.{block.tying.pair_index}"
        for prefix, block in _blocks(model, name)
        if block.tying is not None
    }


def _their_name(key: str) -> str:
    if key in _NAMES:
        return _NAMES[key]
    part, _, leaf = key.rpartition(".")
    return f"{_NAMES[part]}.{leaf}"


def _sort_keys(
    source: Mapping[str, Tensor], targets: Mapping[str, Tensor], repeats: Mapping[str, str]
) -> tuple[ConversionReport, list[str]]:
    used, repeated, without_effect, backbone, left_over = [], [], [], [], []
    for key in source:
        if key in targets:
            used.append(key)
        elif key in repeats:
            repeated.append(key)
        elif _WITHOUT_EFFECT.match(key):
            without_effect.append(key)
        elif key.startswith("clip.") and not _OF_ADAPTERS.match(key):
            backbone.append(key)
        else:
            left_over.append(key)
    return ConversionReport(tuple(used), tuple(repeated), tuple(without_effect), tuple(backbone)), left_over


def _check(
    source: Mapping[str, Tensor], targets: Mapping[str, Tensor], repeats: Mapping[str, str], left_over: list[str]
) -> None:
    does_not_fit = "The checkpoint does not fit the adapter's configuration"
    missing = [key for key in targets if key not in source]
    if missing or left_over:
        raise CheckpointError(
            f"{does_not_fit}: "
            + "; ".join(
                f"{len(keys)} {what} ({some_of(keys)})"
                for what, keys in (("missing", missing), ("left over", left_over))
                if keys
            )
            + ". Compare layers_to_transform, tying_layers, pre_norm and calibration with those of the run."
        )
    differing = [
        f"{key} is {_kind(source[key])}, not {_kind(target)}"
        for key, target in targets.items()
        if source[key].shape != target.shape or not source[key].is_floating_point()
    ]
    if differing:
        raise CheckpointError(
            f"{does_not_fit}: {len(differing)} tensors differ ({some_of(differing)}). "
            "Compare bottleneck_dim, max_frames, max_text_tokens, tying_position and factor_dim with those of the run."
        )
    for repeat, factor in repeats.items():
        if repeat in source and not torch.equal(source[repeat].cpu().double(), source[factor].cpu().double()):
            raise CheckpointError(
                f"{does_not_fit}: {repeat} and {factor} are one factor here and differ in the checkpoint. "
                "Name the run's pairs in `tying_layers`, in the run's order."
            )


def _kind(tensor: Tensor) -> str:
    shape = tuple(tensor.shape)
    return str(shape) if tensor.is_floating_point() else f"{shape} of {tensor.dtype}"
