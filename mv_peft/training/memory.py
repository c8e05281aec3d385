"""How much memory a step will need, from one pair that is tried and arithmetic for the rest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on one device.

    Attributes:
        weights: Of the model, frozen ones and trained ones.
        gradients: One of each trained parameter.
        optimizer: Two moments of each trained parameter.
        inputs_per_pair: One video and its caption as the model takes them; those of the whole batch are there.
        activations_per_pair: What autograd keeps of a pair for the backward, measured; of those embedded at a time.
    """

    weights: int
    gradients: int
    optimizer: int
    inputs_per_pair: int
    activations_per_pair: int

    def total(self, num_pairs: int, chunk_size: int) -> int:
        """Give the sum for `num_pairs`, `chunk_size` of them at a time, without buffers of libraries and of DDP."""
        fixed = self.weights + self.gradients + self.optimizer
        return fixed + num_pairs * self.inputs_per_pair + chunk_size * self.activations_per_pair

    def chunk_size(self, num_pairs: int, available: int) -> int:
        """Give the most of `num_pairs` at a time that fit four fifths of `available`, by halving; at least 1."""
        chunk_size = num_pairs
        while chunk_size > 1 and self.total(num_pairs, chunk_size) > 0.8 * available:
            chunk_size = -(-chunk_size // 2)
        return chunk_size

    def describe(self, num_pairs: int, chunk_size: int) -> str:
        """Give the sum and its parts, in words."""
        parts = {
            "weights": self.weights,
            "gradients": self.gradients,
            "optimizer": self.optimizer,
            f"{num_pairs} pairs": num_pairs * self.inputs_per_pair,
            f"activations of {chunk_size}": chunk_size * self.activations_per_pair,
        }
        listed = ", ".join(f"{name} {_readable(size)}" for name, size in parts.items())
        return f"about {_readable(self.total(num_pairs, chunk_size))} ({listed})"


def _readable(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes < 2**30 else f"{num_bytes / 2**30:.1f} GiB"


def estimate_memory(
    model: nn.Module, pairs: Mapping[str, Tensor], autocast: torch.dtype | None = None
) -> MemoryEstimate:
    """Run pairs forward and count what the backward pass would need.

    Args:
        model: As it will be trained, on the device that it will be trained on.
        pairs: What it takes, on that device: videos with as many frames as the longest; one is enough.
        autocast: The dtype of mixed precision, if any.

    Returns:
        The estimate. Activations are counted once each, as autograd keeps them, without the model's own weights.
    """
    devices = get_device_states(*model.parameters())[0]  # not all that there are
    device, rows = next(model.parameters()).device.type, len(next(iter(pairs.values())))
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
        saved = torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept)
        with torch.random.fork_rng(devices), precision, saved:
            output = model(**pairs)
            assert output.image_embeds.requires_grad  # else nothing would have been kept
    finally:
        model.train(was_training)
    return MemoryEstimate(
        weights=sum(weights.values()),
        gradients=trained,
        optimizer=2 * trained,
        inputs_per_pair=sum(tensor.nbytes for tensor in pairs.values()) // rows,
        activations_per_pair=sum(size for size, _ in kept.values()) // rows,
    )


def device_memory(device: torch.device) -> int | None:
    """Give the bytes of a device that a process may take, however much is free just now; None where that is not known.

    A GPU is one process's; half of the computer's memory is shared by its processes.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # as torchrun says
    return psutil.virtual_memory().total // 2 // num_processes if device.type == "cpu" else None
