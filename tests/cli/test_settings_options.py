"""Options made from dataclasses: the dataclass owns names, types, choices, defaults and help."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pytest

from mv_peft.choices import setting
from mv_peft.cli.settings_options import add_settings, given_settings
from mv_peft.cli.train_options import add_arguments
from mv_peft.demo.settings import DemoSettings
from mv_peft.training import TrainSettings

CHANGED = {
    "output": Path("runs/1"),
    "recipe": "paper",
    "learning_rate": 0.5,
    "weight_decay": 0.25,
    "epochs": 1.5,
    "max_steps": 7,
    "batch_size": 64,
    "chunk_size": 3,
    "captions": "one_per_video",
    "frame_sampling": "uniform",
    "seed": 4,
    "precision": "bf16",
    "gradient_checkpointing": True,
    "num_workers": 2,
    "eval_steps": 5,
    "eval_batch_size": 6,
    "select_by": "v2t R@10",
    "save_steps": 8,
    "report_to": ("tensorboard", "wandb"),
}


def words_of(settings: dict) -> list[str]:
    words = []
    for name, value in settings.items():
        for item in value if isinstance(value, tuple) else [value]:
            words += [f"--{name.replace('_', '-')}", *([] if item is True else [str(item)])]
    return words


def parse(settings_cls: type, words: list[str]) -> dict:
    parser = argparse.ArgumentParser()
    add_settings(parser, settings_cls)
    return given_settings(parser.parse_args(words), settings_cls)


def test_every_training_setting_is_an_option_of_its_type():
    assert set(CHANGED) == {field.name for field in fields(TrainSettings)}
    given = parse(TrainSettings, words_of(CHANGED))
    assert given == CHANGED
    settings, untouched = TrainSettings(**given), TrainSettings(Path("runs/2"))
    assert [name for name in CHANGED if getattr(settings, name) == getattr(untouched, name)] == []
    assert parse(TrainSettings, ["--output", "a", "--chunk-size", "auto"])["chunk_size"] == "auto"


def test_what_is_not_given_is_left_to_the_dataclass():
    assert parse(TrainSettings, ["--output", "runs/1"]) == {"output": Path("runs/1")}
    assert parse(DemoSettings, []) == {}
    assert parse(DemoSettings, ["--train-clips", "40", "--split", "validation"]) == {
        "num_train_clips": 40,
        "split": "validation",
    }


def test_help_shows_choices_and_defaults_in_their_groups():
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    shown = " ".join(parser.format_help().split())
    for text in (
        "--recipe NAME optimizer, schedule and weight decay (modern, paper; default: modern)",
        "--learning-rate RATE peak learning rate (default: the recipe's)",
        "--eval-batch-size N videos embedded at a time during an evaluation (default: 32)",
        "fps_head, fps_tail; default: fps_uniform)",
    ):
        assert text in shown
    order = ["what is trained:", "how it is trained:", "--recipe NAME opt", "how the best adapter is chosen:"]
    assert sorted(order, key=shown.rindex) == order


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: --output"),
        (["--output", "a", "--recipe", "papper"], "argument --recipe: invalid choice: 'papper'"),
        (["--output", "a", "--select-by", "R1"], "argument --select-by: invalid choice: 'R1'"),
        (["--output", "a", "--chunk-size", "few"], "must be a number or auto, got 'few'"),
        (["--output", "a", "--seed", "1.5"], "argument --seed: invalid int value: '1.5'"),
    ],
)
def test_mistakes_in_the_arguments(capsys, words, message):
    with pytest.raises(SystemExit, match=r"^2$"):
        parse(TrainSettings, words)
    assert message in capsys.readouterr().err


def test_a_percent_sign_in_a_help_text():
    @dataclass
    class Settings:
        share: float = setting(5.0, "share of the videos, in %")
        kind: Literal["a", "b"] = "a"  # without a help text, no option
        folder: Path = field(default=Path())

    parser = argparse.ArgumentParser()
    add_settings(parser, Settings)
    assert "in % (default: 5.0)" in parser.format_help()
    with pytest.raises(SystemExit):
        parser.parse_args(["--kind", "b"])
