"""Training of a tiny dual encoder on captioned stills, and the recall that measures it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerFast, get_cosine_schedule_with_warmup

from mv_peft.encoders.families import DualEncoder
from mv_peft.retrieval import recall_at

from ..compare.measure import caption_groups, group_rank_counts
from .tiny_models import PIXEL_MEAN, PIXEL_STD

STEPS_BETWEEN_VALIDATIONS = 250


def to_pixel_values(stills: Tensor) -> Tensor:
    """Normalise uint8 stills (images, height, width, 3) to float32 (images, 3, height, width)."""
    return ((stills / 255 - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)).permute(0, 3, 1, 2)


def tokenize(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> Tensor:
    """Token ids of captions, (captions, tokens), padded as the model's family is used to."""
    return tokenizer(list(captions), padding=DualEncoder.of(model).padding, return_tensors="pt").input_ids


def fit(
    model: PreTrainedModel,
    draw_batch: Callable[[], tuple[Tensor, Tensor]],
    *,
    steps: int,
    learning_rate: float = 1e-3,
    description: str,
    validate: Callable[[], float] | None = None,
) -> None:
    """Train a model in place with the loss of its own family, in bf16 autocast.

    Args:
        model: The model, in fp32.
        draw_batch: Draws token ids (pairs, tokens) and the uint8 stills that they describe.
        steps: Number of batches.
        learning_rate: Highest learning rate of a cosine schedule with 5% of warmup.
        description: Text of the progress bar.
        validate: Measures the model now and then for the progress bar.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.1)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 20, steps)
    shown: dict[str, str] = {}
    bar = tqdm(range(steps), desc=description, unit="step", disable=None)
    for step in bar:
        token_ids, stills = draw_batch()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(input_ids=token_ids, pixel_values=to_pixel_values(stills), return_loss=True).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        shown["loss"] = f"{loss.item():.3f}"
        if validate is not None and (step + 1) % STEPS_BETWEEN_VALIDATIONS == 0:
            shown["validation"] = f"{validate():.1f}"
        bar.set_postfix(shown, refresh=False)


@torch.no_grad()
def still_recall(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, captions: Sequence[str], stills: Tensor
) -> float:
    """R@1 from caption to still in per cent; every still of a repeated caption counts as positive.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        captions: One for each still.
        stills: uint8 (images, height, width, 3).
    """
    unique, group = caption_groups(captions)
    token_ids = tokenize(model, tokenizer, unique)
    logits = model(input_ids=token_ids, pixel_values=to_pixel_values(stills)).logits_per_text
    t2v, _ = group_rank_counts(logits, group)
    return recall_at(t2v.ranks(), 1)
