"""The metrics equal a brute-force oracle, ties included, and refuse what they cannot judge."""

import statistics

import pytest
import torch

from mv_peft.retrieval import ranks, recall_at, retrieval_metrics


def oracle(similarity: list[list[float]], strict: bool) -> list[int]:
    """Ranks by sorting: the own target is put behind (or before) all that are as near as it."""
    found = []
    for query, row in enumerate(similarity):
        order = sorted(range(len(row)), key=lambda target: (-row[target], (target == query) == strict))
        found.append(order.index(query) + 1)
    return found


@pytest.mark.parametrize("ties", ["strict", "lenient"])
def test_ranks_equal_a_sorting_oracle_with_many_ties(ties):
    generator = torch.Generator().manual_seed(0)
    differs = False
    for _ in range(20):
        similarity = torch.randint(0, 5, (17, 17), generator=generator).float()
        expected = oracle(similarity.tolist(), strict=ties == "strict")
        assert ranks(similarity, ties).tolist() == expected
        differs |= expected != oracle(similarity.tolist(), strict=ties != "strict")
    assert differs, "these matrices should have ties that matter"


def test_metrics_equal_the_oracle_in_both_directions():
    similarity = torch.randint(0, 40, (30, 30), generator=torch.Generator().manual_seed(1)).float()
    metrics = retrieval_metrics(similarity)
    for direction, matrix in (("t2v", similarity), ("v2t", similarity.T)):
        expected = oracle(matrix.tolist(), strict=True)
        for k in (1, 5, 10):
            assert metrics[f"{direction} R@{k}"] == pytest.approx(100 * sum(rank <= k for rank in expected) / 30)
        assert metrics[f"{direction} median rank"] == statistics.median(expected)
        assert metrics[f"{direction} mean rank"] == pytest.approx(statistics.mean(expected))
    assert metrics["t2v mean rank"] != metrics["v2t mean rank"]


def test_a_model_that_answers_the_same_to_everything_is_last():
    assert ranks(torch.zeros(4, 4)).tolist() == [4, 4, 4, 4]
    assert retrieval_metrics(torch.zeros(20, 20))["t2v R@10"] == 0


def test_more_targets_than_queries():
    assert ranks(torch.tensor([[0.2, 0.9, 0.1], [0.3, 0.4, 0.1]])).tolist() == [2, 1]


@pytest.mark.parametrize(
    ("similarity", "message"),
    [
        (torch.zeros(3), r"got \(3,\)"),
        (torch.zeros(0, 0), r"got \(0, 0\)"),
        (torch.zeros(3, 2), r"got \(3, 2\)"),
        (torch.tensor([[1.0, 0.0], [float("nan"), 1.0]]), "NaN in 1 rows, first in row 1"),
    ],
)
def test_what_cannot_be_ranked_is_an_error(similarity, message):
    with pytest.raises(ValueError, match=message):
        ranks(similarity)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="Unknown ties 'fair'"):
        ranks(torch.eye(2), ties="fair")
    with pytest.raises(ValueError, match="got 0"):
        recall_at(torch.tensor([1, 2]), 0)
    with pytest.raises(ValueError, match=r"square.*\(2, 3\)"):
        retrieval_metrics(torch.zeros(2, 3))
