"""Metrics of a text-video similarity matrix: ranks, recall at k, median and mean rank.

Every rank follows from two counts: how many targets score higher than the query's positive, the target that belongs to
it, and how many score exactly the same. Each way to treat ties is a function of these counts. `exact_ranks.py` counts
the same without ever holding the whole matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..choices import RECALLS, Ties


@dataclass(frozen=True, eq=False)
class RankCounts:
    """The counts that determine the rank of each query's positive.

    Attributes:
        higher: How many targets score higher than the positive, (queries,), int64.
        tied: How many targets score exactly the same, the positive included, (queries,), int64.
    """

    higher: Tensor
    tied: Tensor

    def ranks(self, ties: Ties = "strict") -> Tensor:
        """Compute the ranks, of which the best is 1.

        Args:
            ties: Whether targets with exactly the score of the positive are ranked before it ("strict") or after it
                ("optimistic"). Under "strict", a model that scores everything the same ranks last instead of first.
                "clip4clip" reproduces the metrics of CLIP4Clip (arXiv 2104.08860) and of many programs after it, bug
                for bug: they search the sorted row for the positive's score, and count a query once for every position
                at which it is found. It is meant only for comparison with published tables.

        Returns:
            int64, from 1 to the number of targets: (queries,), or, under "clip4clip", one entry for each tied position
            of each query, which is more than the number of queries if there are ties.

        Raises:
            ValueError: If `ties` is unknown.
        """
        check_ties(ties)
        if ties == "strict":
            return self.higher + self.tied
        if ties == "optimistic":
            return self.higher + 1
        first = self.tied.cumsum(0) - self.tied  # index of each query's first entry
        position = torch.arange(int(self.tied.sum()), device=first.device) - first.repeat_interleave(self.tied)
        return self.higher.repeat_interleave(self.tied) + position + 1


def check_ties(ties: str) -> None:
    """Raise ValueError for an unknown way to treat ties."""
    if ties not in get_args(Ties):
        raise ValueError(f"Unknown ties {ties!r}. Choose from: {', '.join(get_args(Ties))}.")


def rank_counts(similarity: Tensor, positives: Tensor) -> RankCounts:
    """Count the higher and the tied targets of each query in a similarity matrix.

    Args:
        similarity: (queries, targets); larger values are more similar.
        positives: The index of each query's positive among the targets, (queries,).

    Raises:
        ValueError: If `similarity` is not such a matrix or contains NaN, or `positives` does not fit it.
    """
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(f"`similarity` must have shape (queries, targets), got {tuple(similarity.shape)}.")
    if (
        positives.shape != similarity.shape[:1]
        or not 0 <= int(positives.min()) <= int(positives.max()) < similarity.shape[1]
    ):
        raise ValueError(
            f"`positives` must give each of {similarity.shape[0]} queries one of {similarity.shape[1]} targets, got "
            f"indices from {int(positives.min())} to {int(positives.max())} of shape {tuple(positives.shape)}."
        )
    invalid = similarity.isnan().any(dim=1).nonzero().flatten().tolist()
    if invalid:
        raise ValueError(
            f"`similarity` has NaN in {len(invalid)} rows, first in row {invalid[0]}. Check the embeddings."
        )
    scores = similarity.gather(1, positives.unsqueeze(1))
    return RankCounts((similarity > scores).sum(dim=1), (similarity == scores).sum(dim=1))


def ranks(similarity: Tensor, ties: Ties = "strict") -> Tensor:
    """Rank each query's positive among all targets; the best rank is 1.

    Args:
        similarity: (queries, targets); larger values are more similar. Target i is the positive of query i, and there
            may be more targets than queries.
        ties: How to treat ties, see `RankCounts.ranks`.

    Returns:
        int64, (queries,); under "clip4clip" there are more entries if there are ties.

    Raises:
        ValueError: If `similarity` is not a matrix with a target for each query or contains NaN, or `ties` is unknown.
    """
    check_ties(ties)
    if similarity.ndim != 2 or not 0 < similarity.shape[0] <= similarity.shape[1]:
        raise ValueError(
            "`similarity` must have shape (queries, targets) with a target for each query, "
            f"got {tuple(similarity.shape)}."
        )
    return rank_counts(similarity, torch.arange(len(similarity), device=similarity.device)).ranks(ties)


def recall_at(ranks: Tensor, k: int) -> float:
    """Compute the percentage of queries whose positive is among the first `k` targets.

    Args:
        ranks: Ranks from 1, as `ranks` returns them, (queries,).
        k: How many targets are looked at; positive.
    """
    if k < 1:
        raise ValueError(f"`k` must be positive, got {k}.")
    return 100 * (ranks <= k).double().mean().item()


def direction_metrics(direction: Literal["t2v", "v2t"], counts: RankCounts, ties: Ties = "strict") -> dict[str, float]:
    """Compute the metrics of one direction, see `retrieval_metrics`."""
    ranks = counts.ranks(ties)
    metrics = {f"{direction} R@{k}": recall_at(ranks, k) for k in RECALLS}
    # Sorted by hand because `quantile` refuses more than 16 million values.
    ordered, middle = ranks.sort().values, len(ranks) // 2
    metrics[f"{direction} median rank"] = ordered[[(len(ranks) - 1) // 2, middle]].double().mean().item()
    metrics[f"{direction} mean rank"] = ranks.double().mean().item()
    return metrics


def retrieval_metrics(
    similarity: Tensor, ties: Ties = "strict", *, video_of_caption: Tensor | None = None
) -> dict[str, float]:
    """Compute the metrics of retrieval tables, from text to video ("t2v ...") and from video to text ("v2t ...").

    With several captions per video, every caption is a query from text to video. From video to text, the captions of a
    video count as one target, whose score is that of the most similar caption. MSVD and VATEX are measured this way.

    The program of MV-Adapter's authors counts ranks from 0 and breaks ties as an unstable sort happens to. As
    median it takes the upper of the middle two of an even number of ranks, and the mean of the middle one and the next
    of an odd number. Without ties, recalls are the same here and mean ranks are larger by one. Medians are medians.

    Args:
        similarity: (captions, videos). Without `video_of_caption` it must be square, and caption i describes video i.
        ties: How to treat ties, see `RankCounts.ranks`.
        video_of_caption: The index of each caption's video, (captions,), int64; every video needs a caption.

    Returns:
        For each direction "R@1", "R@5", "R@10" and "R@50" in per cent, "median rank" (the mean of the middle two if
        their number is even) and "mean rank".

    Raises:
        ValueError: If `similarity` or `video_of_caption` has another shape, or as in `ranks`.

    Examples:
        >>> retrieval_metrics(torch.tensor([[0.9, 0.1], [0.8, 0.7]]))["t2v R@1"]
        50.0
    """
    check_ties(ties)
    if video_of_caption is None:
        if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
            raise ValueError(
                f"`similarity` must be square, (texts, videos), got {tuple(similarity.shape)}. If videos have several "
                "captions, give the video of each as `video_of_caption`."
            )
        video_of_caption = torch.arange(len(similarity))
    check_video_of_caption(video_of_caption, *similarity.shape)
    t2v, v2t = similarity_rank_counts(similarity, similarity.T, video_of_caption.to(similarity.device))
    return direction_metrics("t2v", t2v, ties) | direction_metrics("v2t", v2t, ties)


def similarity_rank_counts(t2v: Tensor, v2t: Tensor, video_of_caption: Tensor) -> tuple[RankCounts, RankCounts]:
    """Count in both directions, whose similarities may differ after post-processing.

    Args:
        t2v: The similarities from text to video, (captions, videos).
        v2t: The similarities from video to text, (videos, captions).
        video_of_caption: The index of each caption's video, (captions,).

    Returns:
        The counts of the captions as queries, and those of the videos.
    """
    best_caption = v2t.new_full((len(v2t), len(v2t)), -torch.inf)  # (videos, videos whose captions are the target)
    best_caption.scatter_reduce_(1, video_of_caption.expand_as(v2t), v2t, "amax")
    return rank_counts(t2v, video_of_caption), rank_counts(best_caption, torch.arange(len(v2t), device=v2t.device))


def check_video_of_caption(video_of_caption: Tensor, num_captions: int, num_videos: int) -> None:
    """Raise ValueError unless each caption has a video and each video has a caption."""
    if video_of_caption.shape != (num_captions,) or video_of_caption.dtype != torch.int64:
        raise ValueError(
            f"`video_of_caption` must be int64 of shape (captions,) = ({num_captions},), got {video_of_caption.dtype} "
            f"of shape {tuple(video_of_caption.shape)}."
        )
    captioned = video_of_caption.unique().tolist()
    if captioned != list(range(num_videos)):
        wrong = sorted(set(captioned).symmetric_difference(range(num_videos)))
        fault = "has no caption" if 0 <= wrong[0] < num_videos else "does not exist"
        raise ValueError(f"`video_of_caption` must name every one of {num_videos} videos: video {wrong[0]} {fault}.")
