"""The whole demo: clips are rendered to files and read, and MV-Adapter is trained, measured, saved and reloaded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from transformers import set_seed

from .. import MVAdapterConfig, enable_video
from ..encoders import MVProcessor
from ..errors import MVPeftError
from .clips import read_clips, write_clips
from .evaluation import cosine_similarity, measure
from .pretrained import load_tiny_clip, load_tiny_processor
from .search import Hit, best_hits
from .settings import DemoSettings
from .training import train
from .world import Clip, Split, sample_pairs


@dataclass(frozen=True)
class DemoReport:
    """The results of one run.

    Attributes:
        settings: Settings of the run.
        before: Figures of zero-shot retrieval on the held-out clips.
        after: The same figures with MV-Adapter.
        num_trainable: Number of trained parameters.
        num_parameters: Number of all parameters, including the adapter's.
        adapter_folder: Where the adapter was saved.
        adapter_bytes: Size of the file of its weights.
        captions: The caption of each test clip.
        answers: The best test clips for each of three captions.
        seconds: Wall-clock time of each stage.
    """

    settings: DemoSettings
    before: dict[str, float]
    after: dict[str, float]
    num_trainable: int
    num_parameters: int
    adapter_folder: Path
    adapter_bytes: int
    captions: dict[Path, str]
    answers: dict[str, list[Hit]]
    seconds: dict[str, float]


def run_demo(settings: DemoSettings) -> DemoReport:
    """Run the demo from rendering to answers.

    Raises:
        MVPeftError: If the reloaded adapter gives other similarities than the trained one.
    """
    seconds: dict[str, float] = {}
    processor = load_tiny_processor()
    train_clips = _draw_clips("train", settings.num_train_clips, settings.seed)
    test_clips = _draw_clips(settings.split, settings.num_test_clips, settings.seed)
    train_texts = processor(text=[clip.caption for clip in train_clips])
    test_captions = [clip.caption for clip in test_clips]
    is_event = torch.tensor([clip.kind != "still" for clip in test_clips])

    with _timed(seconds, "render"):
        train_paths = write_clips(train_clips, settings.output / "clips" / "train")
        test_paths = write_clips(test_clips, settings.output / "clips" / settings.split)
    with _timed(seconds, "read"):
        train_videos = read_clips(train_paths, processor)
        test_videos = read_clips(test_paths, processor)["pixel_values"]
    with _timed(seconds, "zero-shot"):
        clip = enable_video(load_tiny_clip())
        before = measure(cosine_similarity(clip, processor, test_captions, test_videos), is_event)
    with _timed(seconds, "train"):
        model = _new_adapter(processor, settings)
        train(model, {**train_texts, **train_videos}, settings)
    with _timed(seconds, "measure"):
        similarity = cosine_similarity(model, processor, test_captions, test_videos)
    with _timed(seconds, "reload"):
        adapter_folder = settings.output / "adapter"
        model.save_pretrained(adapter_folder)
        reloaded = PeftModel.from_pretrained(load_tiny_clip(), adapter_folder)
        if not torch.equal(cosine_similarity(reloaded, processor, test_captions, test_videos), similarity):
            raise MVPeftError(
                f"The adapter reloaded from '{adapter_folder}' gives other similarities than the trained one."
            )

    num_trainable, num_parameters = model.get_nb_trainable_parameters()
    return DemoReport(
        settings=settings,
        before=before,
        after=measure(similarity, is_event),
        num_trainable=num_trainable,
        num_parameters=num_parameters,
        adapter_folder=adapter_folder,
        adapter_bytes=(adapter_folder / "adapter_model.safetensors").stat().st_size,
        captions={path: clip.caption for path, clip in zip(test_paths, test_clips, strict=True)},
        answers=best_hits(test_captions[:3], test_paths, similarity[:3]),
        seconds=seconds,
    )


def _draw_clips(split: Split, num_clips: int, seed: int) -> list[Clip]:
    """Draw clips, each next to its twin."""
    return [clip for pair in sample_pairs(split, num_clips // 2, seed) for clip in pair]


def _new_adapter(processor: MVProcessor, settings: DemoSettings) -> PeftModel:
    set_seed(settings.seed)
    config = MVAdapterConfig(
        bottleneck_dim=settings.bottleneck_dim,
        scaling=settings.scaling,
        position_init_std=settings.position_init_std,
        max_frames=processor.max_frames,
        max_text_tokens=processor.max_text_tokens,
    )
    return get_peft_model(load_tiny_clip(), config)


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Record the wall-clock seconds of a stage."""
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
