"""VATEX: clips of ten seconds from Kinetics, with ten English captions each.

For retrieval the 3,000 validation videos are divided by two lists of 1,500. Two different pairs of lists circulate, and
results on one pair are not comparable with results on the other.
"""

from collections.abc import Iterable
from itertools import chain

from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.lists import read_list, select_listed
from ..annotations.rows import Row, read_rows
from .base import Benchmark, Split, register_benchmark

_TRAIN = ("vatex_training_v1.0.json", "train.json")
_HELD_OUT = ("vatex_validation_v1.0.json", "vatex_public_test_english_v1.1.json", "val.json", "test.json")


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    if split == "train":
        rows, listed = read_rows(files.require(*_TRAIN)), files.find("train_list.txt")
        return select_listed(rows, read_list(listed)) if listed else rows
    listed = files.require(f"{split}_list.txt")
    found = [file for name in _HELD_OUT if (file := files.find(name))] or [files.require(*_HELD_OUT)]
    return select_listed(chain.from_iterable(map(read_rows, found)), read_list(listed))


VATEX = register_benchmark(
    Benchmark(
        name="vatex",
        title="VATEX",
        splits={"train": Split(25_991, 259_910), "val": Split(1_500, 15_000), "test": Split(1_500, 15_000)},
        protocol="multi-caption",
        read=_read,
    )
)
