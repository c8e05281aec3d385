"""Checkpoints that a kill cannot spoil, and the best adapter so far.

A checkpoint counts once every process has written its part: then, and only then, the main process marks it. Trainer
removes old checkpoints before that, so two are kept, and one of them is complete at any moment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed, nn
from transformers import TrainerCallback, TrainerState

KEPT_CHECKPOINTS = 2
MEASURED_FILE = "measured.json"
_MARK = "complete"


class MarkCheckpoints(TrainerCallback):
    """Marks the checkpoints that all processes have written to the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Marks the one of this step."""
        wait_for_all()
        if state.is_world_process_zero:
            (self.folder / f"checkpoint-{state.global_step}" / _MARK).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """The latest complete checkpoint in a folder; None if there is none."""
    complete = [mark.parent for mark in folder.glob(f"checkpoint-*/{_MARK}")]
    return max(complete, key=_step, default=None)


def remove_incomplete(folder: Path) -> list[Path]:
    """Removes what a kill has left half written; call it in one process, with the others waiting."""
    incomplete = [path for path in folder.glob("checkpoint-*") if not (path / _MARK).exists()]
    for path in incomplete:
        shutil.rmtree(path)
    return incomplete


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


class KeepBest(TrainerCallback):
    """Saves the model whenever it is better than ever, to a folder that always holds the best so far.

    Whenever the folder changes, the last checkpoint is older: a training that is killed meanwhile and resumed comes
    here again, with the same model.

    Args:
        folder: Where the best adapter goes.
        metric: What to compare, higher being better: a name that the trainer's `evaluate` gives. The first of equals
            stays.
        describe: Gives what is to be written of the measurement, into `measured.json` beside the adapter.
    """

    def __init__(self, folder: Path, metric: str, describe: Callable[[], dict[str, Any]]) -> None:
        self.folder = folder
        self.metric = metric
        self.describe = describe

    def on_evaluate(
        self,
        args: Any,
        state: TrainerState,
        control: Any,
        metrics: dict[str, float],
        model: nn.Module,
        **kwargs: Any,
    ) -> None:
        """Compares, before Trainer notes the figure as its own best."""
        value = metrics[f"eval_{self.metric}"]
        is_best = state.best_metric is None or value > state.best_metric
        if is_best and state.is_world_process_zero:
            shutil.rmtree(self.folder, ignore_errors=True)
            model.save_pretrained(self.folder)
            (self.folder / MEASURED_FILE).write_text(json.dumps(self.describe()), encoding="utf-8")


def wait_for_all() -> None:
    """Waits until every process has come here."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
