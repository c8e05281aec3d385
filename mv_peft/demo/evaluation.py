"""Figures of the demo: retrieval, and whether the model tells a clip from its reversal."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..encoders import MVProcessor
from ..retrieval import encode_texts, encode_videos, retrieval_metrics


def cosine_similarity(model: nn.Module, processor: MVProcessor, captions: Sequence[str], clips: Tensor) -> Tensor:
    """Return the cosine of every caption and every clip.

    Args:
        model: A dual encoder that takes videos.
        processor: Its processor.
        captions: The captions.
        clips: Pixel values, (clips, frames, 3, height, width).

    Returns:
        (captions, clips), on the CPU.
    """
    text_embeds = encode_texts(model, processor, captions, progress=False)
    return text_embeds @ encode_videos(model, processor, clips, progress=False).embeds.T


def twin_accuracy(similarity: Tensor, is_event: Tensor) -> float:
    """Return the percentage of event captions that are nearer to their clip than to its reversal; chance is 50.

    Args:
        similarity: (captions, clips), with twins at rows and columns 2i and 2i + 1.
        is_event: (captions,), bool. Still clips, which have no reversal, are not counted.
    """
    rows = torch.arange(len(similarity))
    return 100 * (similarity[rows, rows] > similarity[rows, rows ^ 1])[is_event].double().mean().item()


def measure(similarity: Tensor, is_event: Tensor) -> dict[str, float]:
    """Return the retrieval metrics in both directions, and the accuracy between twins as "order accuracy"."""
    return {**retrieval_metrics(similarity), "order accuracy": twin_accuracy(similarity, is_event)}
