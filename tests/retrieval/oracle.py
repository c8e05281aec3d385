"""Retrieval by sorting in plain Python: what the metrics must equal."""

from __future__ import annotations

import statistics


def positions(row, own, ties):
    """Ranks of a query, from 1: one, or under "clip4clip" one for each position at which the own value stands."""
    if ties == "clip4clip":
        return [place for place, value in enumerate(sorted(row, reverse=True), start=1) if value == row[own]]
    order = sorted(range(len(row)), key=lambda target: (-row[target], (target == own) == (ties == "strict")))
    return [order.index(own) + 1]


def figures(direction, rows, owns, ties):
    found = [rank for row, own in zip(rows, owns, strict=True) for rank in positions(row, own, ties)]
    metrics = {f"{direction} R@{k}": 100 * sum(rank <= k for rank in found) / len(found) for k in (1, 5, 10, 50)}
    metrics[f"{direction} median rank"] = statistics.median(found)
    metrics[f"{direction} mean rank"] = statistics.mean(found)
    return metrics


def retrieval(similarity, video_of_caption, ties):
    """All figures of a matrix of lists, (captions, videos)."""
    videos = range(len(similarity[0]))
    nearest = [
        [
            max(row[video] for row, owner in zip(similarity, video_of_caption, strict=True) if owner == other)
            for other in videos
        ]
        for video in videos
    ]
    return figures("t2v", similarity, video_of_caption, ties) | figures("v2t", nearest, videos, ties)
