"""The benchmarks, one file each with everything that is published about it.

Importing its file registers a benchmark, so a new one needs one more line here, in alphabetical order.
"""

from .activitynet import ACTIVITYNET as ACTIVITYNET
from .base import BENCHMARKS as BENCHMARKS
from .base import Benchmark as Benchmark
from .base import PublishedRow as PublishedRow
from .base import Split as Split
from .base import register_benchmark as register_benchmark
from .didemo import DIDEMO as DIDEMO
from .lsmdc import LSMDC as LSMDC
from .msrvtt import MSRVTT as MSRVTT
from .msvd import MSVD as MSVD
from .vatex import VATEX as VATEX
