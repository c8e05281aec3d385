"""Switching does what PEFT's own way does, whatever happened to the model before."""

from __future__ import annotations

import copy
import io
import random

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer

from mv_peft.tuners.mv_adapter.switching import SwitchBoard
from tests.models import adapter_config, batch, tiny_clip

NAMES = ("a", "b", "c")


def three_adapters(**first: object) -> PeftModel:
    """Different settings, so that not every layer has every adapter."""
    model = get_peft_model(tiny_clip(), adapter_config(**first), adapter_name="a")
    model.add_adapter("b", adapter_config(layers_to_transform=[1], tying_layers=[[1, 1]]))
    model.add_adapter("c", adapter_config(bottleneck_dim=2, num_heads=1, tying_layers=0, pre_norm=True))
    return model.eval()


def state(model: PeftModel) -> tuple:
    """What switching changes: the active adapters of every layer and of the tuner, and who takes gradients."""
    layers = [module.active_adapters for module in model.modules() if isinstance(module, BaseTunerLayer)]
    gradients = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    return layers, gradients, model.base_model.active_adapters


def as_peft(model: PeftModel, name: str | list[str], inference_mode: bool = False) -> tuple:
    other = copy.deepcopy(model)
    BaseTuner.set_adapter(other.base_model, name, inference_mode)
    return state(other)


@pytest.mark.parametrize("saved", [None, ["visual_projection"]])
def test_as_peft_after_anything(saved):
    model, draw = three_adapters(modules_to_save=saved), random.Random(5)
    seen = set()
    for _ in range(40):
        kind = draw.choice(["thaw", "freeze", "cast", "copy", "delete", "none", "none"])
        name = draw.choice(NAMES)
        if kind == "thaw":
            model.set_requires_grad(name)
        elif kind == "freeze":
            model.requires_grad_(False)
        elif kind == "cast":
            model.half().float()
        elif kind == "copy":
            model = copy.deepcopy(model)
        elif kind == "delete" and name != "a":
            model.delete_adapter(name)
            model.add_adapter(name, adapter_config(bottleneck_dim=4))
        chosen, inference_mode = draw.choice(NAMES), draw.random() < 0.3
        expected = as_peft(model, chosen, inference_mode)
        model.base_model.set_adapter(chosen, inference_mode)
        assert state(model) == expected, (kind, chosen)
        seen.add((kind, inference_mode))
    assert len(seen) > 8
    assert (model.base_model._switch_board is None) == bool(saved)


def test_several_at_once_and_the_output():
    model = three_adapters()
    single = {}
    with torch.no_grad():
        for name in NAMES:
            model.set_adapter(name)
            single[name] = model(**batch()).logits_per_text
        for name in reversed(NAMES):
            model.set_adapter(name)
            assert torch.equal(model(**batch()).logits_per_text, single[name])
        assert not torch.allclose(single["a"], single["b"])
        expected = as_peft(model, ["a", "c"])
        model.base_model.set_adapter(["a", "c"])
        assert state(model) == expected
        assert not torch.allclose(model(**batch()).logits_per_text, single["a"])


def test_a_layer_that_was_replaced_is_found_again():
    model = three_adapters()
    model.set_adapter("b")
    layer = model.get_base_model().vision_model.encoder.layers[1].mlp
    layer.fc2 = copy.deepcopy(layer.fc2)
    expected = as_peft(model, "c")
    model.set_adapter("c")
    assert state(model) == expected
    assert layer.fc2.active_adapters == ["c"]


def test_saved_as_a_whole_it_switches_on():
    model = three_adapters()
    model.set_adapter("b")
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    expected = as_peft(again, "c")
    again.set_adapter("c")
    assert state(again) == expected
    assert model.base_model.active_adapters == ["b"]


def test_nothing_of_it_is_in_a_checkpoint():
    model = three_adapters()
    before = set(model.state_dict())
    model.set_adapter("b")
    assert isinstance(model.base_model._switch_board, SwitchBoard)
    assert set(model.state_dict()) == before


def test_unknown_names_are_refused_as_ever():
    with pytest.raises(ValueError, match="Adapter x not found"):
        three_adapters().set_adapter("x")
