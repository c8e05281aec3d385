"""Transformers' `Trainer` with the contrastive loss over the batch of all processes, and nothing else changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from ..errors import TrainingError, some_of
from .arguments import RetrievalTrainingArguments
from .gradient_cache import cached_step
from .loss import PairLoss, freeze_logit_scale, pair_loss

VIDEO_IDS = "video_ids"  # of a batch, beside what the model takes


class RetrievalTrainer(Trainer):
    """Transformers' `Trainer` for a dual encoder that takes videos, on pairs of a caption and a video.

    Resuming, mixed precision, activation checkpointing, torchrun on one machine or several, logging and callbacks are
    Transformers'. The loss is the family's, with its parameters frozen (see `pair_loss`, `freeze_logit_scale`).

    Args:
        model: An adapted dual encoder, or one to which `enable_video` has been applied.
        args: How to train.
        train_dataset: What `data_collator` makes batches of: a `VideoCaptionDataset`.
        data_collator: Gives what the model takes, one row a pair, and optionally the ids of the videos as "video_ids",
            which name a batch whose loss is not a number: a `PairCollator`.
        evaluate: Measures a model, for example by `mv_peft.retrieval.evaluate_retrieval` on validation videos; called
            in every process whenever `args` asks for an evaluation.
        callbacks: Transformers' callbacks, beside those that `args` asks for.

    Raises:
        ValueError: If `args` asks for evaluations and there is no `evaluate`, or there are fewer pairs than fill a
            batch.
    """

    args: RetrievalTrainingArguments
    optimizer: Any
    lr_scheduler: Any
    control: Any

    def __init__(
        self,
        model: nn.Module,
        args: RetrievalTrainingArguments,
        train_dataset: Dataset,
        data_collator: Callable[[list[Any]], dict[str, Any]],
        *,
        evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ) -> None:
        if args.eval_strategy != "no" and evaluate is None:
            raise ValueError(f"`eval_strategy` is '{args.eval_strategy.value}', but there is no `evaluate`. Give one.")
        batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        num_pairs = len(train_dataset)  # type: ignore[arg-type]
        if num_pairs < batch_size:
            raise ValueError(f"{num_pairs} pairs do not fill a batch of {batch_size}. Give more, or a smaller batch.")
        freeze_logit_scale(model)
        self._measure = evaluate
        self._video_ids: list[str] = []
        # Trainer insists on something to evaluate on; `evaluate` below never looks at it.
        eval_dataset: Any = [] if evaluate is not None else None
        super().__init__(
            model,
            args,
            data_collator=data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            callbacks=[_StopAtBadGradients(self), _TellEpoch(train_dataset), _MeasureTheEnd(), *callbacks],
        )
        self.remove_callback(PrinterCallback)

    def train(self, resume_from_checkpoint: str | Path | bool | None = None, **kwargs: Any) -> Any:
        """Transformers' `train`, which would make a step too many where a finished training is resumed."""
        checkpoint = resume_from_checkpoint
        if checkpoint is True:  # None if there is none, which Transformers refuses
            checkpoint = get_last_checkpoint(self.args.output_dir)
        if checkpoint:
            state = TrainerState.load_from_json(str(Path(checkpoint, "trainer_state.json")))
            if state.global_step >= self.args.max_steps > 0:
                self._load_from_checkpoint(str(checkpoint))
                self.state = state
                return TrainOutput(state.global_step, float("nan"), {})
        return super().train(str(checkpoint) if checkpoint else resume_from_checkpoint, **kwargs)

    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        """Return the recipe's optimizer."""
        if self.optimizer is None:
            self.optimizer = self.args.resolved_recipe().create_optimizer(self.model if model is None else model)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        """Return the recipe's schedule."""
        if self.lr_scheduler is None:
            recipe = self.args.resolved_recipe()
            self.lr_scheduler = recipe.create_schedule(optimizer or self.optimizer, num_training_steps)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Compute the contrastive loss of the joint batch of all processes."""
        outputs = model(**inputs)
        loss = self._pair_loss(outputs.text_embeds, outputs.image_embeds)
        return (loss, outputs) if return_outputs else loss

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Add the gradients of a batch, plainly or in chunks.

        Raises:
            TrainingError: If the loss is not a number; names the step and the batch's videos.
        """
        self._video_ids = list(inputs.pop(VIDEO_IDS, []))
        if self.args.chunk_size is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = self._step_in_chunks(model, inputs, self.args.chunk_size)
        if not torch.isfinite(loss):
            raise self.not_a_number("loss", loss)
        return loss

    def _step_in_chunks(self, model: nn.Module, inputs: dict[str, Any], chunk_size: int) -> Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)
        num_batches = self.current_gradient_accumulation_steps

        def backward(loss: Tensor) -> None:
            self.accelerator.backward(loss / num_batches)

        with self.compute_loss_context_manager():
            loss = cached_step(model, inputs, self._pair_loss, chunk_size=chunk_size, backward=backward)
        return loss / num_batches

    @property
    def _pair_loss(self) -> PairLoss:
        return pair_loss(self.model)

    def not_a_number(self, what: str, value: Tensor) -> TrainingError:
        """Return the error that ends the training; every process must come here, since all name their videos."""
        names = some_of(map(repr, gather_object(self._video_ids))) or "unknown"
        return TrainingError(
            f"The {what} is {float(value)} at step {self.state.global_step + 1}. The batch's videos: {names}. "
            "Look at those, or lower the learning rate; in fp16, try bf16."
        )

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: list[str] | None = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """Measure the model as it is by the `evaluate` that the trainer was made with.

        Returns:
            Its figures, their names after `metric_key_prefix`.

        Raises:
            ValueError: If there is none, or `eval_dataset` is given.
        """
        if self._measure is None or eval_dataset:
            raise ValueError("RetrievalTrainer evaluates by its own `evaluate`. Give one, and no `eval_dataset`.")
        with self.accelerator.autocast():
            measured = self._measure(self.model)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return None, because Transformers' estimate counts tokens of text."""
        return 0


class _StopAtBadGradients(TrainerCallback):
    """Callback that ends the training before a gradient that is not a number reaches the weights."""

    def __init__(self, trainer: RetrievalTrainer) -> None:
        self.trainer = trainer

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: nn.Module, **kwargs: Any) -> None:
        if self.trainer.accelerator.scaler is not None:
            return  # fp16: the scaler skips such steps and lowers its scale
        norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
        if not torch.isfinite(norm):
            raise self.trainer.not_a_number("gradient", norm)


class _TellEpoch(TrainerCallback):
    """Callback that tells the data set which epoch begins; accelerate does not if a sampler skips or shares batches."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset

    def on_epoch_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(int(state.epoch or 0))


class _MeasureTheEnd(TrainerCallback):
    """Callback that asks for an evaluation after the last step, as early versions 5 of Transformers do not."""

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        if args.eval_strategy == "steps" and state.global_step >= state.max_steps:
            control.should_evaluate = True
