"""Small videos on disk, and a tiny CLIP with its processor to embed them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from peft import get_peft_model

from mv_peft.data import VideoRecord
from mv_peft.demo.pretrained import load_tiny_clip, load_tiny_processor
from mv_peft.video import write_video
from tests.models import adapter_config

CAPTIONS = ("a red circle", "a large blue square moves over snow", "a star", "a triangle rests", "sand")


def write_records(folder: Path, num_videos: int = 5, captions_each: int = 1) -> list[VideoRecord]:
    """Write videos of 1 to 4 seconds, each in other colours."""
    generator = np.random.default_rng(0)
    records = []
    for number in range(num_videos):
        colours = generator.integers(0, 255, (6 * (1 + number % 4), 1, 1, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", np.broadcast_to(colours, (len(colours), 32, 32, 3)).copy(), fps=6)
        captions = tuple(f"{CAPTIONS[(number + more) % 5]} {number}" for more in range(captions_each))
        records.append(VideoRecord(str(number), folder / f"{number}.mp4", captions))
    return records


def adapted():
    """Make a CLIP with an MV-Adapter that has an effect, in training mode except for its text tower."""
    torch.manual_seed(0)
    model = get_peft_model(load_tiny_clip(), adapter_config(max_frames=12, max_text_tokens=16, scaling=0.3)).train()
    model.get_base_model().text_model.eval()
    return model


def processor():
    return load_tiny_processor()
