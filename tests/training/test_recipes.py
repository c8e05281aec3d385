"""Which parameters the recipes train, at which rates."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from mv_peft import MVAdapterConfig, official_state_dict
from mv_peft.training import BertAdam, get_recipe
from tests.models import adapter_config, tiny_clip
from tests.tuners.mv_adapter.test_sizes import skeleton


def groups_of(recipe, model, **overrides):
    return {group["name"]: group for group in get_recipe(recipe, **overrides).parameter_groups(model)}


def names_in(model, group):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)].split(".default")[-1] for parameter in group["params"]}


@pytest.mark.parametrize(
    ("preset", "overrides", "decaying", "not_decaying"),
    [
        ("msrvtt", {"tying_position": "down_out"}, 3_289_152, 36_544),  # as in the authors' program
        ("msvd", {}, 3_362_880, 38_848),
        ("lsmdc", {}, 3_403_872, 40_128),
        ("didemo", {}, 3_344_448, 36_544),
        ("activitynet", {}, 3_392_544, 52_928),
    ],
)
def test_paper_decays_what_the_authors_decay(preset, overrides, decaying, not_decaying):
    config = MVAdapterConfig.from_preset(preset, **overrides)
    groups = groups_of("paper", get_peft_model(skeleton("B/16"), config, low_cpu_mem_usage=True))
    counts = {name: sum(parameter.numel() for parameter in group["params"]) for name, group in groups.items()}
    assert counts == {"adapter_decay": decaying, "adapter_no_decay": not_decaying}
    assert [(group["lr"], group["weight_decay"]) for group in groups.values()] == [(5e-6, 0.2), (5e-6, 0)]


def test_paper_decays_by_the_authors_names():
    model = get_peft_model(tiny_clip(), adapter_config(pre_norm=True))
    decaying = groups_of("paper", model)["adapter_decay"]["params"]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for parameter in decaying:
            parameter.fill_(1)
    official = official_state_dict(model)
    assert len({name.rpartition(".")[2] for name in official}) > 5
    for name, tensor in official.items():
        assert bool(tensor.all()) == ("bias" not in name), name


def test_paper_trains_the_biases_of_clip_slower_and_decays_them():
    model = get_peft_model(skeleton("B/16"), MVAdapterConfig(), low_cpu_mem_usage=True)
    for name, parameter in model.named_parameters():
        if "mv_adapter" not in name and name.endswith(".bias"):
            parameter.requires_grad_()
    clip = groups_of("paper", model)["clip_decay"]
    assert (sum(bias.numel() for bias in clip["params"]), len(clip["params"])) == (171_008, 195)
    assert (clip["lr"], clip["weight_decay"]) == (1e-7, 0.2)


def test_modern_decays_matrices_only():
    model = get_peft_model(tiny_clip(), adapter_config(pre_norm=True))
    groups = groups_of("modern", model)
    assert list(groups) == ["adapter_decay", "adapter_no_decay"]
    assert names_in(model, groups["adapter_decay"]) == {
        f".{part}.weight"
        for part in (
            *("down", "up", "tying.projection"),
            *(f"temporal.calibration.{linear}" for linear in ("context", "hidden", "out")),
            *(
                f"{sequence}.block.{linear}"
                for sequence in ("sequence", "temporal.sequence")
                for linear in ("attention.in_proj", "attention.out_proj", "fc1", "fc2")
            ),
        )
    }
    others = names_in(model, groups["adapter_no_decay"])
    factors = ""  # the parameter is named as the adapter is
    assert {factors, ".temporal.token", ".sequence.positions", ".pre_norm.weight", ".down.bias"} < others
    assert {group["lr"] for group in groups.values()} == {1e-4}


def test_modern_trains_other_adapters_and_all_of_clip():
    lora = get_peft_model(tiny_clip(), LoraConfig(target_modules=["q_proj"]))
    assert list(groups_of("modern", lora)) == ["adapter_decay"]
    clip = tiny_clip()
    groups = groups_of("modern", clip, learning_rate=1e-5)
    assert list(groups) == ["clip_decay", "clip_no_decay"]
    assert {group["lr"] for group in groups.values()} == {1e-5}
    decaying = {id(parameter) for parameter in groups["clip_decay"]["params"]}
    assert id(clip.vision_model.embeddings.patch_embedding.weight) in decaying
    assert id(clip.text_model.embeddings.token_embedding.weight) not in decaying
    assert sum(len(group["params"]) for group in groups.values()) == len(list(clip.parameters()))


@pytest.mark.parametrize(
    ("recipe", "optimizer_class", "factors"),
    [
        ("paper", BertAdam, {0: 0, 1: 0.5, 2: 0.97553, 10: 0.5}),  # the cosine started with the warm-up
        ("modern", torch.optim.AdamW, {0: 0, 1: 0.5, 2: 1, 11: 0.5}),  # the cosine starts after the warm-up
    ],
)
def test_optimizer_and_schedule(recipe, optimizer_class, factors):
    model = get_peft_model(tiny_clip(), adapter_config())
    chosen = get_recipe(recipe, learning_rate=1.0)
    optimizer = chosen.create_optimizer(model)
    schedule = chosen.create_schedule(optimizer, 20)
    assert type(optimizer) is optimizer_class
    assert all((group["betas"], group["eps"]) == ((0.9, 0.98), 1e-6) for group in optimizer.param_groups)
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert {step: rates[step] for step in factors} == pytest.approx(factors, abs=1e-5)


def test_refuses_an_unknown_recipe():
    with pytest.raises(ValueError, match="Unknown recipe 'papper'. Choose from: paper, modern."):
        get_recipe("papper")


def test_refuses_a_frozen_model():
    with pytest.raises(ValueError, match="The CLIPModel has no trainable parameter."):
        get_recipe("paper").create_optimizer(tiny_clip().requires_grad_(False))
