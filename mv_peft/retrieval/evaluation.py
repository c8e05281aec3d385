"""How well a model retrieves captioned videos, under a protocol that has a name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from ..choices import Ties
from ..data import VideoRecord
from ..encoders import MVProcessor
from ..video import FrameSampling, VideoFrames
from .embeddings import RetrievalEmbeddings
from .encode import embed_records
from .exact_ranks import embedding_places
from .metrics import check_ties, direction_metrics, similarity_places
from .postprocessing import DualSoftmax, PostProcessing, QueryBankNorm, exact_similarity
from .protocols import MULTI_CAPTION, PAIRS, Protocol


@dataclass(frozen=True)
class RetrievalResult:
    """What was measured, and how.

    Attributes:
        metrics: The figures of `retrieval_metrics`.
        protocol: What was asked, and what counted as found.
        ties: How equally near targets were counted.
        post_processing: What was done to the similarities; None: nothing.
        num_videos: Videos in the gallery.
        num_captions: Captions in the gallery.
        skipped: Ids of videos that could not be read and are in none of the figures.
    """

    metrics: dict[str, float]
    protocol: Protocol
    ties: Ties
    post_processing: PostProcessing | None
    num_videos: int
    num_captions: int
    skipped: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Name of the protocol, with whatever makes figures incomparable with those of others."""
        ties = "" if self.ties == "strict" else f", {self.ties} ties"
        processing = "" if self.post_processing is None else f" + {self.post_processing.name}"
        return f"{self.protocol.name}{processing}{ties}"

    def to_dict(self) -> dict[str, Any]:
        """For `metrics.json`: schema, data, protocol and metrics."""
        processing = self.post_processing
        data: dict[str, Any] = {"videos": self.num_videos, "captions": self.num_captions}
        if self.skipped:
            data["skipped_videos"] = len(self.skipped)
        description, source = self.protocol.description, self.protocol.source
        if processing is not None:
            description, source = f"{description} {processing.description}", f"{source}; {processing.source}"
        return {
            "schema": 1,
            "data": data,
            "protocol": {
                "name": self.label,
                "description": description,
                "source": source,
                "ties": self.ties,
                "post_processing": None if processing is None else processing.name,
            },
            "metrics": dict(self.metrics),
        }


def evaluate_retrieval(
    model: nn.Module,
    processor: MVProcessor,
    records: Sequence[VideoRecord],
    *,
    protocol: Protocol | None = None,
    ties: Ties = "strict",
    batch_size: int = 32,
    num_workers: int = 0,
    sampling: FrameSampling | None = None,
    read: Callable[..., VideoFrames] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> RetrievalResult:
    """Embeds captioned videos and measures retrieval among them, in one process or over all of them.

    Post-processing is for `evaluate_embeddings`, on what `embed_records` gives.

    Args:
        model: As `embed_records`.
        processor: As `embed_records`.
        records: As `embed_records`.
        protocol: None: `PAIRS` if every video has one caption, else `MULTI_CAPTION`.
        ties: As `Places.ranks`.
        batch_size: As `embed_records`.
        num_workers: As `embed_records`.
        sampling: As `embed_records`.
        read: As `embed_records`.
        on_error: As `embed_records`.
        progress: As `embed_records`.

    Raises:
        VideoDecodeError: A video cannot be read, and `on_error` is "raise".
        MVPeftError: None can be read.
        ValueError: An argument makes no sense, the protocol does not fit the captions, or the model gives NaN.

    Example:
        >>> evaluate_retrieval(model, processor, MSRVTT.load("msrvtt", "test")).metrics["t2v R@1"]
    """
    check_ties(ties)
    embeddings = embed_records(
        model,
        processor,
        records,
        batch_size=batch_size,
        num_workers=num_workers,
        sampling=sampling,
        read=read,
        on_error=on_error,
        progress=progress,
    )
    return evaluate_embeddings(embeddings, protocol=protocol, ties=ties)


def evaluate_embeddings(
    embeddings: RetrievalEmbeddings,
    *,
    protocol: Protocol | None = None,
    ties: Ties = "strict",
    post_processing: PostProcessing | None = None,
    query_bank: RetrievalEmbeddings | None = None,
) -> RetrievalResult:
    """Measures retrieval among embeddings.

    Without post-processing the similarities are counted block by block and never held as a whole; with it they are.

    Args:
        embeddings: What to measure.
        protocol: None: `PAIRS` if every video has one caption, else `MULTI_CAPTION`.
        ties: As `Places.ranks`.
        post_processing: `DualSoftmax` or `QueryBankNorm`. From video to text, videos are the queries.
        query_bank: Training captions and videos, for `QueryBankNorm`.

    Raises:
        ValueError: `query_bank` is missing or without effect, the protocol does not fit the captions, ties are unknown,
            or an embedding is not finite.
    """
    check_ties(ties)
    is_bank_used = isinstance(post_processing, QueryBankNorm)
    if is_bank_used != (query_bank is not None):
        raise ValueError(
            "`QueryBankNorm` needs a `query_bank` of training captions and videos."
            if is_bank_used
            else "`query_bank` has no effect without `QueryBankNorm`. Leave it out."
        )
    video_of_caption = embeddings.video_of_caption
    if protocol is None:
        protocol = PAIRS if len(embeddings.captions) == len(embeddings.video_ids) else MULTI_CAPTION
    protocol.check(video_of_caption)
    t2v, v2t = embedding_places(embeddings.text_embeds, embeddings.video_embeds, video_of_caption)
    if post_processing is not None:
        similarity = exact_similarity(embeddings.text_embeds, embeddings.video_embeds)
        if isinstance(post_processing, DualSoftmax):
            matrices = post_processing.apply(similarity), post_processing.apply(similarity.T)
        else:
            assert query_bank is not None
            matrices = (
                post_processing.apply(similarity, exact_similarity(query_bank.text_embeds, embeddings.video_embeds)),
                post_processing.apply(similarity.T, exact_similarity(query_bank.video_embeds, embeddings.text_embeds)),
            )
        t2v, v2t = similarity_places(*matrices, video_of_caption)
    return RetrievalResult(
        metrics=direction_metrics("t2v", t2v, ties) | direction_metrics("v2t", v2t, ties),
        protocol=protocol,
        ties=ties,
        post_processing=post_processing,
        num_videos=len(embeddings.video_ids),
        num_captions=len(embeddings.captions),
        skipped=embeddings.skipped,
    )
