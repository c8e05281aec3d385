"""Clips of the rendered world as video files that a person enjoys looking at."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ..video import write_video
from .world import Clip, render_clip

FPS = 12
DURATION_SECONDS = 3
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
        write_video(path, render_clip(clip, FPS * DURATION_SECONDS, SIZE), fps=FPS)
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["video", "caption"])
        table.writerows([path.name, clip.caption] for clip, path in zip(clips, paths))
    return paths
