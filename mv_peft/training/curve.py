"""The course of a training, drawn."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..atomic import atomic_write


def can_draw() -> bool:
    """Tell whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def draw_curve(history: Sequence[Mapping[str, Any]], path: Path, *, metric: str, title: str) -> None:
    """Draw the loss and a metric over the steps.

    Args:
        history: Trainer's log: entries with "step" and either "loss" or the metric, named `eval_...`.
        path: The PNG to write.
        metric: A figure in per cent, by the name that the trainer's `evaluate` gives it.
        title: The title above the curves.
    """
    from matplotlib.figure import Figure  # no pyplot: it would choose a window system

    figure = Figure(figsize=(7, 4), layout="constrained")
    losses = figure.subplots()
    losses.set(title=title, xlabel="step", ylabel="loss")
    lines = losses.plot(*_points(history, "loss"), color="tab:gray", marker=".", label="loss")
    evaluated = _points(history, f"eval_{metric}")
    if evaluated[0]:
        figures = losses.twinx()
        figures.set_ylabel(f"{metric} (%)")
        lines += figures.plot(*evaluated, color="tab:blue", marker="o", label=metric)
    losses.legend(handles=lines, loc="center right")
    with atomic_write(path) as partial:
        figure.savefig(partial, format="png", dpi=120)


def _points(history: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    entries = [entry for entry in history if name in entry]
    return [entry["step"] for entry in entries], [entry[name] for entry in entries]
