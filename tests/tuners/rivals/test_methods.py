"""Every method by its name: what it makes, and how many parameters it has at the size of CLIP ViT-B/16."""

from __future__ import annotations

import pytest
import torch
from peft import BeftConfig, LoraConfig, PeftModel, get_peft_model

from mv_peft import MVAdapterConfig, create_method, enable_video
from mv_peft.tuners import METHODS, STAdapterConfig, TemporalHeadConfig, count_parameters, matched_lora, method_config
from tests.models import batch, tiny_clip
from tests.tuners.mv_adapter.test_sizes import skeleton
from tests.tuners.rivals.methods import LINEAR, shake

SMALL = {"oft": {"oft_block_size": 4}, "vera": {"r": 4}, "mv_adapter": {"bottleneck_dim": 8}}
HEAD = {"num_layers": 1, "num_heads": 3}
NO_HEAD = ("head", "vera")  # the head itself; VeRA keeps its projections outside its layers


def logits(model):
    with torch.no_grad():
        return model.eval()(**batch()).logits_per_text


@pytest.mark.parametrize("name", [*METHODS, *(f"{name}+head" for name in METHODS if name not in NO_HEAD)])
def test_every_name(name, tmp_path):
    method = name.removesuffix("+head")
    head = HEAD if name != method else None
    fields = {**SMALL.get(method, {}), **(HEAD if method == "head" else {})}
    model = create_method(tiny_clip(), name, head=head, **fields)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert not model.get_base_model().logit_scale.requires_grad if name != "zero-shot" else trainable == 0
    config = method_config(tiny_clip(), name, head=head, **fields)
    if config is None:
        assert torch.equal(logits(model), logits(enable_video(tiny_clip())))
        return
    assert isinstance(model, PeftModel)
    assert trainable == count_parameters(tiny_clip(), config) > 0
    expected = logits(shake(model))
    model.save_pretrained(tmp_path)
    loaded = enable_video(PeftModel.from_pretrained(tiny_clip(), tmp_path))
    torch.testing.assert_close(logits(loaded), expected, rtol=0, atol=1e-4)
    assert (logits(loaded) - logits(enable_video(tiny_clip()))).abs().max() > 0.01


def linear(inputs, outputs):
    return inputs * outputs + outputs


V, T, L, E = 768, 512, 12, 512  # widths of both towers, layers of each, width of the embeddings
LORA = 8 * L * 2 * (2 * V + 2 * T)
ST_VISION = L * (linear(V, 384) + (3 + 1) * 384 + linear(384, V))
HEAD_LAYER = linear(E, 3 * E) + linear(E, E) + 2 * 2 * E + linear(E, 4 * E) + linear(4 * E, E)


@pytest.mark.parametrize(
    ("name", "formula", "parameters"),
    [
        ("full", 149_620_737 - 1, 149_620_736),  # all but `logit_scale`
        ("mv_adapter", 3_401_728, 3_401_728),
        ("lora", LORA, 491_520),
        ("lora_matched", 55 * LORA // 8, 3_379_200),
        ("rslora", LORA, 491_520),
        ("dora", LORA + L * 2 * (V + T), 522_240),
        ("ia3", L * (1 + 1 + 4) * (V + T), 92_160),
        ("ln_tuning", L * 2 * 2 * (V + T) + 2 * (2 * V + T), 65_536),
        ("bias", L * (4 + 4 + 1) * (V + T), 138_240),
        ("oft", L * 2 * (V + T) // 32 * (32 * 31 // 2), 476_160),
        ("vera", L * 2 * (256 + V + 256 + T), 43_008),
        ("prompts", L * 8 * (V + T), 122_880),
        ("adapter_parallel", L * sum(linear(dim, 64) + linear(64, dim) for dim in (V, T)), 1_982_976),
        ("adapter_sequential", L * sum(linear(dim, 64) + linear(64, dim) for dim in (V, T)), 1_982_976),
        ("st_adapter", ST_VISION + L * (linear(T, 384) + linear(384, T)), 11_839_488),
        ("head", 4 * HEAD_LAYER + 12 * E, 12_615_680),
        ("lora+head", LORA + 4 * HEAD_LAYER + 12 * E, 13_107_200),
        ("mv_adapter+head", 3_401_728 + 4 * HEAD_LAYER + 12 * E, 16_017_408),
        ("full+head", 149_620_736 + 4 * HEAD_LAYER + 12 * E, 162_236_416),
    ],
)
def test_parameters_at_the_size_of_vit_b_16(name, formula, parameters):
    clip = skeleton("B/16")
    assert count_parameters(clip, method_config(clip, name)) == formula == parameters


def test_parameters_of_the_papers_own_settings():
    assert count_parameters(skeleton("B/16"), STAdapterConfig()) == ST_VISION == 7_110_144
    assert count_parameters(skeleton("B/16"), TemporalHeadConfig(num_layers=1)) == HEAD_LAYER + 12 * E == 3_158_528


def test_matched_lora_follows_the_match_and_its_own_targets():
    clip = skeleton("B/16")
    wide = matched_lora(clip, target_modules=LINEAR)
    assert (wide.r, wide.lora_alpha) == (12, 24)
    small = matched_lora(clip, match=MVAdapterConfig(bottleneck_dim=16))
    assert small.r < 20
    counts = [count_parameters(clip, config) for config in (small, MVAdapterConfig(bottleneck_dim=16))]
    assert abs(counts[0] - counts[1]) <= LORA / 8 / 2
    with pytest.raises(ValueError, match="follows from the match, got 4. Use 'lora' instead"):
        create_method(tiny_clip(), "lora_matched", r=4)


@pytest.mark.parametrize(
    ("name", "fields", "error", "message"),
    [
        ("lorra", {}, ValueError, "Unknown method 'lorra'. Choose from: zero-shot, head, lora_matched, full"),
        ("head+head", {}, ValueError, r"Unknown method 'head\+head'"),
        ("lora", {"head": {}}, ValueError, "`head` is for methods with '\\+head', got the method 'lora'"),
        ("zero-shot", {"r": 3}, ValueError, r"has no fields, got \['r'\]"),
        ("prompts", {"prompts": 3}, TypeError, "'prompts'"),
        ("vera+head", {}, ValueError, "does not go with VERA"),
    ],
)
def test_errors_leave_the_model_alone(name, fields, error, message):
    clip = tiny_clip()
    with pytest.raises(error, match=message):
        create_method(clip, name, **fields)
    assert all(p.requires_grad for p in clip.parameters())
    assert not any("head_block" in name or "vera" in name for name, _ in clip.named_modules())


def test_counting_leaves_the_model_alone():
    clip = tiny_clip()
    assert count_parameters(clip, LoraConfig(target_modules=["q_proj"])) > 0
    assert all(p.requires_grad and not p.is_meta for p in clip.parameters())


def test_bias_tuning_is_pefts_and_the_biases_of_clip_but_three():
    """PEFT's BEFT trains every linear layer's bias. A norm's bias in front of linear layers is part of theirs.

    So of BitFit's biases, 171,008 at ViT-B/16, only 2,048 are beyond it: those of `pre_layrnorm`, `post_layernorm` and
    `final_layer_norm`.
    """
    clip, shift = enable_video(tiny_clip()), {}
    for name, module in clip.named_modules():
        if name.rpartition(".")[2] in LINEAR:
            shift[name] = 0.3 * torch.randn_like(module.bias)
    model = get_peft_model(enable_video(tiny_clip()), BeftConfig(target_modules=LINEAR))
    with torch.no_grad():
        for name, values in shift.items():
            clip.get_submodule(name).bias.add_(values)
            model.get_base_model().get_submodule(name).beft_bias["default"].copy_(values)
    torch.testing.assert_close(logits(model), logits(clip))
    assert (logits(model) - logits(enable_video(tiny_clip()))).abs().max() > 0.1

    # A shift of layer_norm1's and layer_norm2's biases, as BEFT's vectors.
    clip, model = tiny_clip(), get_peft_model(enable_video(tiny_clip()), BeftConfig(target_modules=LINEAR))
    with torch.no_grad():
        for name, module in clip.named_modules():
            norm, readers = name.rpartition(".")[2], {}
            if norm in ("layer_norm1", "layer_norm2"):
                values = 0.3 * torch.randn_like(module.bias)
                readers = {"layer_norm1": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")}.get(
                    norm, ("mlp.fc1",)
                )
                module.bias.add_(values)
                for reader in readers:
                    layer = model.get_base_model().get_submodule(f"{name.rpartition('.')[0]}.{reader}")
                    layer.beft_bias["default"].copy_(layer.base_layer.weight @ values)
    torch.testing.assert_close(logits(model), logits(enable_video(clip)))
