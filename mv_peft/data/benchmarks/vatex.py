"""VATEX: ten seconds of Kinetics with ten English captions each.

Retrieval divides the 3,000 validation videos by lists of 1,500, and two different pairs of lists circulate: results on
one are not results on the other.
"""

from collections.abc import Iterable
from itertools import chain

from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.lists import read_list, select_listed
from ..annotations.rows import Row, read_rows
from .base import Benchmark, Split

_TRAIN = ("vatex_training_v1.0.json", "train.json")
_HELD_OUT = ("vatex_validation_v1.0.json", "vatex_public_test_english_v1.1.json", "val.json", "test.json")


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    if split == "train":
        rows, listed = read_rows(files.require(*_TRAIN)), files.find("train_list.txt")
        return select_listed(rows, read_list(listed)) if listed else rows
    listed = files.require(f"{split}_list.txt")
    found = [file for name in _HELD_OUT if (file := files.find(name))] or [files.require(*_HELD_OUT)]
    return select_listed(chain.from_iterable(map(read_rows, found)), read_list(listed))


VATEX = Benchmark(
    name="vatex",
    splits={"train": Split(25_991, 259_910), "val": Split(1_500, 15_000), "test": Split(1_500, 15_000)},
    read=_read,
)
