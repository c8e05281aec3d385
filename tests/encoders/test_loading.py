"""Any dual encoder of the table is loaded by name; weights come from safetensors, and code from nowhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mv_peft.encoders import fingerprint, load_base_model
from mv_peft.encoders.families import FAMILIES as TABLE
from mv_peft.encoders.families import towers
from mv_peft.encoders.fingerprint import same_architecture, same_base
from mv_peft.encoders.loading import find_base_model
from mv_peft.errors import CheckpointError
from tests.families import FAMILIES, tiny_config, tiny_model

ALONE = [(family, name) for family in FAMILIES for name in TABLE[family].model_classes[1:]]


def save(family: str, folder: Path) -> transformers.PreTrainedModel:
    model = tiny_model(family)
    model.save_pretrained(folder)
    return model


def edit_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_loaded_whole(family, tmp_path):
    model = save(family, tmp_path)
    loaded = load_base_model(tmp_path)
    assert type(loaded) is type(model)
    assert not loaded.training
    state, expected = loaded.state_dict(), model.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    half = load_base_model(str(tmp_path), dtype=torch.float16, attn_implementation="eager")
    assert half.dtype == torch.float16
    assert half.config._attn_implementation == "eager"


@pytest.mark.parametrize(("family", "architecture"), ALONE)
def test_a_tower_alone_is_loaded_from_the_whole_model(family, architecture, tmp_path):
    whole = save(family, tmp_path).state_dict()
    source = find_base_model(tmp_path, architecture=architecture)
    loaded = source.load()
    assert type(loaded).__name__ == architecture
    (tower,) = towers(loaded).values()
    assert tower.names.root == ("vision_model" if "Vision" in architecture else "text_model")
    state = loaded.state_dict()
    assert len(state) > 10
    for name, value in state.items():
        assert torch.equal(value, whole[name if name in whole else f"{tower.names.root}.{name}"]), name
    empty = source.without_weights()
    assert {name: value.shape for name, value in empty.named_parameters()} == {
        name: value.shape for name, value in loaded.named_parameters()
    }
    assert all(value.is_meta for value in empty.parameters())


def test_an_unknown_architecture_means_both_towers(tmp_path):
    save("clip", tmp_path)
    for architecture in (None, "SiglipVisionModel", "os", "CLIPModel"):
        assert find_base_model(tmp_path, architecture=architecture).model_class is transformers.CLIPModel


def test_nothing_but_safetensors_is_read(tmp_path):
    model = save("clip", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"Cannot load '.*': .*safetensors"):
        load_base_model(tmp_path)


def test_code_of_a_repository_is_not_run(tmp_path):
    save("clip", tmp_path)
    for name in ("evil", "configuration_evil"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('code ran')")
    edit_config(tmp_path, auto_map={"AutoConfig": "configuration_evil.X", "AutoModel": "evil.X"})
    assert type(load_base_model(tmp_path)) is transformers.CLIPModel
    edit_config(tmp_path, model_type="evil")
    with pytest.raises(CheckpointError, match="Cannot read the configuration of"):
        load_base_model(tmp_path)


def test_a_checkpoint_that_lacks_weights_is_not_filled_up_with_random_ones(tmp_path):
    save("clip", tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=r"lacks 1 weights of a CLIPModel \(visual_projection.weight\)"):
        load_base_model(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("cut", "Cannot load '.*model': .*Give the name of a model on the Hub, or a folder"),
        ("shape", "Cannot load '.*model': "),
    ],
)
def test_a_damaged_checkpoint(tmp_path, content, message):
    folder = tmp_path / "model"
    save("clip", folder)
    if content == "cut":
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    else:
        weights = load_file(folder / "model.safetensors")
        weights["visual_projection.weight"] = torch.zeros(3, 3)
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(CheckpointError, match=message):
        load_base_model(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"model_type": "bert"}', "cannot be adapted: a model of the type 'bert' is not among .* SiglipModel"),
        ('{"model_type": "xclip"}', "cannot be adapted: X-CLIP lets the frames of a video see each other"),
        ('{"model_type": "siglip2"}', "cannot be adapted: SigLIP 2 with variable resolution"),
        ("{}", "Cannot read the configuration of"),
        ("{", "Cannot read the configuration of"),
        (None, "Cannot read the configuration of"),
    ],
)
def test_what_is_no_dual_encoder_is_refused_by_name(tmp_path, config, message):
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_base_model(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_fingerprint(family, tmp_path):
    model = save(family, tmp_path)
    plain = fingerprint(model)
    assert same_base(fingerprint(load_base_model(tmp_path)), plain)
    for dtype in (torch.float16, torch.bfloat16):
        assert same_base(fingerprint(load_base_model(tmp_path, dtype=dtype)), plain)
    assert same_architecture(fingerprint(tiny_model(family, seed=1)), plain)
    assert not same_base(fingerprint(tiny_model(family, seed=1)), plain)
    for tower in ("vision_config", "text_config"):
        config = tiny_config(family)
        getattr(config, tower).layer_norm_eps = 1e-3
        assert not same_architecture(fingerprint(type(model)(config)), plain), tower


def test_families_are_not_taken_for_each_other():
    prints = {fingerprint(tiny_model(family)) for family in FAMILIES}
    assert len({text.split(":")[1] for text in prints}) == len(FAMILIES)
