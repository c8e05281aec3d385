"""Retrieval between texts and videos: embeddings, metrics, and the protocols under which they are published."""

from .embeddings import RetrievalEmbeddings
from .encode import EncodedVideos, Moment, embed_records, encode_texts, encode_video_stream, encode_videos
from .evaluation import RetrievalResult, evaluate_embeddings, evaluate_retrieval
from .exact_ranks import embedding_rank_counts
from .metrics import RankCounts, Ties, rank_counts, ranks, recall_at, retrieval_metrics
from .postprocessing import DualSoftmax, QueryBankNorm, exact_similarity
from .protocols import (
    MULTI_CAPTION,
    PAIRS,
    PARAGRAPHS,
    PROTOCOLS,
    Protocol,
    benchmark_protocol,
    default_protocol,
)
from .report import format_result

__all__ = [
    "MULTI_CAPTION",
    "PAIRS",
    "PARAGRAPHS",
    "PROTOCOLS",
    "DualSoftmax",
    "EncodedVideos",
    "Moment",
    "Protocol",
    "QueryBankNorm",
    "RankCounts",
    "RetrievalEmbeddings",
    "RetrievalResult",
    "Ties",
    "benchmark_protocol",
    "default_protocol",
    "embed_records",
    "embedding_rank_counts",
    "encode_texts",
    "encode_video_stream",
    "encode_videos",
    "evaluate_embeddings",
    "evaluate_retrieval",
    "exact_similarity",
    "format_result",
    "rank_counts",
    "ranks",
    "recall_at",
    "retrieval_metrics",
]
