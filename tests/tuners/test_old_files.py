"""Adapters that version 0.1.0 saved give today what they gave then."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import mv_peft
from tests.models import batch, tiny_clip

FOLDER = Path(__file__).parent / "v0_1_0"
ADAPTERS = sorted(folder.name for folder in FOLDER.iterdir() if folder.is_dir())


def clip_of_then():
    clip = tiny_clip(seed=5)
    clip.load_state_dict(load_file(FOLDER / "clip.safetensors"))
    return clip


def assert_as_then(model, name):
    """To the bit on the machine that recorded them; other kernels may round the last bits otherwise."""
    with torch.no_grad():
        out = model(**batch())
        plain = mv_peft.enable_video(clip_of_then())(**batch())
    recorded = load_file(FOLDER / name / "outputs.safetensors")
    torch.testing.assert_close(out.text_embeds, recorded["text_embeds"], rtol=0, atol=1e-6)
    torch.testing.assert_close(out.image_embeds, recorded["video_embeds"], rtol=0, atol=1e-6)
    assert (plain.image_embeds - recorded["video_embeds"]).abs().max() > 1e-3


def test_every_method_of_ours_is_there():
    assert {"mv_adapter", "lora+head", "head", "mv_adapter+head", "st_adapter", "prompts", "full"} <= set(ADAPTERS)


@pytest.mark.parametrize("name", ADAPTERS)
def test_peft_loads_them(name):
    model = PeftModel.from_pretrained(clip_of_then(), FOLDER / name).eval()
    assert_as_then(mv_peft.enable_video(model), name)


@pytest.mark.parametrize("name", ADAPTERS)
def test_load_loads_them(name):
    assert_as_then(mv_peft.load(FOLDER / name, base_model=clip_of_then()).model.eval(), name)
