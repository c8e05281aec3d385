"""Videos on disk as the source of a run: loaded, trained on and measured as `mv-peft train` and `evaluate` do it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel

import mv_peft
from mv_peft.data import BENCHMARKS, CaptionedVideos
from mv_peft.encoders import MVProcessor
from mv_peft.encoders.loading import load_base_model
from mv_peft.retrieval import Protocol, benchmark_protocol, default_protocol, evaluate_retrieval
from mv_peft.runs.facts import base_facts
from mv_peft.training import RunFacts, TrainingRun, TrainSettings
from mv_peft.video import FrameSampling, VideoCache, VideoFrames, read_frames

from .costs import Clock, peak_memory_mib, reset_peak_memory
from .method import Method
from .settings import CUSTOM, VideoSettings

SAMPLING: FrameSampling = "fps_uniform"
VALIDATION_SHARE = 0.05  # of the training videos of a benchmark, as in `mv-peft train`
# Shares of custom videos, which have no splits. The validation videos are carved out of the videos that are held out.
OWN_HELD_OUT, OWN_VALIDATION = 0.3, 0.1
CURVE_POINTS = 20


class VideosOnDisk:
    """The `Source` of a data set of videos.

    The validation videos are carved out of the training videos. The test split and its annotations are not read unless
    the run measures on them.

    Args:
        settings: The settings of the run.

    Attributes:
        train_videos: The videos to train on.
        validation: The videos that choose the best checkpoint and the learning rate.
        gallery: The videos to measure: those of the validation or of the test split.

    Raises:
        AnnotationError: If an annotation file is missing or malformed, or if no video is there.
        CacheError: If the cache holds none of the videos.
        ValueError: If there are too few videos for the splits, or too few pairs for a batch.
    """

    def __init__(self, settings: VideoSettings) -> None:
        self.settings = settings
        self.train_videos, self.validation, self.gallery = _load(settings)
        epochs, batch_size = settings.published_lengths
        self.batch_size = settings.batch_size or batch_size
        if self.train_videos.num_captions < self.batch_size:
            raise ValueError(
                f"{self.train_videos.num_captions} pairs of a video and a caption do not fill a batch of "
                f"{self.batch_size}. Give more, or a smaller `--batch-size`."
            )
        epochs = settings.epochs or epochs
        self.steps = settings.steps or math.ceil(epochs * (self.train_videos.num_captions // self.batch_size))
        self._read = self._reader()
        self._facts: dict[str, Any] = {}

    def load_clip(self) -> tuple[PreTrainedModel, MVProcessor]:
        """The one that the settings name; the processor takes as many frames and tokens as were published."""
        settings = self.settings
        clip = load_base_model(settings.model, dtype=torch.float32)
        positions = clip.config.text_config.max_position_embeddings
        processor = MVProcessor.from_pretrained(
            settings.model,
            max_frames=settings.num_frames,
            max_text_tokens=min(settings.max_text_tokens, positions),
            frame_sampling=SAMPLING,
        )
        self._base = base_facts(clip, settings.model)
        limits = {"num_frames": processor.max_frames, "max_text_tokens": processor.max_text_tokens}
        self._facts = {"model": self._base.name, "base_model": asdict(self._base), **limits, "frame_sampling": SAMPLING}
        return clip, processor

    def train(self, model: nn.Module, processor: MVProcessor, method: Method) -> tuple[nn.Module, dict[str, Any]]:
        """Train with `TrainingRun`, and return the checkpoint that was best on the validation videos.

        The reported cost includes the measurements on these videos.
        """
        settings = self.settings
        facts = RunFacts(
            dataset=settings.data,
            method=settings.method,
            base_model=self._base,
            train=repr(self.train_videos),
            validation=repr(self.validation),
        )
        with TemporaryDirectory() as folder:
            how = TrainSettings(
                output=Path(folder) / "run",
                recipe=method.recipe,
                learning_rate=settings.learning_rate,
                max_steps=self.steps,
                batch_size=self.batch_size,
                frame_sampling=SAMPLING,
                seed=settings.seed,
                precision=settings.precision,
                num_workers=settings.num_workers,
                save_steps=self.steps,
            )
            training = TrainingRun(model, processor, self.train_videos, self.validation, how, facts, read=self._read)
            reset_peak_memory()
            clock = Clock()
            outcome = training.execute()
            info = {
                "steps": training.plan.num_steps,
                **clock.read(),
                "peak_memory_mib": peak_memory_mib(),
                "curve": _curve(training.trainer.state.log_history),
                "best_step": outcome.best_step,
            }
            device = next(model.parameters()).device
            best = mv_peft.load(how.output, base_model=settings.model, dtype=torch.float32, device=device)
        return best.model, info

    def measure(self, model: nn.Module, processor: MVProcessor) -> dict[str, dict[str, float]]:
        """Measure the gallery under the protocol that was published for the data set."""
        result = evaluate_retrieval(
            model,
            processor,
            self.gallery,
            protocol=self._protocol(),
            num_workers=self.settings.num_workers,
            read=self._read,
        )
        (gallery,) = self.settings.galleries
        return {gallery: result.metrics}

    def config(self) -> dict[str, Any]:
        """The settings and what follows from the data; entries that only rendered worlds have are None."""
        settings = asdict(self.settings)
        for name in ("root", "videos", "cache", "num_workers", "epochs"):
            del settings[name]
        return settings | {
            **self._facts,
            "size": None,
            "batches": None,
            "data_seed": None,
            "batch_size": self.batch_size,
            "steps": self.steps,
            "num_train_clips": len(self.train_videos),
            "num_train_captions": self.train_videos.num_captions,
            "num_validation_clips": len(self.validation),
            "num_gallery_clips": len(self.gallery),
            "num_gallery_captions": self.gallery.num_captions,
            "protocol": self._protocol().name,
        }

    def _protocol(self) -> Protocol:
        if self.settings.data == CUSTOM:
            return default_protocol(self.gallery)
        split = "test" if self.settings.split == "test" else "train"
        return benchmark_protocol(self.settings.data, split, self.gallery)

    def _reader(self) -> Callable[..., VideoFrames]:
        settings = self.settings
        if settings.cache is None:
            return read_frames
        annotated = settings.root if settings.root.is_dir() else settings.root.parent
        videos = [*self.train_videos, *self.validation, *self.gallery]
        paths = [record.path for record in videos if record.path is not None]
        return VideoCache.holding(settings.cache, paths, videos=settings.videos or annotated).read_frames


class _Splits(NamedTuple):
    train: CaptionedVideos
    validation: CaptionedVideos
    gallery: CaptionedVideos


def _load(settings: VideoSettings) -> _Splits:
    if settings.data == CUSTOM:
        whole = CaptionedVideos.load(settings.root, videos=settings.videos)
        train, held_out = _carve(whole, whole, OWN_HELD_OUT)
        test, validation = _carve(whole, held_out, OWN_VALIDATION)
        return _Splits(train, validation, validation if settings.split == "validation" else test)
    benchmark = BENCHMARKS[settings.data]
    whole = benchmark.load(settings.root, "train", videos=settings.videos)
    train, validation = _carve(whole, whole, VALIDATION_SHARE)
    if settings.split == "validation":
        return _Splits(train, validation, validation)
    return _Splits(train, validation, benchmark.load(settings.root, "test", videos=settings.videos))


def _carve(whole: CaptionedVideos, videos: CaptionedVideos, share: float) -> tuple[CaptionedVideos, CaptionedVideos]:
    try:
        return videos.carve_validation(share)
    except ValueError as error:
        raise ValueError(
            f"The {len(whole)} videos of {whole.name} are too few to set {share:.0%} of them aside. Give more."
        ) from error


def _curve(history: list[dict[str, float]]) -> list[list[float]]:
    """Points [step, mean loss since the previous point], about twenty of them."""
    losses = [(entry["step"], float(entry["loss"])) for entry in history if "loss" in entry]
    length = max(1, len(losses) // CURVE_POINTS)
    parts = [losses[first : first + length] for first in range(0, len(losses), length)]
    return [[part[-1][0], round(mean(loss for _, loss in part), 4)] for part in parts]
