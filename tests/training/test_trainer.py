"""RetrievalTrainer makes the steps that a loop by hand makes, in chunks too, and stops where numbers end."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from mv_peft.errors import TrainingError
from mv_peft.training import RetrievalTrainer, RetrievalTrainingArguments, get_recipe
from tests.training.pairs import Pairs, collate, trained, trainer
from tests.training.steps import adapted, plain_step


class Batches(TrainerCallback):
    """Notes what every step was made of."""

    def __init__(self) -> None:
        self.seen: list[dict] = []

    def __call__(self, pairs):
        rows = collate(pairs)
        self.seen.append(dict(rows))
        return rows


def assert_close(got, expected, tolerance):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=tolerance, msg=name)


@pytest.mark.parametrize("recipe", ["modern", "paper"])
def test_makes_the_steps_of_a_loop_by_hand(tmp_path, recipe):
    batches = Batches()
    ours = trainer(tmp_path, recipe=recipe, collator=batches)
    start = trained(ours.model)
    ours.train()

    model = adapted()
    model.logit_scale.requires_grad_(False)
    chosen = get_recipe(recipe, learning_rate=1e-2)
    optimizer = chosen.create_optimizer(model)
    schedule = chosen.create_schedule(optimizer, 5)
    losses = []
    for inputs in batches.seen[:5]:
        losses.append(plain_step(model, {name: rows for name, rows in inputs.items() if name != "video_ids"}))
        nn.utils.clip_grad_norm_(model.parameters(), chosen.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    assert_close(trained(ours.model), trained(model), tolerance=0)
    assert any((value - start[name]).abs().max() > 1e-3 for name, value in trained(model).items())
    logged = [log["train_loss"] for log in ours.state.log_history if "train_loss" in log]
    assert logged == [pytest.approx(float(sum(losses)) / 5, abs=1e-6)]


def test_each_pair_comes_once_an_epoch_and_in_the_order_of_the_seed(tmp_path):
    orders = []
    for seed in (1, 1, 2):
        batches = Batches()
        trainer(tmp_path, seed=seed, collator=batches, max_steps=6).train()
        orders.append([video for inputs in batches.seen[:6] for video in inputs["video_ids"]])
    assert orders[0] == orders[1] != orders[2]
    for epoch in (orders[0][:12], orders[0][12:]):
        assert sorted(epoch) == sorted(f"video{index}" for index in range(12))
    assert orders[0][:12] != orders[0][12:]


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("chunk_size", [1, 3, 4])
def test_chunks_change_nothing(tmp_path, chunk_size, accumulation):
    # Two steps, the first at rate 0: Adam's steps along noise would hide whether gradients are equal.
    options = {"gradient_accumulation_steps": accumulation, "max_steps": 2, "learning_rate": 1e-3}
    plain = trainer(tmp_path, **options)
    chunked = trainer(tmp_path, chunk_size=chunk_size, **options)
    losses = [run.train().training_loss for run in (plain, chunked)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
    grown = [log["grad_norm"] for log in plain.state.log_history if "grad_norm" in log]
    assert grown == pytest.approx([log["grad_norm"] for log in chunked.state.log_history if "grad_norm" in log])
    assert_close(trained(chunked.model), trained(plain.model), tolerance=2e-5)


def test_bf16_trains(tmp_path):
    ours = trainer(tmp_path, bf16=True, chunk_size=2)
    start = trained(ours.model)
    ours.train()
    assert all(value.isfinite().all() for value in trained(ours.model).values())
    assert any(not torch.equal(value, start[name]) for name, value in trained(ours.model).items())


def test_logit_scale_stays(tmp_path):
    model = adapted()
    model.logit_scale.data.fill_(5.0)
    trainer(tmp_path, model=model).train()
    assert float(model.logit_scale) == pytest.approx(4.605170)


def test_a_loss_that_is_not_a_number_ends_the_training(tmp_path):
    dataset = Pairs(4)
    dataset.rows["pixel_values"][2, 0] = float("nan")
    ours = trainer(tmp_path, dataset=dataset, per_device_train_batch_size=2, max_steps=4)
    start = trained(ours.model)
    with pytest.raises(TrainingError, match=r"The loss is nan at step [12]\. The batch's videos: .*'video2'") as error:
        ours.train()
    assert str(error.value).count("'video") == 2
    if "step 1" in str(error.value):
        assert_close(trained(ours.model), start, tolerance=0)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_gradient_that_is_not_a_number_ends_the_training(tmp_path, chunk_size):
    model = adapted()
    name, parameter = next((name, p) for name, p in model.named_parameters() if "mv_adapter" in name)
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    ours = trainer(tmp_path, model=model, chunk_size=chunk_size)
    start = trained(model)
    with pytest.raises(TrainingError, match=r"The gradient is (nan|inf) at step 1. The batch's videos: 'video"):
        ours.train()
    assert name in start
    assert_close(trained(model), start, tolerance=0)


def test_evaluates_by_what_it_was_given(tmp_path):
    asked = []

    def evaluate(model):
        asked.append(model)
        return {"t2v R@1": float(len(asked))}

    ours = trainer(tmp_path, evaluate=evaluate, eval_strategy="steps", eval_steps=2, max_steps=5)
    ours.train()
    assert asked == [ours.model] * 3
    logged = [(log["step"], log["eval_t2v R@1"]) for log in ours.state.log_history if "eval_t2v R@1" in log]
    assert logged == [(2, 1.0), (4, 2.0), (5, 3.0)]  # after the last step too


def test_what_cannot_be_trained_is_refused(tmp_path):
    with pytest.raises(ValueError, match="12 pairs do not fill a batch of 26."):
        trainer(tmp_path, per_device_train_batch_size=13, gradient_accumulation_steps=2)
    with pytest.raises(ValueError, match="`eval_strategy` is 'epoch', but there is no `evaluate`"):
        trainer(tmp_path, eval_strategy="epoch")
    with pytest.raises(ValueError, match="by its own `evaluate`"):
        trainer(tmp_path).evaluate()
    assert RetrievalTrainer.__init__.__kwdefaults__ == {"evaluate": None, "callbacks": ()}


@pytest.mark.parametrize(
    ("name", "value"), [("optim", "adamw_torch"), ("lr_scheduler_type", "constant"), ("warmup_steps", 7)]
)
def test_what_the_recipe_decides_cannot_be_asked_for(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"`{name}` is decided by the recipe 'paper', got {value!r}"):
        RetrievalTrainingArguments(str(tmp_path), recipe="paper", **{name: value})


def test_arguments_resolve_the_recipe(tmp_path):
    paper = RetrievalTrainingArguments(str(tmp_path), recipe="paper", clip_learning_rate=0.5)
    assert (paper.learning_rate, paper.weight_decay) == (5e-6, 0.2)
    assert paper.resolved_recipe() == get_recipe("paper", clip_learning_rate=0.5)
    with pytest.raises(ValueError, match="`chunk_size` must be positive, got 0."):
        RetrievalTrainingArguments(str(tmp_path), chunk_size=0)
