"""A contrastive step that needs the memory of a chunk, with the gradients of the whole batch.

Gradient caching (Gao et al., arXiv 2101.06983). The loss sees the model through the embeddings e only, so

    1. e_k = model(chunk k) for every chunk, without a graph
    2. L   = loss of all e_k of all processes; g_k = dL / d e_k
    3. for every chunk, with a graph: backward of sum(model(chunk k) * g_k), whose gradient is g_k d e_k / d parameters

adds up to dL / d parameters by the chain rule. It costs one more forward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import get_device_states, set_device_states

from .loss import PairLoss, widened


def cached_step(
    model: nn.Module,
    batch: Mapping[str, Any],
    loss_of: PairLoss,
    *,
    chunk_size: int,
    backward: Callable[[Tensor], None] = Tensor.backward,
) -> Tensor:
    """Add the gradients of the contrastive loss to the parameters, chunk by chunk.

    Under DistributedDataParallel gradients are exchanged once, in the backward of the last chunk; processes may have
    different numbers of pairs and of chunks. Dropout draws the same in both passes over a chunk.

    Args:
        model: A dual encoder that takes videos, whatever wraps it. Called as `model(**chunk)`.
        batch: Its arguments. Tensors have a row for each pair of caption and video and are split; anything else, as
            `return_loss`, goes with every chunk.
        loss_of: The loss of captions and videos, as `pair_loss(model)` gives it; its parameters may be frozen.
        chunk_size: Pairs in a chunk, at most. One chunk as large as the batch gives the plain step, a forward dearer.
        backward: Backpropagates a scalar, as `accelerator.backward`, which may scale it.

    Returns:
        The loss of the joint batch of all processes, without a graph.

    Raises:
        ValueError: If `chunk_size` is not positive, or the batch's tensors do not have the same number of rows.
    """
    chunks = _split(batch, chunk_size)
    random_states, embeds = [], []
    with torch.no_grad():
        for chunk in chunks:
            random_states.append(_RandomState(model))
            embeds.append(_embed(model, chunk))
    # Autocast keeps the weights that it has cast, and would hand these ones, without a graph, to the second pass.
    torch.clear_autocast_cache()

    joined = torch.cat(embeds, dim=1).requires_grad_()
    parameters = [parameter.detach().requires_grad_() for parameter in loss_of.parameters]
    loss = loss_of.function(joined[0], joined[1], *parameters)
    gradient, *parameter_gradients = torch.autograd.grad(loss, (joined, *parameters))

    no_sync = getattr(model, "no_sync", nullcontext)
    gradients = gradient.split(chunk_size, dim=1)
    for index, (chunk, random_state) in enumerate(zip(chunks, random_states, strict=True)):
        is_last = index == len(chunks) - 1
        with nullcontext() if is_last else no_sync(), random_state.restored():
            surrogate = (_embed(model, chunk) * gradients[index]).sum()
            if is_last:
                for parameter, parameter_gradient in zip(loss_of.parameters, parameter_gradients, strict=True):
                    surrogate = surrogate + (parameter * parameter_gradient).sum()
            backward(surrogate)
    return loss.detach()


def _split(batch: Mapping[str, Any], chunk_size: int) -> list[dict[str, Any]]:
    if chunk_size < 1:
        raise ValueError(f"`chunk_size` must be positive, got {chunk_size}.")
    tensors = {name: value for name, value in batch.items() if isinstance(value, Tensor)}
    rows = {name: len(tensor) for name, tensor in tensors.items()}
    if len(set(rows.values())) != 1:
        raise ValueError(f"The tensors of a batch must have one row for each pair, got {rows}.")
    rest = {name: value for name, value in batch.items() if name not in tensors}
    return [
        {name: tensor[start : start + chunk_size] for name, tensor in tensors.items()} | rest
        for start in range(0, next(iter(rows.values())), chunk_size)
    ]


def _embed(model: nn.Module, chunk: Mapping[str, Any]) -> Tensor:
    """Embed the captions and videos of a chunk as unit vectors, (2, pairs, dim)."""
    output = model(**chunk)
    return torch.stack([widened(output.text_embeds), widened(output.image_embeds)])


class _RandomState:
    """State of the random number generators, on the CPU and on the model's device."""

    def __init__(self, model: nn.Module) -> None:
        types = {parameter.device.type for parameter in model.parameters()} - {"cpu"}
        self.device_type = types.pop() if types else "cpu"
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(*model.parameters())

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Draw the same numbers again, and go on afterwards as if nothing had been drawn."""
        with torch.random.fork_rng(self.devices, device_type=self.device_type):
            torch.set_rng_state(self.cpu)
            set_device_states(self.devices, self.states, device_type=self.device_type)
            yield
