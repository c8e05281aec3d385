"""Train the tiny model that all methods of a world adapt: on stills of that world, never on a video.

    python -m benchmarks.pretrain.clip --data shapes --output benchmarks/pretrain/clips/shapes
    python -m benchmarks.pretrain.clip --data shapes --family siglip --output DIR

The first command made the CLIP that is kept here (`clips/shapes/README.md`). The CLIPs of the other worlds take less
training: they are trained when they are first needed, and stay in `runs/clips`. With `--family siglip` a SigLIP of the
same sizes is trained on the same stills, with its own sigmoid loss.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast, set_seed

from mv_peft.demo.pretrained import FRAME_SAMPLING
from mv_peft.demo.world import long_exposure
from mv_peft.encoders import MVProcessor

from ..compare.measure import caption_groups
from ..worlds import DATA, ClipSet, draw
from .stills import fit, still_recall, tokenize
from .tiny_models import FAMILIES, MAX_TEXT_TOKENS, build_tokenizer, save

KEPT = Path(__file__).parent / "clips"
CACHE = Path("runs") / "clips"
RENDERED_AT_ONCE = 4000
NUM_VALIDATION_STILLS = 1000


class Pretraining(NamedTuple):
    """The length of a training, in steps of `batch_size` stills out of the long exposures of `num_clips` clips."""

    num_clips: int
    steps: int
    batch_size: int


PRETRAINING = {"shapes": Pretraining(32000, 6000, 256)}
SMALLER = Pretraining(4000, 1500, 64)


def load_clip(
    data: str, *, family: str = "clip", steps: int | None = None, cache: Path = CACHE
) -> tuple[PreTrainedModel, MVProcessor]:
    """Load a fresh model in fp32 and its processor: those kept beside this file, or else trained here, once.

    Args:
        data: The world.
        family: A key of `FAMILIES`.
        steps: Length of the training, if not the usual one. The kept model is not used then.
        cache: Folder of the models that are trained here.
    """
    name = data if family == "clip" else f"{data}-{family}"
    folder = KEPT / name
    if steps is not None or not folder.exists():
        pretraining = _pretraining(data, steps)
        folder = cache / f"{name}-{pretraining.steps}"
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.partial")
            pretrain(data, partial, pretraining, family=family)
            partial.replace(folder)
    # Eager attention is the fastest on a CPU for sequences as short as these.
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    return model, MVProcessor.from_pretrained(folder, max_text_tokens=MAX_TEXT_TOKENS, frame_sampling=FRAME_SAMPLING)


def pretrain(
    data: str, output: Path, pretraining: Pretraining, *, family: str = "clip"
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """Train a model on long exposures of training clips.

    A clip and its twin are in the same batch, and no batch has the same caption twice.

    Args:
        data: The world.
        output: Folder for the model (in fp16), its tokenizer and its image processor.
        pretraining: The length of the training.
        family: A key of `FAMILIES`.

    Returns:
        The model, rounded to fp16 and in fp32 again, and its tokenizer.
    """
    set_seed(0)
    num_clips = min(pretraining.num_clips, pretraining.steps * pretraining.batch_size)
    captions, stills = draw_stills(data, num_clips)
    names, number = caption_groups(captions)
    tokenizer = build_tokenizer(sorted(names))
    model = FAMILIES[family].build(tokenizer)
    token_ids = tokenize(model, tokenizer, captions)

    def draw_batch() -> tuple[Tensor, Tensor]:
        pairs = torch.randperm(num_clips // 2)[: pretraining.batch_size // 2]
        rows = without_repetition(torch.cat([2 * pairs, 2 * pairs + 1]), number)
        return token_ids[rows], stills[rows]

    fit(model, draw_batch, steps=pretraining.steps, description=f"pretraining on stills of {data}")
    save(model, tokenizer, output)
    return model.to(torch.float32), tokenizer


def draw_stills(data: str, num_clips: int) -> tuple[list[str], Tensor]:
    """Draw training clips and return their captions and long exposures; clips 2i and 2i + 1 are twins.

    Methods train on other clips of the same scenarios: those are drawn from another seed.

    Returns:
        The captions, and uint8 stills (clips, height, width, 3).
    """
    captions: list[str] = []
    stills: list[Tensor] = []
    while len(captions) < num_clips:
        at_once = min(RENDERED_AT_ONCE, num_clips - len(captions))
        clips = draw(data, "train", at_once, paired=True, num_frames=12, seed=1 + len(captions))
        captions += clips.captions
        stills.append(exposures(clips))
    return captions, torch.cat(stills)


def exposures(clips: ClipSet) -> Tensor:
    """The long exposure of each clip, uint8 (clips, height, width, 3)."""
    return torch.from_numpy(np.stack([long_exposure(frames) for frames in clips.frames]))


def without_repetition(rows: Tensor, number: Tensor) -> Tensor:
    """Drop each row whose caption, given by its number, an earlier row has."""
    chosen = number[rows]
    is_repeated = (chosen[:, None] == chosen).tril(diagonal=-1).any(dim=1)
    return rows[~is_repeated]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=DATA, required=True, help="the world")
    parser.add_argument("--family", choices=FAMILIES, default="clip", help="kind of model (default: clip)")
    parser.add_argument("--steps", type=int, metavar="N", help="batches (default: the usual number for the world)")
    parser.add_argument("--output", type=Path, metavar="DIR", required=True, help="folder for the model")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = time.perf_counter()
    model, tokenizer = pretrain(args.data, args.output, _pretraining(args.data, args.steps), family=args.family)
    minutes = (time.perf_counter() - began) / 60
    for gallery, paired in (("natural", False), ("twin", True)):
        clips = draw(args.data, "validation", NUM_VALIDATION_STILLS, paired=paired, num_frames=12, seed=0)
        recall = still_recall(model, tokenizer, clips.captions, exposures(clips))
        print(f"t2v R@1 among {NUM_VALIDATION_STILLS:,} validation stills, {gallery}: {recall:.1f}")
    print(f"{args.output}: {minutes:.1f} minutes")


def _pretraining(data: str, steps: int | None) -> Pretraining:
    usual = PRETRAINING.get(data, SMALLER)
    return usual if steps is None else usual._replace(steps=steps)


if __name__ == "__main__":
    main()
