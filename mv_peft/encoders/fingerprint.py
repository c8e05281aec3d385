"""Recognises a base CLIP: the same one with any adapter in it, on any device, in any of the usual precisions.

All weights are hashed, twice: rounded to float16 and rounded to bfloat16. Loading a float32 checkpoint in bfloat16
keeps the second digest, loading it in float16 the first, and a checkpoint that is stored in half precision gives both
whether it is loaded so or in float32. So two CLIPs are taken for the same if either digest agrees (`same_base`). One
digest could not do this: rounding to float16 and then to bfloat16 is not rounding to bfloat16.

A float16 and a bfloat16 copy of a float32 checkpoint have neither in common. Take the fingerprint before such a cast.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from .families import DualEncoder

_VERSION = "clip1"  # changes with the algorithm: fingerprints of different versions say nothing about each other
_ROUNDINGS = (torch.float16, torch.bfloat16)
_FUNCTION = ("hidden_act", "num_attention_heads", "layer_norm_eps")  # what no shape tells
_WRAPPERS = {"base_layer", "original_module"}  # where PEFT keeps what it wraps


def fingerprint(model: nn.Module) -> str:
    """What tells one base CLIP from another: its architecture and its weights, not the adapters in it.

    Args:
        model: A `CLIPModel`, `CLIPVisionModelWithProjection` or `CLIPTextModelWithProjection`, plain, with adapters in
            it, or as a `PeftModel`. Not while it is trained in full, and not under LoRA's `bias="all"`, which trains
            CLIP's own biases: take the fingerprint before.

    Returns:
        "clip1:ARCHITECTURE:FLOAT16:BFLOAT16", three digests in hexadecimal; the same on every platform. Compare by
        `same_base`.

    Raises:
        TypeError: For any other model.
        ValueError: If adapters are merged into the weights, or weights are quantised or on the meta device.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    DualEncoder.of(base)
    weights = _base_weights(base)
    roundings = [hashlib.sha256() for _ in _ROUNDINGS]
    for name, tensor in weights:
        values = tensor.detach().to("cpu").contiguous()
        for digest, dtype in zip(roundings, _ROUNDINGS, strict=True):
            digest.update(f"{name} {tuple(values.shape)}\n".encode())
            digest.update(_little_endian(values.to(dtype)))
    return ":".join([_VERSION, _architecture(base, weights), *(digest.hexdigest()[:32] for digest in roundings)])


def same_base(one: str, other: str) -> bool:
    """Whether two fingerprints are of the same CLIP, at float16's or at bfloat16's precision.

    Raises:
        ValueError: If one of them is no fingerprint of this version.
    """
    parts = [_parts(one), _parts(other)]
    (architecture, *roundings), (other_architecture, *other_roundings) = parts
    return architecture == other_architecture and any(a == b for a, b in zip(roundings, other_roundings, strict=True))


def same_architecture(one: str, other: str) -> bool:
    """Whether two fingerprints are of CLIPs of the same architecture, whatever their weights.

    Raises:
        ValueError: If one of them is no fingerprint of this version.
    """
    return _parts(one)[0] == _parts(other)[0]


def _parts(text: str) -> list[str]:
    version, *digests = text.split(":")
    if version != _VERSION or len(digests) != 1 + len(_ROUNDINGS):
        raise ValueError(f"'{text}' is no fingerprint of this version ('{_VERSION}:...'). Update mv_peft.")
    return digests


def _base_weights(base: Any) -> list[tuple[str, Tensor]]:
    """CLIP's own parameters, by the names they have without adapters, sorted."""
    with torch.device("meta"):
        own = {name for name, _ in type(base)(base.config).named_parameters()}
    if any(isinstance(module, BaseTunerLayer) and getattr(module, "merged", False) for module in base.modules()):
        raise ValueError("Adapters are merged into this CLIP, which hides its own weights. Unmerge them first.")
    weights = {}
    for name, tensor in base.named_parameters():
        name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
        if name in own:
            weights[name] = tensor
    for name in sorted(own):
        if name not in weights:
            raise ValueError(f"This CLIP has no '{name}', which its configuration asks for.")
        if weights[name].is_meta:
            raise ValueError(f"This CLIP's '{name}' is on the meta device: it has no values yet. Load them first.")
        if not weights[name].is_floating_point():
            raise ValueError(
                f"This CLIP's '{name}' is quantised ({weights[name].dtype}). Take the fingerprint before quantisation."
            )
    return sorted(weights.items())


def _architecture(base: Any, weights: list[tuple[str, Tensor]]) -> str:
    """A digest of names, shapes, and of what changes the function without changing a shape."""
    lines = [f"{name} {tuple(tensor.shape)}" for name, tensor in weights]
    for tower in ("vision_model", "text_model"):
        if hasattr(base, tower):
            config = getattr(base, tower).config
            lines += [f"{tower}.{name} {getattr(config, name)!r}" for name in _FUNCTION]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _little_endian(values: Tensor) -> Any:
    array = values.view(torch.int16).numpy()
    return array if sys.byteorder == "little" else array.byteswap()
