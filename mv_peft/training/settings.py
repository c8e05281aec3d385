"""What one training does, apart from the model and the data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..choices import RECALLS, CaptionChoice, FrameSampling, Precision, RecipeName, check_choices, setting

# Metrics of which a higher value is better.
SELECTABLE = tuple(f"{direction} R@{k}" for direction in ("t2v", "v2t") for k in RECALLS)

_HOW, _CHOSEN, _RESUMED = "how it is trained", "how the best adapter is chosen", "checkpoints and reports"

# What may differ between an interrupted training and the one that continues it. `begin_run` compares what `chunk_size`
# comes to.
_FREE_TO_CHANGE = {"output", "num_workers", "report_to", "chunk_size"}


@dataclass(frozen=True)
class TrainSettings:
    """What one training does. Each field carries its help text, and is an option of `mv-peft train`.

    Raises:
        ValueError: If a value is out of range, or not among the choices.
    """

    output: Path = field(metadata={"help": "folder for the adapter and everything about it", "metavar": "DIR"})
    recipe: RecipeName = setting("modern", "optimizer, schedule and weight decay", group=_HOW)
    learning_rate: float | None = setting(
        None, "peak learning rate", group=_HOW, metavar="RATE", default_text="the recipe's"
    )
    weight_decay: float | None = setting(None, "weight decay", group=_HOW, metavar="RATE", default_text="the recipe's")
    epochs: float = setting(
        5, "passes over all pairs; may be a fraction", group=_HOW, default_text="as published for the data set, or 5"
    )
    max_steps: int | None = setting(None, "number of steps, instead of --epochs", group=_HOW)
    batch_size: int = setting(
        128, "pairs in a step, over all processes", group=_HOW, default_text="as published for the data set, or 128"
    )
    chunk_size: int | Literal["auto"] = setting(
        "auto", "pairs that a process embeds at a time; the gradients stay exact", group=_HOW
    )
    captions: CaptionChoice = setting(
        "all", "pairs from all captions, or from one caption of each video, drawn again in each epoch", group=_HOW
    )
    frame_sampling: FrameSampling = setting("fps_uniform", "which frames stand for a video", group=_HOW)
    seed: int = setting(
        0, "seed of the adapter's initial weights, the order of pairs, and all other random draws", group=_HOW
    )
    precision: Precision = setting("fp32", "precision of the computation; the trained weights stay in fp32", group=_HOW)
    gradient_checkpointing: bool = setting(
        False, "compute activations twice instead of keeping them, to save memory", group=_HOW
    )
    num_workers: int = setting(0, "worker processes that read videos; 0 for none")
    eval_steps: int | None = setting(
        None, "steps between two evaluations on the validation videos", group=_CHOSEN, default_text="an epoch"
    )
    eval_batch_size: int = setting(32, "videos embedded at a time during an evaluation", group=_CHOSEN)
    select_by: str = setting(
        "t2v R@1", "metric that chooses the best adapter", group=_CHOSEN, choices=SELECTABLE, metavar="METRIC"
    )
    save_steps: int | None = setting(None, "steps between two checkpoints", group=_RESUMED, default_text="an epoch")
    report_to: tuple[str, ...] = setting(
        (), "report to tensorboard, wandb or another integration of Trainer; repeatable", group=_RESUMED, metavar="NAME"
    )

    def __post_init__(self) -> None:
        for name in ("epochs", "max_steps", "batch_size", "chunk_size", "eval_steps", "save_steps", "eval_batch_size"):
            value = getattr(self, name)
            if value is not None and value != "auto" and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        if not math.isfinite(self.epochs):
            raise ValueError(f"`epochs` must be finite, got {self.epochs}.")
        if self.num_workers < 0:
            raise ValueError(f"`num_workers` must not be negative, got {self.num_workers}.")
        check_choices(self)

    @property
    def checkpoints(self) -> Path:
        """The folder of everything that serves only to continue the training."""
        return self.output / "training"

    def per_process(self, num_processes: int) -> int:
        """Return the number of pairs in a step of each process.

        Raises:
            ValueError: If the batch cannot be shared equally.
        """
        if self.batch_size % num_processes:
            raise ValueError(
                f"`batch_size` {self.batch_size} cannot be shared equally by {num_processes} processes. "
                f"Choose a multiple of {num_processes}."
            )
        return self.batch_size // num_processes

    def as_json(self) -> dict[str, Any]:
        """Return all settings, in types that JSON has."""
        return {**vars(self), "output": str(self.output), "report_to": list(self.report_to)}

    @staticmethod
    def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
        """Compare the JSON of two trainings, and describe each difference that matters as "name: before, now"."""
        names = sorted((before.keys() | now.keys()) - _FREE_TO_CHANGE)
        return [
            f"{name}: {before.get(name)!r}, now {now.get(name)!r}"
            for name in names
            if before.get(name) != now.get(name)
        ]
