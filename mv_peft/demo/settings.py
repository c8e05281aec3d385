"""Settings of the demo; imports nothing heavy, so that the command line can show them quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .world import Split, scenarios


@dataclass(frozen=True)
class DemoSettings:
    """Settings of one run of the demo.

    Attributes:
        output: Folder for the clips and the adapter.
        seed: Seed of the clips, of the adapter's initial weights and of the order of the batches.
        split: Split to measure on: "test", or "validation" while settings are being chosen.
        num_train_clips: Number of clips to train on, which is even, because each has its twin.
        num_test_clips: Number of held-out clips, which is even and at most the number of captions in the split.
        num_steps: Number of training steps.
        clips_per_batch: Number of clips in a batch, which is even, because twins stay together.
        learning_rate: Peak learning rate of AdamW.
        bottleneck_dim: Width of the adapters' bottleneck.
        scaling: Factor of the adapters' output. This and `position_init_std` are larger than in the paper (0.1 and
            0.01), with which a training of a few minutes learns little about time.
        position_init_std: Standard deviation of the initial positions of the adapters.
    """

    output: Path = Path("mv-peft-demo")
    seed: int = 0
    split: Split = "test"
    num_train_clips: int = 600
    num_test_clips: int = 120
    num_steps: int = 250
    clips_per_batch: int = 32
    learning_rate: float = 5e-3
    bottleneck_dim: int = 32
    scaling: float = 1.0
    position_init_std: float = 0.5

    def __post_init__(self) -> None:
        if self.split not in ("test", "validation"):
            raise ValueError(f"`split` must be 'test' or 'validation', got {self.split!r}.")
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
