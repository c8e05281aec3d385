"""Checkpoints that a kill cannot spoil, and the best adapter so far.

A checkpoint counts when the main process has marked it, which it does once every process has written its part. Trainer
removes old checkpoints before that; therefore two are kept, and one of them is complete at any moment.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import distributed, nn
from transformers import TrainerCallback, TrainerState

from ..atomic import atomic_write, write_json
from ..runs.files import MODEL_WEIGHTS_FILE, TRAINED_FILES, WEIGHTS_FILE

KEPT_CHECKPOINTS = 2
MEASURED_FILE = "measured.json"
_MARK = "complete"


class MarkCheckpoints(TrainerCallback):
    """Callback that marks the checkpoints that all processes have written to the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_save(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Mark the checkpoint of this step."""
        wait_for_all()
        if state.is_world_process_zero:
            (self.folder / f"checkpoint-{state.global_step}" / _MARK).touch()


def last_checkpoint(folder: Path) -> Path | None:
    """Find the latest complete checkpoint in a folder; None if there is none."""
    complete = [mark.parent for mark in folder.glob(f"checkpoint-*/{_MARK}")]
    return max(complete, key=_step, default=None)


def remove_incomplete(folder: Path) -> list[Path]:
    """Remove checkpoints that a kill has left half written; call it in one process while the others wait."""
    incomplete = [path for path in folder.glob("checkpoint-*") if not (path / _MARK).exists()]
    for path in incomplete:
        shutil.rmtree(path)
    return incomplete


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("checkpoint-"))


class KeepBest(TrainerCallback):
    """Callback that saves the model whenever it is better than before, to a folder that always holds the best so far.

    The last checkpoint is always older than the folder. A training that is killed while the folder changes and then
    resumed therefore comes to the same step again, with the same model.

    Args:
        folder: Where the best adapter goes.
        metric: The figure to compare, by the name that the trainer's `evaluate` gives it; higher is better, and the
            first of equals stays.
        describe: Returns what `measured.json`, beside the adapter, says about the measurement.
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
        """Compare with the best so far, before Trainer replaces that."""
        value = metrics[f"eval_{self.metric}"]
        is_best = state.best_metric is None or value > state.best_metric
        if is_best and state.is_world_process_zero:
            shutil.rmtree(self.folder, ignore_errors=True)
            model.save_pretrained(self.folder)
            write_json(self.folder / MEASURED_FILE, self.describe())


def publish_best(best: Path, output: Path) -> int:
    """Copy the best adapter to `output`, or the whole model where that was trained.

    Returns:
        The size of the file of weights, in bytes.
    """
    for name in TRAINED_FILES:
        if (best / name).exists():
            with atomic_write(output / name) as partial:
                shutil.copyfile(best / name, partial)
    weights = (best / name for name in (WEIGHTS_FILE, MODEL_WEIGHTS_FILE))
    return sum(path.stat().st_size for path in weights if path.exists())


def wait_for_all() -> None:
    """Wait until every process has come here."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
