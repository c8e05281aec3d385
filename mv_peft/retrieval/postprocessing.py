"""Ways to re-weigh similarities after the fact, which papers report and which are off by default.

Both look at more than the query and the gallery: dual softmax at all other test queries, query-bank normalisation at
queries from training. Results with them are not comparable with results without, and are labelled.
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

    A target that many queries are near to counts less for each of them.

    Attributes:
        temperature: Of cosines; 0.01 is the inverse of the factor that CLIP's logits have at the end of its training.
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
        """The similarities re-weighed.

        Args:
            similarity: (queries, targets), of one direction.

        Returns:
            (queries, targets), float64: in float32 the softmax underflows to ties.
        """
        similarity = similarity.double()
        return similarity * (similarity / self.temperature).softmax(dim=0)


@dataclass(frozen=True)
class QueryBankNorm:
    """s'(q, g) = exp(beta s(q, g)) / sum over the bank's queries b of exp(beta s(b, g)), where q asks for a hub.

    That is the inverted softmax; dynamic, it is applied to those queries only whose nearest target is the nearest of
    some query of the bank too.

    Attributes:
        beta: The published 20.
        dynamic: False: the inverted softmax for every query.
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
        """The similarities normalised.

        Args:
            similarity: (queries, targets), of one direction.
            bank: (bank queries, targets).

        Returns:
            (queries, targets), float64. Values of different queries are not comparable, since some are normalised.

        Raises:
            ValueError: If the bank has other targets.
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
    """Dot products, all of them, in which equal vectors have equal scores wherever they stand.

    Each number is cut into two of 20 bits below the largest one: products and sums of those are exact in float64 up to
    a dim of 4096, so that a library's order of summation makes no difference. What is cut off is below 1e-12.

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
    # A power of two, so that nothing is rounded but where it is cut.
    unit = 2.0 ** (embeds.abs().amax().clamp(min=1e-30).log2().ceil() - 20)
    high = (embeds / unit).round() * unit
    low = ((embeds - high) / unit * 2.0**20).round() * unit * 2.0**-20
    return high, low
