"""Collation of samples into the batches that a dual encoder trains on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .dataset import VideoSample


@dataclass(frozen=True)
class VideoCaptionCollator:
    """Collate samples of `VideoCaptionDataset`, as `collate_fn` of a DataLoader or `data_collator` of a trainer.

    Attributes:
        processor: An `MVProcessor`, or a function that takes `text` and `videos` as it does.

    Example:
        >>> dataset = VideoCaptionDataset(MSVD.load("msvd"), processor=processor)
        >>> loader = DataLoader(dataset, 32, collate_fn=VideoCaptionCollator(processor))
        >>> loss = model(**next(iter(loader))).loss
    """

    processor: Callable[..., Mapping[str, Any]]

    def __call__(self, samples: Sequence[VideoSample]) -> dict[str, Any]:
        """Collate a batch.

        Returns:
            What the processor makes of the captions and videos, and `return_loss`, which is True and makes the model
            return its contrastive loss.
        """
        batch = self.processor(text=[sample.caption for sample in samples], videos=[sample.video for sample in samples])
        return {**batch, "return_loss": True}
