"""The cached step equals the plain one: at any chunk size, with dropout, under autocast; its memory is a chunk's."""

from __future__ import annotations

import weakref

import pytest
import torch

from mv_peft.training import cached_step, contrastive_loss, pair_loss
from tests.models import batch
from tests.training.steps import adapted, assert_same_gradients, gradients, plain_step

PAIRS = 5


def inputs(dtype=torch.float32):
    """Five pairs of uneven length, videos and captions."""
    arguments = batch(videos=PAIRS, frames=6)
    assert len(set(arguments["frame_mask"].sum(1).tolist())) > 2
    assert len(set(arguments["attention_mask"].sum(1).tolist())) > 2
    return {**arguments, "pixel_values": arguments["pixel_values"].to(dtype)}


def step_of(model, arguments, **options):
    return cached_step(model, arguments, pair_loss(model), **options)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("chunk_size", [1, 2, 3, PAIRS, 100])
def test_equals_the_plain_step(chunk_size, dtype, tolerance):
    plain, cached = adapted().to(dtype), adapted().to(dtype)
    expected = plain_step(plain, inputs(dtype))
    loss = step_of(cached, {**inputs(dtype), "return_loss": True}, chunk_size=chunk_size)
    assert not loss.requires_grad
    torch.testing.assert_close(loss, expected, rtol=0, atol=tolerance)
    assert_same_gradients(gradients(cached), gradients(plain), tolerance=tolerance)


def test_logit_scale_may_be_frozen_and_gradients_add_up():
    plain, cached = adapted().double(), adapted().double()  # fp32 rounds twice where gradients add up
    plain_step(plain, inputs(torch.float64))
    cached.logit_scale.requires_grad_(False)
    for _ in range(2):
        step_of(cached, inputs(torch.float64), chunk_size=2)
    assert cached.logit_scale.grad is None
    doubled = {name: 2 * gradient for name, gradient in gradients(plain).items()}
    got = {"base_model.model.logit_scale": doubled["base_model.model.logit_scale"], **gradients(cached)}
    assert_same_gradients(got, doubled, tolerance=1e-13)


def test_backward_may_scale():
    plain, cached = adapted(), adapted()
    expected = plain_step(plain, inputs())
    loss = step_of(cached, inputs(), chunk_size=2, backward=lambda scalar: (1024 * scalar).backward())
    torch.testing.assert_close(loss, expected)
    unscaled = {name: gradient / 1024 for name, gradient in gradients(cached).items()}
    assert_same_gradients(unscaled, gradients(plain), tolerance=1e-6)


def test_with_gradient_checkpointing():
    plain, cached = adapted(), adapted()
    plain_step(plain, inputs())
    cached.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    step_of(cached, inputs(), chunk_size=2)
    assert_same_gradients(gradients(cached), gradients(plain), tolerance=1e-6)


@pytest.mark.parametrize(("chunk_size", "tolerance"), [(PAIRS, 1e-6), (2, 2e-2)])
def test_under_autocast(chunk_size, tolerance):
    """In smaller chunks bfloat16 sums over the batch are rounded elsewhere: to its precision no more can be equal."""
    plain, cached = adapted(), adapted()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = plain_step(plain, inputs())
        loss = step_of(cached, inputs(), chunk_size=chunk_size)
    torch.testing.assert_close(loss, expected, rtol=0, atol=1e-6)
    assert_same_gradients(gradients(cached), gradients(plain), tolerance=tolerance)


def with_dropout():
    model = adapted()
    attentions = [module for name, module in model.named_modules() if name.endswith("self_attn")]
    assert len(attentions) == 5
    for attention in attentions:
        attention.dropout = 0.5
    return model


def test_dropout_draws_the_same_in_both_passes():
    plain, cached = with_dropout(), with_dropout()
    arguments = inputs()
    torch.manual_seed(3)
    outputs = [plain(**{name: value[rows] for name, value in arguments.items()}) for rows in ([0, 1], [2, 3], [4])]
    text, video = (torch.cat([out[key] for out in outputs]) for key in ("text_embeds", "image_embeds"))
    expected = contrastive_loss(text, video, plain.logit_scale)
    expected.backward()
    state = torch.get_rng_state()
    torch.manual_seed(3)
    loss = step_of(cached, arguments, chunk_size=2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(loss, expected.detach())
    assert_same_gradients(gradients(cached), gradients(plain), tolerance=1e-6)
    assert float(step_of(cached, arguments, chunk_size=2)) != float(loss)


def peak_of_saved_bytes(step):
    """The most bytes that autograd keeps at once for the backward."""
    live = peak = 0

    def release(size):
        nonlocal live
        live -= size

    def pack(tensor):
        nonlocal live, peak
        kept, size = tensor.detach(), tensor.nbytes
        weakref.finalize(kept, release, size)
        live += size
        peak = max(peak, live)
        return kept

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept):
        step()
    return peak


def test_memory_is_that_of_a_chunk():
    model, arguments = adapted(), batch(videos=16)
    plain = peak_of_saved_bytes(lambda: plain_step(model, arguments))
    cached = peak_of_saved_bytes(lambda: step_of(model, arguments, chunk_size=2))
    assert 0 < cached < plain / 5


@pytest.mark.parametrize("chunk_size", [0, -3])
def test_refuses_chunks_without_pairs(chunk_size):
    with pytest.raises(ValueError, match=f"`chunk_size` must be positive, got {chunk_size}."):
        step_of(adapted(), inputs(), chunk_size=chunk_size)


def test_refuses_batches_that_are_not_of_pairs():
    arguments = inputs()
    arguments["input_ids"] = arguments["input_ids"][:3]
    with pytest.raises(ValueError, match=r"one row for each pair, got \{'input_ids': 3, .*'pixel_values': 5"):
        step_of(adapted(), arguments, chunk_size=2)
