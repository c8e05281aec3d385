"""A base model is recognised behind adapters and in other precisions, and no other model is taken for it."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import AdaLoraConfig, IA3Config, LNTuningConfig, LoraConfig, PeftModel, get_peft_model
from transformers import CLIPModel, CLIPVisionModelWithProjection

from mv_peft import enable_video
from mv_peft.encoders import fingerprint, same_base
from mv_peft.encoders.fingerprint import same_architecture
from tests.models import adapter_config, batch, clip_config, tiny_clip

ATTENTION = ["q_proj", "v_proj"]
NORMS = ["layer_norm1", "layer_norm2", "pre_layrnorm"]
# Of `patterned_clip()`: changes only with the algorithm, and then `_VERSION` must change too.
RECORDED = "clip1:d542f717cbe86a0f:76b5aa27ac770cdbd88f8550be0f1b14:4db324d131b0d8f83cc453a146b15062"


def patterned_clip() -> CLIPModel:
    """Weights that no random number generator decides."""
    model = tiny_clip()
    with torch.no_grad():
        for index, parameter in enumerate(model.parameters()):
            steps = torch.arange(parameter.numel(), dtype=torch.float64).reshape(parameter.shape)
            parameter.copy_(((steps * 37 + index) % 101 - 50) / 97)
    return model


def test_two_loads_agree_and_two_models_do_not():
    assert fingerprint(tiny_clip()) == fingerprint(tiny_clip())
    assert not same_base(fingerprint(tiny_clip()), fingerprint(tiny_clip(seed=1)))
    assert same_architecture(fingerprint(tiny_clip()), fingerprint(tiny_clip(seed=1)))


@pytest.mark.parametrize(
    "config",
    [
        adapter_config(),
        adapter_config(modules_to_save=["visual_projection"]),
        LoraConfig(r=2, target_modules=ATTENTION, init_lora_weights=False),
        LoraConfig(r=2, target_modules=ATTENTION, use_dora=True, init_lora_weights=False),
        LoraConfig(target_modules=[*ATTENTION, "token_embedding"], modules_to_save=["post_layernorm"]),
        AdaLoraConfig(target_modules=ATTENTION, total_step=10),
        IA3Config(target_modules=["k_proj", "fc2"], feedforward_modules=["fc2"], init_ia3_weights=False),
        LNTuningConfig(target_modules=NORMS),
    ],
    ids=lambda config: config.peft_type.value,
)
def test_adapters_change_nothing_whatever_they_learn(config):
    plain = fingerprint(tiny_clip())
    model = get_peft_model(tiny_clip(), config)
    assert fingerprint(model) == fingerprint(model.get_base_model()) == plain
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trainable:
            parameter.add_(1.0)
    assert trainable
    assert fingerprint(model) == plain


def test_switching_disabling_and_video_input_change_nothing():
    plain = fingerprint(tiny_clip())
    model = get_peft_model(enable_video(tiny_clip()), adapter_config(modules_to_save=["visual_projection"]))
    model.add_adapter("other", adapter_config())
    for name in ("other", "default"):
        model.set_adapter(name)
        assert fingerprint(model) == plain
    with model.disable_adapter():
        assert fingerprint(model) == plain
    assert fingerprint(model.unload()) == plain


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_copies_are_the_same_base(dtype, tmp_path):
    full = tiny_clip()
    full.save_pretrained(tmp_path)
    half = CLIPModel.from_pretrained(tmp_path, dtype=dtype)
    assert half.dtype == dtype
    assert fingerprint(half) != fingerprint(full)
    assert same_base(fingerprint(half), fingerprint(full))
    assert same_base(fingerprint(full), fingerprint(half))
    assert not same_base(fingerprint(half), fingerprint(tiny_clip(seed=1)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_checkpoint_stored_in_half_precision(dtype, tmp_path):
    """Loaded in any of the three it is the same base; its values are what they are."""
    tiny_clip().to(dtype).save_pretrained(tmp_path)
    prints = [
        fingerprint(CLIPModel.from_pretrained(tmp_path, dtype=other))
        for other in (torch.float32, dtype, torch.float16, torch.bfloat16)
    ]
    assert prints[0] == prints[1]
    assert all(same_base(prints[0], other) for other in prints)


def test_float16_and_bfloat16_copies_are_not_known_to_be_the_same():
    """Which the docstring says: what they have lost differs."""
    assert not same_base(fingerprint(tiny_clip().half()), fingerprint(tiny_clip().bfloat16()))


@pytest.mark.parametrize("index", [0, 17, -1])
def test_one_changed_weight_is_seen(index):
    model = tiny_clip()
    plain = fingerprint(model)
    with torch.no_grad():
        parameter = list(model.parameters())[index].view(-1)
        parameter[-1] = parameter[-1] * 1.01 + 1e-3
    assert not same_base(fingerprint(model), plain)


def test_swapped_tensors_are_seen():
    model = tiny_clip()
    plain = fingerprint(model)
    first, second = model.vision_model.encoder.layers[:2]
    first.mlp, second.mlp = second.mlp, first.mlp
    assert not same_base(fingerprint(model), plain)


@pytest.mark.parametrize("change", [{"num_attention_heads": 4}, {"hidden_act": "gelu"}, {"layer_norm_eps": 1e-3}])
def test_the_same_weights_in_another_function_are_another_base(change):
    config = clip_config()
    for name, value in change.items():
        setattr(config.vision_config, name, value)
    other = CLIPModel(config)
    other.load_state_dict(tiny_clip().state_dict())
    assert not same_architecture(fingerprint(other), fingerprint(tiny_clip()))
    assert not same_base(fingerprint(other), fingerprint(tiny_clip()))


def test_one_tower_is_another_base():
    vision = CLIPVisionModelWithProjection(clip_config().vision_config)
    assert fingerprint(vision) == fingerprint(copy.deepcopy(vision))
    assert not same_architecture(fingerprint(vision), fingerprint(tiny_clip()))


def test_it_is_what_was_recorded_and_another_process_says_the_same():
    assert fingerprint(patterned_clip()) == RECORDED
    code = (
        "from tests.encoders.test_fingerprint import *; import random; random.seed(5); torch.set_num_threads(2); "
        "print(fingerprint(patterned_clip()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout.strip() == RECORDED


def test_neither_the_model_nor_random_numbers_are_touched():
    model = get_peft_model(tiny_clip(), adapter_config()).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.random.get_rng_state()
    fingerprint(model)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_saved_and_reloaded_adapter_has_the_same_base(tmp_path):
    get_peft_model(tiny_clip(), adapter_config()).save_pretrained(tmp_path)
    reloaded = PeftModel.from_pretrained(tiny_clip(), tmp_path)
    reloaded(**batch())
    assert fingerprint(reloaded) == fingerprint(tiny_clip())


def test_merged_adapters_are_refused():
    model = get_peft_model(tiny_clip(), LoraConfig(target_modules=ATTENTION, init_lora_weights=False))
    model.merge_adapter()
    with pytest.raises(ValueError, match="Adapters are merged into this model"):
        fingerprint(model)
    model.unmerge_adapter()
    fingerprint(model)


def test_what_has_no_values_is_refused():
    with pytest.raises(TypeError, match="Linear is not among the dual encoders"):
        fingerprint(torch.nn.Linear(2, 2))
    with torch.device("meta"):
        empty = CLIPModel(clip_config())
    with pytest.raises(ValueError, match="is on the meta device"):
        fingerprint(empty)
    quantised = tiny_clip()
    quantised.visual_projection.weight = torch.nn.Parameter(torch.ones(12, 24, dtype=torch.int8), requires_grad=False)
    with pytest.raises(ValueError, match=r"'visual_projection.weight' is quantised \(torch.int8\)"):
        fingerprint(quantised)


@pytest.mark.parametrize("text", ["", "clip0:a:b:c", "clip1:a:b", "sha256:abc"])
def test_other_fingerprints_are_refused(text):
    with pytest.raises(ValueError, match=f"'{text}' is no fingerprint of this version"):
        same_base(text, fingerprint(tiny_clip()))
