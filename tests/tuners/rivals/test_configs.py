"""The baselines' configurations: an error that names every wrong value, and configs that do not fit a model."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from peft import AdaLoraConfig, LoraConfig, PeftModel, PromptTuningConfig, VeraConfig, get_peft_model
from transformers import CLIPModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from mv_peft.tuners import (
    BottleneckAdapterConfig,
    DeepPromptsConfig,
    FullFineTuningConfig,
    STAdapterConfig,
    TemporalHeadConfig,
)
from mv_peft.tuners.deep_prompts import insert_into_mask
from tests.models import batch, clip_config, tiny_clip
from tests.tuners.rivals.methods import ALL, create, lora, mv_adapter, shake, with_head


@pytest.mark.parametrize(
    ("config", "fields", "error", "message"),
    [
        (BottleneckAdapterConfig, {"bottleneck_dim": 0}, ValueError, "`bottleneck_dim` must be positive, got 0"),
        (BottleneckAdapterConfig, {"bottleneck_dim": {"vision": 8}}, ValueError, "must have the keys 'vision' and"),
        (BottleneckAdapterConfig, {"scaling": "s"}, ValueError, "`scaling` must be a finite number, got 's'"),
        (BottleneckAdapterConfig, {"insertion": "before"}, ValueError, "'before'. Choose from: parallel, sequential"),
        (BottleneckAdapterConfig, {"layers_to_transform": -1}, ValueError, "layers from 0 up, got -1"),
        (
            BottleneckAdapterConfig,
            {"modules_to_save": "fc1"},
            TypeError,
            "`modules_to_save` must hold names, got 'fc1'",
        ),
        (BottleneckAdapterConfig, {"bottleneck": 8}, TypeError, "bottleneck"),
        (STAdapterConfig, {"kernel_size": 4}, ValueError, "`kernel_size` must be odd.*got 4"),
        (STAdapterConfig, {"kernel_size": 0}, ValueError, "`kernel_size` must be positive, got 0"),
        (STAdapterConfig, {"bottleneck_dim": 1.5}, TypeError, "`bottleneck_dim` must be an integer, got 1.5"),
        (DeepPromptsConfig, {"num_prompts": 0}, ValueError, "`num_prompts` must be positive, got 0"),
        (DeepPromptsConfig, {"init_std": -1}, ValueError, "`init_std` must be a number of at least 0, got -1"),
        (FullFineTuningConfig, {"exclude_modules": 3}, TypeError, "`exclude_modules` must hold names, got 3"),
        (TemporalHeadConfig, {"num_layers": 0}, ValueError, "`num_layers` must be positive, got 0"),
        (TemporalHeadConfig, {"num_heads": 0}, ValueError, "`num_heads` must be positive, got 0"),
        (TemporalHeadConfig, {"max_frames": None}, TypeError, "`max_frames` must be an integer, got None"),
        (TemporalHeadConfig, {"init": "zero"}, ValueError, "Unknown `init` 'zero'. Choose from: identity, clip"),
        (TemporalHeadConfig, {"position_init_std": -0.1}, ValueError, "at least 0, got -0.1"),
        (TemporalHeadConfig, {"position_init_std": 0.1, "init": "clip"}, ValueError, "is for init='identity'"),
        (TemporalHeadConfig, {"method": "lora"}, TypeError, "`method` must be a PEFT configuration, got 'lora'"),
        (TemporalHeadConfig, {"method": TemporalHeadConfig()}, ValueError, "another method, got a temporal head"),
    ],
)
def test_every_wrong_value_is_named(config, fields, error, message):
    with pytest.raises(error, match=message):
        config(**fields)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BottleneckAdapterConfig(layers_to_transform=9), r"vision layers \[9\].*layers 0 to 2"),
        (BottleneckAdapterConfig(target_modules=["fc1"]), "bottleneck adapter sits on `mlp` of the.*mlp.fc1"),
        (
            STAdapterConfig(target_modules=["mlp"]),
            r"ST-Adapter sits on the encoder layers, not on .*mlp' \(CLIPMLP\)",
        ),
        (STAdapterConfig(target_modules="all-linear"), "not on 'all-linear'"),
        (DeepPromptsConfig(modules_to_save=["logit_scale"]), "'logit_scale', which is a parameter"),
        (
            DeepPromptsConfig(modules_to_save=["layers.1.self_attn"]),
            "gets another name. Name it from there: 'self_attn'",
        ),
        (BottleneckAdapterConfig(modules_to_save=["mlp.fc1"]), "gets another name. Name it from there: 'fc1'"),
        (BottleneckAdapterConfig(modules_to_save=["encoder"]), "'encoder', which holds the adapted"),
        (FullFineTuningConfig(target_modules=["self_attn"]), r"not 'text_model.*self_attn' \(CLIPAttention\)"),
        (TemporalHeadConfig(num_heads=5), "`num_heads` = 5 must divide the width of the embeddings, 12"),
        (TemporalHeadConfig(init="clip"), "as wide as the embeddings, 12.*one of width 16"),
        (TemporalHeadConfig(method=VeraConfig(target_modules=["q_proj"])), "does not go with VERA"),
        (TemporalHeadConfig(method=AdaLoraConfig(total_step=9, target_modules=["q_proj"])), "does not go with ADALORA"),
        (TemporalHeadConfig(method=PromptTuningConfig(num_virtual_tokens=2)), "does not go with PROMPT_TUNING"),
        (TemporalHeadConfig(method=mv_adapter(), max_frames=12, num_heads=7), "`num_heads` = 7"),
        (TemporalHeadConfig(method=LoraConfig(target_modules=["typo"])), "typo"),
    ],
)
def test_configs_that_do_not_fit_leave_the_model_alone(config, message):
    clip = tiny_clip()
    modules = [name for name, _ in clip.named_modules()]
    with pytest.raises(ValueError, match=message):
        get_peft_model(clip, config)
    assert [name for name, _ in clip.named_modules()] == modules
    assert not hasattr(clip, "peft_config")


def test_head_from_clip_has_to_find_enough_of_it():
    config = clip_config()
    config.projection_dim, config.text_config.intermediate_size = 16, 64
    with pytest.raises(ValueError, match="has 2 layers and 16 positions to copy; the head has 3 layers and 12 frames"):
        get_peft_model(CLIPModel(config), TemporalHeadConfig(num_layers=3, init="clip"))


def test_more_frames_than_the_head_takes():
    with pytest.raises(ValueError, match="9 frames, this head takes at most `max_frames` = 8"):
        create("head")(**batch(frames=9))


def test_full_fine_tuning_has_one_active_adapter():
    model = create("full")
    model.add_adapter("other", FullFineTuningConfig())
    with pytest.raises(ValueError, match=r"several adapters active at once, got \['default', 'other'\]"):
        model.base_model.set_adapter(["default", "other"])


def test_several_active_adapters_add_up():
    """What two adapters add together is what each adds."""
    for method, path, width, mask in (
        ("adapter_parallel", "vision_model.encoder.layers.0.mlp", 24, ()),
        ("head", "video_pooling", 12, (torch.ones(4, 5, dtype=torch.bool),)),
    ):
        model = shake(create(method))
        model.add_adapter("other", ALL[method]())
        layer = model.get_base_model().get_submodule(path)
        with torch.no_grad():
            for parameter in layer.blocks["other"].parameters():
                parameter.normal_(std=0.3)
        inputs = (torch.randn(4, 5, width), *mask)
        run = layer.refine if mask else layer  # of a head, before the frames are pooled
        with torch.no_grad():
            base = inputs[0] if mask else layer.base_layer(*inputs)
            moves = []
            for active in ("default", "other", ["default", "other"]):
                layer.set_adapter(active)
                moves.append(run(*inputs) - base)
        torch.testing.assert_close(moves[2], moves[0] + moves[1], rtol=1e-4, atol=1e-5)
        assert all(move.abs().max() > 0.01 for move in moves)


def test_layers_can_be_named_by_tower():
    model = get_peft_model(tiny_clip(), DeepPromptsConfig(layers_to_transform={"vision": [0, 2], "text": []}))
    targets = [f"vision_model.encoder.layers.{index}" for index in (0, 2)]
    assert sorted(model.base_model.targeted_module_names) == targets
    model = get_peft_model(tiny_clip(), STAdapterConfig())
    assert all("vision" in name for name in model.base_model.targeted_module_names)
    model = get_peft_model(tiny_clip(), FullFineTuningConfig(exclude_modules=r"text_.*"))
    assert model.base_model.targeted_module_names
    assert not any("text" in name for name in model.base_model.targeted_module_names)


def test_heads_with_and_without_a_method_in_one_model(tmp_path):
    inputs, targets = batch(), ["q_proj", "visual_projection"]
    model = shake(get_peft_model(tiny_clip(), with_head(lora(target_modules=targets)))).eval()
    first = model(**inputs).logits_per_text
    for name, config in (("second", with_head()), ("third", with_head(lora(r=3, target_modules=["v_proj", *targets])))):
        model.add_adapter(name, config)
        model.set_adapter(name)
        shake(model.eval(), seed=len(name))
        expected = model(**inputs).logits_per_text
        assert (expected - first).abs().max() > 0.01
        model.save_pretrained(tmp_path, selected_adapters=[name])
        loaded = PeftModel.from_pretrained(tiny_clip(), tmp_path / name).eval()
        torch.testing.assert_close(loaded(**inputs).logits_per_text, expected, rtol=0, atol=1e-4)
    model.set_adapter("default")
    assert torch.equal(model(**inputs).logits_per_text, first)
    status = model.get_model_status()
    assert (status.available_adapters, status.active_adapters) == (["default", "second", "third"], ["default"])
    message = "'default' holds LORA beside its head, this one MV_ADAPTER. Adapters of one model need one method"
    with pytest.raises(ValueError, match=message):
        model.add_adapter("fourth", with_head(mv_adapter()))
    assert torch.equal(model(**inputs).logits_per_text, first)
    model.delete_adapter("second")
    model.delete_adapter("third")
    assert torch.equal(model(**inputs).logits_per_text, first)
    unloaded = model.unload()
    assert [name for name, _ in unloaded.named_modules()] == [name for name, _ in tiny_clip().named_modules()]


def test_importing_the_package_registers_every_method(tmp_path):
    create("prompts+head").save_pretrained(tmp_path)
    code = f"import mv_peft, peft; print(peft.PeftConfig.from_pretrained({str(tmp_path)!r}).method_config())"
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True, text=True)
    assert "DeepPromptsConfig(" in result.stdout


@pytest.mark.parametrize("method", ["adapter_parallel", "st_adapter", "prompts", "full", "head"])
def test_vision_and_text_towers_alone(method):
    inputs, config = batch(), clip_config()
    whole = shake(create(method))
    vision = CLIPVisionModelWithProjection(config.vision_config)
    text = CLIPTextModelWithProjection(config.text_config)
    for model, prefix in ((vision, "image"), (text, "text")):
        model.load_state_dict(tiny_clip().state_dict(), strict=False)
        if method == "head" and model is text:
            with pytest.raises(ValueError, match="needs a vision tower; CLIPTextModelWithProjection has none"):
                get_peft_model(model, ALL[method]())
            continue
        adapted = get_peft_model(model.eval(), ALL[method]()).eval()
        wanted = {key: value for key, value in whole.state_dict().items() if key in adapted.state_dict()}
        adapted.load_state_dict(wanted, strict=False)
        arguments = ("pixel_values", "frame_mask") if prefix == "image" else ("input_ids", "attention_mask")
        with torch.no_grad():
            got = adapted(**{name: inputs[name] for name in arguments})[f"{prefix}_embeds"]
            expected = whole(**inputs)[f"{prefix}_embeds"]
        torch.testing.assert_close(got / got.norm(dim=-1, keepdim=True), expected)


def test_masks_make_room_for_prompts():
    causal = torch.ones(3, 3, dtype=torch.bool).tril()[None, None]
    expected = torch.ones(5, 5, dtype=torch.bool).tril()[None, None]
    assert torch.equal(insert_into_mask(causal, 2, causal=True), expected)
    least = torch.finfo(torch.float32).min
    scores = torch.zeros(1, 1, 3, 3).masked_fill(~causal, least)
    assert torch.equal(insert_into_mask(scores, 2, causal=True), torch.zeros(1, 1, 5, 5).masked_fill(~expected, least))
    assert torch.equal(insert_into_mask(torch.tensor([[1, 1, 0]]), 2, causal=True), torch.tensor([[1, 1, 1, 1, 0]]))
    assert insert_into_mask(None, 2, causal=True) is None
    with pytest.raises(TypeError, match=r"mask of 2 or 4 dimensions, got \(3, 3, 3\)"):
        insert_into_mask(torch.ones(3, 3, 3), 2, causal=True)
    with pytest.raises(TypeError, match="got str"):
        insert_into_mask("causal", 2, causal=True)


def test_masks_of_a_tower_that_is_not_causal_make_room_for_prompts():
    padded = torch.tensor([True, True, False])[None, None, None].expand(1, 1, 3, 3)
    expected = torch.tensor([True, True, True, True, False])[None, None, None].expand(1, 1, 5, 5)
    assert torch.equal(insert_into_mask(padded, 2, causal=False), expected)
