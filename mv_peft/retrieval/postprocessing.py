"""Post-processing of similarities that some papers report, and that is off by default.

Both methods use more than the query and the gallery: dual softmax uses all other test queries, and query-bank
normalisation uses queries from training. Results with and without them are not comparable, and are labelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..choices import PostProcessingName


@dataclass(frozen=True)
class DualSoftmax:
    """s'(q, g) = s(q, g) * softmax over all test queries q of s(q, g) / temperature.

    A target that is similar to many queries counts less for each of them.

    Attributes:
        temperature: Divides the cosines; 0.01 is the inverse of CLIP's logit scale at the end of its training.
    """

    temperature: float = 0.01

    name: ClassVar[PostProcessingName] = "dual-softmax"
    description: ClassVar[str] = "Similarities are multiplied by their softmax over all test queries."
    source: ClassVar[str] = (
        "Cheng et al., Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and Dual Softmax Loss, 2021, "
        "arXiv 2109.04290"
    )

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"`temperature` must be positive, got {self.temperature}.")

    def apply(self, similarity: Tensor) -> Tensor:
        """Multiply similarities by their softmax over the queries.

        Args:
            similarity: The similarities of one direction, (queries, targets).

        Returns:
            (queries, targets), float64, because in float32 the softmax underflows to ties.
        """
        similarity = similarity.double()
        return similarity * (similarity / self.temperature).softmax(dim=0)


@dataclass(frozen=True)
class QueryBankNorm:
    """s'(q, g) = exp(beta s(q, g)) / sum over the bank's queries b of exp(beta s(b, g)), if q's best target is a hub.

    This is the inverted softmax. If it is dynamic, it is applied only to queries whose best target is a hub, which
    means that it is the best target of some query in the bank too.

    Attributes:
        beta: The inverse temperature; 20 is the published value.
        dynamic: Whether to leave the other queries as they are; False applies the inverted softmax to every query.
    """

    beta: float = 20.0
    dynamic: bool = True

    name: ClassVar[PostProcessingName] = "qb-norm"
    description: ClassVar[str] = (
        "Similarities are normalised over a bank of training queries by the dynamic inverted softmax."
    )
    source: ClassVar[str] = (
        "Bogolin et al., Cross Modal Retrieval with Querybank Normalisation, CVPR 2022, arXiv 2112.12777"
    )

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise ValueError(f"`beta` must be positive, got {self.beta}.")

    def apply(self, similarity: Tensor, bank: Tensor) -> Tensor:
        """Normalise similarities over the queries of a bank.

        Args:
            similarity: The similarities of one direction, (queries, targets).
            bank: The similarities of the bank's queries to the same targets, (bank queries, targets).

        Returns:
            (queries, targets), float64. Values of different queries are not comparable, since only some are normalised.

        Raises:
            ValueError: If the bank has another number of targets.
        """
        if bank.ndim != 2 or 0 in bank.shape or bank.shape[1] != similarity.shape[1]:
            raise ValueError(
                f"`bank` must have shape (bank queries, targets) with {similarity.shape[1]} targets, "
                f"got {tuple(bank.shape)}."
            )
        similarity, bank = similarity.double(), bank.double()
        normalised = (self.beta * similarity - (self.beta * bank).logsumexp(dim=0)).exp()
        if not self.dynamic:
            return normalised
        is_hub = torch.zeros(similarity.shape[1], dtype=torch.bool, device=similarity.device)
        is_hub[bank.argmax(dim=1)] = True
        return torch.where(is_hub[similarity.argmax(dim=1)].unsqueeze(1), normalised, similarity)


PostProcessing = DualSoftmax | QueryBankNorm
POST_PROCESSING: dict[PostProcessingName, type[PostProcessing]] = {
    kind.name: kind for kind in (DualSoftmax, QueryBankNorm)
}


def exact_similarity(text_embeds: Tensor, video_embeds: Tensor) -> Tensor:
    """Compute the whole matrix of dot products, in which equal vectors have equal scores wherever they are.

    Every number is split into two numbers of 20 bits. Their products and sums are exact in float64 up to a dim of 4096,
    so the order in which a library adds them makes no difference. The bits that are dropped are below 1e-12.

    Args:
        text_embeds: (captions, dim).
        video_embeds: (videos, dim).

    Returns:
        (captions, videos), float64.
    """
    (text_high, text_low), (video_high, video_low) = _split(text_embeds), _split(video_embeds)
    crossed = text_high @ video_low.T + text_low @ video_high.T
    return text_high @ video_high.T + crossed + text_low @ video_low.T


def _split(embeds: Tensor) -> tuple[Tensor, Tensor]:
    embeds = embeds.double()
    # A power of two, so that scaling rounds nothing.
    unit = 2.0 ** (embeds.abs().amax().clamp(min=1e-30).log2().ceil() - 20)
    high = (embeds / unit).round() * unit
    low = ((embeds - high) / unit * 2.0**20).round() * unit * 2.0**-20
    return high, low
