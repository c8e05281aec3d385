"""Collation of samples into batches for `RetrievalTrainer`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..data import VideoCaptionCollator
from ..data.dataset import VideoSample
from .trainer import VIDEO_IDS


class PairCollator(VideoCaptionCollator):
    """Collate samples of `VideoCaptionDataset`, and add the ids of their videos."""

    def __call__(self, samples: Sequence[VideoSample]) -> dict[str, Any]:
        """Collate a batch, with "video_ids" instead of `return_loss`, because the trainer computes the loss itself."""
        batch = super().__call__(samples)
        del batch["return_loss"]
        return {**batch, VIDEO_IDS: [sample.video_id for sample in samples]}
