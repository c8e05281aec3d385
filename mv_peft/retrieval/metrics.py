"""How good a text-video similarity matrix is: places, ranks, recall at k, median and mean rank.

A place is two counts, from which every way to see ties follows: how many targets are nearer to a query than its own,
and how many are exactly as near, its own included. `blockwise.py` counts the same without the matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from ..choices import RECALLS, Ties


@dataclass(frozen=True, eq=False)
class Places:
    """Where each query's own target stands among all targets.

    Attributes:
        nearer: How many targets are nearer than the own one, (queries,), int64.
        level: How many are exactly as near, the own one included, (queries,), int64.
    """

    nearer: Tensor
    level: Tensor

    def ranks(self, ties: Ties = "strict") -> Tensor:
        """The places as ranks, the best being 1.

        Args:
            ties: Whether a target that is exactly as near as the query's own stands before it ("strict") or behind it
                ("optimistic"). Under "strict" a model that answers the same to everything ranks last, not first.
                "clip4clip" is what the metrics of CLIP4Clip (arXiv 2104.08860), and of many programs after it, do, bug
                for bug: they look where in the sorted row the own value stands, and a query counts once for every
                position at which it does. For comparison with published tables only.

        Returns:
            int64, from 1 to the number of targets: (queries,), or, under "clip4clip", one entry for each of a query's
            tied positions, which is more if there are ties.

        Raises:
            ValueError: If `ties` is unknown.
        """
        check_ties(ties)
        if ties == "strict":
            return self.nearer + self.level
        if ties == "optimistic":
            return self.nearer + 1
        first = self.level.cumsum(0) - self.level  # of the entries of a query
        position = torch.arange(int(self.level.sum()), device=first.device) - first.repeat_interleave(self.level)
        return self.nearer.repeat_interleave(self.level) + position + 1


def check_ties(ties: str) -> None:
    """Raises ValueError for a way to see ties that is not known."""
    if ties not in get_args(Ties):
        raise ValueError(f"Unknown ties {ties!r}. Choose from: {', '.join(get_args(Ties))}.")


def places(similarity: Tensor, own: Tensor) -> Places:
    """Places in a similarity matrix.

    Args:
        similarity: (queries, targets), larger is nearer.
        own: The number of each query's own target, (queries,).

    Raises:
        ValueError: If `similarity` is not such a matrix or holds NaN, or `own` does not fit it.
    """
    if similarity.ndim != 2 or 0 in similarity.shape:
        raise ValueError(f"`similarity` must have shape (queries, targets), got {tuple(similarity.shape)}.")
    if own.shape != similarity.shape[:1] or not 0 <= int(own.min()) <= int(own.max()) < similarity.shape[1]:
        raise ValueError(
            f"`own` must give each of {similarity.shape[0]} queries one of {similarity.shape[1]} targets, got "
            f"{tuple(own.shape)} numbers from {int(own.min())} to {int(own.max())}."
        )
    invalid = similarity.isnan().any(dim=1).nonzero().flatten().tolist()
    if invalid:
        raise ValueError(
            f"`similarity` has NaN in {len(invalid)} rows, first in row {invalid[0]}. Check the embeddings."
        )
    scores = similarity.gather(1, own.unsqueeze(1))
    return Places((similarity > scores).sum(dim=1), (similarity == scores).sum(dim=1))


def ranks(similarity: Tensor, ties: Ties = "strict") -> Tensor:
    """The place of each query's own target among all targets, the best being 1.

    Args:
        similarity: (queries, targets), larger is nearer; target i belongs to query i, and there may be more targets
            than queries.
        ties: As `Places.ranks`.

    Returns:
        As `Places.ranks`.

    Raises:
        ValueError: If `similarity` is not a matrix with a target for each query or holds NaN, or `ties` is unknown.
    """
    check_ties(ties)
    if similarity.ndim != 2 or not 0 < similarity.shape[0] <= similarity.shape[1]:
        raise ValueError(
            "`similarity` must have shape (queries, targets) with a target for each query, "
            f"got {tuple(similarity.shape)}."
        )
    return places(similarity, torch.arange(len(similarity), device=similarity.device)).ranks(ties)


def recall_at(ranks: Tensor, k: int) -> float:
    """Percentage of queries whose target is among the first `k`.

    Args:
        ranks: (queries,), 1-based, as `ranks` returns them.
        k: How many answers are looked at; positive.
    """
    if k < 1:
        raise ValueError(f"`k` must be positive, got {k}.")
    return 100 * (ranks <= k).double().mean().item()


def direction_metrics(direction: Literal["t2v", "v2t"], places: Places, ties: Ties = "strict") -> dict[str, float]:
    """The figures of one direction; see `retrieval_metrics`."""
    found = places.ranks(ties)
    metrics = {f"{direction} R@{k}": recall_at(found, k) for k in RECALLS}
    # Not `quantile`, which refuses more than 16 million values.
    ordered, middle = found.sort().values, len(found) // 2
    metrics[f"{direction} median rank"] = ordered[[(len(found) - 1) // 2, middle]].double().mean().item()
    metrics[f"{direction} mean rank"] = found.double().mean().item()
    return metrics


def retrieval_metrics(
    similarity: Tensor, ties: Ties = "strict", *, video_of_caption: Tensor | None = None
) -> dict[str, float]:
    """The figures that retrieval tables report, from text to video ("t2v ...") and from video to text ("v2t ...").

    With several captions a video, every caption is a query from text to video. From video to text, a video is as near
    to another one's captions as to the nearest of them, and its own captions are ranked among those of all videos: so
    are MSVD and VATEX measured.

    The authors' program of MV-Adapter counts ranks from 0, breaks ties as an unstable sort happens to, and takes for
    the median of an even number the upper of the middle two, for that of an odd number the mean of the middle one and
    the next. Recalls are the same here where nothing is tied, mean ranks one more, and medians are medians.

    Args:
        similarity: (captions, videos). Without `video_of_caption` square; caption i describes video i.
        ties: As `Places.ranks`.
        video_of_caption: The number of each caption's video, (captions,), int64; every video needs a caption.

    Returns:
        For each direction "R@1", "R@5", "R@10" and "R@50" in per cent, "median rank" (the mean of the middle two, if
        the number is even) and "mean rank".

    Raises:
        ValueError: If `similarity` or `video_of_caption` is not of that shape, or as in `ranks`.

    Examples:
        >>> retrieval_metrics(torch.tensor([[0.9, 0.1], [0.8, 0.7]]))["t2v R@1"]
        50.0
    """
    check_ties(ties)
    if video_of_caption is None:
        if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
            raise ValueError(
                f"`similarity` must be square, (texts, videos), got {tuple(similarity.shape)}. Where videos have "
                "several captions, say which is whose by `video_of_caption`."
            )
        video_of_caption = torch.arange(len(similarity))
    check_video_of_caption(video_of_caption, *similarity.shape)
    t2v, v2t = similarity_places(similarity, similarity.T, video_of_caption.to(similarity.device))
    return direction_metrics("t2v", t2v, ties) | direction_metrics("v2t", v2t, ties)


def similarity_places(t2v: Tensor, v2t: Tensor, video_of_caption: Tensor) -> tuple[Places, Places]:
    """Places in both directions, which post-processing may have given different values.

    Args:
        t2v: (captions, videos).
        v2t: (videos, captions).
        video_of_caption: (captions,).
    """
    nearest = v2t.new_full((len(v2t), len(v2t)), -torch.inf)  # of each video's captions
    nearest.scatter_reduce_(1, video_of_caption.expand_as(v2t), v2t, "amax")
    return places(t2v, video_of_caption), places(nearest, torch.arange(len(v2t), device=v2t.device))


def check_video_of_caption(video_of_caption: Tensor, num_captions: int, num_videos: int) -> None:
    """Raises ValueError unless there is a video for each caption, and a caption for each video."""
    if video_of_caption.shape != (num_captions,) or video_of_caption.dtype != torch.int64:
        raise ValueError(
            f"`video_of_caption` must be int64 of shape (captions,) = ({num_captions},), got {video_of_caption.dtype} "
            f"of shape {tuple(video_of_caption.shape)}."
        )
    described = video_of_caption.unique().tolist()
    if described != list(range(num_videos)):
        wrong = sorted(set(described).symmetric_difference(range(num_videos)))
        fault = "is described by no caption" if 0 <= wrong[0] < num_videos else "is not there"
        raise ValueError(f"`video_of_caption` must name every one of {num_videos} videos: video {wrong[0]} {fault}.")
