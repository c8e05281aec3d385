"""Exact places of embeddings among each other, block by block: memory does not grow with the similarity matrix.

A product of matrices rounds the same dot product differently from one place of a matrix to another, so that a video and
its copy, or one video in blocks of two sizes, may not be level. Here the product, in float32, decides only what is
farther from the own target's score than it can be wrong by,

    |float32 dot product - exact| <= n u / (1 - n u) |t| |v|        n: dim, u: 2^-24

(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1; whatever the order of summation). The few pairs
within that margin are scored anew in float64, by operations on single elements in a fixed order: there equal vectors
have equal scores wherever they stand, and ties are ties.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from .metrics import Places, check_video_of_caption

# A block of scores and its comparisons stay in the last cache; products of this size run at full speed.
ROWS, COLUMNS = 1024, 2048
# Torch works on so few in one thread: to wake a second for each little step costs more, and far more on a busy machine.
_NUMBERS_AT_ONCE = 32_768


def embedding_places(
    text_embeds: Tensor,
    video_embeds: Tensor,
    video_of_caption: Tensor | None = None,
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> tuple[Places, Places]:
    """Places from text to video and from video to text, of which the similarity is the dot product.

    Exact, ties included, whatever the size of blocks; both directions are counted on one product. The protocol for
    several captions a video is that of `retrieval_metrics`.

    Args:
        text_embeds: (captions, dim), float32.
        video_embeds: (videos, dim), float32.
        video_of_caption: The number of each caption's video, (captions,), int64; None if caption i describes video i.
        rows: Captions a block, more if a video has more.
        columns: Videos a block.

    Returns:
        Places of the captions' own videos, and of the videos' own captions.

    Raises:
        ValueError: If shapes do not fit, or an embedding holds NaN or infinity.
    """
    _check("text_embeds", text_embeds)
    _check("video_embeds", video_embeds)
    if text_embeds.shape[1] != video_embeds.shape[1]:
        raise ValueError(
            f"`text_embeds` and `video_embeds` must have one dim, got {text_embeds.shape[1]} and "
            f"{video_embeds.shape[1]}."
        )
    if video_of_caption is None:
        if len(text_embeds) != len(video_embeds):
            raise ValueError(
                f"{len(text_embeds)} captions of {len(video_embeds)} videos: say which is whose by `video_of_caption`."
            )
        video_of_caption = torch.arange(len(video_embeds))
    check_video_of_caption(video_of_caption, len(text_embeds), len(video_embeds))
    with _full_precision():
        return _Counting(text_embeds.detach(), video_embeds.detach(), video_of_caption.to(text_embeds.device)).count(
            rows, columns
        )


class _Counting:
    """Counts of both directions; captions are put in an order in which those of a video are neighbours.

    In that order videos of as many captions follow each other too, so that a block of rows can be seen as (videos,
    captions of each), and the nearest caption of each video is a maximum over the second axis.
    """

    def __init__(self, text: Tensor, video: Tensor, video_of_caption: Tensor):
        self.num_captions_of = video_of_caption.bincount(minlength=len(video))
        self.sets = self.num_captions_of.argsort(stable=True)  # videos, by their number of captions
        rank_of_video = self.sets.argsort()
        self.captions = rank_of_video[video_of_caption].argsort(stable=True)
        in_order = bool((self.captions.diff() == 1).all())
        self.text, self.video = text if in_order else text[self.captions], video
        self.own_of_text = video_of_caption[self.captions]
        self.num_captions = self.num_captions_of[self.sets]
        self.first_caption = self.num_captions.cumsum(0) - self.num_captions
        n_u = text.shape[1] * 2.0**-24
        # One rounding more: the thresholds are float32 as well.
        self.margin = (n_u / (1 - n_u) + 2.0**-23) * _longest(text) * _longest(video)
        self.own_scores = _dot(self.text, video, torch.arange(len(text), device=text.device), self.own_of_text)
        own_sets = torch.full((len(video),), -torch.inf, dtype=torch.float64, device=text.device)
        self.own_set_scores = own_sets.scatter_reduce_(0, self.own_of_text, self.own_scores, "amax")

    def count(self, rows: int, columns: int) -> tuple[Places, Places]:
        """Shares the row blocks among as many threads as torch has, one thread a block.

        Threads within an operation would have to wait for each other at the end of every one, and there are many.
        """
        blocks = deque(self._row_blocks(rows))
        room = max(rows, int(self.num_captions.max())) * columns
        allowed = torch.get_num_threads()
        num_threads = min(allowed, len(blocks)) if self.text.device.type == "cpu" else 1
        if num_threads == 1:
            parts = [self._count_blocks(blocks, columns, room)]
        else:
            with ThreadPoolExecutor(num_threads, initializer=torch.set_num_threads, initargs=(1,)) as threads:
                works = [threads.submit(self._count_blocks, blocks, columns, room) for _ in range(num_threads)]
                parts = [work.result() for work in works]
            torch.set_num_threads(allowed)  # of this thread it is as before; new ones take what was said last
        t2v, v2t = (_summed(sides) for sides in zip(*parts, strict=True))
        in_order = self.captions.argsort()
        return Places(t2v.nearer[in_order], t2v.level[in_order]), v2t

    def _count_blocks(self, blocks: deque[tuple[int, int, int]], columns: int, room: int) -> tuple[_Side, _Side]:
        """Counts the blocks that nobody else has taken."""
        t2v, v2t = _Side(self.own_scores, self.margin), _Side(self.own_set_scores, self.margin)
        buffers = [self.text.new_empty(room) for _ in range(3)]
        while blocks:
            try:
                first_set, num_sets, num_captions = blocks.popleft()
            except IndexError:  # another thread was faster
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
                nearest = of_sets.amax(dim=1) if num_captions > 1 else scores
                of_rows, of_block = v2t.count(nearest, buffers[1:], slice(left, left + len(video)), dim=0)
                videos = left + of_block
                # Of a set in doubt, captions below the own score's margin cannot reach it: they decide nothing.
                pair, caption = (of_sets[of_rows, :, of_block] >= v2t.below[videos, None]).nonzero().T
                captions = top + of_rows[pair] * num_captions + caption
                v2t.settle(videos, self._set_scores(pair, captions, videos))
        return t2v, v2t

    def _row_blocks(self, rows: int) -> Iterator[tuple[int, int, int]]:
        """First set, number of sets and captions of each, in the order of sets."""
        first = 0
        for num_captions, num_sets in zip(*self.num_captions.unique(return_counts=True), strict=True):
            at_once = max(1, rows // int(num_captions))
            last = first + int(num_sets)
            for start in range(first, last, at_once):
                yield start, min(at_once, last - start), int(num_captions)
            first = last

    def _set_scores(self, pair: Tensor, captions: Tensor, videos: Tensor) -> Tensor:
        """For each of `videos` the score of the nearest of the captions that `pair` compares it with."""
        scores = torch.full((len(videos),), -torch.inf, dtype=torch.float64, device=videos.device)
        return scores.scatter_reduce_(0, pair, _dot(self.text, self.video, captions, videos[pair]), "amax")


class _Side:
    """The counts of one direction."""

    def __init__(self, own: Tensor, margin: Tensor):
        self.own = own
        self.above, self.below = (own + margin).float(), (own - margin).float()
        self.nearer = torch.zeros(len(own), dtype=torch.int64, device=own.device)
        self.level = torch.zeros_like(self.nearer)

    def count(self, scores: Tensor, room: Sequence[Tensor], queries: slice, dim: int) -> tuple[Tensor, Tensor]:
        """Counts what is nearer beyond doubt; returns rows and columns of what is in doubt.

        Args:
            scores: A block.
            room: For comparisons, in floats: they are counted several times as fast as booleans.
            queries: Which of the queries the block belongs to.
            dim: The dimension of their targets.
        """
        sure, doubt = (buffer[: scores.numel()].view_as(scores) for buffer in room)
        torch.gt(scores, self.above[queries].unsqueeze(dim), out=sure)
        torch.ge(scores, self.below[queries].unsqueeze(dim), out=doubt).sub_(sure)
        self.nearer[queries] += sure.sum(dim=dim).long()
        in_doubt = doubt.sum(dim=dim).nonzero().flatten()
        found = doubt.index_select(1 - dim, in_doubt).nonzero()
        return (in_doubt[found[:, 0]], found[:, 1]) if dim == 1 else (found[:, 0], in_doubt[found[:, 1]])

    def settle(self, queries: Tensor, scores: Tensor) -> None:
        """Counts by exact scores what was in doubt."""
        own = self.own[queries]
        self.nearer.index_add_(0, queries, (scores > own).long())
        self.level.index_add_(0, queries, (scores == own).long())


def _summed(sides: Sequence[_Side]) -> Places:
    return Places(sum(side.nearer for side in sides), sum(side.level for side in sides))  # type: ignore[arg-type]


def _dot(left: Tensor, right: Tensor, left_rows: Tensor, right_rows: Tensor) -> Tensor:
    """Dot products of pairs of rows in float64, equal for equal vectors: halves are added until one number is left."""
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
        raise ValueError(f"`{name}` holds NaN or infinity in {len(invalid)} rows, first in row {invalid[0]}.")


@contextmanager
def _full_precision() -> Iterator[None]:
    """Float32 products in float32, which the margin is for, not in the bfloat16 or TF32 that may have been allowed."""
    allowed = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(allowed)
