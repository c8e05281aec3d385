"""Batches that are spread over processes, seen as one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


def gather_with_grad(rows: Tensor) -> Tensor:
    """Join the rows of all processes, in the order of ranks; gradients flow back to the process a row came from.

    The backward sums over processes: a row gets d (sum of all processes' losses) / d row. Where each of W processes
    computes the loss of the joint batch that is W times the gradient, and DistributedDataParallel, which averages the
    parameters' gradients over the W processes, makes it exactly the gradient of that loss: scale nothing by hand.

    Args:
        rows: This process's rows, (rows, dim). Processes may have different numbers of them.

    Returns:
        (rows of all processes, dim); `rows` itself where there is one process.
    """
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    return _Gather.apply(rows)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.counts = torch.cat(_all_gather(torch.tensor([len(rows)], device=rows.device))).tolist()
        # Not every backend gathers tensors of different shapes.
        padded = F.pad(rows, (0, 0, 0, max(ctx.counts) - len(rows)))
        return torch.cat([part[:count] for part, count in zip(_all_gather(padded), ctx.counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        summed = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(summed)
        return summed.split(ctx.counts)[distributed.get_rank()]


def _all_gather(tensor: Tensor) -> list[Tensor]:
    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return parts
