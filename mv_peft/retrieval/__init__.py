"""Retrieval between texts and videos: how well it works."""

from .metrics import ranks, recall_at, retrieval_metrics

__all__ = ["ranks", "recall_at", "retrieval_metrics"]
