"""The figures of a gallery: recalls in both directions, and the choice between a clip and its twin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mv_peft.retrieval import RankCounts, recall_at

from ..worlds import ClipSet

RECALLS = (1, 5, 10)
Metrics = Mapping[str, Mapping[str, float]]


def caption_groups(captions: Sequence[str]) -> tuple[list[str], Tensor]:
    """The unique captions, and for each clip the index of its caption among them, (clips,)."""
    unique = list(dict.fromkeys(captions))
    number = {caption: index for index, caption in enumerate(unique)}
    return unique, torch.tensor([number[caption] for caption in captions])


def group_rank_counts(similarity: Tensor, group: Tensor) -> tuple[RankCounts, RankCounts]:
    """Rank in both directions where several clips share a caption; each of them is a positive.

    Args:
        similarity: (unique captions, clips).
        group: The index of each clip's caption, (clips,).

    Returns:
        From text to video, with one query for each caption: the place of its best positive among the negatives. From
        video to text, with one query for each clip: the place of its caption among all captions.
    """
    is_positive = group == torch.arange(len(similarity))[:, None]
    best = similarity.masked_fill(~is_positive, -torch.inf).amax(dim=1, keepdim=True)
    t2v = RankCounts((similarity > best).sum(1), ((similarity == best) & ~is_positive).sum(1) + 1)
    v2t_similarity = similarity.T
    own = v2t_similarity.gather(1, group[:, None])
    return t2v, RankCounts((v2t_similarity > own).sum(1), (v2t_similarity == own).sum(1))


def gallery_metrics(similarity: Tensor, clips: ClipSet) -> dict[str, float]:
    """Recalls in a gallery in per cent, for all queries and for each kind.

    Args:
        similarity: (unique captions, clips), in the order of `caption_groups`.
        clips: The gallery.

    Returns:
        "t2v R@1" and so on; with a kind behind it, as in "t2v R@1 move", for queries of that kind among all clips; and
        "order-blind ceiling", the R@1 of a perfect method that does not see the order of frames.
    """
    _, group = caption_groups(clips.captions)
    kind_of_caption = dict(zip(clips.captions, clips.kinds, strict=True))
    kinds = {"t2v": list(kind_of_caption.values()), "v2t": list(clips.kinds)}
    metrics = {}
    for direction, found in zip(("t2v", "v2t"), group_rank_counts(similarity, group), strict=True):
        ranks = found.ranks()
        for k in RECALLS:
            metrics[f"{direction} R@{k}"] = recall_at(ranks, k)
        for kind in dict.fromkeys(clips.kinds):
            chosen = torch.tensor([each == kind for each in kinds[direction]])
            metrics[f"{direction} R@1 {kind}"] = recall_at(ranks[chosen], 1)
    captions_of: dict[str, set[str]] = {}
    for caption, scenario in zip(clips.captions, clips.scenarios, strict=True):
        captions_of.setdefault(scenario, set()).add(caption)
    chances = [1 / len(captions_of[scenario]) for scenario in clips.scenarios]
    metrics["order-blind ceiling"] = 100 * sum(chances) / len(chances)
    return metrics


def order_metrics(similarity: Tensor, clips: ClipSet, events: Sequence[str]) -> dict[str, float]:
    """The accuracy of the choice between twins in per cent: a caption chooses a clip (t2v), or a clip a caption (v2t).

    Args:
        similarity: As for `gallery_metrics`.
        clips: A gallery of twins.
        events: Kinds that have a reversal; clips of other kinds do not count.

    Returns:
        "t2v order accuracy", "v2t order accuracy", and both for each kind; 50 is a guess.
    """
    assert clips.are_twins
    _, group = caption_groups(clips.captions)
    rows = torch.arange(len(clips))
    own = similarity[group[rows], rows]
    right = {"t2v": own > similarity[group[rows], rows ^ 1], "v2t": own > similarity[group[rows ^ 1], rows]}
    metrics = {}
    for direction, correct in right.items():
        for name, kinds in ("", events), *((f" {kind}", (kind,)) for kind in events):
            chosen = torch.tensor([kind in kinds for kind in clips.kinds])
            if chosen.any():
                metrics[f"{direction} order accuracy{name}"] = 100 * correct[chosen].double().mean().item()
    return metrics


def selection_figures(metrics: Metrics, galleries: Sequence[str]) -> dict[str, float]:
    """The figures whose mean chooses the learning rate: R@1 in all galleries and both directions."""
    return {f"{gallery} {way} R@1": metrics[gallery][f"{way} R@1"] for gallery in galleries for way in ("t2v", "v2t")}


def order_figures(metrics: Metrics) -> dict[str, float]:
    """The order accuracy from text to video; empty where it was not measured."""
    return {name: figure for name, figure in metrics.get("order", {}).items() if name == "t2v order accuracy"}


def order_note(metrics: Metrics) -> str:
    """The same as the end of a printed line."""
    return "".join(f", order {figure:.1f}" for figure in order_figures(metrics).values())
