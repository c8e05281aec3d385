"""MV-Adapter as a citizen of PEFT: names, files, several adapters, dtypes, unloading."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, inject_adapter_in_model
from peft.utils import PeftType
from safetensors.torch import load_file
from transformers import CLIPModel

from mv_peft import MVAdapterConfig, MVAdapterModel
from tests.models import adapter_config, batch, needs_transformers_5_6, tiny_clip


def adapted(**overrides):
    return get_peft_model(tiny_clip(), adapter_config(**overrides)).eval()


def logits(model, **inputs):
    with torch.no_grad():
        return model(**(inputs or batch())).logits_per_text


def assert_equal(left, right):
    assert left.keys() == right.keys()
    assert left
    assert all(torch.equal(left[key], right[key]) for key in left)


def two_adapters(**overrides):
    """Adapters of different size, depth and tying side by side: "default" and "other"."""
    other = {
        "bottleneck_dim": 6,
        "num_heads": 3,
        "max_frames": 5,
        "max_text_tokens": 8,
        "layers_to_transform": {"vision": [0, 2], "text": [1]},
        "tying_layers": [[2, 1]],
        "tying_position": "up_out",
        "factor_dim": 7,
    }
    model = adapted()
    model.add_adapter("other", adapter_config(**{**other, **overrides}))
    return model.eval()


def test_registration():
    assert PeftType("MV_ADAPTER") is PeftType.MV_ADAPTER
    assert MVAdapterConfig().peft_type is PeftType.MV_ADAPTER
    assert MVAdapterModel.prefix == "mv_adapter_"
    assert pickle.loads(pickle.dumps(PeftType.MV_ADAPTER)) is PeftType.MV_ADAPTER


def test_identity_at_initialisation_to_the_bit():
    from mv_peft import enable_video

    inputs = batch()
    clip = enable_video(tiny_clip())
    expected = logits(clip, **inputs)
    model = get_peft_model(tiny_clip(), adapter_config(init_weights=True)).eval()
    assert torch.equal(logits(model, **inputs), expected)
    images = {**inputs, "pixel_values": inputs["pixel_values"][:, 0]}
    del images["frame_mask"]
    assert torch.equal(logits(model, **images), logits(tiny_clip(), **images))
    changed = adapted()
    assert (logits(changed, **inputs) - expected).abs().max() > 0.01
    with changed.disable_adapter():
        assert torch.equal(logits(changed, **inputs), expected)


def test_only_the_adapter_is_trainable():
    model = adapted()
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all(".mv_adapter_" in name for name in trainable)
    model(**batch(), return_loss=True).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_saved_and_loaded_to_the_bit(tmp_path):
    model = two_adapters(modules_to_save=["text_projection"])
    for name in ("default", "other"):
        model.set_adapter(name)
        expected = logits(model)
        model.save_pretrained(tmp_path, selected_adapters=[name])
        folder = tmp_path if name == "default" else tmp_path / name
        weights = load_file(folder / "adapter_model.safetensors")
        assert sum("mv_adapter_factors" in key for key in weights) == 1
        saved_module = ["base_model.model.text_projection.weight"] if name == "other" else []
        assert [key for key in weights if ".mv_adapter_" not in key] == saved_module
        assert not any(name in key.split(".") for key in weights)
        for low_cpu_mem_usage in (False, True):
            loaded = PeftModel.from_pretrained(
                tiny_clip(), folder, adapter_name="renamed", low_cpu_mem_usage=low_cpu_mem_usage
            )
            assert_equal(get_peft_model_state_dict(loaded, adapter_name="renamed"), weights)
            # Memory that safetensors maps may be aligned otherwise, where kernels round otherwise.
            torch.testing.assert_close(logits(loaded.eval()), expected, rtol=0, atol=1e-5)


def test_loading_reports_nothing_missing_or_left_over(tmp_path):
    adapted().save_pretrained(tmp_path)
    model = adapted()
    result = model.load_adapter(tmp_path, "second")
    assert not [key for key in result.missing_keys if "second" in key]
    assert not result.unexpected_keys
    assert json.loads((tmp_path / "adapter_config.json").read_text())["peft_type"] == "MV_ADAPTER"
    assert isinstance(PeftConfig.from_pretrained(tmp_path), MVAdapterConfig)


def test_saved_config_is_the_same_every_time(tmp_path):
    texts = set()
    for seed in ("1", "2"):
        code = (
            "from peft import get_peft_model; from tests.models import *;"
            "get_peft_model(tiny_clip(), adapter_config(exclude_modules={'a.b', 'c', 'd', 'e'}))"
            f".save_pretrained({str(tmp_path)!r})"
        )
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-W", "ignore", "-c", code], env=environment, check=True)
        texts.add((tmp_path / "adapter_config.json").read_text())
    assert len(texts) == 1


def test_add_set_delete():
    model, inputs = two_adapters(), batch(tokens=7)
    first = logits(model, **inputs)
    model.set_adapter("other")
    second = logits(model, **inputs)
    assert (first - second).abs().max() > 0.01
    assert all(("other" in name) == p.requires_grad for name, p in model.named_parameters() if ".mv_adapter_" in name)
    model.set_adapter("default")
    assert torch.equal(logits(model, **inputs), first)
    with pytest.warns(UserWarning, match="default was active"):
        model.delete_adapter("default")
    assert torch.equal(logits(model, **inputs), second)
    assert model.active_adapters == ["other"]
    assert not any(".default" in name for name, _ in model.named_parameters())


def test_adapters_at_once_add_up():
    """Two active adapters both add to the same MLP output: a layer's output moves by the sum of both moves."""
    model = two_adapters()
    layer = model.vision_model.encoder.layers[0].mlp.fc2
    hidden = torch.randn(4, 5, layer.in_features)
    with torch.no_grad():
        base = layer.base_layer(hidden)
        moves = []
        for active in ("default", "other", ["default", "other"]):
            layer.set_adapter(active)
            moves.append(layer(hidden) - base)
    torch.testing.assert_close(moves[2], moves[0] + moves[1], rtol=1e-4, atol=1e-5)
    assert all(move.abs().max() > 0.01 for move in moves)


def test_status():
    model = two_adapters()
    status = model.get_model_status()
    assert status.enabled is True
    assert status.active_adapters == ["default"]
    assert status.available_adapters == ["default", "other"]
    assert status.merged_adapters == []
    assert status.num_adapter_layers == 6  # five layers and the shared factors
    assert {layer.name for layer in model.get_layer_status()} >= {"model.cross_modality_tying"}
    with model.disable_adapter():
        assert model.get_model_status().enabled is False


@pytest.mark.parametrize("call", ["merge_adapter", "merge_and_unload"])
def test_merging_is_refused_with_a_reason(call):
    model, inputs = adapted(), batch()
    expected = logits(model, **inputs)
    with pytest.raises(ValueError, match="not linear and cannot be merged into the model"):
        getattr(model, call)()
    for method in ("merge", "unmerge"):
        with pytest.raises(ValueError, match="not linear"):
            getattr(model.vision_model.encoder.layers[0].mlp.fc2, method)()
    assert torch.equal(logits(model, **inputs), expected)


def test_unload_gives_the_original_back():
    clip = tiny_clip()
    before = dict(clip.named_modules())
    state = copy.deepcopy(clip.state_dict())
    model = get_peft_model(clip, adapter_config(modules_to_save=["text_projection"]))
    with torch.no_grad():
        model.text_projection.modules_to_save["default"].weight.zero_()
    unloaded = model.unload()
    assert unloaded is clip
    assert dict(unloaded.named_modules()) == before
    assert unloaded.state_dict().keys() == state.keys()
    assert all(torch.equal(unloaded.state_dict()[key], state[key]) for key in state)
    get_peft_model(unloaded, adapter_config(), adapter_name="again")


def test_mixed_batch_equals_each_adapter_alone():
    model, inputs = two_adapters(), batch(videos=5, tokens=7)
    names = ["other", "__base__", "default", "other", "default"]
    with torch.no_grad():
        mixed = model(**inputs, adapter_names=names)
        direct = model.get_image_features(
            inputs["pixel_values"], frame_mask=inputs["frame_mask"], adapter_names=names
        ).pooler_output
    for row, name in enumerate(names):
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        with torch.no_grad():
            if name == "__base__":
                with model.disable_adapter():
                    alone = model(**one)
            else:
                model.set_adapter(name)
                alone = model(**one)
        torch.testing.assert_close(mixed.image_embeds[row], alone.image_embeds[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(mixed.text_embeds[row], alone.text_embeds[0], rtol=0, atol=1e-5)
    norm = direct.norm(dim=-1, keepdim=True)
    torch.testing.assert_close(direct / norm, mixed.image_embeds)
    assert (mixed.image_embeds[0] - mixed.image_embeds[2]).abs().max() > 0.01


def test_mixed_batches_in_threads_with_modules_to_save():
    model, inputs = two_adapters(modules_to_save=["text_projection"]), batch(videos=3)
    with torch.no_grad():
        model.text_projection.modules_to_save["other"].weight.mul_(torch.linspace(0.2, 2, 16))
    routes = [["other"] * 3, ["default"] * 3, ["__base__", "other", "default"]]

    def ask(names):
        with torch.no_grad():
            return model(**inputs, adapter_names=names).logits_per_text

    expected = [ask(names) for names in routes]
    with ThreadPoolExecutor(3) as pool:
        for got, wanted in zip(pool.map(ask, routes * 10), expected * 10, strict=True):
            assert torch.equal(got, wanted)
    assert (expected[0] - expected[1]).abs().max() > 0.01
    with pytest.raises(ValueError, match="through the PeftModel only"):
        model.get_image_features(inputs["pixel_values"], adapter_names=routes[0])
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    with pytest.raises(ValueError, match="cannot be trained under gradient checkpointing"):
        model(**inputs, adapter_names=routes[0])


def test_an_mlp_called_by_hand_knows_no_batch():
    """What a forward of layers without adapters leaves behind must not reach it."""
    model = adapted(layers_to_transform={"vision": [0], "text": []}, tying_layers=[])
    layer = model.vision_model.encoder.layers[0].mlp.fc2
    hidden = torch.randn(15, 5, layer.in_features)
    with torch.no_grad():
        expected = layer(hidden)
        logits(model)
        assert torch.equal(layer(hidden), expected)


@pytest.mark.parametrize("saved", ["mlp.fc1", "layers.0.self_attn", "embeddings"])
def test_modules_to_save_inside_the_towers(tmp_path, saved):
    model = adapted(modules_to_save=[saved])
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_clip(), tmp_path).eval()
    torch.testing.assert_close(logits(loaded), logits(model), rtol=0, atol=1e-5)
    assert model.unload().state_dict().keys() == tiny_clip().state_dict().keys()


@pytest.mark.parametrize("saved", ["text_projection", "visual_projection", "patch_embedding"])
def test_mixed_batch_with_modules_to_save(saved):
    model, inputs = adapted(), batch(videos=3)
    model.add_adapter("other", adapter_config(modules_to_save=[saved]))
    wrapper = next(module for name, module in model.named_modules() if name.endswith(f".{saved}"))
    with torch.no_grad():
        weight = wrapper.modules_to_save["other"].weight
        weight.mul_(torch.linspace(0.2, 2, weight.shape[-1]))
        mixed = model.eval()(**inputs, adapter_names=["other", "default", "__base__"])
        plain = model(**inputs)
        model.set_adapter("other")
        other = model(**inputs)
    torch.testing.assert_close(mixed.image_embeds[0], other.image_embeds[0])
    torch.testing.assert_close(mixed.text_embeds[0], other.text_embeds[0])
    torch.testing.assert_close(mixed.image_embeds[1], plain.image_embeds[1])
    torch.testing.assert_close(mixed.text_embeds[1], plain.text_embeds[1])


def test_mixed_batch_trains_through_checkpointing():
    gradients = []
    for checkpointing in (False, True):
        model, names = two_adapters().train(), ["other", "default", "__base__"]
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(**batch(), adapter_names=names, return_loss=True).loss.backward()
        gradients.append([p.grad for p in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert (plain is None) == (checkpointed is None)
        if plain is not None:
            torch.testing.assert_close(plain, checkpointed)
    assert sum(gradient is not None for gradient in gradients[0]) > 100


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["default", "typo", "default"], r"unknown adapters \['typo'\].*__base__, default"),
        (["default"], "one name for each of the 3 videos, got 1"),
    ],
)
def test_mixed_batch_errors(names, message):
    model = adapted()
    with pytest.raises(ValueError, match=message):
        model(**batch(), adapter_names=names)
    logits(model)  # the failed call leaves nothing behind


TAKEN_NAMES = [
    "up",
    "block",
    "mlp",
    "vision_model",
    "0",
    "positions",
    "mv_adapter_block",
    "model",
    "__base__",
    "keys",
    "a.b",
]


@pytest.mark.parametrize("name", TAKEN_NAMES)
def test_names_that_would_lose_weights_are_refused(name):
    with pytest.raises(ValueError, match=f"name.*'{name}'"):
        get_peft_model(tiny_clip(), adapter_config(), adapter_name=name)
    model = adapted()
    with pytest.raises(ValueError, match=f"name.*'{name}'"):
        model.add_adapter(name, adapter_config())
    assert list(model.peft_config) == ["default"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"layers_to_transform": 9}, r"vision layers \[9\].*layers 0 to 2"),
        ({"layers_to_transform": {"vision": None, "text": [0, 2]}, "tying_layers": 0}, r"text layers \[2\].*0 to 1"),
        ({"tying_layers": 3}, "`tying_layers` = 3 exceeds the model's 3 vision and 2 text layers"),
        ({"tying_layers": [[5, 0]]}, r"vision layers \[5\] without an adapter"),
        ({"layers_to_transform": 0, "tying_layers": [[2, 0]]}, r"vision layers \[2\] without an adapter"),
        ({"target_modules": ["q_proj"]}, "sits on `mlp.fc2`.*self_attn.q_proj"),
        ({"target_modules": "all-linear"}, "sits on `mlp.fc2`"),
        ({"modules_to_save": ["logit_scale"]}, "'logit_scale', which is a parameter"),
        ({"modules_to_save": ["head"]}, "'head', which is no module"),
        ({"modules_to_save": ["fc1"]}, "'fc1', which is also a part of the adapters. Name more of it, as"),
        ({"modules_to_save": ["vision_model"]}, "'vision_model', which holds the adapted 'vision_model.*fc2'"),
        ({"exclude_modules": "text_model.*", "tying_layers": [[0, 0]]}, r"text layers \[0\] without an adapter"),
        ({"target_modules": r".*layers\.0\..*fc2", "tying_layers": [[1, 0]]}, r"vision layers \[1\] without"),
    ],
)
def test_configs_that_do_not_fit_leave_the_model_alone(overrides, message):
    clip = tiny_clip()
    modules = [name for name, _ in clip.named_modules()]
    with pytest.raises(ValueError, match=message):
        get_peft_model(clip, adapter_config(**overrides))
    assert [name for name, _ in clip.named_modules()] == modules


def test_targets_narrow_the_layers():
    model = adapted(target_modules=r".*text_model.*fc2", tying_layers=[])
    assert model.base_model.targeted_module_names == [f"text_model.encoder.layers.{i}.mlp.fc2" for i in (0, 1)]
    model = adapted(exclude_modules=["layers.0.mlp.fc2"], tying_layers=[])
    assert len(model.base_model.targeted_module_names) == 3
    model = adapted(layers_to_transform=[1], tying_layers=[[1, 1]])
    adapted_layers = [f"{tower}_model.encoder.layers.1.mlp.fc2" for tower in ("text", "vision")]
    assert sorted(model.base_model.targeted_module_names) == adapted_layers


def test_modules_to_save_are_trained_and_saved(tmp_path):
    model = adapted(modules_to_save=["visual_projection"])
    assert model.visual_projection.modules_to_save["default"].weight.requires_grad
    with torch.no_grad():
        model.visual_projection.modules_to_save["default"].weight.mul_(torch.linspace(0.1, 2, 24))
    expected = logits(model)
    model.save_pretrained(tmp_path)
    assert torch.equal(logits(PeftModel.from_pretrained(tiny_clip(), tmp_path).eval()), expected)
    with model.disable_adapter():
        assert (logits(model) - expected).abs().max() > 0.01


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("autocast_adapter_dtype", [True, False])
def test_half_precision_bases(dtype, autocast_adapter_dtype):
    clip = tiny_clip().to(dtype)
    model = get_peft_model(clip, adapter_config(scaling=0.1), autocast_adapter_dtype=autocast_adapter_dtype).eval()
    expected_dtype = torch.float32 if autocast_adapter_dtype else dtype
    assert {p.dtype for n, p in model.named_parameters() if ".mv_adapter_" in n} == {expected_dtype}
    inputs = batch()
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    out = model(**inputs, return_loss=True)
    assert out.image_embeds.dtype == dtype
    out.loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
    assert (out.logits_per_text - logits(adapted(scaling=0.1))).abs().max() < 0.3


def test_half_precision_adapter_loads_as_it_was(tmp_path):
    model = adapted().half()
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_clip().half(), tmp_path, autocast_adapter_dtype=False)
    assert_equal(get_peft_model_state_dict(loaded), get_peft_model_state_dict(model))


def without_prefix(state_dict):
    return {key.removeprefix("base_model.model."): value for key, value in state_dict.items()}


@needs_transformers_5_6
def test_native_loading_by_transformers(tmp_path):
    model, inputs = adapted(), batch()
    expected = logits(model, **inputs)
    tiny_clip().save_pretrained(tmp_path / "base")
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    clip = tiny_clip()
    clip.load_adapter(str(tmp_path / "adapter"))
    assert_equal(get_peft_model_state_dict(clip), without_prefix(get_peft_model_state_dict(model)))
    torch.testing.assert_close(logits(clip.eval(), **inputs), expected, rtol=0, atol=1e-5)
    clip.disable_adapters()
    assert (logits(clip, **inputs) - expected).abs().max() > 0.01
    clip.enable_adapters()
    clip.load_adapter(str(tmp_path / "adapter"), adapter_name="second")
    clip.set_adapter("second")
    torch.testing.assert_close(logits(clip, **inputs), expected, rtol=0, atol=1e-5)
    clip.delete_adapter("default")
    torch.testing.assert_close(logits(clip, **inputs), expected, rtol=0, atol=1e-5)
    whole = CLIPModel.from_pretrained(tmp_path / "adapter").eval()
    torch.testing.assert_close(logits(whole, **inputs), expected, rtol=0, atol=1e-5)


def test_injection_without_a_peft_model():
    clip = inject_adapter_in_model(adapter_config(), tiny_clip()).eval()
    assert (logits(clip) - logits(adapted())).isfinite().all()
    assert (logits(clip)).shape == (3, 3)


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_fresh_process(tmp_path, low_cpu_mem_usage):
    model, inputs = adapted(), batch()
    tiny_clip().save_pretrained(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapter")
    torch.save(model, tmp_path / "model.pt")
    torch.save(inputs, tmp_path / "inputs.pt")
    code = f"""
import pickle, sys, torch
inputs = torch.load({str(tmp_path / "inputs.pt")!r})
pickled = torch.load({str(tmp_path / "model.pt")!r}, weights_only=False).eval()
assert "mv_peft" in sys.modules
from peft import PeftModel
from transformers import CLIPModel
base = CLIPModel.from_pretrained({str(tmp_path / "base")!r})
model = PeftModel.from_pretrained(base, {str(tmp_path / "adapter")!r}, low_cpu_mem_usage={low_cpu_mem_usage}).eval()
with torch.no_grad():
    results = [m(**inputs).logits_per_text for m in (pickled, model)]
torch.save(results, {str(tmp_path / "results.pt")!r})
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)
    for result in torch.load(tmp_path / "results.pt"):
        torch.testing.assert_close(result, logits(model, **inputs), rtol=0, atol=1e-5)
