"""What one run of the demo does; imports nothing heavy, so that the command line can show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .world import Split, scenarios


@dataclass(frozen=True)
class DemoSettings:
    """What one run of the demo does.

    Attributes:
        output: Folder for the clips and the adapter.
        seed: Of the clips, the adapter's start and the order of the batches.
        split: What to measure on: "test", or "validation" while choosing settings.
        num_train_clips: Clips to train on; even, as each comes with its twin.
        num_test_clips: Held-out clips; even, and no more than the split has captions.
        num_steps: Training steps.
        clips_per_batch: Even, as twins stay together.
        learning_rate: Of AdamW, at its highest.
        bottleneck_dim: Of the adapters.
        scaling: Of the adapters' output. This and `position_init_std` are larger than the paper's (0.1 and 0.01), which
            slow the temporal signal down in a training of minutes.
        position_init_std: Of the adapters' learned positions.
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
                raise ValueError(f"`{name}` must be positive and even, clips come with their twins; got {value}.")
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
