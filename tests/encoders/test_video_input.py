"""Videos as input: shapes, masks, pooling, padding, and the same protocol for every kind of CLIP."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import BertConfig, BertModel, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from mv_peft import disable_video, enable_video
from tests.models import EOS, adapter_config, batch, clip_config, tiny_clip


def adapted(**overrides):
    return get_peft_model(tiny_clip(), adapter_config(**overrides)).eval()


def embeddings(model, **inputs):
    with torch.no_grad():
        return model(**inputs).image_embeds


def pooled_by_hand(clip, inputs):
    """Pooling from image embeddings of a CLIP that knows no videos."""
    videos = []
    for frames, mask in zip(inputs["pixel_values"], inputs["frame_mask"], strict=True):
        with torch.no_grad():
            embeds = clip.get_image_features(frames[mask.bool()]).pooler_output
        embeds = embeds / embeds.norm(dim=-1, keepdim=True)
        videos.append(embeds.mean(dim=0) / embeds.mean(dim=0).norm())
    return torch.stack(videos)


def test_pooling_is_the_mean_of_normalised_real_frames():
    clip, inputs = tiny_clip(), batch()
    expected = pooled_by_hand(clip, inputs)
    out = enable_video(clip)(**inputs, return_loss=True)
    torch.testing.assert_close(out.image_embeds, expected)
    torch.testing.assert_close(out.logits_per_text, clip.logit_scale.exp() * out.text_embeds @ expected.T)
    assert torch.equal(out.logits_per_image, out.logits_per_text.T)
    target = torch.arange(3)
    halves = [nn.functional.cross_entropy(x, target) for x in (out.logits_per_text, out.logits_per_image)]
    torch.testing.assert_close(out.loss, sum(halves) / 2)


def test_image_features_and_every_frame_without_a_mask():
    clip, inputs = enable_video(tiny_clip()), batch()
    with torch.no_grad():
        features = clip.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
    inputs["frame_mask"] = torch.ones_like(inputs["frame_mask"])
    torch.testing.assert_close(features / features.norm(dim=-1, keepdim=True), embeddings(clip, **inputs))


def test_images_mean_what_they_meant():
    clip, inputs = tiny_clip(), batch()
    images = {**inputs, "pixel_values": inputs["pixel_values"][:, 0]}
    del images["frame_mask"]
    with torch.no_grad():
        before = clip(**images), clip.get_image_features(images["pixel_values"]).pooler_output
        enable_video(clip)
        after = clip(**images), clip.get_image_features(images["pixel_values"]).pooler_output
    assert torch.equal(before[0].logits_per_text, after[0].logits_per_text)
    assert torch.equal(before[1], after[1])


def test_images_are_videos_of_one_frame():
    model, inputs = adapted(), batch(frames=1)
    images = {**inputs, "pixel_values": inputs["pixel_values"][:, 0]}
    torch.testing.assert_close(embeddings(model, **inputs), embeddings(model, **images))
    del images["frame_mask"]
    torch.testing.assert_close(embeddings(model, **inputs), embeddings(model, **images))


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e6])
def test_what_stands_in_padded_frames_is_invisible(garbage):
    model, inputs = adapted(), batch()
    expected = embeddings(model, **inputs)
    padded = ~inputs["frame_mask"].bool()
    assert padded.any()
    inputs["pixel_values"] = inputs["pixel_values"].masked_fill(padded[:, :, None, None, None], garbage)
    assert torch.equal(embeddings(model, **inputs), expected)
    model(**inputs, return_loss=True).loss.backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)
    assert sum(gradient.abs().sum() for gradient in gradients) > 0


@pytest.mark.parametrize("method", ["mv_adapter", "lora", "lora with bias", "clip"])
def test_neighbours_and_length_of_padding_are_invisible(method):
    if method == "mv_adapter":
        model = adapted()
    elif method.startswith("lora"):
        bias = method == "lora with bias"
        config = LoraConfig(target_modules=["visual_projection"], init_lora_weights=False, lora_bias=bias)
        model = enable_video(get_peft_model(tiny_clip(), config))
    else:
        model = enable_video(tiny_clip())
    inputs = batch(frames=4)
    expected = embeddings(model.eval(), **inputs)
    wider = torch.cat([inputs["pixel_values"], torch.randn(3, 2, 3, 8, 8)], dim=1)
    mask = torch.cat([inputs["frame_mask"], torch.zeros(3, 2, dtype=torch.long)], dim=1)
    got = embeddings(model, **{**inputs, "pixel_values": wider, "frame_mask": mask})
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)
    for row in range(3):
        frames = int(inputs["frame_mask"][row].sum())
        alone = {
            "input_ids": inputs["input_ids"][row : row + 1],
            "pixel_values": inputs["pixel_values"][row : row + 1, :frames],
        }
        torch.testing.assert_close(embeddings(model, **alone)[0], expected[row], rtol=0, atol=1e-5)


def test_length_of_caption_padding_is_invisible():
    model, inputs = adapted(), batch(tokens=7)
    with torch.no_grad():
        expected = model(**inputs).text_embeds
        for padding, masked in ((0, True), (EOS, True), (0, False)):
            ids = torch.cat([inputs["input_ids"], torch.full((3, 3), padding)], dim=1)
            mask = torch.cat([inputs["attention_mask"], torch.zeros(3, 3, dtype=torch.long)], dim=1)
            longer = {**inputs, "input_ids": ids, "attention_mask": mask if masked else None}
            torch.testing.assert_close(model(**longer).text_embeds, expected, rtol=0, atol=1e-5)


def test_order_of_frames_matters_with_temporal_adaptation_only():
    inputs = batch(videos=2, frames=4)
    inputs["frame_mask"] = torch.ones(2, 4)
    flipped = {**inputs, "pixel_values": inputs["pixel_values"].flip(1)}
    temporal, blind = adapted(), adapted(temporal_adaptation=False)
    assert (embeddings(temporal, **inputs) - embeddings(temporal, **flipped)).abs().max() > 1e-3
    torch.testing.assert_close(embeddings(blind, **inputs), embeddings(blind, **flipped))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_mask": torch.ones(3, 4)}, r"`frame_mask` must have shape \(batch, frames\) = \(3, 5\), got \(3, 4\)"),
        ({"frame_mask": torch.ones(15)}, r"= \(3, 5\), got \(15,\)"),
        ({"frame_mask": torch.full((3, 5), 0.5)}, "must be 1 on real frames and 0 on padded ones"),
        ({"frame_mask": torch.tensor([[1] * 5, [0] * 5, [1] * 5])}, r"no real frame to the videos at \[1\]"),
        ({"pixel_values": torch.ones(3, 8, 8)}, r"\(batch, frames, 3, height, width\).*got \(3, 8, 8\)"),
        ({"pixel_values": torch.ones(3, 0, 3, 8, 8), "frame_mask": None}, "at least one video of one frame"),
        (
            {"pixel_values": torch.ones(0, 5, 3, 8, 8), "frame_mask": torch.ones(0, 5)},
            "at least one video of one frame",
        ),
        ({"pixel_values": torch.ones(3, 7, 3, 8, 8), "frame_mask": None}, "7 frames, .* at most `max_frames` = 6"),
        ({"input_ids": torch.ones(3, 12).long(), "attention_mask": None}, "12 tokens, .*`max_text_tokens` = 10"),
    ],
)
def test_clear_errors(change, message):
    with pytest.raises(ValueError, match=message):
        adapted()(**{**batch(), **change})


def test_a_mask_is_a_tensor():
    with pytest.raises(TypeError, match="`frame_mask` must be a tensor, got list"):
        adapted()(**{**batch(), "frame_mask": [[1] * 5] * 3})


def test_other_models_are_refused():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    bert = BertModel(BertConfig(vocab_size=10, **sizes))
    with pytest.raises(TypeError, match="BertModel is not among the dual encoders"):
        enable_video(bert)
    with pytest.raises(TypeError, match="BertModel is not among the dual encoders"):
        get_peft_model(bert, adapter_config())


def hooks(model):
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def test_enable_is_idempotent_and_can_be_undone():
    clip, inputs = tiny_clip(), batch()
    enable_video(enable_video(clip))
    expected = embeddings(clip, **inputs)
    torch.testing.assert_close(expected, pooled_by_hand(tiny_clip(), inputs))
    assert disable_video(clip) is clip
    assert hooks(clip) == 0
    assert clip.__dict__.keys() == tiny_clip().__dict__.keys()
    disable_video(clip)
    with pytest.raises(ValueError, match=r"MV-Adapter.*unload"):
        disable_video(adapted())


def test_unload_leaves_what_the_user_enabled():
    inputs = batch()
    clip = enable_video(tiny_clip())
    expected = embeddings(clip, **inputs)
    unloaded = get_peft_model(clip, adapter_config(modules_to_save=["visual_projection"])).unload()
    assert torch.equal(embeddings(unloaded, **inputs), expected)
    assert hooks(disable_video(unloaded)) == 0
    assert hooks(get_peft_model(tiny_clip(), adapter_config(modules_to_save=["visual_projection"])).unload()) == 0


@pytest.mark.parametrize("first", ["video", "lora"])
def test_lora_on_the_projection_itself(first):
    """The hook that pools moves to whatever stands at `visual_projection`."""
    clip, inputs = tiny_clip(), batch(videos=3, frames=3)
    config = LoraConfig(target_modules=["visual_projection", "q_proj"], init_lora_weights=False)
    torch.manual_seed(5)
    if first == "video":
        model = get_peft_model(enable_video(clip), config)
    else:
        model = enable_video(get_peft_model(clip, config))
    got = embeddings(model.eval(), **inputs)
    reference = disable_video(copy.deepcopy(model)).get_base_model()
    torch.testing.assert_close(got, pooled_by_hand(reference, inputs))
    with model.disable_adapter():
        torch.testing.assert_close(embeddings(model, **inputs), pooled_by_hand(tiny_clip(), inputs))


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("make", [lambda: enable_video(tiny_clip()), adapted])
def test_copies_are_whole_and_apart(make, clone):
    model, inputs = make(), batch()
    expected = embeddings(model, **inputs)
    copied = clone(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert torch.equal(embeddings(copied, **inputs), expected)
    if hasattr(copied, "unload"):
        assert hooks(copied.unload()) == 0


def test_vision_and_text_towers_alone():
    inputs, config = batch(), clip_config()
    whole = adapted(tying_layers=[])
    vision = CLIPVisionModelWithProjection(config.vision_config)
    vision.load_state_dict(tiny_clip().state_dict(), strict=False)
    text = CLIPTextModelWithProjection(config.text_config)
    text.load_state_dict(tiny_clip().state_dict(), strict=False)
    for tower, model in (("vision", vision), ("text", text)):
        alone = get_peft_model(copy.deepcopy(model), adapter_config())  # a tower alone has nothing to be tied to
        assert not [name for name, _ in alone.named_parameters() if "tying" in name]
        model = get_peft_model(model.eval(), adapter_config(tying_layers=[])).eval()
        wanted = {key: value for key, value in whole.state_dict().items() if f".{tower}_model." in key}
        assert not model.load_state_dict(wanted, strict=False).unexpected_keys
        with torch.no_grad():
            if tower == "vision":
                got = model(pixel_values=inputs["pixel_values"], frame_mask=inputs["frame_mask"]).image_embeds
                expected = whole.get_image_features(inputs["pixel_values"], frame_mask=inputs["frame_mask"])
            else:
                got = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).text_embeds
                expected = whole.get_text_features(inputs["input_ids"], inputs["attention_mask"])
        assert torch.equal(got, expected.pooler_output)
        with torch.no_grad(), model.disable_adapter():
            argument = "pixel_values" if tower == "vision" else "input_ids"
            assert (got - model(**{argument: inputs[argument]})[0]).abs().max() > 0.01
        assert hooks(enable_video(model.unload())) > 0


@pytest.mark.parametrize("method", ["mv_adapter", "lora"])
def test_pefts_model_for_features_takes_videos(method):
    config = {"mv_adapter": adapter_config, "lora": LoraConfig}[method]
    targets = {} if method == "mv_adapter" else {"target_modules": ["q_proj"], "init_lora_weights": False}
    outputs = []
    for task_type in (None, "FEATURE_EXTRACTION"):
        torch.manual_seed(3)
        model = enable_video(get_peft_model(tiny_clip(), config(task_type=task_type, **targets))).eval()
        with torch.no_grad():
            outputs.append(model(**batch()).logits_per_text)
    assert torch.equal(*outputs)
    with torch.no_grad(), model.disable_adapter():
        assert not torch.equal(model(**batch()).logits_per_text, outputs[0])
