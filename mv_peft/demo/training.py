"""Training on pairs of a clip and its twin."""

from __future__ import annotations

from tempfile import TemporaryDirectory

import torch
from torch.utils.data import Dataset

from ..training import ProgressBar, RetrievalTrainer, RetrievalTrainingArguments
from .clips import concatenate
from .settings import DemoSettings


class TwinPairs(Dataset):
    """Pairs of a clip and its twin with their captions; item i is rows 2i and 2i + 1 of every tensor.

    Both must be in one batch. The twin shows the same moments in the opposite order, so that the loss depends on the
    order of frames only if it is there.
    """

    def __init__(self, rows: dict[str, torch.Tensor]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows["pixel_values"]) // 2

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: rows[2 * index : 2 * index + 2] for name, rows in self.rows.items()}


def train(model: torch.nn.Module, rows: dict[str, torch.Tensor], settings: DemoSettings) -> None:
    """Train the trainable parameters of a model in place.

    Args:
        model: A dual encoder that takes videos.
        rows: The input of the model for all training clips and captions, twins next to each other.
        settings: Number of steps, batch size, learning rate and seed.
    """
    with TemporaryDirectory() as folder:
        arguments = RetrievalTrainingArguments(
            output_dir=folder,
            max_steps=settings.num_steps,
            per_device_train_batch_size=settings.clips_per_batch // 2,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            use_cpu=True,
            save_strategy="no",
            disable_tqdm=True,
        )
        bar = ProgressBar(settings.clips_per_batch, description="training MV-Adapter")
        RetrievalTrainer(model, arguments, TwinPairs(rows), concatenate, callbacks=[bar]).train()
