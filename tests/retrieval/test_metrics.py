"""The metrics equal a brute-force oracle and the authors' program, ties included, and refuse what cannot be ranked."""

from __future__ import annotations

import json
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file

from mv_peft.retrieval import Ties, rank_counts, ranks, recall_at, retrieval_metrics
from tests.retrieval import oracle
from tests.tuners.mv_adapter.test_golden import GOLDEN

TIES = get_args(Ties)
MATRICES = load_file(GOLDEN / "_metrics" / "metrics.safetensors")
RESULTS = json.loads((GOLDEN / "_metrics" / "results.json").read_text())
WITHOUT_TIES = [name for name in RESULTS if name.startswith(("square", "multi"))]
WITH_TIES = [name for name in RESULTS if name.startswith("tie") and name in MATRICES]


@pytest.mark.parametrize("ties", TIES)
def test_ranks_equal_a_sorting_oracle_with_many_ties(ties):
    generator = torch.Generator().manual_seed(0)
    num_tied = 0
    for _ in range(20):
        similarity = torch.randint(0, 5, (17, 17), generator=generator).float()
        rows = list(enumerate(similarity.tolist()))
        expected = [rank for own, row in rows for rank in oracle.positions(row, own, ties)]
        assert ranks(similarity, ties).tolist() == expected
        num_tied += int((rank_counts(similarity, torch.arange(17)).tied > 1).sum())
    assert num_tied > 200, "these matrices should have many ties"


@pytest.mark.parametrize("ties", TIES)
def test_metrics_equal_the_oracle_in_both_directions(ties):
    similarity = torch.randint(0, 40, (30, 30), generator=torch.Generator().manual_seed(1)).float()
    expected = oracle.retrieval(similarity.tolist(), range(30), ties)
    assert retrieval_metrics(similarity, ties) == pytest.approx(expected)
    assert expected["t2v mean rank"] != expected["v2t mean rank"]


@pytest.mark.parametrize("ties", TIES)
def test_several_captions_per_video(ties):
    generator = torch.Generator().manual_seed(2)
    video_of_caption = torch.tensor([4, 0, 0, 1, 2, 2, 2, 3, 4, 4, 0, 1, 5])
    for _ in range(20):
        similarity = torch.randint(0, 6, (13, 6), generator=generator).float()
        expected = oracle.retrieval(similarity.tolist(), video_of_caption.tolist(), ties)
        assert retrieval_metrics(similarity, ties, video_of_caption=video_of_caption) == pytest.approx(expected)


@pytest.mark.parametrize("name", WITHOUT_TIES)
@pytest.mark.parametrize("ties", TIES)
def test_recalls_and_mean_ranks_equal_those_of_the_authors_program(name, ties):
    similarity, video_of_caption = MATRICES[name], MATRICES.get(f"{name}.t2v_label")
    metrics = retrieval_metrics(similarity, ties, video_of_caption=video_of_caption)
    for direction in ("t2v", "v2t"):
        theirs = RESULTS[name][direction]
        for k in (1, 5, 10):
            assert metrics[f"{direction} R@{k}"] == pytest.approx(theirs[f"{direction}_r{k}"])
        assert metrics[f"{direction} mean rank"] == pytest.approx(theirs[f"{direction}_mean"] + 1)
    if video_of_caption is None:
        assert (ranks(similarity) - 1).tolist() == MATRICES[f"{name}.t2v_rank0"].tolist()
        # Their median, as the docstring of `retrieval_metrics` describes it.
        ordered = sorted((ranks(similarity) - 1).tolist())
        half = len(ordered) // 2
        either = [ordered[half]] if len(ordered) % 2 == 0 else ordered[half : half + 2]
        assert RESULTS[name]["t2v"]["t2v_median"] == sum(either) / len(either)


@pytest.mark.parametrize("name", WITH_TIES)
def test_the_authors_ranks_are_between_optimistic_and_strict_ones_where_there_are_ties(name):
    assert len(WITH_TIES) >= 8
    theirs = MATRICES[f"{name}.t2v_rank0"] + 1
    best, worst = ranks(MATRICES[name], "optimistic"), ranks(MATRICES[name], "strict")
    assert ((best <= theirs) & (theirs <= worst)).all()
    assert (best < worst).any()


def test_clip4clip_counts_a_query_once_for_every_tied_position():
    similarity = torch.tensor([[1.0, 1.0, 0.0], [0.5, 0.5, 0.5], [0.0, 0.0, 1.0]])
    assert ranks(similarity, "clip4clip").tolist() == [1, 2, 1, 2, 3, 1]
    assert retrieval_metrics(similarity, "clip4clip")["t2v R@1"] == 50
    assert retrieval_metrics(similarity, "strict")["t2v R@1"] == pytest.approx(100 / 3)
    assert retrieval_metrics(similarity, "optimistic")["t2v R@1"] == 100


def test_a_model_that_scores_everything_the_same_ranks_last():
    assert ranks(torch.zeros(4, 4)).tolist() == [4, 4, 4, 4]
    assert retrieval_metrics(torch.zeros(20, 20))["t2v R@10"] == 0
    assert retrieval_metrics(torch.zeros(20, 20), "optimistic")["t2v R@1"] == 100


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
def test_similarities_that_cannot_be_ranked_are_refused(similarity, message):
    with pytest.raises(ValueError, match=message):
        ranks(similarity)


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="Unknown ties 'fair'"):
        ranks(torch.eye(2), ties="fair")
    with pytest.raises(ValueError, match="got 0"):
        recall_at(torch.tensor([1, 2]), 0)
    with pytest.raises(ValueError, match=r"square.*\(2, 3\)"):
        retrieval_metrics(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"`positives` must give each of 2 queries one of 3 targets.*from 0 to 3"):
        rank_counts(torch.zeros(2, 3), torch.tensor([0, 3]))


@pytest.mark.parametrize(
    ("owners", "message"),
    [
        ([0, 1], r"int64 of shape \(captions,\) = \(3,\), got torch.int64 of shape \(2,\)"),
        ([0.0, 1.0, 0.0], r"got torch.float32 of shape \(3,\)"),
        ([0, 0, 0], "every one of 2 videos: video 1 has no caption"),
        ([0, 1, 2], "every one of 2 videos: video 2 does not exist"),
    ],
)
def test_video_of_caption_is_checked(owners, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(torch.zeros(3, 2), video_of_caption=torch.tensor(owners))
