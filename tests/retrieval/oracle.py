"""Retrieval metrics by sorting in plain Python, as the oracle of the tests."""

from __future__ import annotations

import statistics


def positions(row, positive, ties):
    """Rank a query from 1; under "clip4clip" there is a rank for each position at which the positive's score is."""
    if ties == "clip4clip":
        return [rank for rank, value in enumerate(sorted(row, reverse=True), start=1) if value == row[positive]]
    order = sorted(range(len(row)), key=lambda target: (-row[target], (target == positive) == (ties == "strict")))
    return [order.index(positive) + 1]


def figures(direction, rows, positives, ties):
    found = [rank for row, positive in zip(rows, positives, strict=True) for rank in positions(row, positive, ties)]
    metrics = {f"{direction} R@{k}": 100 * sum(rank <= k for rank in found) / len(found) for k in (1, 5, 10, 50)}
    metrics[f"{direction} median rank"] = statistics.median(found)
    metrics[f"{direction} mean rank"] = statistics.mean(found)
    return metrics


def retrieval(similarity, video_of_caption, ties):
    """Compute all metrics of a matrix given as lists, (captions, videos)."""
    videos = range(len(similarity[0]))
    best_caption = [
        [
            max(row[video] for row, owner in zip(similarity, video_of_caption, strict=True) if owner == other)
            for other in videos
        ]
        for video in videos
    ]
    return figures("t2v", similarity, video_of_caption, ties) | figures("v2t", best_caption, videos, ties)
