"""The baselines against the formulas of their papers, written slowly in `reference.py`: values and gradients."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import CLIPModel

from mv_peft.tuners import TemporalHeadConfig
from mv_peft.tuners.st_adapter import TemporalConvolution
from tests.models import batch, clip_config, tiny_clip
from tests.tuners.rivals import reference
from tests.tuners.rivals.methods import create, shake

METHODS = ["adapter_parallel", "adapter_sequential", "st_adapter", "prompts", "head"]


def blocks(model, container):
    """The adapters of each tower by layer."""
    return {
        tower: [
            module["default"]
            for name, module in model.named_modules()
            if name.endswith(container) and f"{tower}_model" in name
        ]
        for tower in ("vision", "text")
    }


def steps(method, model):
    """What the reference does in each tower, made of the model's own parameters."""
    clip_dims = {"vision": 24, "text": 16}
    result = {
        tower: {
            "before": reference.nothing_before,
            "prompts": reference.no_prompts(dim),
            "beside": reference.nothing_beside,
        }
        for tower, dim in clip_dims.items()
    }
    if method.startswith("adapter"):
        for tower, of_layer in blocks(model, "bottleneck_adapter_block").items():

            def beside(index, y, m, of_layer=of_layer):
                block = of_layer[index]
                return reference.bottleneck(
                    y if method == "adapter_parallel" else m, block.down, block.up, reference.relu, block.scaling
                )

            result[tower]["beside"] = beside
    if method == "st_adapter":
        of_layer = blocks(model, "st_adapter_block")
        result["vision"]["before"] = lambda i, x: reference.st_adapter(x, of_layer["vision"][i])
        result["text"]["before"] = lambda i, x: (
            x + reference.bottleneck(x, of_layer["text"][i].down, of_layer["text"][i].up, reference.gelu, 1.0)
        )
    if method == "prompts":
        for tower, of_layer in blocks(model, "deep_prompts_block").items():
            result[tower]["prompts"] = lambda i, of_layer=of_layer: of_layer[i].vectors
    return result


@pytest.mark.parametrize("method", METHODS)
def test_values_and_gradients_are_the_formulas(method):
    model, plain, inputs = shake(create(method)), tiny_clip(), batch()
    of_tower = steps(method, model)
    head = model.video_pooling.temporal_head_block["default"] if method == "head" else None
    videos, captions = [], []
    for row in range(3):
        frames = inputs["pixel_values"][row][inputs["frame_mask"][row].bool()]
        embeds = reference.frame_embeddings(plain, frames, **of_tower["vision"])
        videos.append(reference.video_embedding(embeds if head is None else reference.temporal_head(embeds, head)))
        ids = inputs["input_ids"][row][inputs["attention_mask"][row].bool()]
        captions.append(reference.text_embedding(plain, ids, **of_tower["text"]))
    out = model(**inputs)
    torch.testing.assert_close(out.image_embeds, torch.stack(videos), rtol=0, atol=1e-5)
    torch.testing.assert_close(out.text_embeds, torch.stack(captions), rtol=0, atol=1e-5)

    weights = torch.randn(2, 3, 12)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    expected = torch.autograd.grad(
        (weights * torch.stack([torch.stack(videos), torch.stack(captions)])).sum(), list(trainable.values())
    )
    got = torch.autograd.grad(
        (weights * torch.stack([out.image_embeds, out.text_embeds])).sum(), list(trainable.values())
    )
    for name, ours, theirs in zip(trainable, got, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5, msg=f"gradient of {name} differs")
    assert all(gradient.abs().sum() > 0 for gradient in got)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_temporal_convolution(kernel_size):
    """Frames behind the end, in videos of different length, have no part in it, whatever stands there."""
    convolution = TemporalConvolution(4, kernel_size).double()
    convolution.reset_parameters()
    lengths, inputs = [5, 2, 1], torch.randn(3, 5, 6, 4, dtype=torch.double, requires_grad=True)
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    got = convolution(inputs, mask)
    weights = torch.randn_like(got) * mask[:, :, None, None]
    leaves = [inputs, convolution.weight, convolution.bias]
    expected_sum, expected = 0.0, []
    for video, length, weight in zip(inputs, lengths, weights, strict=True):
        expected.append(reference.temporal_convolution(video[:length], convolution.weight, convolution.bias))
        expected_sum = expected_sum + (weight[:length] * expected[-1]).sum()
    for row, length in enumerate(lengths):
        torch.testing.assert_close(got[row, :length], expected[row])
    left, right = torch.autograd.grad((weights * got).sum(), leaves), torch.autograd.grad(expected_sum, leaves)
    assert all(gradient.abs().sum() > 0 for gradient in left)
    torch.testing.assert_close(left, right)
    assert (left[0][~mask] == 0).all()


def test_head_from_clip_is_the_text_encoder_over_frames():
    """CLIP4Clip's start: the first text layers, not causal, and the first positions."""
    config = clip_config(text_dim=16)
    config.projection_dim, config.text_config.intermediate_size = 16, 64
    torch.manual_seed(0)
    clip = CLIPModel(config).eval()
    inputs = batch(videos=1, frames=4)
    text, frames = clip.text_model, inputs["pixel_values"][0]
    embeds = clip.get_image_features(frames).pooler_output
    z = embeds + text.embeddings.position_embedding.weight[:4]
    for layer in text.encoder.layers:
        z = reference.encoder_layer(layer, z, False, lambda y, m: torch.zeros_like(m))
    expected = reference.video_embedding(embeds + z)
    head = TemporalHeadConfig(num_layers=2, max_frames=6, init="clip")
    model = get_peft_model(clip, head).eval()
    torch.testing.assert_close(model(**inputs).image_embeds[0], expected, rtol=0, atol=1e-5)
    assert (reference.video_embedding(embeds) - expected).abs().max() > 1e-3


@pytest.mark.parametrize("method", [None, "lora", "prompts", "adapter_parallel", "full"])
def test_head_from_clip_copies_clip_itself_under_any_method(method):
    from tests.tuners.rivals.methods import ALL

    config = clip_config(text_dim=16)
    config.projection_dim, config.text_config.intermediate_size = 16, 64
    torch.manual_seed(0)
    clip = CLIPModel(config)
    fc1 = clip.text_model.encoder.layers[1].mlp.fc1.weight
    head = TemporalHeadConfig(num_layers=2, init="clip", method=None if method is None else ALL[method]())
    model = get_peft_model(clip, head)
    own = model.video_pooling.temporal_head_block["default"].layers[1]
    assert torch.equal(own.fc1.weight, fc1)
    assert own.attention.num_heads == 2
