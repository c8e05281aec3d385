"""One plain step, which the other ways to make it must equal, and what the tests compare."""

from __future__ import annotations

import torch
from peft import PeftModel, get_peft_model
from torch import Tensor

from mv_peft.training import pair_loss
from tests.families import tiny_model
from tests.models import adapter_config, tiny_clip


def adapted(family: str = "clip") -> PeftModel:
    """A tiny adapted dual encoder, the same every time, whose parameters of the loss train too."""
    base = tiny_clip() if family == "clip" else tiny_model(family)
    model = get_peft_model(base, adapter_config(scaling=0.3)).train()
    for parameter in pair_loss(model).parameters:
        parameter.requires_grad_()
    return model


def plain_step(model, inputs) -> Tensor:
    output = model(**inputs)
    loss = pair_loss(model)(output.text_embeds, output.image_embeds)
    loss.backward()
    return loss.detach()


def gradients(model) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def assert_same_gradients(got, expected, *, tolerance) -> None:
    """Equal to `tolerance` times each tensor's largest entry, or absolutely where that is small."""
    assert got.keys() == expected.keys()
    assert "base_model.model.logit_scale" in expected
    assert all(gradient.abs().sum() > 0 for gradient in expected.values())
    for name, gradient in expected.items():
        atol = tolerance * max(1.0, float(gradient.abs().max()))
        torch.testing.assert_close(
            got[name], gradient, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )
