"""Annotation files and videos -> batches."""

from mv_peft.data.activitynet import ACTIVITYNET
from mv_peft.data.base import VideoRecord
from mv_peft.data.benchmark import Benchmark, Split
from mv_peft.data.captioned import CaptionedVideos
from mv_peft.data.collator import VideoCaptionCollator
from mv_peft.data.dataset import VideoCaptionDataset
from mv_peft.data.didemo import DIDEMO
from mv_peft.data.lsmdc import LSMDC
from mv_peft.data.msrvtt import MSRVTT
from mv_peft.data.msvd import MSVD
from mv_peft.data.vatex import VATEX

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
