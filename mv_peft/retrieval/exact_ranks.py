"""Exact rank counts of embeddings, block by block, in memory that does not grow with the similarity matrix.

A matrix product rounds the same dot product differently in different rows and columns. A video and its copy, or the
same video in blocks of two sizes, may therefore score differently although they are tied. Here a float32 product
decides only the pairs whose score differs from that of the positive by more than the rounding error can be,

    |float32 dot product - exact| <= n u / (1 - n u) |t| |v|        n: dim, u: 2^-24

(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, for any order of summation). The few pairs within
that margin are scored again in float64, by element-wise operations in a fixed order. There equal vectors have equal
scores wherever they are, and ties are ties.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from .metrics import RankCounts, check_video_of_caption

# A block of scores and its comparisons fit into the last-level cache, and products of this size run at full speed.
ROWS, COLUMNS = 1024, 2048
# Torch handles so few numbers in one thread. Waking a second thread for every small step would cost more than it saves,
# and much more on a busy machine.
_NUMBERS_AT_ONCE = 32_768


def embedding_rank_counts(
    text_embeds: Tensor,
    video_embeds: Tensor,
    video_of_caption: Tensor | None = None,
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> tuple[RankCounts, RankCounts]:
    """Count ranks from text to video and from video to text, with the dot product as similarity.

    The counts are exact, ties included, for any block size. Both directions are counted on the same product. Several
    captions per video are treated as in `retrieval_metrics`.

    Args:
        text_embeds: (captions, dim), float32.
        video_embeds: (videos, dim), float32.
        video_of_caption: The index of each caption's video, (captions,), int64; None if caption i describes video i.
        rows: The number of captions in a block, or more if a single video has more.
        columns: The number of videos in a block.

    Returns:
        The counts of the captions as queries, and those of the videos.

    Raises:
        ValueError: If shapes do not fit each other, or an embedding contains NaN or infinity.
    """
    _check("text_embeds", text_embeds)
    _check("video_embeds", video_embeds)
    if text_embeds.shape[1] != video_embeds.shape[1]:
        raise ValueError(
            f"`text_embeds` and `video_embeds` must have the same dim, got {text_embeds.shape[1]} and "
            f"{video_embeds.shape[1]}."
        )
    if video_of_caption is None:
        if len(text_embeds) != len(video_embeds):
            raise ValueError(
                f"{len(text_embeds)} captions of {len(video_embeds)} videos. Give the video of each caption as "
                "`video_of_caption`."
            )
        video_of_caption = torch.arange(len(video_embeds))
    check_video_of_caption(video_of_caption, len(text_embeds), len(video_embeds))
    with _full_precision():
        return _Counting(text_embeds.detach(), video_embeds.detach(), video_of_caption.to(text_embeds.device)).count(
            rows, columns
        )


class _Counting:
    """Counts both directions, on captions that are sorted so that those of a video are neighbours.

    Videos with the same number of captions are neighbours too. A block of rows can therefore be viewed as (videos,
    captions of each), and the best caption of each video is a maximum over the second axis. The captions of a video
    together are called a set.
    """

    def __init__(self, text: Tensor, video: Tensor, video_of_caption: Tensor):
        self.num_captions_of = video_of_caption.bincount(minlength=len(video))
        self.sets = self.num_captions_of.argsort(stable=True)  # videos, sorted by their number of captions
        set_of_video = self.sets.argsort()
        self.captions = set_of_video[video_of_caption].argsort(stable=True)
        in_order = bool((self.captions.diff() == 1).all())
        self.text, self.video = text if in_order else text[self.captions], video
        self.video_of_text = video_of_caption[self.captions]
        self.num_captions = self.num_captions_of[self.sets]
        self.first_caption = self.num_captions.cumsum(0) - self.num_captions
        n_u = text.shape[1] * 2.0**-24
        # One more rounding, because the thresholds are float32 too.
        self.margin = (n_u / (1 - n_u) + 2.0**-23) * _longest(text) * _longest(video)
        self.positive_scores = _dot(self.text, video, torch.arange(len(text), device=text.device), self.video_of_text)
        best = torch.full((len(video),), -torch.inf, dtype=torch.float64, device=text.device)
        self.positive_set_scores = best.scatter_reduce_(0, self.video_of_text, self.positive_scores, "amax")

    def count(self, rows: int, columns: int) -> tuple[RankCounts, RankCounts]:
        """Share the row blocks among as many threads as torch has, each block handled by one thread.

        Threads within an operation would have to wait for each other at its end, and there are many operations.
        """
        blocks = deque(self._row_blocks(rows))
        buffer_size = max(rows, int(self.num_captions.max())) * columns
        allowed = torch.get_num_threads()
        num_threads = min(allowed, len(blocks)) if self.text.device.type == "cpu" else 1
        if num_threads == 1:
            parts = [self._count_blocks(blocks, columns, buffer_size)]
        else:
            with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as threads:
                tasks = [threads.submit(self._count_blocks, blocks, columns, buffer_size) for _ in range(num_threads)]
                parts = [task.result() for task in tasks]
            torch.set_num_threads(allowed)  # unchanged in this thread, but new threads take the value set last
        t2v, v2t = (_summed(direction) for direction in zip(*parts, strict=True))
        in_order = self.captions.argsort()
        return RankCounts(t2v.higher[in_order], t2v.tied[in_order]), v2t

    def _count_blocks(
        self, blocks: deque[tuple[int, int, int]], columns: int, buffer_size: int
    ) -> tuple[_Direction, _Direction]:
        """Count blocks until the other threads have taken the rest."""
        t2v, v2t = _Direction(self.positive_scores, self.margin), _Direction(self.positive_set_scores, self.margin)
        buffers = [self.text.new_empty(buffer_size) for _ in range(3)]
        while blocks:
            try:
                first_set, num_sets, num_captions = blocks.popleft()
            except IndexError:  # another thread took the last one
                break
            top = int(self.first_caption[first_set])
            text = self.text[top : top + num_sets * num_captions]
            for left in range(0, len(self.video), columns):
                video = self.video[left : left + columns]
                scores = buffers[0][: len(text) * len(video)].view(len(text), len(video))
                torch.mm(text, video.T, out=scores)
                caption, of_block = t2v.count(scores, buffers[1:], slice(top, top + len(text)), dim=1)
                captions, videos = top + caption, left + of_block
                t2v.settle(captions, _dot(self.text, self.video, captions, videos))
                of_sets = scores.view(num_sets, num_captions, -1)
                best = of_sets.amax(dim=1) if num_captions > 1 else scores
                of_rows, of_block = v2t.count(best, buffers[1:], slice(left, left + len(video)), dim=0)
                videos = left + of_block
                # In a doubtful set, captions below the margin of the positive's score cannot reach it.
                pair, caption = (of_sets[of_rows, :, of_block] >= v2t.below[videos, None]).nonzero().T
                captions = top + of_rows[pair] * num_captions + caption
                v2t.settle(videos, self._set_scores(pair, captions, videos))
        return t2v, v2t

    def _row_blocks(self, rows: int) -> Iterator[tuple[int, int, int]]:
        """Yield the first set, the number of sets and their number of captions, of each block."""
        first = 0
        for num_captions, num_sets in zip(*self.num_captions.unique(return_counts=True), strict=True):
            at_once = max(1, rows // int(num_captions))
            last = first + int(num_sets)
            for start in range(first, last, at_once):
                yield start, min(at_once, last - start), int(num_captions)
            first = last

    def _set_scores(self, pair: Tensor, captions: Tensor, videos: Tensor) -> Tensor:
        """Score each of `videos` with the best of the captions that `pair` assigns to it."""
        scores = torch.full((len(videos),), -torch.inf, dtype=torch.float64, device=videos.device)
        return scores.scatter_reduce_(0, pair, _dot(self.text, self.video, captions, videos[pair]), "amax")


class _Direction:
    """The counts of one direction, given the exact scores of the positives."""

    def __init__(self, positive_scores: Tensor, margin: Tensor):
        self.positive_scores = positive_scores
        self.above, self.below = (positive_scores + margin).float(), (positive_scores - margin).float()
        self.higher = torch.zeros(len(positive_scores), dtype=torch.int64, device=positive_scores.device)
        self.tied = torch.zeros_like(self.higher)

    def count(self, scores: Tensor, buffers: Sequence[Tensor], queries: slice, dim: int) -> tuple[Tensor, Tensor]:
        """Count the targets that are surely higher.

        Args:
            scores: The scores of a block.
            buffers: Two buffers for comparisons, of floats, which are summed several times as fast as booleans.
            queries: The queries of the block.
            dim: The dimension of the targets.

        Returns:
            The rows and the columns of the scores that are too close to decide.
        """
        sure, doubt = (buffer[: scores.numel()].view_as(scores) for buffer in buffers)
        torch.gt(scores, self.above[queries].unsqueeze(dim), out=sure)
        torch.ge(scores, self.below[queries].unsqueeze(dim), out=doubt).sub_(sure)
        self.higher[queries] += sure.sum(dim=dim).long()
        in_doubt = doubt.sum(dim=dim).nonzero().flatten()
        found = doubt.index_select(1 - dim, in_doubt).nonzero()
        return (in_doubt[found[:, 0]], found[:, 1]) if dim == 1 else (found[:, 0], in_doubt[found[:, 1]])

    def settle(self, queries: Tensor, scores: Tensor) -> None:
        """Count targets that were too close to decide, given their exact scores."""
        positive_scores = self.positive_scores[queries]
        self.higher.index_add_(0, queries, (scores > positive_scores).long())
        self.tied.index_add_(0, queries, (scores == positive_scores).long())


def _summed(parts: Sequence[_Direction]) -> RankCounts:
    return RankCounts(sum(part.higher for part in parts), sum(part.tied for part in parts))  # type: ignore[arg-type]


def _dot(left: Tensor, right: Tensor, left_rows: Tensor, right_rows: Tensor) -> Tensor:
    """Compute dot products of pairs of rows in float64, which are equal for equal vectors.

    The products are summed by adding the second half to the first, until one number is left.
    """
    results = []
    at_once = max(1, _NUMBERS_AT_ONCE // left.shape[1])
    for lefts, rights in zip(left_rows.split(at_once), right_rows.split(at_once), strict=True):
        terms = left[lefts].double().mul_(right[rights])
        while terms.shape[1] > 1:
            half = (terms.shape[1] + 1) // 2
            terms[:, : terms.shape[1] - half] += terms[:, half:]
            terms = terms[:, :half]
        results.append(terms.flatten())
    return torch.cat(results)


def _longest(embeds: Tensor) -> Tensor:
    return torch.linalg.vector_norm(embeds, dim=1, dtype=torch.float64).max()


def _check(name: str, embeds: Tensor) -> None:
    if embeds.ndim != 2 or 0 in embeds.shape or embeds.dtype != torch.float32:
        raise ValueError(f"`{name}` must be float32 of shape (rows, dim), got {embeds.dtype} {tuple(embeds.shape)}.")
    invalid = (~embeds.isfinite()).any(dim=1).nonzero().flatten().tolist()
    if invalid:
        raise ValueError(f"`{name}` contains NaN or infinity in {len(invalid)} rows, first in row {invalid[0]}.")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Compute float32 products in float32, as the margin assumes, even where bfloat16 or TF32 is allowed."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)
