"""LSMDC: short clips from films, each with its audio description."""

from collections.abc import Iterable, Iterator

from ...errors import AnnotationError
from ..annotations.annotation_file import AnnotationFile
from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.rows import Row, make_row, read_rows
from .base import MV_ADAPTER_PAPER, Benchmark, PublishedRow, Split, register_benchmark

_FILES = {
    "train": ("LSMDC16_annos_training.csv", "lsmdc_ret_train.json"),
    "val": ("LSMDC16_annos_val.csv", "lsmdc_ret_val.json"),
    "test": ("LSMDC16_challenge_1000_publictect.csv", "lsmdc_ret_test_1000.json"),
}
_NUM_COLUMNS = 6


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    file = files.require(*_FILES[split])
    return read_rows(file) if file.suffix == ".json" else _read_table(file)


def _read_table(file: AnnotationFile) -> Iterator[Row]:
    """Read the authors' table: tabs, no header, no quotes; its times count in the whole film, but the clips are cut."""
    for where, line in file.read_lines():
        fields = line.split("\t")
        if len(fields) != _NUM_COLUMNS:
            raise AnnotationError(f"{where}: {len(fields)} columns separated by tabs, must be {_NUM_COLUMNS}.")
        yield make_row(where, fields[0], fields[-1])


LSMDC = register_benchmark(
    Benchmark(
        name="lsmdc",
        title="LSMDC",
        splits={"train": Split(None, 101_079), "val": Split(None, 7_408), "test": Split(1_000, 1_000)},
        protocol="pairs",
        read=_read,
        published=(
            PublishedRow("full fine-tuning", (20.2, 41.5, 51.2), (21.8, 40.5, 50.9), MV_ADAPTER_PAPER),
            PublishedRow("MV-Adapter", (23.2, 43.9, 53.2), (24.0, 42.8, 52.1), MV_ADAPTER_PAPER),
        ),
    )
)
