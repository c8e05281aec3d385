"""How well a video CLIP finds clips by their captions, and whether it knows before from after."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..retrieval import retrieval_metrics

VIDEOS_PER_BATCH = 32


@torch.inference_mode()
def cosine_similarity(
    model: torch.nn.Module, texts: Mapping[str, torch.Tensor], videos: Mapping[str, torch.Tensor]
) -> torch.Tensor:
    """The cosine of every text with every video.

    Args:
        model: A CLIP that takes videos.
        texts: `input_ids` and `attention_mask`, each (texts, tokens).
        videos: `pixel_values` (videos, frames, 3, height, width) and `frame_mask` (videos, frames).

    Returns:
        (texts, videos), on the CPU.
    """
    model.eval()
    columns = []
    for first in range(0, len(videos["frame_mask"]), VIDEOS_PER_BATCH):
        batch = {name: rows[first : first + VIDEOS_PER_BATCH] for name, rows in videos.items()}
        output = model(**texts, **batch)
        columns.append(output.text_embeds @ output.image_embeds.T)
    return torch.cat(columns, dim=1).float().cpu()


def twin_accuracy(similarity: torch.Tensor, is_event: torch.Tensor) -> float:
    """Percentage of captions of events that are nearer to their own clip than to its reversal; 50 is guessing.

    Args:
        similarity: (captions, clips), twins at rows and columns 2i and 2i + 1.
        is_event: (captions,), bool; still clips have no reversal and do not count.
    """
    rows = torch.arange(len(similarity))
    return 100 * (similarity[rows, rows] > similarity[rows, rows ^ 1])[is_event].double().mean().item()


def measure(similarity: torch.Tensor, is_event: torch.Tensor) -> dict[str, float]:
    """Retrieval in both directions, and the choice between twins as "order accuracy"."""
    return {**retrieval_metrics(similarity), "order accuracy": twin_accuracy(similarity, is_event)}
