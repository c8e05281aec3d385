"""Annotation files and videos -> batches."""

from .benchmarks import ACTIVITYNET, BENCHMARKS, DIDEMO, LSMDC, MSRVTT, MSVD, VATEX, Benchmark, Split
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
    "Split",
    "VideoCaptionCollator",
    "VideoCaptionDataset",
    "VideoRecord",
]
