"""The main job from files: clips to disk and back, zero-shot, MV-Adapter, saved, reloaded, asked."""

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
    """What one run measured.

    Attributes:
        settings: Of the run.
        before: Figures of zero-shot retrieval on the held-out clips.
        after: The same with MV-Adapter.
        num_trainable: Trained parameters.
        num_parameters: All parameters, the adapter's included.
        adapter_folder: Where the adapter was saved.
        adapter_bytes: Size of its weights' file.
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
    """Renders, reads, measures, trains, measures, saves, reloads and answers.

    Raises:
        MVPeftError: If the reloaded adapter does not answer as the trained one did.
    """
    seconds: dict[str, float] = {}
    processor = load_tiny_processor()
    train_clips = _draw_clips("train", settings.num_train_clips, settings.seed)
    test_clips = _draw_clips(settings.split, settings.num_test_clips, settings.seed)
    train_texts = processor(text=[clip.caption for clip in train_clips])
    test_texts = processor(text=[clip.caption for clip in test_clips])
    is_event = torch.tensor([clip.kind != "still" for clip in test_clips])

    with _timed(seconds, "render"):
        train_paths = write_clips(train_clips, settings.output / "clips" / "train")
        test_paths = write_clips(test_clips, settings.output / "clips" / settings.split)
    with _timed(seconds, "read"):
        train_videos = read_clips(train_paths, processor)
        test_videos = read_clips(test_paths, processor)
    with _timed(seconds, "zero-shot"):
        clip = enable_video(load_tiny_clip())
        before = measure(cosine_similarity(clip, test_texts, test_videos), is_event)
    with _timed(seconds, "train"):
        model = _new_adapter(processor, settings)
        train(model, {**train_texts, **train_videos}, settings)
    with _timed(seconds, "measure"):
        similarity = cosine_similarity(model, test_texts, test_videos)
    with _timed(seconds, "reload"):
        adapter_folder = settings.output / "adapter"
        model.save_pretrained(adapter_folder)
        reloaded = PeftModel.from_pretrained(load_tiny_clip(), adapter_folder)
        if not torch.equal(cosine_similarity(reloaded, test_texts, test_videos), similarity):
            raise MVPeftError(f"The adapter reloaded from '{adapter_folder}' answers differently from the trained one.")

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
        answers=best_hits([clip.caption for clip in test_clips[:3]], test_paths, similarity[:3]),
        seconds=seconds,
    )


def _draw_clips(split: Split, num_clips: int, seed: int) -> list[Clip]:
    """Clips with their twins side by side."""
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
    """Notes the wall-clock seconds of a stage."""
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
