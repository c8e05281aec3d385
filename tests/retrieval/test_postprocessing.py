"""Dual softmax and query-bank normalisation equal their formulas in plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from mv_peft.retrieval import DualSoftmax, QueryBankNorm


def cosines(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_dual_softmax():
    similarity = cosines(4, 3)
    got = DualSoftmax(temperature=0.1).apply(similarity)
    for q in range(4):
        for g in range(3):
            weights = [math.exp(float(similarity[other, g]) / 0.1) for other in range(4)]
            expected = float(similarity[q, g]) * weights[q] / sum(weights)
            assert float(got[q, g]) == pytest.approx(expected, rel=1e-6)


def test_dual_softmax_does_not_underflow_to_ties():
    got = DualSoftmax().apply(torch.tensor([[1.0, 0.9], [-1.0, -0.9]]))
    assert (got != 0).all()


def test_query_bank_norm_changes_only_queries_whose_best_target_is_a_hub():
    similarity = torch.tensor([[0.5, 0.4, 0.1], [0.1, 0.2, 0.6], [0.3, 0.9, 0.2]])
    bank = torch.tensor([[0.8, 0.3, 0.1], [0.7, 0.6, 0.0]])  # target 0 is the best of both
    got = QueryBankNorm(beta=20).apply(similarity, bank)
    sums = [sum(math.exp(20 * float(query[g])) for query in bank) for g in range(3)]
    expected = [math.exp(20 * float(similarity[0, g])) / sums[g] for g in range(3)]
    assert got[0].tolist() == pytest.approx(expected, rel=1e-5)
    assert torch.equal(got[1:], similarity[1:].double())
    assert similarity[0].argmax() == 0
    assert got[0].argmax() != 0, "the hub is no longer first"


def test_the_inverted_softmax_changes_every_query():
    similarity, bank = cosines(5, 4), cosines(6, 4, seed=1)
    got = QueryBankNorm(beta=3, dynamic=False).apply(similarity, bank)
    expected = (3 * similarity.double()).exp() / (3 * bank.double()).exp().sum(dim=0)
    torch.testing.assert_close(got, expected)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="`temperature` must be positive, got 0"):
        DualSoftmax(temperature=0)
    with pytest.raises(ValueError, match="`beta` must be positive, got -1"):
        QueryBankNorm(beta=-1)
    with pytest.raises(ValueError, match=r"with 3 targets, got \(2, 4\)"):
        QueryBankNorm().apply(torch.zeros(2, 3), torch.zeros(2, 4))
