"""How good a text-video similarity matrix is: ranks, recall at k, median and mean rank."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Ties = Literal["strict", "lenient"]


def ranks(similarity: torch.Tensor, ties: Ties = "strict") -> torch.Tensor:
    """The place of each query's own target among all targets, the best being 1.

    Args:
        similarity: (queries, targets), larger is nearer; target i belongs to query i, and there may be more targets
            than queries.
        ties: Whether a target that is exactly as near as the query's own stands before it ("strict") or behind it
            ("lenient"). Under "strict" a model that answers the same to everything ranks last, not first.

    Returns:
        (queries,), int64, from 1 to the number of targets.

    Raises:
        ValueError: If `similarity` is not a matrix with a target for each query or holds NaN, or `ties` is unknown.
    """
    if ties not in get_args(Ties):
        raise ValueError(f"Unknown ties {ties!r}. Choose from: {', '.join(get_args(Ties))}.")
    if similarity.ndim != 2 or not 0 < similarity.shape[0] <= similarity.shape[1]:
        raise ValueError(
            "`similarity` must have shape (queries, targets) with a target for each query, "
            f"got {tuple(similarity.shape)}."
        )
    invalid = similarity.isnan().any(dim=1).nonzero().flatten().tolist()
    if invalid:
        raise ValueError(
            f"`similarity` has NaN in {len(invalid)} rows, first in row {invalid[0]}. Check the embeddings."
        )
    own = similarity.diagonal().unsqueeze(1)
    if ties == "strict":
        return (similarity >= own).sum(dim=1)  # counts the query's own target too, hence from 1
    return (similarity > own).sum(dim=1) + 1


def recall_at(ranks: torch.Tensor, k: int) -> float:
    """Percentage of queries whose target is among the first `k`.

    Args:
        ranks: (queries,), 1-based, as `ranks` returns them.
        k: How many answers are looked at; positive.
    """
    if k < 1:
        raise ValueError(f"`k` must be positive, got {k}.")
    return 100 * (ranks <= k).double().mean().item()


def retrieval_metrics(similarity: torch.Tensor, ties: Ties = "strict") -> dict[str, float]:
    """The figures that retrieval tables report, from text to video ("t2v ...") and from video to text ("v2t ...").

    Args:
        similarity: (texts, videos), square; text i describes video i.
        ties: As in `ranks`.

    Returns:
        For each direction "R@1", "R@5" and "R@10" in per cent, "median rank" (the mean of the middle two, if the number
        is even) and "mean rank".

    Raises:
        ValueError: If `similarity` is not square, or as in `ranks`.

    Examples:
        >>> retrieval_metrics(torch.tensor([[0.9, 0.1], [0.8, 0.7]]))["t2v R@1"]
        50.0
    """
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise ValueError(f"`similarity` must be square, (texts, videos), got {tuple(similarity.shape)}.")
    metrics: dict[str, float] = {}
    for direction, matrix in (("t2v", similarity), ("v2t", similarity.T)):
        found = ranks(matrix, ties)
        metrics |= {f"{direction} R@{k}": recall_at(found, k) for k in (1, 5, 10)}
        metrics[f"{direction} median rank"] = found.double().quantile(0.5).item()
        metrics[f"{direction} mean rank"] = found.double().mean().item()
    return metrics
