"""Parameter counts and file sizes at the published sizes of CLIP, without their weights."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import CLIPConfig, CLIPModel

from mv_peft import MVAdapterConfig

# vision (width, layers, heads, MLP, patch, image), text (width, layers, heads, MLP)
SIZES = {
    "B/32": ((768, 12, 12, 3072, 32, 224), (512, 12, 8, 2048)),
    "B/16": ((768, 12, 12, 3072, 16, 224), (512, 12, 8, 2048)),
    "L/14": ((1024, 24, 16, 4096, 14, 224), (768, 12, 12, 3072)),
    "L/14-336": ((1024, 24, 16, 4096, 14, 336), (768, 12, 12, 3072)),
    "H/14": ((1280, 32, 16, 5120, 14, 224), (1024, 24, 16, 4096)),
    "bigG": ((1664, 48, 16, 8192, 14, 224), (1280, 32, 20, 5120)),
}


def skeleton(size: str) -> CLIPModel:
    """CLIP at a published size, on the meta device."""
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
    vision, text = SIZES[size]
    config = CLIPConfig(
        vision_config=dict(zip((*names, "patch_size", "image_size"), vision, strict=True)),
        text_config=dict(zip(names, text, strict=True)),
    )
    with torch.device("meta"):
        return CLIPModel(config)


def count(config: MVAdapterConfig, size: str = "B/16") -> int:
    model = get_peft_model(skeleton(size), config, low_cpu_mem_usage=True)
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("preset", "overrides", "parameters"),
    [
        ("msrvtt", {}, 3_401_728),
        ("msrvtt", {"tying_position": "down_out"}, 3_325_696),  # as in the authors' program
        ("msvd", {}, 3_401_728),
        ("lsmdc", {}, 3_444_000),
        ("didemo", {}, 3_380_992),
        ("activitynet", {}, 3_445_472),
    ],
)
def test_published_parameter_counts(preset, overrides, parameters):
    assert sum(p.numel() for p in skeleton("B/16").parameters()) == 149_620_737
    assert count(MVAdapterConfig.from_preset(preset, **overrides)) == parameters


def test_default_is_the_paper():
    assert count(MVAdapterConfig()) == 3_401_728


@pytest.mark.parametrize("size", SIZES)
def test_every_published_size(size):
    model = get_peft_model(skeleton(size), MVAdapterConfig(tying_layers=3), low_cpu_mem_usage=True)
    (_, vision_layers, *_), (_, text_layers, *_) = SIZES[size]
    assert len(model.base_model.targeted_module_names) == vision_layers + text_layers
    tied = [name for name, module in model.named_modules() if name.endswith("default.tying")]
    assert len(tied) == 6
    for tower, layers in (("vision", vision_layers), ("text", text_layers)):
        for pair, index in enumerate(range(layers - 3, layers)):
            tower_model = getattr(model, f"{tower}_model")
            assert tower_model.encoder.layers[index].mlp.fc2.mv_adapter_block["default"].tying.pair_index == pair


def test_file_sizes(tmp_path):
    model = get_peft_model(CLIPModel(skeleton("B/16").config), MVAdapterConfig())
    model.save_pretrained(tmp_path / "single")
    model.half().save_pretrained(tmp_path / "half")
    assert 13_000_000 < (tmp_path / "single" / "adapter_model.safetensors").stat().st_size < 14_000_000
    assert 6_500_000 < (tmp_path / "half" / "adapter_model.safetensors").stat().st_size < 7_000_000
