"""One progress bar for a whole training: videos, videos a second, loss, and recall."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm
from transformers import TrainerCallback, TrainerState

logger = logging.getLogger(__name__)


class ProgressBar(TrainerCallback):
    """A bar on the main process, and a line in the log for each evaluation; nothing but lines without a terminal.

    Args:
        batch_size: Videos in a step, of all processes.
        metric: What to show of an evaluation, by the name that the trainer's `evaluate` gives; None for nothing.
        description: What the bar is called.
    """

    def __init__(self, batch_size: int, metric: str | None = None, description: str = "training") -> None:
        self.batch_size = batch_size
        self.metric = metric
        self.description = description
        self.figures: dict[str, str] = {}

    def on_train_begin(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Open the bar, where a resumed training stands."""
        self.bar = tqdm(
            total=state.max_steps * self.batch_size,
            initial=state.global_step * self.batch_size,
            desc=self.description,
            unit=" videos",
            disable=None if state.is_world_process_zero else True,
        )

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Mapping[str, Any], **kwargs: Any) -> None:
        """Show the loss; the last log is a summary without one."""
        if "loss" in logs:
            self._show(state, loss=f"{float(logs['loss']):.3f}")

    def on_evaluate(
        self, args: Any, state: TrainerState, control: Any, metrics: Mapping[str, float], **kwargs: Any
    ) -> None:
        """Show how well videos are found, and write it to the log."""
        if self.metric is None or not state.is_world_process_zero:
            return
        figure = f"{metrics[f'eval_{self.metric}']:.1f}"
        with logging_redirect_tqdm():
            loss = f"loss {self.figures['loss']}, " if "loss" in self.figures else ""
            logger.info("Step %d of %d: %s%s %s.", state.global_step, state.max_steps, loss, self.metric, figure)
        self._show(state, **{self.metric.replace(" ", "_"): figure})

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Count the step."""
        self.bar.update(self.batch_size)

    def on_train_end(self, args: Any, state: TrainerState, control: Any, **kwargs: Any) -> None:
        """Leave the bar as it is."""
        self.bar.close()

    def _show(self, state: TrainerState, **figures: str) -> None:
        self.figures |= figures
        self.bar.set_postfix({"step": f"{state.global_step}/{state.max_steps}", **self.figures}, refresh=False)
