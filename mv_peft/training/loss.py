"""The contrastive loss of CLIP4Clip and MV-Adapter, over the batch of all processes.

logits = exp(logit_scale) * t v^T
loss   = (CE(rows of logits) + CE(columns of logits)) / 2

A caption's own video is the one in its row; all others of the joint batch are wrong.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .distributed import gather_with_grad

MAX_LOGIT_SCALE = math.log(100)


def contrastive_loss(text_embeds: Tensor, video_embeds: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy between the captions and videos of all processes.

    Every process gets the loss of the joint batch, and gradients that are exact once DistributedDataParallel has
    averaged them (see `gather_with_grad`), however the pairs are spread. Computed in float32 or wider, under autocast
    too: logits near 100 would lose in bfloat16 what the softmax needs.

    Args:
        text_embeds: This process's captions as unit vectors, (pairs, dim).
        video_embeds: Their videos as unit vectors, (pairs, dim).
        logit_scale: CLIP's, the logarithm of the factor on the similarities.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If there is not a video for each caption.
    """
    if text_embeds.dim() != 2 or text_embeds.shape != video_embeds.shape:
        raise ValueError(
            "`text_embeds` and `video_embeds` must have one shape (pairs, dim), "
            f"got {tuple(text_embeds.shape)} and {tuple(video_embeds.shape)}."
        )
    pairs = torch.cat([widened(text_embeds), widened(video_embeds)], dim=1)  # (pairs, 2 * dim): gathered at once
    text, video = gather_with_grad(pairs).chunk(2, dim=1)
    with torch.autocast(text.device.type, enabled=False):
        logits_per_text = logit_scale.exp() * text @ video.T
        target = torch.arange(len(text), device=text.device)
        return (F.cross_entropy(logits_per_text, target) + F.cross_entropy(logits_per_text.T, target)) / 2


def widened(embeds: Tensor) -> Tensor:
    """The embeddings in float32, or as they are where that is wider."""
    return embeds.to(torch.promote_types(embeds.dtype, torch.float32))


def freeze_logit_scale(model: nn.Module) -> None:
    """Holds `logit_scale` where it is, at ln 100 if it is above, as every recipe does; before DDP wraps the model."""
    with torch.no_grad():
        model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
    model.logit_scale.requires_grad_(False)
