"""Answers text queries with the best of some video files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from ..encoders import MVProcessor
from ..errors import MVPeftError, VideoDecodeError
from .evaluation import cosine_similarity


@dataclass(frozen=True)
class Hit:
    """A video that answers a query, and the cosine of the two."""

    path: Path
    score: float


@dataclass(frozen=True)
class SearchResult:
    """Answers over a folder.

    Attributes:
        num_videos: How many videos were read.
        answers: The best videos for each query, best first.
        unreadable: For each file that could not be read a sentence with its name and the reason.
    """

    num_videos: int
    answers: dict[str, list[Hit]]
    unreadable: dict[Path, str]


def best_hits(
    queries: Sequence[str], paths: Sequence[Path], similarity: torch.Tensor, num_hits: int = 3
) -> dict[str, list[Hit]]:
    """The nearest videos of each query, given the similarity (queries, videos)."""
    scores, indices = similarity.topk(min(num_hits, len(paths)), dim=1)
    return {
        query: [Hit(paths[index], score) for score, index in zip(row_scores, row_indices, strict=True)]
        for query, row_scores, row_indices in zip(queries, scores.tolist(), indices.tolist(), strict=True)
    }


def search_videos(
    model: nn.Module, processor: MVProcessor, paths: Sequence[Path], queries: Sequence[str]
) -> SearchResult:
    """Answers queries over a user's own files; a file that cannot be read is left out and reported.

    Args:
        model: A CLIP that takes videos.
        processor: Its processor.
        paths: Video files.
        queries: Texts.

    Raises:
        MVPeftError: If none of the videos can be read.
    """
    texts = processor(text=queries)
    readable, columns, unreadable = [], [], {}
    for path in tqdm(paths, desc="reading", unit="video", disable=None):
        try:
            video = processor(videos=[path])
        except VideoDecodeError as error:
            unreadable[path] = str(error)
        else:
            readable.append(path)
            columns.append(cosine_similarity(model, texts, video))
    if not readable:
        raise MVPeftError(f"None of the {len(paths)} videos can be read. The first: {next(iter(unreadable.values()))}")
    return SearchResult(len(readable), best_hits(queries, readable, torch.cat(columns, dim=1)), unreadable)
