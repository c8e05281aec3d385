"""Annotation files and videos, read as batches for training."""

from .benchmarks import (
    ACTIVITYNET,
    BENCHMARKS,
    DIDEMO,
    LSMDC,
    MSRVTT,
    MSVD,
    VATEX,
    Benchmark,
    PublishedRow,
    Split,
    register_benchmark,
)
from .collator import VideoCaptionCollator
from .custom import CaptionedVideos
from .dataset import VideoCaptionDataset
from .records import VideoRecord

__all__ = [
    "ACTIVITYNET",
    "BENCHMARKS",
    "DIDEMO",
    "LSMDC",
    "MSRVTT",
    "MSVD",
    "VATEX",
    "Benchmark",
    "CaptionedVideos",
    "PublishedRow",
    "Split",
    "VideoCaptionCollator",
    "VideoCaptionDataset",
    "VideoRecord",
    "register_benchmark",
]
