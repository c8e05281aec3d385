"""Pairs without video files, and a trainer of them."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import Dataset

from mv_peft.training import RetrievalTrainer, RetrievalTrainingArguments
from tests.models import batch
from tests.training.steps import adapted

NUM_PAIRS = 12


class Pairs(Dataset):
    """Rows of `tests.models.batch`, each with the id of its video; its caption is another one in each epoch."""

    def __init__(self, num_pairs: int = NUM_PAIRS) -> None:
        self.rows = batch(videos=num_pairs, frames=6)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.rows["input_ids"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        caption = (index + self.epoch) % len(self)
        row_of = {"input_ids": caption, "attention_mask": caption}
        return {
            "video_ids": f"video{index}",
            **{name: rows[row_of.get(name, index)] for name, rows in self.rows.items()},
        }


def collate(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    names = pairs[0].keys() - {"video_ids"}
    rows = {name: torch.stack([pair[name] for pair in pairs]) for name in sorted(names)}
    return {**rows, "video_ids": [pair["video_ids"] for pair in pairs]}


def trainer(folder, *, model=None, dataset=None, collator=collate, evaluate=None, callbacks=(), **arguments):
    """A trainer of a tiny adapted CLIP in batches of four, without checkpoints unless asked for."""
    settings = {
        "output_dir": str(folder),
        "per_device_train_batch_size": 4,
        "max_steps": 5,
        "learning_rate": 1e-2,
        "save_strategy": "no",
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 1,
    }
    return RetrievalTrainer(
        adapted() if model is None else model,
        RetrievalTrainingArguments(**{**settings, **arguments}),
        Pairs() if dataset is None else dataset,
        collator,
        evaluate=evaluate,
        callbacks=callbacks,
    )


def trained(model) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
