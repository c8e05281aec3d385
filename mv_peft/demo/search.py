"""Search of video files by text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..encoders import MVProcessor
from ..errors import MVPeftError
from ..retrieval import encode_texts, encode_videos


@dataclass(frozen=True)
class Hit:
    """A video that was found, and its cosine with the query."""

    path: Path
    score: float


@dataclass(frozen=True)
class SearchResult:
    """The result of a search.

    Attributes:
        num_videos: How many videos were read.
        answers: The best videos for each query, best first.
        unreadable: Why a file could not be read, by its path.
    """

    num_videos: int
    answers: dict[str, list[Hit]]
    unreadable: dict[Path, str]


def best_hits(
    queries: Sequence[str], paths: Sequence[Path], similarity: torch.Tensor, num_hits: int = 3
) -> dict[str, list[Hit]]:
    """Return the best videos for each query, given the similarity (queries, videos)."""
    scores, indices = similarity.topk(min(num_hits, len(paths)), dim=1)
    return {
        query: [Hit(paths[index], score) for score, index in zip(row_scores, row_indices, strict=True)]
        for query, row_scores, row_indices in zip(queries, scores.tolist(), indices.tolist(), strict=True)
    }


def search_videos(
    model: nn.Module, processor: MVProcessor, paths: Sequence[Path], queries: Sequence[str]
) -> SearchResult:
    """Search video files, leaving out and reporting those that cannot be read.

    Args:
        model: A dual encoder that takes videos.
        processor: Its processor.
        paths: Video files.
        queries: Texts to search for.

    Raises:
        MVPeftError: If none of the videos can be read.
    """
    videos = encode_videos(model, processor, paths, on_error="skip")
    if not videos.indices:
        raise MVPeftError(f"None of the {len(paths)} videos can be read. The first: {videos.failures[0]}")
    similarity = encode_texts(model, processor, queries, progress=False) @ videos.embeds.T
    answers = best_hits(queries, [paths[index] for index in videos.indices], similarity)
    return SearchResult(
        len(videos.indices), answers, {paths[index]: reason for index, reason in videos.failures.items()}
    )
