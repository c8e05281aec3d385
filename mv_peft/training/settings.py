"""What one training does, apart from the model and the data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from ..data.dataset import CaptionChoice
from ..retrieval.metrics import RECALLS
from ..video import FrameSampling
from .recipes import RECIPES

# Figures that are the better the higher they are.
SELECTABLE = tuple(f"{direction} R@{k}" for direction in ("t2v", "v2t") for k in RECALLS)

Precision = Literal["fp32", "bf16", "fp16"]
# What may differ between an interrupted training and the one that goes on with it. Of `chunk_size`,
# `begin_run` compares what it comes to.
_FREE_TO_CHANGE = {"output", "num_workers", "report_to", "chunk_size"}


@dataclass(frozen=True)
class TrainSettings:
    """What one training does.

    Attributes:
        output: Folder for the adapter, the figures and, in `training/`, the checkpoints.
        recipe: "modern" or "paper", see `mv_peft.training.recipes`.
        learning_rate: At its highest; None for the recipe's.
        weight_decay: None for the recipe's.
        epochs: How often every pair is seen; may be a fraction.
        max_steps: How many steps to make instead; None for as many as the epochs have.
        batch_size: Pairs in a step, of all processes together.
        chunk_size: Pairs that a process embeds at a time; "auto" for as many as fit its memory by the estimate.
        captions: "all", a pair of each caption, or "one_per_video", one drawn anew for each video and epoch.
        sampling: Which frames of a video.
        seed: Of the adapter's start, the order of the pairs and whatever else is drawn.
        precision: "fp32", or "bf16" or "fp16" for mixed precision; the trained weights stay as they are.
        gradient_checkpointing: Computes activations twice instead of keeping them.
        num_workers: Processes that read videos, for each process that trains.
        eval_steps: Steps from one measurement on the validation videos to the next; None for an epoch.
        save_steps: Steps from one checkpoint to the next; None for an epoch.
        eval_batch_size: Videos that a process embeds at a time while it measures.
        select_by: The figure that the best adapter is chosen by.
        report_to: Where Trainer reports to: "tensorboard", for example, if it is installed.

    Raises:
        ValueError: For a value that makes no sense.
    """

    output: Path
    recipe: str = "modern"
    learning_rate: float | None = None
    weight_decay: float | None = None
    epochs: float = 5
    max_steps: int | None = None
    batch_size: int = 128
    chunk_size: int | Literal["auto"] = "auto"
    captions: CaptionChoice = "all"
    sampling: FrameSampling = "fps_uniform"
    seed: int = 0
    precision: Precision = "fp32"
    gradient_checkpointing: bool = False
    num_workers: int = 0
    eval_steps: int | None = None
    save_steps: int | None = None
    eval_batch_size: int = 32
    select_by: str = "t2v R@1"
    report_to: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("epochs", "max_steps", "batch_size", "chunk_size", "eval_steps", "save_steps", "eval_batch_size"):
            value = getattr(self, name)
            if value is not None and value != "auto" and not value > 0:
                raise ValueError(f"`{name}` must be positive, got {value}.")
        if not math.isfinite(self.epochs):
            raise ValueError(f"`epochs` must be finite, got {self.epochs}.")
        if self.num_workers < 0:
            raise ValueError(f"`num_workers` must not be negative, got {self.num_workers}.")
        for name, what, choices in (
            ("recipe", "recipe", tuple(RECIPES)),
            ("captions", "captions", get_args(CaptionChoice)),
            ("sampling", "sampling", get_args(FrameSampling)),
            ("precision", "precision", get_args(Precision)),
            ("select_by", "figure", SELECTABLE),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"Unknown {what} {getattr(self, name)!r}. Choose from: {', '.join(sorted(choices))}.")

    @property
    def checkpoints(self) -> Path:
        """Folder of everything that is only there to go on with the training."""
        return self.output / "training"

    def per_process(self, num_processes: int) -> int:
        """Pairs in a step of each process.

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
        """Everything, in types that JSON has."""
        return {**vars(self), "output": str(self.output), "report_to": list(self.report_to)}

    @staticmethod
    def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
        """What of two trainings' JSON makes them different ones, as "name: before, now"."""
        names = sorted((before.keys() | now.keys()) - _FREE_TO_CHANGE)
        return [
            f"{name}: {before.get(name)!r}, now {now.get(name)!r}"
            for name in names
            if before.get(name) != now.get(name)
        ]
