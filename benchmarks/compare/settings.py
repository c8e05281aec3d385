"""The settings of a run, in a rendered world or on videos on disk. Importing this file loads nothing heavy."""

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
    """The settings of any run. Everything that they do not name is the same for every method.

    Attributes:
        method: Name of a file in `benchmarks/compare/methods`.
        data: The world or data set.
        seed: Seed of the method's initial weights and of the order of the batches.
        split: The split to measure.
        learning_rate: The highest learning rate; None for the tuned one.
        overrides: Fields that replace those of the method.
        batch_size: Clips in a training step.
        precision: Precision of the training, "fp32" or "bf16" under autocast. Measurements are in fp32.
        steps: Training steps.
        has_tiny_clip: Whether the CLIP is a tiny one; see `load_method`.
        galleries: Names of the galleries that are measured.

    Raises:
        ValueError: If a value is out of range or unknown.
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
        """Name of the folder whose results may be compared with each other."""

    @property
    @abstractmethod
    def num_frames(self) -> int:
        """The most frames of a clip."""

    @abstractmethod
    def halved(self) -> RunSettings:
        """The same settings with half the steps."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """The command-line arguments that the three commands share, without names of folders."""

    @abstractmethod
    def open(self) -> Source:
        """Open the CLIP and the clips."""

    @property
    def name(self) -> str:
        """Name of the run without its seed: the method and what was changed."""
        return ",".join([self.method, *(f"{name}={value}" for name, value in sorted(self.overrides.items()))])

    def result_file(self, results: Path = RESULTS) -> Path:
        """The file of the result."""
        part = "" if self.split == "test" else f"-{self.split}"
        return results / self.group / f"{self.name}{part}-seed{self.seed}.json"

    def tuning_file(self, results: Path = RESULTS) -> Path:
        """The file of the choice of the learning rate."""
        return results / self.group / "tuning" / f"{self.name}.json"


@dataclass(frozen=True, kw_only=True)
class WorldSettings(RunSettings):
    """The settings of a run in a rendered world.

    Attributes:
        data: A world of `benchmarks.worlds`.
        size: "full" or "fast": the defaults of `steps` and of the three numbers below.
        batches: "paired" puts a clip and its twin into the same batch, "random" draws clips one by one.
        data_seed: Seed of all clips.
        num_train_clips: Clips to train on.
        num_gallery_clips: Clips in each gallery.
        num_frames: Frames of a clip.

    Raises:
        ValueError: If a value is out of range or unknown.
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
            number = getattr(self, name)
            if number < 2 or number % 2:
                raise ValueError(
                    f"`{name}` must be positive and even because clips come with their twins, got {number}."
                )
        if self.num_train_clips < self.batch_size:
            raise ValueError(f"`num_train_clips` must fill a batch of {self.batch_size}, got {self.num_train_clips}.")

    @property
    def group(self) -> str:
        """The world, and the size if it is not the full one."""
        return self.data if self.size == "full" else f"{self.data}-{self.size}"

    @property
    def name(self) -> str:
        """Name of the run without its seed: the method and what was changed."""
        return super().name + (",random" if self.batches == "random" else "")

    def arguments(self) -> list[str]:
        """The world, its size, and what differs from the defaults of that size."""
        arguments = ["--data", self.data]
        arguments += ["--fast"] if self.size == "fast" else []
        arguments += ["--batches", "random"] if self.batches == "random" else []
        defaults = WorldSettings(method=self.method, size=self.size)
        for name in (*SIZES["full"], "batch_size"):
            if getattr(self, name) != getattr(defaults, name):
                arguments += [f"--{name.replace('_', '-')}", str(getattr(self, name))]
        return arguments

    def halved(self) -> WorldSettings:
        """The same settings with half the steps."""
        return replace(self, steps=max(1, self.steps // 2))

    def open(self) -> Source:
        """Open the CLIP of the world, and its clips in memory."""
        from .in_memory import WorldInMemory

        return WorldInMemory(self)


@dataclass(frozen=True, kw_only=True)
class VideoSettings(RunSettings):
    """The settings of a run on a data set of videos on disk, with a CLIP of usual size.

    Attributes:
        data: One of `mv_peft.data.BENCHMARKS`, or "custom".
        model: Folder of the CLIP, or its name on the Hub.
        root: Folder of the annotation files; for custom data a file or folder.
        videos: Folder of the videos; None if they are below `root`.
        cache: Folder of the frames that `mv-peft cache` stored, if any.
        num_workers: Processes that read videos.
        batch_size: Pairs in a training step; 0 for the published number.
        steps: Training steps; 0 for as many as the epochs have.
        epochs: Epochs to train if `steps` is 0; 0 for the published number.

    Raises:
        ValueError: If a value is out of range or unknown.
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
        """Name of the CLIP without its owner, or without the path to its folder."""
        return (Path(self.model).resolve() if Path(self.model).is_dir() else Path(self.model)).name

    @property
    def group(self) -> str:
        """The data set and the CLIP, and for custom data also its file name."""
        data = f"{CUSTOM}-{self.root.resolve().stem}" if self.data == CUSTOM else self.data
        return f"{data}-{self.model_name}"

    @property
    def max_text_tokens(self) -> int:
        """The most tokens of a caption, as published."""
        return self._published("max_text_tokens")

    @property
    def num_frames(self) -> int:
        """The most frames of a video, as published."""
        return self._published("max_frames")

    def _published(self, name: str) -> int:
        from mv_peft.data import BENCHMARKS, Benchmark

        return getattr(BENCHMARKS.get(self.data, Benchmark), name)

    @property
    def published_lengths(self) -> tuple[float, int]:
        """The published number of epochs, and of pairs in a training step."""
        return self._published("epochs"), self._published("batch_size")

    def halved(self) -> VideoSettings:
        """The same settings with half the steps, or with half the epochs if the steps follow from them."""
        if self.steps:
            return replace(self, steps=max(1, self.steps // 2))
        return replace(self, epochs=(self.epochs or self.published_lengths[0]) / 2)

    def arguments(self) -> list[str]:
        """The data set, the CLIP, and what differs from the published lengths, with '...' for names of folders."""
        arguments = ["--data", self.data, "--model", self.model_name if Path(self.model).is_dir() else self.model]
        for name in ("root", "videos", "cache"):
            arguments += [f"--{name}", "..."] if getattr(self, name) is not None else []
        for name in ("steps", "batch_size"):
            arguments += [f"--{name.replace('_', '-')}", str(getattr(self, name))] if getattr(self, name) else []
        return arguments

    def open(self) -> Source:
        """Open the CLIP and the videos of the data set; the annotations are read now."""
        from .on_disk import VideosOnDisk

        return VideosOnDisk(self)
