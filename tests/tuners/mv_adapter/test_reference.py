"""The fast adapters equal the slow reference, in value and gradient, on random shapes and masks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from peft import get_peft_model

from mv_peft.tuners.mv_adapter.adapter import TextAdapter, VideoAdapter
from mv_peft.tuners.mv_adapter.tying import TYING_POSITIONS, CrossModalityTying
from tests.models import adapter_config, batch, tiny_clip
from tests.tuners.mv_adapter import reference

DIM = 10


def randomise(module: torch.nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * 0.4)


def assert_same(fast: torch.Tensor, slow: torch.Tensor, module: torch.nn.Module, hidden: torch.Tensor) -> None:
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
    inputs = [hidden, *module.parameters()]
    weights = torch.linspace(-1, 1, fast.numel(), dtype=fast.dtype).view_as(fast)
    got = torch.autograd.grad((fast * weights).sum(), inputs, allow_unused=True)
    expected = torch.autograd.grad((slow * weights).sum(), inputs, allow_unused=True)
    names = ["input", *(name for name, _ in module.named_parameters())]
    for name, a, b in zip(names, got, expected, strict=True):
        assert (a is None) == (b is None), name
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")
    assert sum(gradient is not None for gradient in got) >= len(inputs) - 2


def draw_tying(data: st.DataObject, dim: int) -> CrossModalityTying | None:
    position = data.draw(st.sampled_from([None, *TYING_POSITIONS]))
    return None if position is None else CrossModalityTying(3, DIM, dim, position, 0)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_video_adapter(data):
    heads, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    videos, frames, patches = (data.draw(st.integers(1, n)) for n in (3, 4, 3))
    max_frames = frames + data.draw(st.integers(0, 2))
    adapter = VideoAdapter(
        DIM,
        heads * width,
        num_heads=heads,
        max_frames=max_frames,
        scaling=0.7,
        pre_norm=data.draw(st.booleans()),
        temporal_adaptation=data.draw(st.booleans()),
        calibration_dim=data.draw(st.sampled_from([None, 1, 4])),
        tying=draw_tying(data, heads * width),
    ).double()
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    randomise(adapter, generator)
    factor = torch.randn(3, generator=generator, dtype=torch.float64)
    hidden = torch.randn(videos * frames, 1 + patches, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    mask = torch.rand(videos, frames, generator=generator) < 0.6
    mask[:, 0] |= ~mask.any(dim=1)
    fast = adapter(hidden, mask, factor)
    slow = reference.video_adapter(hidden, mask.double(), adapter, heads, max_frames, 0.7, factor)
    assert_same(fast, slow, adapter, hidden)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_text_adapter(data):
    heads, width = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
    captions, tokens = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 5))
    adapter = TextAdapter(
        DIM,
        heads * width,
        num_heads=heads,
        max_text_tokens=tokens + data.draw(st.integers(0, 2)),
        scaling=0.7,
        pre_norm=data.draw(st.booleans()),
        tying=draw_tying(data, heads * width),
    ).double()
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    randomise(adapter, generator)
    factor = torch.randn(3, generator=generator, dtype=torch.float64)
    hidden = torch.randn(captions, tokens, DIM, generator=generator, dtype=torch.float64).requires_grad_()
    fast = adapter(hidden, factor=factor)
    slow = reference.text_adapter(hidden, adapter, heads, 0.7, factor)
    assert_same(fast, slow, adapter, hidden)


@pytest.mark.parametrize("position", TYING_POSITIONS)
def test_whole_model(position):
    """CLIP's own MLPs with the slow adapters by forward hooks, and slow pooling: the same logits."""
    config = adapter_config(tying_position=position, pre_norm=True)
    model = get_peft_model(tiny_clip(), config).double().eval()
    inputs = batch()
    inputs["pixel_values"] = inputs["pixel_values"].double()
    mask = inputs["frame_mask"]
    with torch.no_grad():
        fast = model(**inputs).logits_per_text

    clip = tiny_clip().double()
    factors = model.cross_modality_tying.mv_adapter_factors["default"]
    pairs = [[1, 0], [2, 1]]

    def slow_hook(tower, index):
        block = getattr(model, f"{tower}_model").encoder.layers[index].mlp.fc2.mv_adapter_block["default"]
        tied = [pair[tower == "text"] for pair in pairs]
        factor = factors[tied.index(index)] if index in tied else None

        def hook(module, args, output):
            if tower == "text":
                return output + reference.text_adapter(output, block, 2, 1.0, factor)
            return output + reference.video_adapter(output, mask, block, 2, 6, 1.0, factor)

        return hook

    for tower in ("vision", "text"):
        for index, layer in enumerate(getattr(clip, f"{tower}_model").encoder.layers):
            layer.mlp.fc2.register_forward_hook(slow_hook(tower, index))
    with torch.no_grad():
        frames = clip.get_image_features(inputs["pixel_values"].flatten(0, 1)).pooler_output.unflatten(0, mask.shape)
        captions = clip.get_text_features(inputs["input_ids"], inputs["attention_mask"]).pooler_output
        slow = reference.similarity(frames, captions, mask, clip.logit_scale)
    torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)
    with torch.no_grad(), model.disable_adapter():
        assert (model(**inputs).logits_per_text - fast).abs().max() > 0.01
