"""The speed benchmark runs, and it counts what each method costs."""

from __future__ import annotations

import argparse
import sys

import pytest

from benchmarks.speed import step as speed

ARGS = argparse.Namespace(size="tiny", batch_size=1, num_frames=2, rounds=1, device="cpu", bf16=False)


def test_every_method_is_timed_in_turn_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[object] = []
    monkeypatch.setattr(speed, "seconds", lambda work, device: turns.append(work) or float(len(turns)))
    times = speed.measure(ARGS)
    assert list(times) == list(speed.METHODS)
    assert len(turns) == 2 * 2 * len(speed.METHODS)
    first = 2 * len(speed.METHODS) + 1
    assert times["frozen CLIP"] == {"forward": [first], "step": [first + 1]}


def test_the_ratio_is_the_median_of_rounds_not_of_seconds() -> None:
    assert speed.ratio([2.0, 20.0, 3.0], [1.0, 10.0, 1.0]) == 2.0


def test_counts_show_what_each_method_adds() -> None:
    counts = {name: speed.operations(name, ARGS) for name in speed.METHODS}
    frozen, lora = counts["frozen CLIP"], counts["LoRA r=8 (q, v)"]
    assert counts["full fine-tuning"]["forward"] == frozen["forward"] > 1e8
    assert frozen["step"] == frozen["forward"]
    assert frozen["forward"] < lora["forward"] < counts["MV-Adapter"]["forward"] < 1.1 * frozen["forward"]
    assert lora["step"] < counts["full fine-tuning"]["step"]


def test_the_table_has_a_row_for_each_method(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speed, "memory_in_a_fresh_process", lambda name, args: 0.25)
    monkeypatch.setattr(
        sys, "argv", ["speed", "--size", "tiny", "--batch-size", "1", "--num-frames", "2", "--rounds", "1"]
    )
    speed.main()
    lines = capsys.readouterr().out.splitlines()
    assert "random weights" in lines[0]
    assert [line[:18].strip() for line in lines[2:]] == list(speed.METHODS)
    assert lines[2].split()[3:5] == ["1.00", "1.000"]
    assert all(line.endswith("0.25") for line in lines[2:])


def test_a_step_needs_more_memory_where_more_is_trained() -> None:
    memory = speed.memory_in_a_fresh_process("full fine-tuning", ARGS)
    assert memory is None or 0.05 < memory < 2
