"""Clips of the rendered world as video files, which people can watch and the model reads."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from ..encoders import MVProcessor
from ..video import write_video
from .world import Clip, render_clip

FPS = 12
DURATION_SECONDS = 3
SIZE = 128


def write_clips(clips: Sequence[Clip], folder: Path) -> list[Path]:
    """Render clips to H.264 files, and write their captions to `captions.csv` (video, caption).

    Args:
        clips: The clips to render.
        folder: Folder of the files, which is created if it does not exist. Files of the same names are overwritten.

    Returns:
        The path of each clip, in the same order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:04d}.mp4" for index in range(len(clips))]
    bar = tqdm(clips, desc=f"rendering {folder.name}", unit="clip", disable=None)
    for clip, path in zip(bar, paths, strict=True):
        write_video(path, render_clip(clip, FPS * DURATION_SECONDS, SIZE), fps=FPS)
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["video", "caption"])
        table.writerows([path.name, clip.caption] for clip, path in zip(clips, paths, strict=True))
    return paths


def read_clips(paths: Sequence[Path], processor: MVProcessor) -> dict[str, torch.Tensor]:
    """Read clips of equal length.

    Returns:
        `pixel_values` (clips, frames, 3, height, width) and `frame_mask` (clips, frames).
    """
    bar = tqdm(paths, desc=f"reading {paths[0].parent.name}", unit="clip", disable=None)
    return dict(processor(videos=[processor.pixel_values(path) for path in bar]))


def concatenate(batches: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Join batches with the same keys along their first dimension."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
