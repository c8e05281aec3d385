"""The main job from files: clips to disk and back, zero-shot, MV-Adapter, saved, reloaded, asked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from tqdm import tqdm
from transformers import set_seed

from .. import MVAdapterConfig, enable_video
from ..errors import MVPeftError
from .backbone import Backbone, Batch, stack
from .clips import write_clips
from .evaluation import cosine_similarity, measure
from .search import Hit, best_hits
from .settings import DemoSettings
from .training import train
from .world import Clip, sample_pairs


@dataclass
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
        MVPeftError: If the reloaded adapter does not give the figures that the trained one gave.
    """
    seconds: dict[str, float] = {}
    backbone = Backbone.load()
    train_clips = _flatten(sample_pairs("train", settings.num_train_clips // 2, settings.seed))
    test_clips = _flatten(sample_pairs("test", settings.num_test_clips // 2, settings.seed))
    train_texts = backbone.texts([clip.caption for clip in train_clips])
    test_texts = backbone.texts([clip.caption for clip in test_clips])
    is_event = torch.tensor([clip.kind != "still" for clip in test_clips])

    with _timed(seconds, "render"):
        train_paths = write_clips(train_clips, settings.output / "clips" / "train")
        test_paths = write_clips(test_clips, settings.output / "clips" / "test")
    with _timed(seconds, "read"):
        train_videos = _read(backbone, train_paths)
        test_videos = _read(backbone, test_paths)
    with _timed(seconds, "measure zero-shot"):
        clip = enable_video(backbone.new_clip())
        before = measure(cosine_similarity(clip, test_texts, test_videos), is_event)
    with _timed(seconds, "train"):
        set_seed(settings.seed)
        config = MVAdapterConfig(
            bottleneck_dim=settings.bottleneck_dim,
            scaling=settings.scaling,
            position_init_std=settings.position_init_std,
            max_frames=backbone.num_frames,
            max_text_tokens=backbone.max_text_tokens,
        )
        model = get_peft_model(backbone.new_clip(), config)
        train(model, {**train_texts, **train_videos}, settings)
    with _timed(seconds, "measure MV-Adapter"):
        similarity = cosine_similarity(model, test_texts, test_videos)
        after = measure(similarity, is_event)
    with _timed(seconds, "save, reload, measure"):
        adapter_folder = settings.output / "adapter"
        model.save_pretrained(adapter_folder)
        reloaded = PeftModel.from_pretrained(backbone.new_clip(), adapter_folder)
        similarity = cosine_similarity(reloaded, test_texts, test_videos)
        if measure(similarity, is_event) != after:
            raise MVPeftError(f"The adapter reloaded from '{adapter_folder}' gives other figures than the trained one.")

    num_trainable, num_parameters = model.get_nb_trainable_parameters()
    return DemoReport(
        settings=settings,
        before=before,
        after=after,
        num_trainable=num_trainable,
        num_parameters=num_parameters,
        adapter_folder=adapter_folder,
        adapter_bytes=(adapter_folder / "adapter_model.safetensors").stat().st_size,
        captions={path: clip.caption for path, clip in zip(test_paths, test_clips)},
        answers=best_hits([clip.caption for clip in test_clips[:3]], test_paths, similarity[:3]),
        seconds=seconds,
    )


def _read(backbone: Backbone, paths: list[Path]) -> Batch:
    bar = tqdm(paths, desc=f"reading {paths[0].parent.name}", unit="clip", disable=None)
    return stack([backbone.video(path) for path in bar])


def _flatten(pairs: list[tuple[Clip, Clip]]) -> list[Clip]:
    return [clip for pair in pairs for clip in pair]


@contextmanager
def _timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Notes the wall-clock seconds of a stage."""
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
