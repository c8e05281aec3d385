"""How much memory a step will need, from one pair that is tried and arithmetic for the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device.

    Attributes:
        weights: Of the model, frozen ones and trained ones.
        gradients: One of each trained parameter.
        optimizer: Two moments of each trained parameter.
        activations_per_pair: What autograd keeps of one video and its caption for the backward, measured.
    """

    weights: int
    gradients: int
    optimizer: int
    activations_per_pair: int

    def total(self, num_pairs: int) -> int:
        """With `num_pairs` embedded at a time, without buffers of libraries and of DistributedDataParallel."""
        return self.weights + self.gradients + self.optimizer + num_pairs * self.activations_per_pair

    def chunk_size(self, num_pairs: int, available: int) -> int:
        """The most pairs at a time that fit four fifths of `available`, halving `num_pairs`; at least 1."""
        while num_pairs > 1 and self.total(num_pairs) > 0.8 * available:
            num_pairs = -(-num_pairs // 2)
        return num_pairs

    def describe(self, num_pairs: int) -> str:
        """A sentence with the sum and its parts."""
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            f"activations of {num_pairs} pairs": num_pairs * self.activations_per_pair,
        }
        listed = ", ".join(f"{name} {_readable(size)}" for name, size in parts.items())
        return f"about {_readable(self.total(num_pairs))} ({listed})"


def _readable(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"


def estimate_memory(model: nn.Module, pair: Mapping[str, Any], autocast: torch.dtype | None = None) -> MemoryEstimate:
    """Runs one pair forward and counts what the backward would need.

    Args:
        model: As it will be trained, on the device that it will be trained on.
        pair: What it takes, one row, on that device: a video with as many frames as the longest.
        autocast: The dtype of mixed precision, if any.

    Returns:
        The estimate. Activations are counted once each, as autograd keeps them, without the model's own weights.
    """
    device = next(model.parameters()).device.type
    trained = sum(parameter.nbytes for parameter in model.parameters() if parameter.requires_grad)
    weights = {tensor.untyped_storage().data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, tuple[int, Tensor]] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept[address] = (tensor.untyped_storage().nbytes(), tensor)  # held, so that no address comes twice
        return tensor

    precision = contextlib.nullcontext() if autocast is None else torch.autocast(device, dtype=autocast)
    was_training = model.training
    model.train()
    try:
        with torch.random.fork_rng(), precision, torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
            output = model(**pair)
            assert output.image_embeds.requires_grad  # else nothing would have been kept
    finally:
        model.train(was_training)
    return MemoryEstimate(sum(weights.values()), trained, 2 * trained, sum(size for size, _ in kept.values()))


def available_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device, where that can be asked."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available if device.type == "cpu" else None
