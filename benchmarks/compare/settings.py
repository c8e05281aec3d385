"""What one run of the benchmark does, in a rendered world or on videos on disk; imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

if TYPE_CHECKING:
    from .source import Source

Batches = Literal["paired", "random"]
RESULTS = Path(__file__).parent.parent / "results"
SIZES: dict[str, dict[str, int]] = {
    "full": {"steps": 400, "num_train_clips": 6000, "num_gallery_clips": 1000, "num_frames": 12},
    "fast": {"steps": 100, "num_train_clips": 2000, "num_gallery_clips": 400, "num_frames": 6},
}
CUSTOM = "custom"


@dataclass(frozen=True, kw_only=True)
class RunSettings(ABC):
    """What every run says, wherever its clips come from; whatever it leaves out is the same for every method.

    Attributes:
        method: Name of a file in `benchmarks/methods`.
        data: What is trained and measured on.
        seed: Of the method's start and the order of the batches.
        split: What to measure on.
        learning_rate: At its highest; None for the tuned one.
        overrides: Fields that replace those of the method.
        batch_size: Clips in a step.
        precision: Of the training, "fp32" or "bf16" under autocast; measured is in fp32.
        steps: Training steps.
        has_tiny_clip: Whether the CLIP is a tiny one, see `load_method`.
        galleries: What is measured in.

    Raises:
        ValueError: For a value that makes no sense.
    """

    method: str
    data: str
    seed: int = 0
    split: str = "test"
    learning_rate: float | None = None
    overrides: dict[str, Any] = field(default_factory=dict)
    batch_size: int
    precision: str = "bf16"
    steps: int = 0
    has_tiny_clip: ClassVar[bool]
    galleries: ClassVar[tuple[str, ...]]

    def __post_init__(self) -> None:
        self._check_choices(split=("validation", "test"), precision=("fp32", "bf16"))

    def _check_choices(self, **choices_of: tuple[str, ...]) -> None:
        for name, choices in choices_of.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"Unknown {name} {getattr(self, name)!r}. Choose from: {', '.join(choices)}.")

    @property
    @abstractmethod
    def group(self) -> str:
        """The folder of the results that may be compared with each other."""

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """Frames of a clip, at most."""

    @abstractmethod
    def halved(self) -> RunSettings:
        """The same with half the steps."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The arguments that the three commands share, without anybody's folders."""

    @abstractmethod
    def open(self) -> Source:
        """The CLIP and the clips."""

    @property
    def name(self) -> str:
        """What is run, apart from the seed."""
        return ",".join([self.method, *(f"{name}={value}" for name, value in sorted(self.overrides.items()))])

    def result_file(self, results: Path = RESULTS) -> Path:
        """Where the result goes."""
        part = "" if self.split == "test" else f"-{self.split}"
        return results / self.group / f"{self.name}{part}-seed{self.seed}.json"

    def tuning_file(self, results: Path = RESULTS) -> Path:
        """Where the choice of the learning rate is written down."""
        return results / self.group / "tuning" / f"{self.name}.json"


@dataclass(frozen=True, kw_only=True)
class WorldSettings(RunSettings):
    """A run in a rendered world.

    Attributes:
        data: A world of `benchmarks.data`.
        size: "full" or "fast", which stand for the four numbers below where these are not given.
        batches: "paired" puts a clip and its twin into the same batch, "random" draws clips one by one.
        data_seed: Of all clips.
        steps: Training steps.
        num_train_clips: Clips to train on.
        num_gallery_clips: Clips in each gallery.
        num_frames: Frames of a clip.

    Raises:
        ValueError: For a value that makes no sense.
    """

    data: str = "shapes"
    size: str = "full"
    batches: Batches = "paired"
    batch_size: int = 32
    data_seed: int = 0
    num_train_clips: int = 0
    num_gallery_clips: int = 0
    num_frames: int = 0
    has_tiny_clip: ClassVar[bool] = True
    galleries: ClassVar[tuple[str, ...]] = ("natural", "twin")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_choices(size=tuple(SIZES), batches=get_args(Batches))
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
        """The world, and the size if that is reduced."""
        return self.data if self.size == "full" else f"{self.data}-{self.size}"

    @property
    def name(self) -> str:
        """What is run, apart from the seed."""
        return super().name + (",random" if self.batches == "random" else "")

    def arguments(self) -> list[str]:
        """World, size, and what differs from that size."""
        arguments = ["--data", self.data]
        arguments += ["--fast"] if self.size == "fast" else []
        arguments += ["--batches", "random"] if self.batches == "random" else []
        defaults = WorldSettings(method=self.method, size=self.size)
        for name in (*SIZES["full"], "batch_size"):
            if getattr(self, name) != getattr(defaults, name):
                arguments += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        return arguments

    def halved(self) -> WorldSettings:
        """The same with half the steps."""
        return replace(self, steps=max(1, self.steps // 2))

    def open(self) -> Source:
        """The world's own CLIP, and its clips in memory."""
        from .in_memory import WorldInMemory

        return WorldInMemory(self)


@dataclass(frozen=True, kw_only=True)
class VideoSettings(RunSettings):
    """A run on a data set of videos on disk, and a CLIP of usual size.

    Attributes:
        data: One of `mv_peft.data.BENCHMARKS`, or "custom".
        model: The CLIP, by its folder or its name on the Hub.
        root: The annotation files; of own data a file or folder.
        videos: Folder of the videos; None for below `root`.
        cache: Frames that `mv-peft cache` stored, if any.
        num_workers: Processes that read videos.
        batch_size: Pairs in a step; 0 for as many as published.
        steps: Training steps; 0 for as many as the epochs have.
        epochs: How often every pair is seen, where `steps` are not given; 0 for as often as published.

    Raises:
        ValueError: For a value that makes no sense.
    """

    model: str
    root: Path
    videos: Path | None = None
    cache: Path | None = None
    num_workers: int = 0
    batch_size: int = 0
    epochs: float = 0
    has_tiny_clip: ClassVar[bool] = False
    galleries: ClassVar[tuple[str, ...]] = ("retrieval",)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "batch_size", "epochs", "num_workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")

    @property
    def model_name(self) -> str:
        """The CLIP's name without whose it is; of a folder its own name alone."""
        return (Path(self.model).resolve() if Path(self.model).is_dir() else Path(self.model)).name

    @property
    def group(self) -> str:
        """The data set and the CLIP, of own data their name too."""
        data = f"{CUSTOM}-{self.root.resolve().stem}" if self.data == CUSTOM else self.data
        return f"{data}-{self.model_name}"

    @property
    def max_text_tokens(self) -> int:
        """Of a caption, as published."""
        return self._published("max_text_tokens")

    @property
    def num_frames(self) -> int:
        """Of a video, as published."""
        return self._published("max_frames")

    def _published(self, name: str) -> int:
        from mv_peft.data import BENCHMARKS, Benchmark

        return getattr(BENCHMARKS.get(self.data, Benchmark), name)

    @property
    def published_lengths(self) -> tuple[float, int]:
        """Epochs, and pairs in a step."""
        return self._published("epochs"), self._published("batch_size")

    def halved(self) -> VideoSettings:
        """The same with half the steps, or half the epochs where those follow from them."""
        if self.steps:
            return replace(self, steps=max(1, self.steps // 2))
        return replace(self, epochs=(self.epochs or self.published_lengths[0]) / 2)

    def arguments(self) -> list[str]:
        """Data set, CLIP, and what differs from what is published; the reader has folders of their own."""
        arguments = ["--data", self.data, "--model", self.model_name if Path(self.model).is_dir() else self.model]
        for name in ("root", "videos", "cache"):
            arguments += [f"--{name}", "..."] if getattr(self, name) is not None else []
        for name in ("steps", "batch_size"):
            arguments += [f"--{name.replace('_', '-')}", str(getattr(self, name))] if getattr(self, name) else []
        return arguments

    def open(self) -> Source:
        """The CLIP, and the data set's videos, whose annotations are read now."""
        from .on_disk import VideosOnDisk

        return VideosOnDisk(self)
