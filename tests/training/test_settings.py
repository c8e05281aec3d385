"""The settings of a training: what they refuse, and that what can be chosen is what there is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from mv_peft.choices import PostProcessingName, RecipeName
from mv_peft.retrieval.postprocessing import POST_PROCESSING
from mv_peft.training import RECIPES, RetrievalTrainingArguments, TrainSettings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"recipe": "papper"}, "Unknown `recipe` 'papper'. Choose from: modern, paper."),
        ({"captions": "some"}, "Unknown `captions` 'some'. Choose from: all, one_per_video."),
        ({"frame_sampling": "random"}, "Unknown `frame_sampling` 'random'. Choose from: uniform, clip4clip, "),
        ({"precision": "fp8"}, "Unknown `precision` 'fp8'. Choose from: fp32, bf16, fp16."),
        ({"select_by": "R1"}, "Unknown `select_by` 'R1'. Choose from: t2v R@1, "),
        ({"batch_size": 0}, "`batch_size` must be positive, got 0."),
        ({"chunk_size": -1}, "`chunk_size` must be positive, got -1."),
        ({"num_workers": -1}, "`num_workers` must not be negative, got -1."),
        ({"epochs": float("nan")}, "`epochs` must be positive, got nan."),
    ],
)
def test_refuses_what_makes_no_sense(setting, message):
    with pytest.raises(ValueError, match=message):
        TrainSettings(Path("run"), **setting)


def test_frame_sampling_is_the_protocols_by_default():
    assert TrainSettings(Path("run")).frame_sampling == "fps_uniform"


def test_every_choice_exists():
    assert set(get_args(RecipeName)) == set(RECIPES)
    assert set(get_args(PostProcessingName)) == set(POST_PROCESSING)


def test_the_arguments_of_the_trainer_have_the_same_defaults(tmp_path):
    arguments = RetrievalTrainingArguments(str(tmp_path), use_cpu=True)
    assert arguments.recipe == TrainSettings.recipe
    recipe = RECIPES[TrainSettings.recipe]
    assert (arguments.learning_rate, arguments.max_grad_norm) == (recipe.learning_rate, recipe.max_grad_norm)
    clipped = RetrievalTrainingArguments(str(tmp_path), use_cpu=True, max_grad_norm=0.5)
    assert (clipped.max_grad_norm, clipped.resolved_recipe().max_grad_norm) == (0.5, 0.5)
