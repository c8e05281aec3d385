"""The arguments of `RetrievalTrainer`: those of Transformers, and what contrastive training adds to them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from transformers import TrainingArguments

from ..choices import RecipeName
from .recipes import Recipe, get_recipe
from .settings import TrainSettings

# What the recipe decides. Given here as well, it would have no effect.
_OF_THE_RECIPE = {"optim", "optim_args", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"}
_OF_THE_RECIPE |= {"adam_beta1", "adam_beta2", "adam_epsilon", "label_smoothing_factor"}


@dataclass
class RetrievalTrainingArguments(TrainingArguments):
    """Transformers' `TrainingArguments` with the defaults that contrastive training needs.

    Attributes:
        recipe: As in `TrainSettings`.
        learning_rate: As in `TrainSettings`; the adapters' rate.
        weight_decay: As in `TrainSettings`.
        clip_learning_rate: The rate of CLIP's parameters, where any are trained; None for the recipe's.
        max_grad_norm: What the norm of all gradients together is clipped to; None for the recipe's.
        chunk_size: Pairs that a process embeds at a time, see `cached_step`; None for its whole share of the batch.

    Raises:
        ValueError: If the recipe is unknown or would overrule an argument, or `chunk_size` is not positive.
    """

    recipe: RecipeName = TrainSettings.recipe
    learning_rate: float | None = TrainSettings.learning_rate
    weight_decay: float | None = TrainSettings.weight_decay
    clip_learning_rate: float | None = None
    max_grad_norm: float | None = None
    chunk_size: int | None = None

    # The loss of a smaller batch is not comparable, since it has fewer wrong answers.
    dataloader_drop_last: bool = True
    # Trainer would drop `frame_mask` as a column that the model does not know.
    remove_unused_columns: bool = False
    # A loss that is not a number ends the training, and must not be smoothed over.
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
                    f"{getattr(self, argument.name)!r}. Leave it out, or train with a custom `Recipe`."
                )
        if self.chunk_size is not None and self.chunk_size < 1:
            raise ValueError(f"`chunk_size` must be positive, got {self.chunk_size}.")
        chosen = self.resolved_recipe()
        self.learning_rate, self.weight_decay = chosen.learning_rate, chosen.weight_decay
        self.max_grad_norm = chosen.max_grad_norm
        super().__post_init__()

    def resolved_recipe(self) -> Recipe:
        """Return the recipe, with what is given here in place of its values."""
        names = ("learning_rate", "weight_decay", "clip_learning_rate", "max_grad_norm")
        given = {name: getattr(self, name) for name in names}
        return get_recipe(self.recipe, **{name: value for name, value in given.items() if value is not None})
