"""Killed at any point and resumed, a training ends at the same adapter, to the bit."""

from __future__ import annotations

import json
import os
import signal
import socket
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import distributed
from transformers import TrainerCallback

from mv_peft.training import checkpoints
from mv_peft.training.checkpoints import KeepBest, MarkCheckpoints, last_checkpoint, remove_incomplete
from tests.training.pairs import trained, trainer

STEPS = 8  # of an epoch of three: the last one is cut short


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class KillAt(TrainerCallback):
    """Kills the process at an event, before or after whatever else listens to it."""

    def __init__(self, event: str, step: int) -> None:
        def on_event(args, state, control, **kwargs):
            if state.global_step == step:
                kill()

        setattr(self, event, on_event)


def kill_in_call(module, name: str, number: int) -> None:
    """Kills the process in the middle of a function's n-th call: once half of what it writes is written."""
    original, calls = getattr(module, name), []

    def wrapper(*args, **kwargs):
        calls.append(args)
        if len(calls) == number:
            kill()
        return original(*args, **kwargs)

    setattr(module, name, wrapper)


def run(folder: Path, killer=None, recipe="modern", dropout=0.3, rank=0, world_size=1, port=0) -> None:
    """A training to its end, or to its kill; writes what was trained to a file."""
    torch.set_num_threads(1)
    AcceleratorState._reset_state(reset_partial_state=True)  # the parent's
    if world_size > 1:  # what torchrun says
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    callbacks = []
    if killer is not None:
        kind, *where = killer
        if kind == "event":
            callbacks.append(KillAt(*where))
        else:
            kill_in_call({"torch": torch, "shutil": checkpoints.shutil}[where[0]], *where[1:])
    measured = []

    def evaluate(model) -> dict[str, float]:
        # Best after the second measurement of three.
        step = ours.state.global_step
        measured.append(step)
        return {"t2v R@1": {3: 10.0, 6: 30.0, 8: 20.0}[step]}

    best = KeepBest(folder / "best", "t2v R@1", lambda: {"step": measured[-1]})
    ours = trainer(
        folder,
        evaluate=evaluate,
        callbacks=[*callbacks, best, MarkCheckpoints(folder)],
        recipe=recipe,
        per_device_train_batch_size=4 // world_size,
        chunk_size=1 if recipe == "modern" else None,
        max_steps=STEPS,
        save_strategy="steps",
        save_steps=2,
        save_total_limit=2,
        eval_strategy="steps",
        eval_steps=3,
        metric_for_best_model="t2v R@1",
        greater_is_better=True,
        ddp_backend="gloo" if world_size > 1 else None,
    )
    attention = next(m for name, m in ours.model.named_modules() if name.endswith("self_attn"))
    attention.dropout = dropout  # so that the state of the random numbers matters
    checkpoint = last_checkpoint(folder)
    checkpoints.wait_for_all()
    if rank == 0:
        remove_incomplete(folder)
    checkpoints.wait_for_all()
    ours.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    torch.save(trained(ours.model), folder / f"final-{rank}.pt")
    if world_size > 1:
        distributed.destroy_process_group()


def spawn(folder, *args, **kwargs) -> int:
    process = get_context("fork").Process(target=run, args=(folder, *args), kwargs=kwargs)
    process.start()
    process.join(120)
    return process.exitcode


def spawn_two(folder, *args) -> list[int]:
    """Two processes as torchrun starts them, on a port of their own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    context = get_context("fork")
    processes = [context.Process(target=run, args=(folder, *args, rank, 2, port)) for rank in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    return [process.exitcode for process in processes]


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "best" / "adapter_model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def uninterrupted(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("uninterrupted")
    assert spawn(folder, recipe=request.param) == 0
    return request.param, folder


KILLS = {
    "before the first checkpoint": ("event", "on_step_end", 1),
    "between checkpoints, in an epoch": ("event", "on_step_end", 5),
    "before a step's update": ("event", "on_pre_optimizer_step", 4),
    "while a checkpoint is written": ("call", "torch", "save", 7),
    "when a checkpoint is written but not marked": ("event", "on_save", 4),
    "at the end of an epoch": ("event", "on_epoch_end", 6),
    "while the best adapter is replaced": ("call", "shutil", "rmtree", 2),
    "after the last step": ("event", "on_train_end", 8),
}


# Of the other optimizer only the state is another.
@pytest.mark.parametrize(
    ("uninterrupted", "kill_at"),
    [*(("modern", kill_at) for kill_at in KILLS), ("paper", "between checkpoints, in an epoch")],
    indirect=["uninterrupted"],
)
def test_the_same_to_the_bit(uninterrupted, tmp_path, kill_at):
    recipe, reference = uninterrupted
    assert spawn(tmp_path, KILLS[kill_at], recipe=recipe) == -signal.SIGKILL
    assert not (tmp_path / "final-0.pt").exists()
    assert spawn(tmp_path, recipe=recipe) == 0
    expected, got = (torch.load(folder / "final-0.pt") for folder in (reference, tmp_path))
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], value) for name, value in expected.items())
    assert adapter_bytes(tmp_path) == adapter_bytes(reference)
    assert json.loads((tmp_path / "best" / "measured.json").read_text()) == {"step": 6}


@pytest.mark.parametrize("uninterrupted", ["modern"], indirect=True)
def test_two_kills(uninterrupted, tmp_path):
    recipe, reference = uninterrupted
    for killer in (("event", "on_step_end", 3), ("event", "on_step_end", 7)):
        assert spawn(tmp_path, killer, recipe=recipe) == -signal.SIGKILL
    assert spawn(tmp_path, recipe=recipe) == 0
    expected, got = (torch.load(folder / "final-0.pt") for folder in (reference, tmp_path))
    assert all(torch.equal(got[name], value) for name, value in expected.items())


@pytest.mark.parametrize("form", [lambda folder: True, lambda folder: str(folder), lambda folder: folder])
def test_a_finished_training_makes_no_step_more(tmp_path, form):
    saving = {"max_steps": 4, "save_strategy": "steps", "save_steps": 4}  # in the midst of an epoch
    finished = trainer(tmp_path, **saving)
    finished.train()
    again = trainer(tmp_path, **saving)
    assert not all(torch.equal(value, trained(finished.model)[name]) for name, value in trained(again.model).items())
    assert again.train(resume_from_checkpoint=form(tmp_path / "checkpoint-4")).global_step == 4
    assert again.state.global_step == 4
    assert all(torch.equal(value, trained(finished.model)[name]) for name, value in trained(again.model).items())


def test_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(ValueError, match="No valid checkpoint found in output directory"):
        trainer(tmp_path).train(resume_from_checkpoint=True)


def test_an_unmarked_checkpoint_does_not_count(tmp_path):
    for step, marked in ((2, True), (10, True), (12, False)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if marked:
            (tmp_path / f"checkpoint-{step}" / "complete").touch()
    assert last_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert remove_incomplete(tmp_path) == [tmp_path / "checkpoint-12"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-2"]
    assert last_checkpoint(tmp_path / "none") is None


def test_two_processes_do_what_one_does_and_resume(tmp_path):
    folders = {name: tmp_path / name for name in ("one", "two", "killed")}
    for folder in folders.values():
        folder.mkdir()
    assert spawn(folders["one"], None, "modern", 0.0) == 0
    assert spawn_two(folders["two"], None, "modern", 0.0) == [0, 0]
    assert spawn_two(folders["killed"], ("event", "on_step_end", 5), "modern", 0.0) == [-signal.SIGKILL] * 2
    assert spawn_two(folders["killed"], None, "modern", 0.0) == [0, 0]
    finals = {name: torch.load(folder / "final-0.pt") for name, folder in folders.items()}
    assert finals["one"]
    for name, value in finals["one"].items():
        torch.testing.assert_close(finals["two"][name], value, rtol=0, atol=2e-5, msg=name)
        assert torch.equal(finals["killed"][name], finals["two"][name]), name
    other = torch.load(folders["two"] / "final-1.pt")
    assert all(torch.equal(other[name], value) for name, value in finals["two"].items())
