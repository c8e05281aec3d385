"""Five training steps of the authors' program on a tiny CLIP, whose biases train too, with the recipe "paper"."""

from __future__ import annotations

import json

import pytest
import torch
from peft import get_peft_model
from safetensors.torch import load_file
from torch import nn

from mv_peft import load_official_checkpoint, official_state_dict
from mv_peft.training import cached_step, get_recipe, pair_loss
from tests.training.steps import plain_step
from tests.tuners.mv_adapter.test_golden import GOLDEN, config_from_official, load_backbone

FOLDER = GOLDEN / "_train_trajectory"
META = json.loads((FOLDER / "meta.json").read_text())
RENAMED = {
    "clip.visual.": "vision_model.",
    "clip.": "text_model.",
    "transformer.resblocks.": "encoder.layers.",
    ".attn.ln.": ".layer_norm1.",
    ".mlp.ln.": ".layer_norm2.",
    ".attn.": ".self_attn.",
    ".c_fc.": ".fc1.",
    ".c_proj.": ".fc2.base_layer.",
    "ln_final.": "final_layer_norm.",
    "ln_pre.": "pre_layrnorm.",
    "ln_post.": "post_layernorm.",
}


def bias_of_clip(clip, name):
    """A bias of CLIP by its name in the authors' program."""
    for theirs, ours in RENAMED.items():
        name = name.replace(theirs, ours)
    return clip.get_parameter(name)


def batches():
    recorded = load_file(FOLDER / "batches.safetensors")
    names = ("input_ids", "pixel_values", "frame_mask")  # the recordings have no attention mask
    return [{name: recorded[f"{step}.{name}"] for name in names} for step in range(META["steps"])]


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_five_steps(chunk_size):
    start, end = (load_file(FOLDER / f"trainable_{when}_official.safetensors") for when in ("init", "final"))
    config = config_from_official({**META, "adapter_scale": {"video": 0.1, "text": 0.1}})
    model = get_peft_model(load_backbone(META["backbone"]), config)
    report = load_official_checkpoint(model, start)
    biases = {name: bias_of_clip(model.get_base_model(), name) for name in report.backbone}
    for name, bias in biases.items():
        bias.data.copy_(start[name])
        bias.requires_grad_()
    assert (len(report.used), len(biases)) == (186, 67)

    recipe = get_recipe("paper", learning_rate=5e-3, clip_learning_rate=1e-3)
    optimizer = recipe.create_optimizer(model)
    schedule = recipe.create_schedule(optimizer, META["total_step"])
    for step, inputs in enumerate(batches()):
        if chunk_size is None:
            loss = plain_step(model, inputs)
        else:
            loss = cached_step(model, inputs, pair_loss(model), chunk_size=chunk_size)
        assert float(loss) == pytest.approx(META["losses"][step], abs=1e-5)
        norm = nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
        assert float(norm) == pytest.approx(META["global_grad_norm_before_clip"][step], rel=1e-5)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()

    got = official_state_dict(model) | biases
    assert got.keys() == end.keys()
    for name, expected in end.items():
        # The gradient of a key's bias is zero in theory: what Adam makes of it is noise.
        tolerance = 5e-5 if ".k_proj.bias" in name else 2e-6
        assert (expected - start[name]).abs().max() > 2 * tolerance, name
        torch.testing.assert_close(got[name].detach(), expected, rtol=0, atol=tolerance, msg=name)
