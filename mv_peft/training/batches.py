"""Samples -> batches for `RetrievalTrainer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data import VideoCaptionCollator
from ..data.dataset import VideoSample
from .trainer import VIDEO_IDS


class PairCollator(VideoCaptionCollator):
    """Collates samples of `VideoCaptionDataset`, with the ids of their videos beside what the model takes."""

    def __call__(self, samples: Sequence[VideoSample]) -> dict[str, Any]:
        """What `VideoCaptionCollator` gives, "video_ids" instead of `return_loss`: the trainer computes the loss."""
        batch = super().__call__(samples)
        del batch["return_loss"]
        return {**batch, VIDEO_IDS: [sample.video_id for sample in samples]}
