"""The benchmark's figures agree with those of the library where both are defined, and else with counting by hand."""

import numpy as np
import pytest
import torch

from benchmarks.compare.measure import (
    caption_groups,
    gallery_metrics,
    group_rank_counts,
    order_figures,
    order_metrics,
    order_note,
    selection_figures,
)
from benchmarks.worlds.base import ClipSet
from mv_peft.retrieval import retrieval_metrics


def clip_set(captions, kinds=None, scenarios=None, are_twins=False):
    kinds = kinds or ["move"] * len(captions)
    frames = np.zeros((len(captions), 2, 1, 1, 3), dtype=np.uint8)
    return ClipSet(tuple(captions), tuple(kinds), tuple(scenarios or captions), frames, are_twins)


def cosines(captions, clips, seed=0):
    return torch.randn(captions, clips, generator=torch.Generator().manual_seed(seed))


def test_recalls_without_repeated_captions_equal_those_of_the_library():
    similarity = cosines(30, 30) + 1.5 * torch.eye(30)
    found = gallery_metrics(similarity, clip_set([f"caption {number}" for number in range(30)]))
    expected = retrieval_metrics(similarity)
    for name in ("t2v R@1", "t2v R@5", "t2v R@10", "v2t R@1", "v2t R@5", "v2t R@10"):
        assert found[name] == pytest.approx(expected[name])
        assert 0 < found[name] < 100


@pytest.mark.parametrize("seed", range(3))
def test_every_clip_with_a_repeated_caption_is_a_positive(seed):
    captions = [f"caption {number % 7}" for number in range(20)]
    unique, group = caption_groups(captions)
    similarity = cosines(7, 20, seed).round(decimals=1)  # with ties
    t2v, v2t = (counts.ranks().tolist() for counts in group_rank_counts(similarity, group))
    for query in range(7):
        own = [clip for clip in range(20) if captions[clip] == unique[query]]
        best = max(float(similarity[query, clip]) for clip in own)
        wrong = [clip for clip in range(20) if clip not in own]
        assert t2v[query] == 1 + sum(float(similarity[query, clip]) >= best for clip in wrong)
    for clip in range(20):
        own = unique.index(captions[clip])
        others = [query for query in range(7) if query != own]
        assert v2t[clip] == 1 + sum(float(similarity[q, clip]) >= float(similarity[own, clip]) for q in others)


def test_order_accuracy_is_measured_between_twins_by_kind():
    clips = clip_set("abcdef", ["move", "move", "fade", "fade", "still", "still"], list("xxyyzw"), are_twins=True)
    similarity = torch.eye(6)
    similarity[0, 1], similarity[1, 1] = 2.0, 3.0  # caption a prefers clip b, which prefers its own caption
    similarity[2, 3], similarity[3, 2] = 0.5, 2.0  # caption d prefers clip c, which prefers caption d
    figures = order_metrics(similarity, clips, ("move", "fade"))
    assert figures == {
        "t2v order accuracy": 50.0,
        "t2v order accuracy move": 50.0,
        "t2v order accuracy fade": 50.0,
        "v2t order accuracy": 75.0,
        "v2t order accuracy move": 100.0,
        "v2t order accuracy fade": 50.0,
    }


def test_a_tie_between_twins_counts_as_wrong():
    clips = clip_set("abcd", scenarios=list("xxyy"), are_twins=True)
    assert order_metrics(torch.ones(4, 4), clips, ("move",))["t2v order accuracy"] == 0.0


def test_the_ceiling_of_methods_that_are_blind_to_order():
    clips = clip_set("abcdef", ["move"] * 4 + ["still"] * 2, list("xxyyzw"), are_twins=True)
    figures = gallery_metrics(torch.eye(6), clips)
    assert figures["order-blind ceiling"] == pytest.approx(100 * (4 * 0.5 + 2) / 6)
    assert figures["t2v R@1"] == figures["t2v R@1 still"] == 100.0


def test_learning_rates_are_chosen_by_all_galleries_and_both_directions():
    metrics = {"natural": {"t2v R@1": 10, "v2t R@1": 20}, "twin": {"t2v R@1": 30, "v2t R@1": 60}}
    metrics["order"] = {"t2v order accuracy": 70.5}
    figures = selection_figures(metrics, ("natural", "twin"))
    assert figures == {"natural t2v R@1": 10, "natural v2t R@1": 20, "twin t2v R@1": 30, "twin v2t R@1": 60}
    assert selection_figures({"retrieval": metrics["twin"]}, ("retrieval",)) == {
        "retrieval t2v R@1": 30,
        "retrieval v2t R@1": 60,
    }


def test_order_accuracy_is_printed_if_it_was_measured():
    metrics = {"order": {"t2v order accuracy": 70.5, "v2t order accuracy": 60.0, "t2v order accuracy move": 50.0}}
    assert order_figures(metrics) == {"t2v order accuracy": 70.5}
    assert order_note(metrics) == ", order 70.5"
    assert (order_figures({"retrieval": {}}), order_note({"retrieval": {}})) == ({}, "")
