"""How to train: which parameter gets which learning rate and decay, by which optimizer, on which schedule.

"paper" is what the authors of MV-Adapter (arXiv 2301.07868) ran, and "modern" is AdamW as adapters are trained today.
Both clip the global norm of the gradients, and leave `logit_scale` to `freeze_logit_scale`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_cosine_schedule_with_warmup

from ..choices import RecipeName
from .optimizer import BertAdam, warmup_cosine_schedule


@dataclass(frozen=True)
class Recipe:
    """Everything about the optimization except its length.

    Attributes:
        optimizer: Creates the optimizer from parameter groups, each with its `lr` and `weight_decay`.
        schedule: Creates the schedule of an optimizer's learning rates over a number of steps.
        decays: Tells whether a parameter decays, from the module that holds it, its name there, and whether it belongs
            to an adapter.
        learning_rate: The peak learning rate of the adapters.
        weight_decay: The weight decay of the parameters that decay.
        clip_learning_rate: The peak learning rate of CLIP's parameters, where any are trained; None for
            `learning_rate`.
        max_grad_norm: What the norm of all gradients together is clipped to.
    """

    optimizer: Callable[[list[dict[str, Any]]], Optimizer]
    schedule: Callable[[Optimizer, int], LRScheduler]
    decays: Callable[[nn.Module, str, bool], bool]
    learning_rate: float
    weight_decay: float
    clip_learning_rate: float | None = None
    max_grad_norm: float = 1.0

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Group the trainable parameters of a model, as torch's optimizers take them.

        Returns:
            The groups that have parameters, of "adapter_decay", "adapter_no_decay", "clip_decay" and "clip_no_decay",
            each with its `name`, `params`, `lr` and `weight_decay`. "clip" is everything that no PEFT layer added.

        Raises:
            ValueError: If nothing in the model is trainable.
        """
        clip_learning_rate = self.learning_rate if self.clip_learning_rate is None else self.clip_learning_rate
        groups: dict[str, dict[str, Any]] = {
            f"{owner}_{kind}": {"params": [], "lr": learning_rate, "weight_decay": weight_decay}
            for owner, learning_rate in (("adapter", self.learning_rate), ("clip", clip_learning_rate))
            for kind, weight_decay in (("decay", self.weight_decay), ("no_decay", 0.0))
        }
        of_adapters = _adapter_parameter_ids(model)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                module_name, _, leaf = name.rpartition(".")
                is_adapter = id(parameter) in of_adapters
                decays = self.decays(model.get_submodule(module_name), leaf, is_adapter)
                group = f"{'adapter' if is_adapter else 'clip'}_{'decay' if decays else 'no_decay'}"
                groups[group]["params"].append(parameter)
        filled = [{"name": name, **group} for name, group in groups.items() if group["params"]]
        if not filled:
            raise ValueError(
                f"The {type(model).__name__} has no trainable parameter. "
                "Add an adapter with `get_peft_model(clip, MVAdapterConfig())`, or unfreeze what is to be trained."
            )
        return filled

    def create_optimizer(self, model: nn.Module) -> Optimizer:
        """Create the optimizer of a model's trainable parameters."""
        return self.optimizer(self.parameter_groups(model))

    def create_schedule(self, optimizer: Optimizer, num_steps: int) -> LRScheduler:
        """Create the schedule of the optimizer's learning rates over `num_steps` steps."""
        return self.schedule(optimizer, num_steps)


def get_recipe(name: RecipeName, **overrides: Any) -> Recipe:
    """Return a recipe by its name, "paper" or "modern".

    Args:
        name: The recipe.
        overrides: Attributes that replace the recipe's.

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}. Choose from: {', '.join(RECIPES)}.")
    return replace(RECIPES[name], **overrides)


def _adapter_parameter_ids(model: nn.Module) -> set[int]:
    """Return the ids of the parameters that PEFT's layers, of any method, added."""
    return {
        id(parameter)
        for layer in model.modules()
        if isinstance(layer, BaseTunerLayer)
        for part in layer.adapter_layer_names
        for parameter in getattr(layer, part).parameters()
    }


def _decays_in_paper(module: nn.Module, name: str, is_adapter: bool) -> bool:
    """Decay everything of an adapter except its biases, and the biases of CLIP, which the authors train too."""
    return name != "bias" or not is_adapter


def _is_matrix(module: nn.Module, name: str, is_adapter: bool) -> bool:
    """Decay matrices, and not biases, norms, embeddings, positions, tokens and factors."""
    return name == "weight" and isinstance(module, (nn.Linear, nn.Conv2d))


def _warmup_then_cosine(optimizer: Optimizer, num_steps: int) -> LRScheduler:
    return get_cosine_schedule_with_warmup(optimizer, num_steps // 10, num_steps)


RECIPES: dict[RecipeName, Recipe] = {
    "paper": Recipe(
        optimizer=BertAdam,
        schedule=warmup_cosine_schedule,
        decays=_decays_in_paper,
        learning_rate=5e-6,
        weight_decay=0.2,
        clip_learning_rate=1e-7,
    ),
    "modern": Recipe(
        optimizer=partial(AdamW, betas=(0.9, 0.98), eps=1e-6),
        schedule=_warmup_then_cosine,
        decays=_is_matrix,
        learning_rate=1e-4,
        weight_decay=0.01,
    ),
}
