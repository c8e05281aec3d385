"""The benchmarks by name, a file each."""

from .activitynet import ACTIVITYNET
from .base import Benchmark, Split
from .didemo import DIDEMO
from .lsmdc import LSMDC
from .msrvtt import MSRVTT
from .msvd import MSVD
from .vatex import VATEX

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (ACTIVITYNET, DIDEMO, LSMDC, MSRVTT, MSVD, VATEX)
}

__all__ = ["ACTIVITYNET", "BENCHMARKS", "DIDEMO", "LSMDC", "MSRVTT", "MSVD", "VATEX", "Benchmark", "Split"]
