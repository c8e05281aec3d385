"""Fingerprints that recognise a base model behind any adapter, on any device, in any of the usual precisions.

All weights are hashed twice: rounded to float16 and rounded to bfloat16. A float32 checkpoint that is loaded in
bfloat16 keeps the second digest, one that is loaded in float16 keeps the first, and a checkpoint that is stored in half
precision gives both digests, whether it is loaded so or in float32. Two models are therefore taken for the same if
either digest agrees (`same_base`). One digest would not do, because rounding to float16 and then to bfloat16 is not
rounding to bfloat16.

A float16 copy and a bfloat16 copy of a float32 checkpoint have neither digest in common. Take the fingerprint before
such a cast.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from .families import DualEncoder, towers

_VERSION = "clip1"  # changes with the algorithm, since fingerprints of two algorithms cannot be compared
_ROUNDINGS = (torch.float16, torch.bfloat16)
_FUNCTION = ("hidden_act", "num_attention_heads", "layer_norm_eps")  # what no shape shows
_WRAPPERS = {"base_layer", "original_module"}  # where PEFT keeps what it wraps


def fingerprint(model: nn.Module) -> str:
    """Compute what tells one base model from another: its architecture and weights, without the adapters in it.

    Args:
        model: A dual encoder of the table in `families`, or one tower of it: plain, with adapters in it, or as a
            `PeftModel`. Take the fingerprint before the base's own weights are trained, as in full fine-tuning or under
            LoRA's `bias="all"`.

    Returns:
        "clip1:ARCHITECTURE:FLOAT16:BFLOAT16", three digests in hexadecimal that are the same on every platform. Compare
        them by `same_base`.

    Raises:
        TypeError: For any other model.
        ValueError: If adapters are merged into the weights, or weights are quantised or on the meta device.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    family = DualEncoder.of(base)
    weights = _base_weights(base)
    roundings = [hashlib.sha256() for _ in _ROUNDINGS]
    for name, tensor in weights:
        values = tensor.detach().to("cpu").contiguous()
        for digest, dtype in zip(roundings, _ROUNDINGS, strict=True):
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(_little_endian(values.to(dtype)))
    architecture = _architecture(base, family, weights)
    return ":".join([_VERSION, architecture, *(digest.hexdigest()[:32] for digest in roundings)])


def same_base(one: str, other: str) -> bool:
    """Tell whether two fingerprints are of the same base model, at the precision of float16 or bfloat16.

    Raises:
        ValueError: If one of them is not a fingerprint of this version.
    """
    parts = [_parts(one), _parts(other)]
    (architecture, *roundings), (other_architecture, *other_roundings) = parts
    return architecture == other_architecture and any(a == b for a, b in zip(roundings, other_roundings, strict=True))


def same_architecture(one: str, other: str) -> bool:
    """Tell whether two fingerprints are of models of the same architecture, whatever their weights.

    Raises:
        ValueError: If one of them is not a fingerprint of this version.
    """
    return _parts(one)[0] == _parts(other)[0]


def _parts(text: str) -> list[str]:
    version, *digests = text.split(":")
    if version != _VERSION or len(digests) != 1 + len(_ROUNDINGS):
        raise ValueError(f"'{text}' is no fingerprint of this version ('{_VERSION}:...'). Update mv_peft.")
    return digests


def _base_weights(base: Any) -> list[tuple[str, Tensor]]:
    """Return the parameters of the base model by the names that they have without adapters, sorted."""
    with torch.device("meta"):
        names = {name for name, _ in type(base)(base.config).named_parameters()}
    if any(isinstance(module, BaseTunerLayer) and getattr(module, "merged", False) for module in base.modules()):
        raise ValueError("Adapters are merged into this model, which hides its weights. Unmerge them first.")
    weights = {}
    for name, tensor in base.named_parameters():
        name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if name in names:
            weights[name] = tensor
    for name in sorted(names):
        if name not in weights:
            raise ValueError(f"This model has no '{name}', which its configuration asks for.")
        if weights[name].is_meta:
            raise ValueError(f"This model's '{name}' is on the meta device: it has no values yet. Load them first.")
        if not weights[name].is_floating_point():
            raise ValueError(
                f"This model's '{name}' is quantised ({weights[name].dtype}). Take the fingerprint before quantisation."
            )
    return sorted(weights.items())


def _architecture(base: Any, family: DualEncoder, weights: list[tuple[str, Tensor]]) -> str:
    """Digest names and shapes, and what changes the function without changing a shape, as far as a family has it."""
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in weights]
    for tower in towers(base).values():
        lines += [
            f"{tower.names.root}.{name} {getattr(tower.config, name)!r}"
            for name in _FUNCTION
            if hasattr(tower.config, name)
        ]
    if family.model_type != "clip":  # the only family of version 0.1.0, whose fingerprints stay as they are
        lines.append(family.model_type)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _little_endian(values: Tensor) -> Any:
    array = values.view(torch.int16).numpy()
    return array if sys.byteorder == "little" else array.byteswap()
