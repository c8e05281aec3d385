"""One bar: videos, their rate, step, loss and how well videos are found; and lines where there is no terminal."""

from __future__ import annotations

import io
import logging
import re

import pytest
from tqdm import tqdm

from mv_peft.training import progress
from tests.training.pairs import trainer


@pytest.fixture
def bar(monkeypatch):
    """What the bar writes, as if to a terminal, and what it was asked for."""
    asked, written = {}, io.StringIO()

    class Shown(tqdm):
        def __init__(self, **options):
            asked.update(options)
            super().__init__(**{**options, "disable": False, "file": written, "mininterval": 0})

    monkeypatch.setattr(progress, "tqdm", Shown)
    return asked, written


def run(folder, **options):
    figures = iter([{"t2v R@1": 12.5}, {"t2v R@1": 25.0}])
    callback = progress.ProgressBar(4, "t2v R@1")
    measured = {"evaluate": lambda model: next(figures), "eval_strategy": "steps", "eval_steps": 2}
    trainer(folder, callbacks=[callback], max_steps=4, logging_steps=1, **measured, **options).train()


def test_counts_videos_and_shows_the_last_figures(tmp_path, bar):
    asked, written = bar
    run(tmp_path)
    assert asked["disable"] is None  # silent without a terminal
    last = written.getvalue().split("\r")[-1]
    assert re.search(r"training: 100%.* 16/16 .* videos/s, step=4/4, loss=[\d.]+, t2v_R@1=25.0\]", last), last
    assert "t2v_R@1=12.5" in written.getvalue()


def test_says_each_measurement(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "mv_peft"):
        run(tmp_path)
    lines = [record.getMessage() for record in caplog.records if record.name == "mv_peft.training.progress"]
    assert len(lines) == 2
    assert lines[0].startswith("Step 2 of 4: loss ")
    assert lines[0].endswith(", t2v R@1 12.5.")
    assert lines[1].endswith(", t2v R@1 25.0.")
