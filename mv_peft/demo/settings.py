"""What one run of the demo does. This module imports nothing heavy, so that the command line can show its options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..choices import check_choices, setting

_TRAINING = "training on rendered clips"


@dataclass(frozen=True)
class DemoSettings:
    """Settings of one run of the demo. The fields with a help text are options of `mv-peft demo`.

    Attributes:
        clips_per_batch: Number of clips in a batch, which is even, because twins stay together.
        bottleneck_dim: Width of the adapters' bottleneck.
        scaling: Factor of the adapters' output. This and `position_init_std` are larger than in the paper (0.1 and
            0.01), with which a training of a few minutes learns little about time.
        position_init_std: Standard deviation of the initial positions of the adapters.

    Raises:
        ValueError: If a value is out of range, or not among the choices.
    """

    output: Path = setting(Path("mv-peft-demo"), "folder for the clips and the adapter", group=_TRAINING, metavar="DIR")
    seed: int = setting(0, "seed of the clips, the adapter's initial weights and the order of batches", group=_TRAINING)
    split: Literal["test", "validation"] = setting(
        "test", "held-out clips to measure on; choose settings on validation", group=_TRAINING
    )
    num_train_clips: int = setting(600, "clips to train on", group=_TRAINING, option="--train-clips")
    num_test_clips: int = setting(120, "held-out clips", group=_TRAINING, option="--test-clips")
    num_steps: int = setting(250, "training steps", group=_TRAINING, option="--steps")
    learning_rate: float = setting(5e-3, "peak learning rate of AdamW", group=_TRAINING, metavar="RATE")
    clips_per_batch: int = 32
    bottleneck_dim: int = 32
    scaling: float = 1.0
    position_init_std: float = 0.5

    def __post_init__(self) -> None:
        from .world import scenarios  # which loads NumPy

        check_choices(self)
        for name in ("num_train_clips", "num_test_clips", "clips_per_batch"):
            value = getattr(self, name)
            if value < 2 or value % 2:
                raise ValueError(f"`{name}` must be positive and even, because each clip has its twin, got {value}.")
        if self.num_steps < 1:
            raise ValueError(f"`num_steps` must be positive, got {self.num_steps}.")
        if self.num_train_clips < self.clips_per_batch:
            raise ValueError(
                f"`num_train_clips` must fill a batch of {self.clips_per_batch}, got {self.num_train_clips}."
            )
        num_captions = 2 * sum(len(clips) for clips in scenarios(self.split).values())
        if self.num_test_clips > num_captions:
            raise ValueError(
                f"`num_test_clips` must be at most {num_captions}, one for each caption of the {self.split} split, "
                f"got {self.num_test_clips}."
            )
