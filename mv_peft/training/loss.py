"""The contrastive losses of the dual encoders, over the batch of all processes.

softmax   logits = exp(logit_scale) t v^T             CLIP, CLIP4Clip, MV-Adapter
          loss   = (CE(rows of logits) + CE(columns of logits)) / 2
sigmoid   logits = exp(logit_scale) t v^T + logit_bias           SigLIP (arXiv 2303.15343, algorithm 1)
          loss   = - mean over captions i of sum over videos j of log sigmoid(z_ij logits_ij)

z is 1 for a caption and its own video, which is the one in its row, and -1 for all others of the joint batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..encoders.families import DualEncoder
from .distributed import gather_with_grad

MAX_LOGIT_SCALE = math.log(100)


def contrastive_loss(text_embeds: Tensor, video_embeds: Tensor, logit_scale: Tensor) -> Tensor:
    """Compute CLIP's symmetric cross-entropy between the captions and videos of all processes.

    Every process gets the loss of the joint batch, and gradients that are exact once DistributedDataParallel has
    averaged them (see `gather_with_grad`), however the pairs are spread. Computed in float32 or wider, under autocast
    too: logits near 100 would lose in bfloat16 what the softmax needs.

    Args:
        text_embeds: This process's captions as unit vectors, (pairs, dim).
        video_embeds: Their videos as unit vectors, (pairs, dim).
        logit_scale: The logarithm of the factor on the similarities.

    Returns:
        The loss, a scalar.

    Raises:
        ValueError: If there is not a video for each caption.
    """
    text, video = _joint(text_embeds, video_embeds)
    with torch.autocast(text.device.type, enabled=False):
        logits_per_text = logit_scale.exp() * text @ video.T
        target = torch.arange(len(text), device=text.device)
        return (F.cross_entropy(logits_per_text, target) + F.cross_entropy(logits_per_text.T, target)) / 2


def sigmoid_loss(text_embeds: Tensor, video_embeds: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """Compute SigLIP's loss of independent pairs between the captions and videos of all processes.

    Arguments, result and errors are those of `contrastive_loss`.

    Args:
        text_embeds: As there.
        video_embeds: As there.
        logit_scale: As there.
        logit_bias: Added to the scaled similarities.
    """
    text, video = _joint(text_embeds, video_embeds)
    with torch.autocast(text.device.type, enabled=False):
        logits_per_text = logit_scale.exp() * text @ video.T + logit_bias
        signs = 2 * torch.eye(len(text), device=text.device, dtype=text.dtype) - 1
        return -F.logsigmoid(signs * logits_per_text).sum(dim=1).mean()


class PairLoss(NamedTuple):
    """A loss with its parameters: `pair_loss(model)(text_embeds, video_embeds)`.

    Attributes:
        function: Takes captions, videos and the parameters.
        parameters: `logit_scale`, and where the family has one `logit_bias`; frozen or not.
    """

    function: Callable[..., Tensor]
    parameters: tuple[Tensor, ...]

    def __call__(self, text_embeds: Tensor, video_embeds: Tensor) -> Tensor:
        """Compute the loss of unit vectors, (pairs, dim) each."""
        return self.function(text_embeds, video_embeds, *self.parameters)


def pair_loss(model: nn.Module) -> PairLoss:
    """Give the loss that a dual encoder was trained with, and that it is adapted with.

    Args:
        model: A dual encoder, plain, as a `PeftModel`, or wrapped by DistributedDataParallel.
    """
    base = _base_model(model)
    if DualEncoder.of(base).loss == "sigmoid":
        return PairLoss(sigmoid_loss, (base.logit_scale, base.logit_bias))
    return PairLoss(contrastive_loss, (base.logit_scale,))


def freeze_logit_scale(model: nn.Module) -> None:
    """Freeze the parameters of the loss, as every recipe does; call it before DDP wraps the model.

    The scale of a softmax is held at ln 100 if it is above. That of SigLIP's loss, which is used to larger ones, and
    its bias stay as they are.
    """
    base = _base_model(model)
    with torch.no_grad():
        if DualEncoder.of(base).loss == "softmax":
            base.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
    for parameter in pair_loss(base).parameters:
        parameter.requires_grad_(False)


def widened(embeds: Tensor) -> Tensor:
    """Give the embeddings in float32, or as they are where that is wider."""
    return embeds.to(torch.promote_types(embeds.dtype, torch.float32))


def _joint(text_embeds: Tensor, video_embeds: Tensor) -> tuple[Tensor, Tensor]:
    """Gather the captions and the videos of all processes, widened."""
    if text_embeds.dim() != 2 or text_embeds.shape != video_embeds.shape:
        raise ValueError(
            "`text_embeds` and `video_embeds` must have one shape (pairs, dim), "
            f"got {tuple(text_embeds.shape)} and {tuple(video_embeds.shape)}."
        )
    pairs = torch.cat([widened(text_embeds), widened(video_embeds)], dim=1)  # (pairs, 2 * dim): gathered at once
    text, video = gather_with_grad(pairs).chunk(2, dim=1)
    return text, video


def _base_model(model: nn.Module) -> Any:
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model
