"""The authors' optimizer: their trajectories, and resuming to the bit."""

from __future__ import annotations

import copy
import io
import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from mv_peft.training import BertAdam, warmup_cosine, warmup_cosine_schedule
from tests.tuners.mv_adapter.test_golden import GOLDEN

RECORDED = load_file(GOLDEN / "_bertadam" / "bertadam.safetensors")
META = json.loads((GOLDEN / "_bertadam" / "meta.json").read_text())


@pytest.mark.parametrize("case", META["cases"])
def test_recorded_trajectory(case):
    meta, prefix = META["cases"][case], f"{case}."
    recorded = {name.removeprefix(prefix): value for name, value in RECORDED.items() if name.startswith(prefix)}
    parameters = {name: nn.Parameter(recorded[f"init.{name}"].clone()) for name in meta["shapes"]}
    groups = [
        {
            "params": [parameters[name] for name in group["names"]],
            "lr": group["lr"],
            "weight_decay": group["weight_decay"],
        }
        for group in meta["groups"]
    ]
    optimizer = BertAdam(groups)
    num_steps = meta["ctor"]["t_total"]
    schedule = warmup_cosine_schedule(optimizer, num_steps, meta["ctor"]["warmup"]) if num_steps > 0 else None
    for step in range(meta["steps"]):
        for name, parameter in parameters.items():
            parameter.grad = recorded[f"step{step}.grad.{name}"].clone()
        if meta["global_clip"] is not None:
            norm = nn.utils.clip_grad_norm_(parameters.values(), meta["global_clip"])
            assert float(norm) == pytest.approx(meta["global_norms"][step], rel=1e-6)
        elif meta["ctor"]["max_grad_norm"] > 0:  # their program's own, which has no effect after the global one
            for parameter in parameters.values():
                nn.utils.clip_grad_norm_(parameter, meta["ctor"]["max_grad_norm"])
        rates = [group["lr"] for group in optimizer.param_groups]
        assert rates == pytest.approx(meta["lr_used_per_step_per_group"][step], rel=1e-12, abs=1e-15)
        optimizer.step()
        if schedule is not None:
            schedule.step()
        for name, parameter in parameters.items():
            state = optimizer.state[parameter]
            for key, got in (("param", parameter.detach()), ("m", state["mean"]), ("v", state["mean_square"])):
                torch.testing.assert_close(got, recorded[f"step{step}.{key}.{name}"], rtol=1e-6, atol=1e-8)
    assert all((parameters[name] != recorded[f"init.{name}"]).any() for name in parameters)


@pytest.mark.parametrize("sample", META["warmup_cosine_samples"], ids=lambda s: f"{s['x']}, {s['warmup']}")
def test_recorded_schedule(sample):
    assert warmup_cosine(sample["x"], sample["warmup"]) == pytest.approx(sample["factor"], abs=1e-12)


def objects(weight):
    optimizer = BertAdam([{"params": [weight], "lr": 0.01, "weight_decay": 0.2}])
    return optimizer, warmup_cosine_schedule(optimizer, num_steps=10)


def advance(weight, optimizer, schedule, steps):
    for step in steps:
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(step))
        optimizer.step()
        schedule.step()


def test_resumes_to_the_bit():
    whole = nn.Parameter(torch.randn(7, 3))
    resumed = copy.deepcopy(whole)
    optimizer, schedule = objects(whole)
    advance(whole, optimizer, schedule, range(8))

    optimizer, schedule = objects(resumed)
    advance(resumed, optimizer, schedule, range(4))
    file = io.BytesIO()
    torch.save((resumed, optimizer.state_dict(), schedule.state_dict()), file)
    file.seek(0)
    resumed, *states = torch.load(file)
    before = resumed.detach().clone()
    optimizer, schedule = objects(resumed)
    optimizer.load_state_dict(states[0])
    schedule.load_state_dict(states[1])
    advance(resumed, optimizer, schedule, range(4, 8))
    assert not torch.equal(resumed, before)
    assert torch.equal(resumed, whole)


def test_leaves_alone_what_has_no_gradient():
    weight = nn.Parameter(torch.ones(3))
    optimizer = BertAdam([weight], 0.1, weight_decay=0.2)
    assert optimizer.step() is None
    assert torch.equal(weight.detach(), torch.ones(3))
    assert not optimizer.state


def test_closure_computes_the_gradient():
    weight = nn.Parameter(torch.ones(3))
    optimizer = BertAdam([weight], 0.1)

    def closure():
        loss = weight.square().sum()
        loss.backward()
        return loss.detach()

    assert torch.equal(optimizer.step(closure), torch.tensor(3.0))
    expected = 1 - 0.1 * 0.1 * 2 / (0.02**0.5 * 2 + 1e-6)
    torch.testing.assert_close(weight.detach(), torch.full((3,), expected))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -0.1}, "`lr` must be at least 0, got -0.1."),
        ({"eps": -1.0}, "`eps` must be at least 0, got -1.0."),
        ({"weight_decay": float("nan")}, "`weight_decay` must be at least 0, got nan."),
        ({"betas": (0.9, 1.0)}, r"`betas` must be from 0 to below 1, got \(0.9, 1.0\)."),
    ],
)
def test_refuses_values_out_of_range(arguments, message):
    with pytest.raises(ValueError, match=message):
        BertAdam([nn.Parameter(torch.ones(1))], **arguments)


def test_refuses_a_schedule_without_steps():
    optimizer = BertAdam([nn.Parameter(torch.ones(1))])
    with pytest.raises(ValueError, match="`num_steps` must be positive, got 0."):
        warmup_cosine_schedule(optimizer, num_steps=0)
