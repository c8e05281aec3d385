"""A fresh adapter has the authors' distributions, every tensor of it."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model

from mv_peft import official_state_dict
from tests.models import adapter_config, tiny_clip

WIDTH = {"visual.": 192, "": 128}  # of the towers, by their prefix; far from the bottleneck's, and from each other
DIM, FACTOR_DIM, CALIBRATION_DIM = 64, 32, 16


def zero():
    return ("constant", 0.0)


def one():
    return ("constant", 1.0)


def normal(std):
    return ("normal", std)


def uniform(bound):
    return ("uniform", bound)


def expected(tower):
    """What METHOD says, in the authors' names; D is the tower's width wherever it says so."""
    width = WIDTH[tower]
    norms = {f"{name}.{leaf}": start() for name in NORMS for leaf, start in (("weight", one), ("bias", zero))}
    projected = uniform(FACTOR_DIM**-0.5)
    both = norms | {
        "positional_embedding": normal(0.01),
        "down.weight": uniform(width**-0.5) if tower else normal((2 * width) ** -0.5),
        "down.bias": zero(),
        "up.weight": zero(),
        "up.bias": zero(),
        "block.attn.in_proj_weight": normal(width**-0.5),
        "block.attn.in_proj_bias": zero(),
        "block.attn.out_proj.weight": normal((2 * width) ** -0.5),
        "block.attn.out_proj.bias": zero(),
        "block.mlp.c_fc.weight": normal((2 * width) ** -0.5),
        "block.mlp.c_fc.bias": uniform(DIM**-0.5),
        "block.mlp.c_proj.weight": normal((2 * width) ** -0.5),
        "block.mlp.c_proj.bias": uniform((4 * DIM) ** -0.5),
        "md_proj.weight": projected,
        "md_proj.bias": projected,
    }
    video = {
        "cc": normal(DIM**-0.5),
        "conv_rf_c.g.weight": uniform(DIM**-0.5),
        "conv_rf_c.g.bias": uniform(DIM**-0.5),
        "conv_rf_c.a.weight": uniform((2 * DIM) ** -0.5),
        "conv_rf_c.a.bias": uniform((2 * DIM) ** -0.5),
        "conv_rf_c.b.weight": zero(),
    }
    return both | video if tower else both


NORMS = ("ln_in", "ln_pre", "block.ln_1", "block.ln_2")


def fresh(seed=0, **overrides):
    clip = tiny_clip(vision_layers=1, text_layers=1, vision_dim=WIDTH["visual."], text_dim=WIDTH[""])
    settings = {
        "bottleneck_dim": DIM,
        "num_heads": 2,
        "factor_dim": FACTOR_DIM,
        "calibration_dim": CALIBRATION_DIM,
        "tying_layers": 1,
        "pre_norm": True,
        "max_frames": 12,
        "max_text_tokens": 32,
        "init_weights": True,
    }
    torch.manual_seed(seed)
    return official_state_dict(get_peft_model(clip, adapter_config(**{**settings, **overrides})))


def check(values, kind, size, name):
    """Within five standard errors of the deviation; of a uniform one also within its bounds, and up to them."""
    if kind == "constant":
        assert (values == size).all(), name
        return
    std = size if kind == "normal" else size / 3**0.5
    kurtosis = 3 if kind == "normal" else 1.8
    tolerance = 5 * ((kurtosis - 1) / 4 / values.numel()) ** 0.5
    assert abs(values.square().mean().sqrt() / std - 1) < tolerance, name
    assert abs(values.mean()) < 5 * std / values.numel() ** 0.5, name
    if kind == "uniform":
        assert values.abs().max() <= size, name
        assert values.abs().max() > size * (1 - 8 / values.numel()), name
    elif values.numel() > 1_000:
        assert values.abs().max() > 2.5 * std, name


@pytest.mark.parametrize("tower", WIDTH)
def test_every_tensor_starts_as_the_authors_do(tower):
    prefix = f"clip.{tower}transformer.resblocks.0.mlp.adapter."
    runs = [fresh(seed, tying_init="paper") for seed in range(4)]  # small tensors say little alone
    starts = expected(tower)
    assert {name for name in runs[0] if name.startswith(prefix)} == {prefix + name for name in starts}
    for name, (kind, size) in starts.items():
        check(torch.cat([run[prefix + name].flatten() for run in runs]), kind, size, prefix + name)
    assert (runs[0]["clip.prompt.0"] == 0).all()


def test_the_options_of_the_start():
    identity, paper, wide = fresh(), fresh(tying_init="paper"), fresh(position_init_std=0.5)
    for tower in WIDTH:
        prefix = f"clip.{tower}transformer.resblocks.0.mlp.adapter."
        assert (identity[f"{prefix}md_proj.bias"] == 1).all()
        check(identity[f"{prefix}md_proj.weight"].flatten(), "uniform", FACTOR_DIM**-0.5, "weight")
        assert (paper[f"{prefix}md_proj.bias"] != 1).all()
        check(wide[f"{prefix}positional_embedding"].flatten(), "normal", 0.5, "positions")
