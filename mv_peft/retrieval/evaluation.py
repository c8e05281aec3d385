"""Evaluation of a model on captioned videos, under a named protocol."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from ..choices import Ties
from ..data import VideoRecord
from ..encoders import MVProcessor
from ..runs.metrics_file import DataFacts, MetricsFile, ProtocolFacts
from ..video import FrameSampling, VideoFrames
from .embeddings import RetrievalEmbeddings
from .encode import embed_records
from .exact_ranks import embedding_rank_counts
from .metrics import check_ties, direction_metrics, similarity_rank_counts
from .postprocessing import DualSoftmax, PostProcessing, QueryBankNorm, exact_similarity
from .protocols import MULTI_CAPTION, PAIRS, Protocol


@dataclass(frozen=True)
class RetrievalResult:
    """What was measured, and how.

    Attributes:
        metrics: The metrics, as `retrieval_metrics` names them.
        protocol: What the queries were, and what counted as found.
        ties: How ties were treated.
        post_processing: What was done to the similarities; None for nothing.
        num_videos: The number of videos in the gallery.
        num_captions: The number of captions in the gallery.
        skipped: Ids of videos that could not be read and are not part of the metrics.
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
        """The name of the protocol, followed by anything that makes the metrics incomparable with others."""
        ties = "" if self.ties == "strict" else f", {self.ties} ties"
        processing = "" if self.post_processing is None else f" + {self.post_processing.name}"
        return f"{self.protocol.name}{processing}{ties}"

    def to_metrics_file(self) -> MetricsFile:
        """Return what `metrics.json` says of the measurement: data, protocol and metrics."""
        processing = self.post_processing
        description, source = self.protocol.description, self.protocol.source
        if processing is not None:
            description, source = f"{description} {processing.description}", f"{source}; {processing.source}"
        return MetricsFile(
            data=DataFacts(
                videos=self.num_videos, captions=self.num_captions, skipped_videos=len(self.skipped) or None
            ),
            protocol=ProtocolFacts(
                name=self.label,
                description=description,
                source=source,
                ties=self.ties,
                post_processing=None if processing is None else processing.name,
            ),
            metrics=dict(self.metrics),
        )


def evaluate_retrieval(
    model: nn.Module,
    processor: MVProcessor,
    records: Sequence[VideoRecord],
    *,
    protocol: Protocol | None = None,
    ties: Ties = "strict",
    batch_size: int = 32,
    num_workers: int = 0,
    frame_sampling: FrameSampling | None = None,
    read: Callable[..., VideoFrames] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> RetrievalResult:
    """Embed captioned videos and measure retrieval among them.

    This is `embed_records` followed by `evaluate_embeddings`, and takes the arguments of both, hence eleven, except
    those of post-processing. It runs in one process, or in all of torch.distributed, with the same result.

    Args:
        model: A dual encoder that takes videos.
        processor: Its processor.
        records: The captioned videos.
        protocol: What to measure; None for `PAIRS` if every video has one caption, and `MULTI_CAPTION` otherwise.
        ties: How to treat ties, see `RankCounts.ranks`.
        batch_size: The number of videos, or of captions, that are embedded at a time.
        num_workers: The number of processes that read videos.
        frame_sampling: Which frames of a video to take; None for the processor's rule.
        read: What to read frames with instead of `mv_peft.video.read_frames`, a cache's `read_frames` for example.
        on_error: Whether to raise an error for an unreadable video, or to "skip" it, with its captions, and report it.
        progress: Whether to show a progress bar.

    Raises:
        VideoDecodeError: A video cannot be read, and `on_error` is "raise".
        MVPeftError: None of the videos can be read.
        ValueError: An argument is invalid, the protocol does not fit the captions, or an embedding is not finite.

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
        frame_sampling=frame_sampling,
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
    """Measure retrieval among embeddings.

    Without post-processing, ranks are counted block by block; with it, the whole similarity matrix is in memory.

    Args:
        embeddings: The embeddings of the captions and the videos.
        protocol: What to measure; None for `PAIRS` if every video has one caption, and `MULTI_CAPTION` otherwise.
        ties: How to treat ties, see `RankCounts.ranks`.
        post_processing: `DualSoftmax` or `QueryBankNorm`, applied in both directions.
        query_bank: Embeddings of training captions and videos, for `QueryBankNorm`.

    Raises:
        ValueError: `query_bank` is missing or has no effect, the protocol does not fit the captions, `ties` is unknown,
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
    t2v, v2t = embedding_rank_counts(embeddings.text_embeds, embeddings.video_embeds, video_of_caption)
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
        t2v, v2t = similarity_rank_counts(*matrices, video_of_caption)
    return RetrievalResult(
        metrics=direction_metrics("t2v", t2v, ties) | direction_metrics("v2t", v2t, ties),
        protocol=protocol,
        ties=ties,
        post_processing=post_processing,
        num_videos=len(embeddings.video_ids),
        num_captions=len(embeddings.captions),
        skipped=embeddings.skipped,
    )
