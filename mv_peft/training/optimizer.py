"""The optimizer and the schedule of MV-Adapter's authors (arXiv 2301.07868).

    m = beta1 m + (1 - beta1) g        v = beta2 v + (1 - beta2) g^2
    p = p - lr r(x) (m / (sqrt(v) + eps) + decay p)
    r(x) = x / warmup for x < warmup, else (1 + cos(pi x)) / 2        x = steps done / all steps

Unlike AdamW it does not correct the bias of m and v, and unlike the usual schedule the cosine is not shifted by the
warm-up: r falls from 1 to 0.976 where the warm-up of a tenth ends. Their program also clips each tensor's gradient to a
norm of 1, which has no effect after the global norm is clipped to 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class BertAdam(Optimizer):
    """Adam without bias correction, with decoupled weight decay.

    Args:
        params: Parameters, or groups of them.
        lr: Learning rate, of groups that do not say theirs.
        betas: How much of the mean of gradients and of their squares a step keeps.
        eps: Added to the root of the mean square.
        weight_decay: What a step takes off a parameter, times the learning rate; of groups that do not say theirs.

    Raises:
        ValueError: For a value out of range.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.98),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not value >= 0:
                raise ValueError(f"`{name}` must be at least 0, got {value}.")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"`betas` must be from 0 to below 1, got {betas}.")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:  # type: ignore[override]
        """Make one step, and return what `closure` returns, if it is given to compute gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                    state["mean_square"] = torch.zeros_like(parameter)
                mean, mean_square, gradient = state["mean"], state["mean_square"], parameter.grad
                mean.mul_(beta1).add_(gradient, alpha=1 - beta1)
                mean_square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                update = mean / (mean_square.sqrt() + group["eps"]) + group["weight_decay"] * parameter
                parameter.sub_(group["lr"] * update)
        return loss


def warmup_cosine(progress: float, warmup: float = 0.1) -> float:
    """The factor r(x) on the learning rate at `progress` x; `warmup` is a fraction of all steps."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * progress))


def warmup_cosine_schedule(optimizer: Optimizer, num_steps: int, warmup: float = 0.1) -> LambdaLR:
    """Drive an optimizer's learning rates by `warmup_cosine`, the first of `num_steps` steps being at rate 0.

    Raises:
        ValueError: If there is no step.
    """
    if num_steps < 1:
        raise ValueError(f"`num_steps` must be positive, got {num_steps}.")
    return LambdaLR(optimizer, lambda step: warmup_cosine(step / num_steps, warmup))
