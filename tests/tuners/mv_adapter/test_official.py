"""Checkpoints of the authors' program: to the bit in and out, everything accounted for, nothing executed."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch import Tensor

from mv_peft import MVAdapterConfig, load_official_checkpoint, official_state_dict
from mv_peft.errors import CheckpointError
from mv_peft.tuners.mv_adapter.conversion import adapter_from_official
from mv_peft.tuners.mv_adapter.presets import PRESETS
from tests.families import tiny_config, tiny_model
from tests.models import adapter_config, batch, tiny_clip

VISION = "clip.visual.transformer.resblocks.{}.mlp.adapter."
TEXT = "clip.transformer.resblocks.{}.mlp.adapter."
PRE_NORM = TEXT.format(0) + "ln_in.weight"


def fresh(**overrides: object) -> PeftModel:
    """An adapter of other values than `checkpoint`'s: vision layers 1 and 2 are tied with text layers 0 and 1."""
    torch.manual_seed(7)
    return get_peft_model(tiny_clip(), adapter_config(**overrides))


def checkpoint(seed: int = 3, **overrides: object) -> dict[str, Tensor]:
    """An official state dict of random values."""
    generator = torch.Generator().manual_seed(seed)
    state = official_state_dict(fresh(**overrides))
    return {key: torch.randn(value.shape, generator=generator) for key, value in state.items()}


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in theirs)


def repeated_factors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The copies of the shared factors that the program's state dict has in the tied layers."""
    tied = {VISION.format(1): 0, VISION.format(2): 1, TEXT.format(0): 0, TEXT.format(1): 1}
    return {f"{prefix}shared_factor": state[f"clip.prompt.{j}"].clone() for prefix, j in tied.items()}


def assert_refused(model: PeftModel, source: object, match: str) -> None:
    """The checkpoint is an error, and nothing of it was copied."""
    before = official_state_dict(model)
    with pytest.raises(CheckpointError, match=match):
        load_official_checkpoint(model, source)
    assert same(official_state_dict(model), before)


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"pre_norm": True},
        {"calibration": False},
        {"temporal_adaptation": False},
        {"tying_layers": 0},
        {"tying_layers": [[2, 0]], "tying_position": "up_out"},
        {"layers_to_transform": {"vision": [2], "text": [1]}, "tying_layers": 1},
    ],
    ids=str,
)
def test_round_trip_to_the_bit(overrides):
    model, state = fresh(**overrides), checkpoint(**overrides)
    assert not any(torch.equal(value, state[key]) for key, value in official_state_dict(model).items())
    report = load_official_checkpoint(model, state)
    assert same(official_state_dict(model), state)
    assert set(report.used) == set(state)
    assert report.repeated == report.without_effect == report.backbone == ()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset):
    clip = tiny_clip(vision_layers=3, text_layers=3)
    model = get_peft_model(clip, MVAdapterConfig.from_preset(preset))
    assert (
        len([key for key in official_state_dict(model) if key.startswith("clip.prompt.")])
        == (PRESETS[preset]["tying_layers"])
    )
    state = {key: torch.randn_like(value) for key, value in official_state_dict(model).items()}
    load_official_checkpoint(model, state)
    assert same(official_state_dict(model), state)
    assert (TEXT.format(0) + "ln_in.weight" in state) == (preset == "activitynet")


def test_the_values_reach_the_embeddings():
    model, inputs = fresh(), batch()
    before = model(**inputs).logits_per_text
    load_official_checkpoint(model, checkpoint())
    after = model(**inputs).logits_per_text
    assert not torch.allclose(before, after, atol=1e-2)
    other = fresh()
    load_official_checkpoint(other, official_state_dict(model))
    assert torch.equal(other(**inputs).logits_per_text, after)


def test_the_exported_tensors_are_copies():
    model = fresh()
    state = official_state_dict(model)
    before = {key: value.clone() for key, value in state.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert same(state, before)
    assert not any(value.requires_grad for value in state.values())
    assert not same(official_state_dict(model), before)


def test_what_has_no_place_is_reported():
    state = checkpoint()
    extras = {
        "repeated": repeated_factors(state),
        "without_effect": {
            VISION.format(0) + "ratio_p": torch.tensor(0.5),
            TEXT.format(1) + "ratio_p": torch.tensor(0.5),
            VISION.format(0) + "md_proj.weight": torch.randn(24, 5),
            VISION.format(0) + "md_proj.bias": torch.randn(24),
        },
        "backbone": {
            "clip.logit_scale": torch.tensor(4.6),
            "clip.visual.conv1.weight": torch.randn(24, 3, 4, 4),
            "clip.visual.transformer.resblocks.0.attn.in_proj_weight": torch.randn(72, 24),
            "clip.transformer.resblocks.0.mlp.c_fc.bias": torch.randn(32),
        },
    }
    model = fresh()
    report = load_official_checkpoint(model, state | extras["repeated"] | extras["without_effect"] | extras["backbone"])
    assert same(official_state_dict(model), state)
    assert set(report.used) == set(state)
    for what, tensors in extras.items():
        assert set(getattr(report, what)) == set(tensors)
    assert str(report) == (
        f"{len(state)} tensors copied; passed over: 4 repetitions of shared factors, "
        "4 tensors without effect, 4 of CLIP itself"
    )


@pytest.mark.parametrize("form", ["safetensors", "pth", "bin", "wrapped", "ddp", "path as string"])
def test_forms_of_a_checkpoint(tmp_path, form):
    state, model = checkpoint(), fresh()
    path: str | Path = tmp_path / f"checkpoint.{form if form in ('safetensors', 'bin') else 'pth'}"
    if form == "safetensors":
        save_file(state, path)
    elif form == "wrapped":
        torch.save({"epoch": 3, "state_dict": OrderedDict(state), "optimizer": {"lr": 0.1}}, path)
    elif form == "ddp":
        torch.save(OrderedDict((f"module.{key}", value) for key, value in state.items()), path)
    else:
        torch.save(state, path)
    load_official_checkpoint(model, str(path) if form == "path as string" else path)
    assert same(official_state_dict(model), state)


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_mapping_wrapped_one_level_down(wrapper):
    state, model = checkpoint(), fresh()
    load_official_checkpoint(model, {"epoch": 3, wrapper: {f"module.{key}": value for key, value in state.items()}})
    assert same(official_state_dict(model), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_of_a_checkpoint(dtype):
    state, model = {key: value.to(dtype) for key, value in checkpoint().items()}, fresh()
    load_official_checkpoint(model, state | repeated_factors(state))
    exported = official_state_dict(model)
    assert all(value.dtype == torch.float32 for value in exported.values())
    assert same(exported, {key: value.float() for key, value in state.items()})


def test_an_adapter_in_bf16():
    clip = tiny_clip().to(torch.bfloat16)
    model = get_peft_model(clip, adapter_config(), autocast_adapter_dtype=False)
    state = checkpoint()
    load_official_checkpoint(model, state)
    exported = official_state_dict(model)
    assert all(value.dtype == torch.bfloat16 for value in exported.values())
    assert same(exported, {key: value.bfloat16() for key, value in state.items()})
    load_official_checkpoint(model, exported)
    assert same(official_state_dict(model), exported)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_an_adapter_over_two_devices():
    state, model = checkpoint(), fresh()
    model.base_model.model.vision_model.to("cuda")
    source = {key: value.to("cuda" if "prompt" in key else "cpu") for key, value in state.items()}
    load_official_checkpoint(model, source | repeated_factors(state))
    assert same(official_state_dict(model), state)


@pytest.mark.parametrize(
    "key", ["clip.prompt.1", VISION.format(2) + "cc", TEXT.format(0) + "block.attn.in_proj_weight"]
)
def test_a_missing_key(key):
    state = checkpoint()
    del state[key]
    assert_refused(fresh(), state, rf"1 missing \({key}\)")


@pytest.mark.parametrize(
    "key",
    [
        VISION.format(0) + "conv_rf_p.g.weight",
        VISION.format(3) + "down.weight",
        VISION.format(0) + "shared_factor",  # of a layer that this configuration does not tie
        TEXT.format(0) + "ln_in.weight",
        "clip.visual.adapter.down.weight",
        "clip.prompt.2",
        "cross.embeddings.weight",
    ],
)
def test_a_left_over_key(key):
    assert_refused(fresh(), checkpoint() | {key: torch.zeros(5)}, rf"1 left over \({key}\)")


def test_many_keys_make_a_short_message():
    assert_refused(fresh(pre_norm=True), checkpoint(), rf"10 missing \(.*{PRE_NORM}.* and 5 more\)")


@pytest.mark.parametrize(
    ("overrides", "match"),
    [
        ({"max_frames": 7}, r"3 tensors differ .*positional_embedding is \(13, 8\), not \(15, 8\)"),
        ({"max_text_tokens": 9}, r"positional_embedding is \(10, 4\), not \(9, 4\)"),
        ({"bottleneck_dim": {"vision": 8, "text": 6}}, r"down.weight is \(4, 16\), not \(6, 16\)"),
        ({"tying_position": "down_out"}, r"md_proj.weight is \(16, 5\), not \(4, 5\)"),
        ({"factor_dim": 4}, r"clip.prompt.0 is \(5,\), not \(4,\)"),
    ],
    ids=str,
)
def test_wrong_shapes(overrides, match):
    assert_refused(fresh(**overrides), checkpoint(), match)


def test_integers_are_not_weights():
    state = checkpoint()
    state[VISION.format(0) + "cc"] = torch.ones(8, dtype=torch.int8)
    assert_refused(fresh(), state, r"cc is \(8,\) of torch.int8, not \(8,\)")


def test_copies_of_a_factor_that_disagree():
    state = checkpoint()
    repeats = repeated_factors(state)
    repeats[TEXT.format(1) + "shared_factor"][0] += 1
    assert_refused(fresh(), state | repeats, rf"{TEXT.format(1)}shared_factor and clip.prompt.1 are one factor")


def test_pairs_in_another_order_are_noticed():
    state = checkpoint()
    other = fresh(tying_layers=[[2, 1], [1, 0]])
    assert_refused(other, state | repeated_factors(state), r"shared_factor and clip.prompt.\d are one factor")


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["torch.save", "pickle"])
def test_nothing_is_unpickled(tmp_path, form):
    path, trap = tmp_path / "evil.pth", tmp_path / "executed"
    content = checkpoint() | {"clip.extra": Malicious(trap)}
    if form == "torch.save":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    assert_refused(fresh(), path, r"Cannot read '.*evil.pth' as a checkpoint: it asks for the Python object \S+\. Only")
    assert not trap.exists()
    if form == "torch.save":  # the trap works where it is let loose
        torch.load(path, weights_only=False)
        assert trap.exists()


@pytest.mark.parametrize("name", ["checkpoint.pth", "checkpoint.safetensors"])
@pytest.mark.parametrize("content", [b"hello world\n", b"", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_checkpoint(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    form = "safetensors" if name.endswith("safetensors") else "torch.save"
    assert_refused(fresh(), tmp_path / name, rf"{name}' as a checkpoint: it is not a file of {form}\.")


def test_a_path_that_does_not_exist(tmp_path):
    assert_refused(fresh(), tmp_path / "nowhere.pth", r"nowhere.pth' does not exist\. Give the path")
    assert_refused(fresh(), tmp_path, r"is a folder\. Give the path")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([torch.zeros(2)], r"checkpoint.pth' holds no state dict but list"),
        ({"epoch": 3}, r"checkpoint.pth' holds no state dict: 'epoch' is int"),
        (
            {"clip.prompt.0": torch.zeros(5), "module.clip.prompt.0": torch.zeros(5)},
            r"with and without .*: clip.prompt.0",
        ),
    ],
    ids=["list", "int", "twice"],
)
def test_a_file_without_a_state_dict(tmp_path, content, match):
    torch.save(content, tmp_path / "checkpoint.pth")
    assert_refused(fresh(), tmp_path / "checkpoint.pth", match)


def test_two_adapters_of_different_sizes():
    model = fresh()
    model.add_adapter("large", adapter_config(bottleneck_dim=12, factor_dim=7))
    small, large = checkpoint(), checkpoint(bottleneck_dim=12, factor_dim=7)
    before = official_state_dict(model, "default")
    load_official_checkpoint(model, large, adapter_name="large")
    assert same(official_state_dict(model, "large"), large)
    assert same(official_state_dict(model), before)  # the active one
    load_official_checkpoint(model, small)
    assert same(official_state_dict(model, "default"), small)
    model.set_adapter("large")
    assert same(official_state_dict(model), large)
    with pytest.raises(CheckpointError, match="tensors differ"):
        load_official_checkpoint(model, small)


def test_adapters_that_the_model_does_not_have():
    model = fresh()
    model.add_adapter("second", adapter_config())
    with pytest.raises(ValueError, match=r"no MV-Adapter 'third'\. Choose from: default, second"):
        official_state_dict(model, "third")
    model.base_model.set_adapter(["default", "second"])
    with pytest.raises(ValueError, match="2 of the MV-Adapters default, second are active"):
        load_official_checkpoint(model, checkpoint())


def test_a_model_without_mv_adapter():
    lora = get_peft_model(tiny_clip(), LoraConfig(target_modules=["q_proj"]))
    for model, name in ((tiny_clip(), "CLIPModel"), (lora, "PeftModel")):
        for adapter_name in (None, "default"):
            with pytest.raises(ValueError, match=f"The {name} has no MV-Adapter"):
                official_state_dict(model, adapter_name)
            with pytest.raises(ValueError, match=f"The {name} has no MV-Adapter"):
                load_official_checkpoint(model, checkpoint(), adapter_name)


def test_an_adapter_that_transformers_loaded(tmp_path):
    source, state = fresh(), checkpoint()
    load_official_checkpoint(source, state)
    source.save_pretrained(tmp_path)
    clip = tiny_clip()
    clip.load_adapter(str(tmp_path))
    assert same(official_state_dict(clip), state)
    other = checkpoint(seed=4)
    load_official_checkpoint(clip, other, adapter_name="default")
    assert same(official_state_dict(clip), other)


def test_an_adapter_without_values():
    model = get_peft_model(tiny_clip(), adapter_config(), low_cpu_mem_usage=True)
    with pytest.raises(ValueError, match="MV-Adapter 'default' is on the meta device"):
        load_official_checkpoint(model, checkpoint())
    with pytest.raises(ValueError, match="MV-Adapter 'default' is on the meta device"):
        official_state_dict(model)


def test_other_families_have_no_official_checkpoints():
    model = get_peft_model(tiny_model("metaclip_2"), adapter_config())
    with pytest.raises(ValueError, match=r"has CLIP only, and this MV-Adapter is in a MetaClip2Model \(MetaCLIP 2\)"):
        official_state_dict(model)
    with pytest.raises(ValueError, match="has CLIP only"):
        load_official_checkpoint(model, checkpoint())


def test_a_checkpoint_is_not_converted_for_another_family(tmp_path):
    tiny_config("siglip").save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has CLIP only, and '.*' is a SigLIP\. Name the CLIP of the run"):
        adapter_from_official(checkpoint(), str(tmp_path), adapter_config())
