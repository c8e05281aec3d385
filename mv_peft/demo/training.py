"""Training on pairs of a clip and its twin, with Transformers' `Trainer` as it is."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerState, TrainingArguments

from .clips import concatenate
from .settings import DemoSettings


class TwinPairs(Dataset):
    """Item i is the pair of rows 2i and 2i + 1 of every tensor: a clip and its twin, with their captions.

    Both must stand in one batch: only the twin, which shows the same moments in the opposite order, makes the loss ask
    for the order.
    """

    def __init__(self, rows: dict[str, torch.Tensor]):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows["pixel_values"]) // 2

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {name: rows[2 * index : 2 * index + 2] for name, rows in self.rows.items()}


def collate_pairs(pairs: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor | bool]:
    """Flattens pairs into one batch of rows, and asks the model for its contrastive loss."""
    return {**concatenate(pairs), "return_loss": True}


class LossBar(TrainerCallback):
    """One progress bar for the whole training, with the loss of the last step."""

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Opens the bar."""
        self.bar = tqdm(total=state.max_steps, desc="training MV-Adapter", unit="step", disable=None)

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: dict[str, Any], **kwargs: Any) -> None:
        """Shows the loss; the last log is a summary without one."""
        if "loss" in logs:
            self.bar.set_postfix(loss=f"{float(logs['loss']):.3f}", refresh=False)

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Counts the step."""
        self.bar.update()

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Leaves the bar as it is."""
        self.bar.close()


def train(model: torch.nn.Module, rows: dict[str, torch.Tensor], settings: DemoSettings) -> None:
    """Trains the trainable parameters of a video CLIP in place.

    Args:
        model: Takes `input_ids`, `attention_mask`, `pixel_values`, `frame_mask` and `return_loss`.
        rows: The training clips and captions, twins side by side.
        settings: Steps, batch, learning rate and seed.
    """
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=settings.num_steps,
            per_device_train_batch_size=settings.clips_per_batch // 2,
            learning_rate=settings.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=settings.num_steps // 10,
            weight_decay=0.01,
            adam_beta2=0.98,
            max_grad_norm=1.0,
            seed=settings.seed,
            use_cpu=True,
            logging_steps=10,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            remove_unused_columns=False,
            dataloader_drop_last=True,
        )
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=TwinPairs(rows),
            data_collator=collate_pairs,
            callbacks=[LossBar()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
