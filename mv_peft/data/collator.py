"""Samples -> the batch that CLIP with MV-Adapter trains on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .dataset import VideoSample


@dataclass(frozen=True)
class VideoCaptionCollator:
    """Collates samples of `VideoCaptionDataset`, for DataLoader's `collate_fn` or a trainer's `data_collator`.

    Attributes:
        processor: an `MVProcessor`, or whatever takes `text` and `videos` as it does.

    Example:
        >>> loader = DataLoader(VideoCaptionDataset(MSVD.load("msvd")), 32, collate_fn=VideoCaptionCollator(processor))
        >>> loss = model(**next(iter(loader))).loss
    """

    processor: Callable[..., Mapping[str, Any]]

    def __call__(self, samples: Sequence[VideoSample]) -> dict[str, Any]:
        """Collate a batch.

        Returns:
            input_ids, attention_mask: int64 (batch, tokens).
            pixel_values: float32 (batch, frames, 3, height, width).
            frame_mask: int64 (batch, frames), 1 on real frames.
            return_loss: True, which makes CLIP return its contrastive loss.
        """
        batch = self.processor(text=[sample.caption for sample in samples], videos=[sample.video for sample in samples])
        return {**batch, "return_loss": True}
