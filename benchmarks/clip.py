"""The CLIP that all methods of a world adapt: trained on stills of that world, never on a video."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm
from transformers import CLIPImageProcessorPil, CLIPModel, set_seed

from mv_peft.demo.pretrained import FRAME_SAMPLING, load_tiny_clip, load_tiny_processor
from mv_peft.demo.world import long_exposure
from mv_peft.video import MVProcessor

from .data import draw
from .pretrain_tiny_clip import (
    IMAGE_SIZE,
    MAX_TOKENS,
    PIXEL_MEAN,
    PIXEL_STD,
    build_model,
    build_tokenizer,
    to_pixel_values,
)

CACHE = Path("runs") / "clips"
NUM_CLIPS, STEPS, BATCH_SIZE = 4000, 1500, 64


def load_clip(data: str, *, steps: int = STEPS, cache: Path = CACHE) -> tuple[CLIPModel, MVProcessor]:
    """A fresh CLIP in fp32 and its processor: for "shapes" the demo's, for other worlds one trained here, once.

    Args:
        data: The world.
        steps: Of the training.
        cache: Folder that keeps what was trained.
    """
    if data == "shapes":
        return load_tiny_clip(), load_tiny_processor()
    folder = cache / f"{data}-{steps}"
    if not folder.exists():
        _pretrain(data, folder, steps)
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return clip, MVProcessor.from_pretrained(folder, max_text_tokens=MAX_TOKENS, frame_sampling=FRAME_SAMPLING)


def _pretrain(data: str, folder: Path, steps: int) -> None:
    """Contrastive training on long exposures of training clips; a batch holds no caption twice."""
    set_seed(0)
    num_clips = min(NUM_CLIPS, steps * BATCH_SIZE)
    clips = draw(data, "train", num_clips, paired=True, num_frames=12, seed=1)  # not the ones that methods train on
    stills = torch.stack([torch.from_numpy(long_exposure(frames)) for frames in clips.frames])
    tokenizer = build_tokenizer(sorted(set(clips.captions)))
    token_ids = tokenizer(list(clips.captions), padding=True, return_tensors="pt").input_ids
    rows_of: dict[str, list[int]] = {}
    for row, caption in enumerate(clips.captions):
        rows_of.setdefault(caption, []).append(row)
    groups = [torch.tensor(rows) for rows in rows_of.values()]
    model = build_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps + 1)
    for _ in tqdm(range(steps), desc=f"training a CLIP on stills of {data}", unit="step", disable=None):
        chosen = [groups[group] for group in torch.randperm(len(groups))[:BATCH_SIZE]]
        rows = torch.stack([group[torch.randint(len(group), ())] for group in chosen])
        model(input_ids=token_ids[rows], pixel_values=to_pixel_values(stills[rows]), return_loss=True).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    partial = folder.with_name(f"{folder.name}.partial")
    model.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    CLIPImageProcessorPil(
        size={"shortest_edge": IMAGE_SIZE},
        crop_size={"height": IMAGE_SIZE, "width": IMAGE_SIZE},
        image_mean=PIXEL_MEAN,
        image_std=PIXEL_STD,
    ).save_pretrained(partial)
    partial.replace(folder)
