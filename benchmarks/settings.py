"""What one run of the benchmark does; imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

Batches = Literal["paired", "random"]
RESULTS = Path(__file__).parent / "results"
SIZES: dict[str, dict[str, int]] = {
    "full": {"steps": 400, "num_train_clips": 6000, "num_gallery_clips": 1000, "num_frames": 12},
    "fast": {"steps": 100, "num_train_clips": 2000, "num_gallery_clips": 400, "num_frames": 6},
}


@dataclass(frozen=True)
class RunSettings:
    """What one run of the benchmark does; whatever it leaves out is the same for every method.

    Attributes:
        method: Name of a file in `benchmarks/methods`.
        data: A world of `benchmarks.data`.
        size: "full" or "fast", which stand for the four numbers below where these are not given.
        seed: Of the method's start and the order of the batches. The clips have their own, `data_seed`.
        split: What to measure on.
        learning_rate: At its highest; None for the tuned one.
        overrides: Fields that replace those of the method.
        batches: "paired" puts a clip and its twin into the same batch, "random" draws clips one by one.
        batch_size: Clips in a step.
        precision: Of the training, "fp32" or "bf16" under autocast; measured is in fp32.
        data_seed: Of all clips.
        steps: Training steps.
        num_train_clips: Clips to train on.
        num_gallery_clips: Clips in each gallery.
        num_frames: Frames of a clip.

    Raises:
        ValueError: For a value that makes no sense.
    """

    method: str
    data: str = "shapes"
    size: str = "full"
    seed: int = 0
    split: str = "test"
    learning_rate: float | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    batches: Batches = "paired"
    batch_size: int = 32
    precision: str = "bf16"
    data_seed: int = 0
    steps: int = 0
    num_train_clips: int = 0
    num_gallery_clips: int = 0
    num_frames: int = 0

    def __post_init__(self) -> None:
        for name, choices in (
            ("size", tuple(SIZES)),
            ("split", ("validation", "test")),
            ("batches", get_args(Batches)),
            ("precision", ("fp32", "bf16")),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"Unknown {name} {getattr(self, name)!r}. Choose from: {', '.join(choices)}.")
        for name, value in SIZES[self.size].items():
            object.__setattr__(self, name, getattr(self, name) or value)
        for name in ("batch_size", "num_train_clips", "num_gallery_clips"):
            if getattr(self, name) < 2 or getattr(self, name) % 2:
                raise ValueError(
                    f"`{name}` must be positive and even, clips come with their twins; got {getattr(self, name)}."
                )
        if self.num_train_clips < self.batch_size:
            raise ValueError(f"`num_train_clips` must fill a batch of {self.batch_size}, got {self.num_train_clips}.")

    @property
    def group(self) -> str:
        """The folder of the results that may be compared with each other."""
        return self.data if self.size == "full" else f"{self.data}-{self.size}"

    @property
    def name(self) -> str:
        """What is run, apart from the seed."""
        changes = [f"{name}={value}" for name, value in sorted(self.overrides.items())]
        changes += ["random"] if self.batches == "random" else []
        return ",".join([self.method, *changes])

    def result_file(self, results: Path = RESULTS) -> Path:
        """Where the result goes."""
        part = "" if self.split == "test" else f"-{self.split}"
        return results / self.group / f"{self.name}{part}-seed{self.seed}.json"

    def tuning_file(self, results: Path = RESULTS) -> Path:
        """Where the choice of the learning rate is written down."""
        return results / self.group / "tuning" / f"{self.name}.json"
