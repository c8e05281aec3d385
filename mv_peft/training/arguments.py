"""What `RetrievalTrainer` is told: Transformers' arguments, and what contrastive training adds to them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from transformers import TrainingArguments

from .recipes import Recipe, get_recipe

# What a recipe decides: given here as well it would have no effect.
_OF_THE_RECIPE = {"optim", "optim_args", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"}
_OF_THE_RECIPE |= {"adam_beta1", "adam_beta2", "adam_epsilon", "label_smoothing_factor"}


@dataclass
class RetrievalTrainingArguments(TrainingArguments):
    """Transformers' `TrainingArguments` with the defaults that contrastive training needs.

    Attributes:
        recipe: Optimizer, schedule and parameter groups, "modern" or "paper"; see `mv_peft.training.recipes`.
        learning_rate: Of the adapters, at its highest; None for the recipe's.
        weight_decay: Of what the recipe lets decay; None for the recipe's.
        clip_learning_rate: Of CLIP's own parameters, where any are trained; None for the recipe's.
        chunk_size: Pairs that a process embeds at a time, see `cached_step`; None for its whole share of the batch.

    Raises:
        ValueError: For an unknown recipe, a chunk without pairs, or an argument that the recipe would overrule.
    """

    recipe: str = "modern"
    learning_rate: float | None = None
    weight_decay: float | None = None
    clip_learning_rate: float | None = None
    chunk_size: int | None = None

    # A batch smaller than the others has fewer wrong answers: its loss is another one.
    dataloader_drop_last: bool = True
    # Trainer would take `frame_mask` for a column that the model does not know.
    remove_unused_columns: bool = False
    # A loss that is not a number ends the training instead.
    logging_nan_inf_filter: bool = False
    # Every parameter of an adapter is used in every step.
    ddp_find_unused_parameters: bool | None = False
    dataloader_pin_memory: bool = field(default_factory=torch.cuda.is_available)
    logging_steps: float = 10
    report_to: str | list[str] | None = field(default="none")

    def __post_init__(self) -> None:
        for argument in fields(TrainingArguments):
            if argument.name in _OF_THE_RECIPE and getattr(self, argument.name) != argument.default:
                raise ValueError(
                    f"`{argument.name}` is decided by the recipe {self.recipe!r}, got "
                    f"{getattr(self, argument.name)!r}. Leave it out, or train with a `Recipe` of your own."
                )
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"`chunk_size` must be positive, got {self.chunk_size}.")
        chosen = self.resolved_recipe()
        self.learning_rate, self.weight_decay = chosen.learning_rate, chosen.weight_decay
        super().__post_init__()

    def resolved_recipe(self) -> Recipe:
        """The recipe with the learning rates and the decay that are given here."""
        given = {name: getattr(self, name) for name in ("learning_rate", "weight_decay", "clip_learning_rate")}
        return get_recipe(self.recipe, **{name: value for name, value in given.items() if value is not None})
