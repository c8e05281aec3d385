"""The estimate is what autograd keeps, and the chunk that follows from it fits."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
import torch
from peft import get_peft_model

from mv_peft.training.memory import MemoryEstimate, device_memory, estimate_memory
from tests.models import adapter_config, batch, tiny_clip
from tests.training.steps import adapted


def kept_of(num_pairs, model=None, **options):
    rows = batch(videos=num_pairs, frames=6)
    return estimate_memory(adapted() if model is None else model, rows, **options).activations_per_pair


def test_activations_of_a_batch_are_those_of_its_pairs():
    one = kept_of(1)
    assert one > 10_000
    assert kept_of(8) == pytest.approx(one, rel=0.1)


def test_frozen_layers_keep_nothing():
    model = tiny_clip().requires_grad_(False)
    late = get_peft_model(model, adapter_config(layers_to_transform={"vision": [2], "text": [1]}, tying_layers=[]))
    assert 0 < kept_of(1, late) < 0.7 * kept_of(1)


def test_mixed_precision_keeps_less():
    assert kept_of(4, autocast=torch.bfloat16) < 0.9 * kept_of(4)


def test_counts_weights_once_and_two_moments():
    model = adapted()
    estimate = estimate_memory(model, batch(videos=1))
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    assert estimate.weights >= sum(size for size, _ in sizes)
    assert estimate.gradients == sum(size for size, trained in sizes if trained)
    assert estimate.optimizer == 2 * estimate.gradients


def test_leaves_model_and_random_numbers_as_they_were():
    model = adapted().eval()
    state = torch.get_rng_state()
    estimate_memory(model, batch(videos=1))
    assert not model.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(("available", "expected"), [(10_000, 128), (1_000, 4), (700, 1), (10, 1)])
def test_the_chunk_fits_four_fifths(available, expected):
    estimate = MemoryEstimate(weights=100, gradients=50, optimizer=100, inputs_per_pair=2, activations_per_pair=50)
    assert estimate.chunk_size(128, available) == expected
    assert expected == 1 or estimate.total(128, expected) <= 0.8 * available < estimate.total(128, 2 * expected + 1)


def test_says_what_is_needed():
    estimate = MemoryEstimate(2**30, 2**20, 2**21, inputs_per_pair=2**19, activations_per_pair=2**29)
    assert estimate.describe(16, 8) == (
        "about 5.0 GiB (weights 1.0 GiB, gradients 1 MiB, optimizer 2 MiB, 16 pairs 8 MiB, activations of 8 4.0 GiB)"
    )


def test_what_is_there_does_not_depend_on_what_is_free(monkeypatch):
    """Else the same command would be chunked otherwise on a busy day, and not give the same adapter to the bit."""
    sizes = {"total": 2**36, "available": 2**30}
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(**sizes))
    assert device_memory(torch.device("cpu")) == 2**35
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert device_memory(torch.device("cpu")) == 2**33
    assert device_memory(torch.device("meta")) is None


def test_pairs_are_counted_with_their_padding():
    rows = batch(videos=2, frames=6)
    sizes = sum(tensor.numel() * tensor.element_size() for tensor in rows.values())
    assert estimate_memory(adapted(), rows).inputs_per_pair == sizes // 2
