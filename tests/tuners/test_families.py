"""Every method in every family of dual encoders: one contract, also for an invented family that is one row."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPVisionModel,
    MetaClip2TextModelWithProjection,
    MetaClip2VisionModelWithProjection,
    Siglip2Config,
    Siglip2Model,
    SiglipTextModel,
    SiglipVisionModel,
    XCLIPConfig,
    XCLIPModel,
)

from mv_peft import MVAdapterConfig, create_method, disable_video, enable_video
from mv_peft.encoders.families import FAMILIES as TABLE
from mv_peft.encoders.families import DualEncoder, register_family, towers
from mv_peft.training import cached_step, freeze_logit_scale, pair_loss
from mv_peft.tuners import FullFineTuningConfig
from tests import families as tiny
from tests.models import batch as clip_batch
from tests.models import clip_config
from tests.tuners.invented import ROW, invented_model

FAMILIES = (*tiny.FAMILIES, "invented")
SMALL_ADAPTER = {"bottleneck_dim": 4, "max_frames": 8, "max_text_tokens": 12, "factor_dim": 3, "scaling": 1.0}
METHODS = {
    "mv_adapter": SMALL_ADAPTER,
    "adapter_parallel": {"bottleneck_dim": 12, "scaling": 1.0},
    "adapter_sequential": {"bottleneck_dim": 12, "scaling": 1.0},
    "st_adapter": {"bottleneck_dim": 4, "layers_to_transform": None},
    "prompts": {"num_prompts": 2, "init_std": 0.5},
    "full": {},
    "lora": {"r": 2},
    "ia3": {},
    "ln_tuning": {},
    "bias": {},
    "oft": {"oft_block_size": 4},
    "vera": {"r": 4},
    "head": {"num_layers": 1, "num_heads": 2, "max_frames": 8},
    "lora+head": {"r": 2, "head": {"num_layers": 1, "num_heads": 2, "max_frames": 8}},
    "mv_adapter+head": {**SMALL_ADAPTER, "head": {"num_layers": 1, "num_heads": 2, "max_frames": 8}},
}
TEMPORAL = {"mv_adapter", "st_adapter", "head", "lora+head", "mv_adapter+head"}

pytestmark = [
    pytest.mark.filterwarnings("ignore:Specified to not save vera_A:UserWarning"),
    pytest.mark.filterwarnings("ignore:Unsupported layer type:UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.modeling_utils"),
]
each_family = pytest.mark.parametrize("family", FAMILIES)
each_method = pytest.mark.parametrize("method", METHODS)


@pytest.fixture(autouse=True)
def known():
    register_family(ROW)
    yield
    del TABLE[ROW.model_type]


def model_of(family, seed=0):
    return invented_model(seed) if family == "invented" else tiny.tiny_model(family, seed)


def batch_of(family, **sizes):
    return clip_batch(**sizes) if family == "invented" else tiny.batch(family, **sizes)


def create(family, method, model=None):
    return create_method(model_of(family) if model is None else model, method, **METHODS[method]).eval()


def shaken(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return model


def embed(model, inputs):
    with torch.no_grad():
        out = model(**inputs)
    return out.text_embeds, out.image_embeds


def assert_close(left, right, tolerance=1e-5):
    for one, other in zip(left, right, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


@each_family
def test_a_video_is_the_mean_of_its_real_frames(family):
    inputs, model = batch_of(family), model_of(family)
    with torch.no_grad():
        frames = model.get_image_features(inputs["pixel_values"].flatten(0, 1)).pooler_output
    frames = F.normalize(frames, dim=-1).unflatten(0, inputs["frame_mask"].shape)
    mask = inputs["frame_mask"][..., None]
    expected = F.normalize((frames * mask).sum(1) / mask.sum(1), dim=-1)
    texts = embed(model, {**inputs, "pixel_values": inputs["pixel_values"][:, 0], "frame_mask": None})[0]
    got = embed(enable_video(model), inputs)
    assert_close(got, (texts, expected))
    with torch.no_grad():
        features = model.get_image_features(inputs["pixel_values"], frame_mask=inputs["frame_mask"]).pooler_output
    assert_close([F.normalize(features, dim=-1)], [expected])


@each_family
@each_method
def test_untrained_it_is_the_model_and_trained_it_is_not(family, method):
    inputs = batch_of(family)
    plain = embed(enable_video(model_of(family)), inputs)
    model = create(family, method)
    if method != "prompts":
        assert_close(embed(model, inputs), plain)
    changed = embed(shaken(model), inputs)
    towers_changed = [bool((one - other).abs().max() > 1e-3) for one, other in zip(changed, plain, strict=True)]
    assert towers_changed == ([False, True] if method == "head" else [True, True])
    with model.disable_adapter():
        assert_close(embed(model, inputs), plain, tolerance=0)


@each_family
@each_method
def test_padding_and_neighbours_are_invisible(family, method):
    model, inputs = shaken(create(family, method)), batch_of(family)
    together = embed(model, inputs)
    noisy = inputs["pixel_values"].masked_fill(inputs["frame_mask"][..., None, None, None] == 0, torch.nan)
    assert_close(embed(model, {**inputs, "pixel_values": noisy}), together, tolerance=0)
    for row in range(3):
        frames = int(inputs["frame_mask"][row].sum())
        alone = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        alone |= {name: alone[name][:, :frames] for name in ("pixel_values", "frame_mask")}
        if "attention_mask" in inputs:
            tokens = int(inputs["attention_mask"][row].sum())
            alone |= {name: alone[name][:, :tokens] for name in ("input_ids", "attention_mask")}
        assert_close(embed(model, alone), [part[row : row + 1] for part in together])


@each_family
@each_method
def test_the_order_of_frames_counts_where_frames_see_each_other(family, method):
    model, inputs = shaken(create(family, method)), batch_of(family)
    inputs["frame_mask"] = torch.ones_like(inputs["frame_mask"])
    _, forwards = embed(model, inputs)
    _, backwards = embed(model, {**inputs, "pixel_values": inputs["pixel_values"].flip(1)})
    difference = float((forwards - backwards).abs().max())
    assert difference > 1e-4 if method in TEMPORAL else difference < 1e-5


@each_family
@each_method
def test_saved_and_loaded(family, method, tmp_path):
    model, inputs = shaken(create(family, method)), batch_of(family)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(model_of(family), tmp_path, adapter_name="renamed")
    assert_close(embed(enable_video(loaded).eval(), inputs), embed(model, inputs))


@each_family
@each_method
def test_unloading_gives_the_model_back(family, method):
    model = model_of(family)
    modules, state = dict(model.named_modules()), copy.deepcopy(model.state_dict())
    unloaded = shaken(create(family, method, model)).unload()
    disable_video(unloaded)
    assert {name: type(module) for name, module in unloaded.named_modules()} == {
        name: type(module) for name, module in modules.items()
    }
    assert unloaded.state_dict().keys() == state.keys()
    assert all(torch.equal(unloaded.state_dict()[name], tensor) for name, tensor in state.items())
    assert not sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in unloaded.modules())


@each_family
@each_method
def test_everything_that_trains_gets_a_gradient(family, method):
    model, inputs = shaken(create(family, method)), batch_of(family)
    model(**inputs, return_loss=True).loss.backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.requires_grad]
    assert gradients
    assert all(gradient is not None and torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(bool(gradient.abs().sum() > 0) for gradient in gradients) > 0.9 * len(gradients)


@each_family
def test_mixed_batches(family):
    model, inputs = shaken(create(family, "mv_adapter")), batch_of(family)
    model.add_adapter("other", MVAdapterConfig(**{**SMALL_ADAPTER, "bottleneck_dim": 6}))
    model.set_adapter("other")
    expected = [embed(shaken(model.eval(), seed=1), inputs)]
    model.set_adapter("default")
    expected.append(embed(model, inputs))
    with model.disable_adapter():
        expected.append(embed(model, inputs))
    mixed = embed(model, {**inputs, "adapter_names": ["other", "default", "__base__"]})
    for row, alone in enumerate(expected):
        assert_close([part[row] for part in mixed], [part[row] for part in alone])


@pytest.mark.parametrize(
    "config", [MVAdapterConfig(**SMALL_ADAPTER), FullFineTuningConfig()], ids=["mv_adapter", "full"]
)
def test_a_configuration_may_be_used_for_several_models(config):
    fresh = [get_peft_model(model_of(family), copy.copy(config)) for family in ("clip", "chinese_clip")]
    reused = [get_peft_model(model_of(family), config) for family in ("clip", "chinese_clip")]
    assert config.target_modules is None
    for one, other in zip(fresh, reused, strict=True):
        assert one.state_dict().keys() == other.state_dict().keys()


@each_family
@pytest.mark.parametrize("position", ["down_in", "down_out", "up_in", "up_out"])
def test_tying_reaches_both_towers(family, position):
    fields = {**SMALL_ADAPTER, "tying_position": position, "tying_layers": 1}
    model, inputs = shaken(create_method(model_of(family), "mv_adapter", **fields)).eval(), batch_of(family)
    before = embed(model, inputs)
    with torch.no_grad():
        model.get_base_model().cross_modality_tying.mv_adapter_factors["default"].add_(1.0)
    assert all((one - other).abs().max() > 1e-4 for one, other in zip(embed(model, inputs), before, strict=True))


@each_family
def test_layers_to_transform_goes_with_the_default_tying(family):
    config = MVAdapterConfig(**SMALL_ADAPTER, layers_to_transform={"vision": [0, 2], "text": [0]})
    model = get_peft_model(model_of(family), config)
    tied = [name for name, _ in model.named_modules() if name.endswith(".tying")]
    assert len(tied) == 2
    assert ".2." in next(name for name in tied if "text" not in name and "tongue" not in name)
    assert sum("mv_adapter_block.default.down.weight" in name for name, _ in model.named_parameters()) == 3


@each_family
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_changes_nothing(family, use_reentrant):
    inputs, gradients = batch_of(family), []
    for checkpointing in (False, True):
        model = shaken(create(family, "mv_adapter")).train()
        if checkpointing:
            model.enable_input_require_grads()
            model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
        model(**inputs, return_loss=True).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-6, msg=name)
    assert all(gradient.abs().sum() > 0 for name, gradient in gradients[0].items() if "up.weight" in name)


@each_family
def test_the_loss_is_the_familys(family):
    inputs, model = batch_of(family), shaken(create(family, "mv_adapter"))
    with torch.no_grad():
        for parameter in pair_loss(model).parameters:
            parameter.add_(0.3)
        out = model(**inputs, return_loss=True)
        torch.testing.assert_close(pair_loss(model)(out.text_embeds, out.image_embeds), out.loss)
    assert len(pair_loss(model).parameters) == (2 if family == "siglip" else 1)
    before = [parameter.clone() for parameter in pair_loss(model).parameters]
    freeze_logit_scale(model)
    assert not any(parameter.requires_grad for parameter in pair_loss(model).parameters)
    assert all(torch.equal(*pair) for pair in zip(before, pair_loss(model).parameters, strict=True))


@each_family
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_chunks_give_the_plain_step(family, chunk_size):
    inputs, gradients = batch_of(family, videos=3), []
    for in_chunks in (False, True):
        model = shaken(create(family, "mv_adapter")).double().train()
        for parameter in pair_loss(model).parameters:
            parameter.requires_grad_()
        double = {**inputs, "pixel_values": inputs["pixel_values"].double()}
        if in_chunks:
            cached_step(model, double, pair_loss(model), chunk_size=chunk_size)
        else:
            model(**double, return_loss=True).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-9, atol=1e-11, msg=name)
    assert any("logit_scale" in name for name in gradients[0])


def test_siglip_towers_alone():
    whole, inputs = model_of("siglip"), tiny.batch("siglip")
    vision, text = (
        SiglipVisionModel(whole.config.vision_config).eval(),
        SiglipTextModel(whole.config.text_config).eval(),
    )
    vision.load_state_dict(whole.vision_model.state_dict())
    text.load_state_dict(whole.text_model.state_dict())
    texts, videos = embed(enable_video(whole), inputs)
    for tower, argument in ((vision, "pixel_values"), (text, "input_ids")):
        model = get_peft_model(tower, MVAdapterConfig(**SMALL_ADAPTER)).eval()
        mask = {"frame_mask": inputs["frame_mask"]} if argument == "pixel_values" else {}
        with torch.no_grad():
            got = F.normalize(model(**{argument: inputs[argument]}, **mask).pooler_output, dim=-1)
        assert_close([got], [videos if mask else texts])


def test_metaclip_2_towers_alone():
    whole, inputs = model_of("metaclip_2"), tiny.batch("metaclip_2")
    vision = MetaClip2VisionModelWithProjection(whole.config.vision_config).eval()
    text = MetaClip2TextModelWithProjection(whole.config.text_config).eval()
    for tower in (vision, text):
        missing = tower.load_state_dict(whole.state_dict(), strict=False).missing_keys
        assert not missing
    texts, videos = embed(enable_video(whole), inputs)
    with torch.no_grad():
        adapted = get_peft_model(vision, MVAdapterConfig(**SMALL_ADAPTER)).eval()
        got = adapted(pixel_values=inputs["pixel_values"], frame_mask=inputs["frame_mask"]).image_embeds
        assert_close([F.normalize(got, dim=-1)], [videos])
        adapted = get_peft_model(text, MVAdapterConfig(**SMALL_ADAPTER)).eval()
        got = adapted(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).text_embeds
        assert_close([F.normalize(got, dim=-1)], [texts])


@pytest.mark.parametrize(
    ("model_class", "config", "reason"),
    [
        (XCLIPModel, XCLIPConfig(), "X-CLIP lets the frames of a video see each other by layers of its own"),
        (Siglip2Model, Siglip2Config(), "takes patches of images, not images"),
        (CLIPVisionModel, clip_config().vision_config, "CLIPVisionModel is not among the dual encoders"),
    ],
)
def test_others_are_refused_with_a_reason(model_class, config, reason):
    with torch.device("meta"):
        model = model_class(config)
    with pytest.raises(TypeError, match=reason):
        get_peft_model(model, MVAdapterConfig())
    with pytest.raises(TypeError, match="SiglipModel"):
        enable_video(model)


@each_family
def test_the_row_is_true(family):
    model = model_of(family)
    row = DualEncoder.of(model)
    assert DualEncoder.of_config(model.config) is row
    for name, tower in towers(model).items():
        assert tower.width == {"vision": 24, "text": 16}[name]
        assert len(tower.layers) == {"vision": 3, "text": 2}[name]
        layer = tower.layers[0]
        for inside in (*tower.names.layer.linear, *tower.names.layer.norms, tower.names.layer.attention):
            assert tower.locate(f"{tower.prefix}{tower.names.layers}.0.{inside}") == (name, 0, inside)
            assert isinstance(layer.get_submodule(inside), torch.nn.Module)
        names = {
            module_name for module_name, module in tower.module.named_modules() if isinstance(module, nn.LayerNorm)
        }
        assert set(tower.names.norms) == {name for name in names if not tower.locate(f"{tower.prefix}{name}")}


@each_family
def test_the_row_is_true_of_the_tokens(family):
    model, inputs = model_of(family), batch_of(family)
    row = DualEncoder.of(model)
    frames = inputs["pixel_values"].flatten(0, 1)
    side = model.config.vision_config.patch_size
    patches = (frames.shape[-2] // side) * (frames.shape[-1] // side)
    found = {}
    for name, tower in towers(model).items():
        tower.layers[0].register_forward_hook(lambda layer, args, output, name=name: found.update({name: output}))
    with torch.no_grad():
        model.get_image_features(pixel_values=frames)
        hidden = []
        for last in (7, 8):  # two captions that differ in the last token
            tokens = torch.full((1, 5), 6)
            tokens[0, -1] = last
            model.get_text_features(input_ids=tokens)
            hidden.append(_hidden(found["text"])[0, 0])
    assert _hidden(found["vision"]).shape[1] == patches + row.vision.class_token
    assert torch.equal(*hidden) == row.text.causal


def _hidden(output):
    return output[0] if isinstance(output, tuple) else output


def test_a_row_with_a_wrong_name_is_named():
    row, model = TABLE["clip"], model_of("clip")
    wrong = {
        "eye_model": replace(row, vision=replace(row.vision, root="eye_model")),
        "encoder.blocks": replace(row, vision=replace(row.vision, layers="encoder.blocks")),
        "ffn.fc2": replace(row, text=replace(row.text, layer=replace(row.text.layer, mlp_out="ffn.fc2"))),
    }
    try:
        for name, entry in wrong.items():
            register_family(entry)
            with pytest.raises(TypeError, match=rf"CLIPModel has no '{name}'"):
                towers(model)
    finally:
        register_family(row)
