"""Clips of the rendered world as video files: written to look at, and read back through the decoder."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import BaseImageProcessor

from ..video import read_frames, write_video
from .world import Clip, render_clip

CAPTIONS_FILE = "captions.csv"
FPS = 12
SECONDS = 3
SIZE = 128


def write_clips(clips: Sequence[Clip], folder: Path) -> list[Path]:
    """Renders clips to H.264 files, with a table `captions.csv` (video, caption) beside them.

    Args:
        clips: What to render.
        folder: Made if need be; files of the same names are overwritten.

    Returns:
        One path a clip, in the same order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:04d}.mp4" for index in range(len(clips))]
    for clip, path in zip(tqdm(clips, desc=f"rendering {folder.name}", unit="clip", disable=None), paths):
        write_video(path, render_clip(clip, FPS * SECONDS, SIZE), fps=FPS)
    with open(folder / CAPTIONS_FILE, "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["video", "caption"])
        table.writerows([path.name, clip.caption] for clip, path in zip(clips, paths))
    return paths


def load_video(path: Path, image_processor: BaseImageProcessor, num_frames: int) -> dict[str, torch.Tensor]:
    """Reads one video as a model takes it.

    Args:
        path: A video file.
        image_processor: Of the CLIP that will see it.
        num_frames: Frames to sample evenly; a shorter video is padded with blank frames, which the mask marks.

    Returns:
        `pixel_values` (1, frames, 3, height, width) and `frame_mask` (1, frames).

    Raises:
        VideoDecodeError: If the file cannot be read.
    """
    frames = read_frames(path, num_frames=num_frames).frames
    pixel_values = image_processor(images=list(frames), return_tensors="pt").pixel_values
    blank = pixel_values.new_zeros(num_frames - len(frames), *pixel_values.shape[1:])
    return {
        "pixel_values": torch.cat([pixel_values, blank]).unsqueeze(0),
        "frame_mask": (torch.arange(num_frames) < len(frames)).float().unsqueeze(0),
    }


def load_videos(paths: Sequence[Path], image_processor: BaseImageProcessor, num_frames: int) -> dict[str, torch.Tensor]:
    """Reads videos into one batch: `pixel_values` (videos, frames, 3, height, width), `frame_mask` (videos, frames)."""
    bar = tqdm(paths, desc="reading", unit="clip", disable=None)
    return stack([load_video(path, image_processor, num_frames) for path in bar])


def stack(batches: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Joins batches along their first dimension."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
