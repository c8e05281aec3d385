"""Annotation files and videos -> batches."""

from .activitynet import ACTIVITYNET
from .base import VideoRecord
from .benchmark import Benchmark, Split
from .captioned import CaptionedVideos
from .collator import VideoCaptionCollator
from .dataset import VideoCaptionDataset
from .didemo import DIDEMO
from .lsmdc import LSMDC
from .msrvtt import MSRVTT
from .msvd import MSVD
from .vatex import VATEX

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (ACTIVITYNET, DIDEMO, LSMDC, MSRVTT, MSVD, VATEX)
}

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
