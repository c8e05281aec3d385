"""The CLIP that all methods of a world adapt: trained on stills of that world, never on a video.

    python -m benchmarks.pretrain.clip --data shapes --output benchmarks/clips/shapes

made the one that is kept here (`clips/shapes/README.md`). Those of other worlds are smaller work: they are trained when
they are first needed, and stay in `runs/clips`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import (
    CLIPModel,
    PreTrainedTokenizerBase,
    get_cosine_schedule_with_warmup,
    set_seed,
)

from mv_peft.demo.pretrained import FRAME_SAMPLING
from mv_peft.demo.world import long_exposure
from mv_peft.encoders import MVProcessor
from mv_peft.retrieval import recall_at

from ..compare.measure import caption_groups, group_places
from ..worlds import DATA, ClipSet, draw
from .demo_clip import MAX_TOKENS, build_model, build_tokenizer, save, to_pixel_values

KEPT = Path(__file__).parent / "clips"
CACHE = Path("runs") / "clips"
RENDERED_AT_ONCE = 4000


class Pretraining(NamedTuple):
    """How long a world's CLIP is trained, in steps of so many stills, out of the long exposures of so many clips."""

    num_clips: int
    steps: int
    batch_size: int


PRETRAINING = {"shapes": Pretraining(32000, 6000, 256)}
SMALLER = Pretraining(4000, 1500, 64)


def load_clip(data: str, *, steps: int | None = None, cache: Path = CACHE) -> tuple[CLIPModel, MVProcessor]:
    """A fresh CLIP in fp32 and its processor: the one kept beside this file, or else one trained here, once.

    Args:
        data: The world.
        steps: Of the training, where not the usual ones; then always one trained here.
        cache: Folder that keeps what was trained.
    """
    folder = KEPT / data
    if steps is not None or not folder.exists():
        pretraining = PRETRAINING.get(data, SMALLER)
        pretraining = pretraining if steps is None else pretraining._replace(steps=steps)
        folder = cache / f"{data}-{pretraining.steps}"
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            pretrain(data, partial, pretraining)
            partial.replace(folder)
    # Eager attention is the fastest on a CPU for sequences as short as these.
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return clip, MVProcessor.from_pretrained(folder, max_text_tokens=MAX_TOKENS, frame_sampling=FRAME_SAMPLING)


def pretrain(data: str, output: Path, pretraining: Pretraining) -> CLIPModel:
    """Contrastive training on long exposures of training clips, a clip and its twin in one batch, no caption twice.

    Args:
        data: The world.
        output: Folder for the model (fp16), its tokenizer and its image processor.
        pretraining: How long.
    """
    set_seed(0)
    num_clips = min(pretraining.num_clips, pretraining.steps * pretraining.batch_size)
    captions, stills = draw_stills(data, num_clips)
    names, number = caption_groups(captions)
    tokenizer = build_tokenizer(sorted(names))
    token_ids = tokenizer(captions, padding=True, return_tensors="pt").input_ids
    model = build_model(tokenizer)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = get_cosine_schedule_with_warmup(optimizer, pretraining.steps // 20, pretraining.steps)
    bar = tqdm(range(pretraining.steps), desc=f"training a CLIP on stills of {data}", unit="step", disable=None)
    for _ in bar:
        pairs = torch.randperm(num_clips // 2)[: pretraining.batch_size // 2]
        rows = _without_repetition(torch.cat([2 * pairs, 2 * pairs + 1]), number)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=token_ids[rows], pixel_values=to_pixel_values(stills[rows]), return_loss=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        bar.set_postfix(loss=f"{loss.item():.2f}", refresh=False)
    save(model, tokenizer, output)
    return model.to(torch.float32)


def draw_stills(data: str, num_clips: int) -> tuple[list[str], Tensor]:
    """Captions of training clips and their long exposures, uint8 (clips, height, width, 3); 2i and 2i + 1 are twins.

    Methods train on other clips of the same scenarios: those are drawn from another seed.
    """
    captions: list[str] = []
    stills: list[np.ndarray] = []
    while len(captions) < num_clips:
        at_once = min(RENDERED_AT_ONCE, num_clips - len(captions))
        clips = draw(data, "train", at_once, paired=True, num_frames=12, seed=1 + len(captions))
        captions += clips.captions
        stills += map(long_exposure, clips.frames)
    return captions, torch.from_numpy(np.stack(stills))


def _without_repetition(rows: Tensor, number: Tensor) -> Tensor:
    """The rows whose caption, by its number, no row before them has."""
    chosen = number[rows]
    is_repeated = (chosen[:, None] == chosen).tril(diagonal=-1).any(dim=1)
    return rows[~is_repeated]


@torch.no_grad()
def still_recall(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, clips: ClipSet) -> float:
    """R@1 from caption to long exposure, in per cent."""
    names, number = caption_groups(clips.captions)
    stills = torch.from_numpy(np.stack([long_exposure(frames) for frames in clips.frames]))
    token_ids = tokenizer(names, padding=True, return_tensors="pt").input_ids
    logits = model(input_ids=token_ids, pixel_values=to_pixel_values(stills)).logits_per_text
    t2v, _ = group_places(logits, number)
    return recall_at(t2v.ranks(), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    pretraining = PRETRAINING.get(args.data, SMALLER)
    pretraining = pretraining if args.steps is None else pretraining._replace(steps=args.steps)
    model = pretrain(args.data, args.output, pretraining)
    minutes = (time.perf_counter() - began) / 60
    tokenizer = MVProcessor.from_pretrained(args.output).tokenizer
    for gallery, paired in (("natural", False), ("twin", True)):
        clips = draw(args.data, "validation", 1000, paired=paired, num_frames=12, seed=0)
        print(f"t2v R@1 among 1,000 validation stills, {gallery}: {still_recall(model, tokenizer, clips):.1f}")
    print(f"{args.output}: {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
