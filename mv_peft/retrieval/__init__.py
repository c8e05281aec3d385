"""Retrieval between texts and videos: embeddings, how well they find each other, and under which protocol."""

from .embeddings import RetrievalEmbeddings
from .encode import EncodedVideos, Moment, embed_records, encode_texts, encode_video_stream, encode_videos
from .evaluation import RetrievalResult, evaluate_embeddings, evaluate_retrieval
from .exact_ranks import embedding_places
from .metrics import Places, Ties, places, ranks, recall_at, retrieval_metrics
from .postprocessing import DualSoftmax, QueryBankNorm, exact_similarity
from .protocols import (
    BENCHMARK_PROTOCOLS,
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
    "BENCHMARK_PROTOCOLS",
    "MULTI_CAPTION",
    "PAIRS",
    "PARAGRAPHS",
    "PROTOCOLS",
    "DualSoftmax",
    "EncodedVideos",
    "Moment",
    "Places",
    "Protocol",
    "QueryBankNorm",
    "RetrievalEmbeddings",
    "RetrievalResult",
    "Ties",
    "benchmark_protocol",
    "default_protocol",
    "embed_records",
    "embedding_places",
    "encode_texts",
    "encode_video_stream",
    "encode_videos",
    "evaluate_embeddings",
    "evaluate_retrieval",
    "exact_similarity",
    "format_result",
    "places",
    "ranks",
    "recall_at",
    "retrieval_metrics",
]
