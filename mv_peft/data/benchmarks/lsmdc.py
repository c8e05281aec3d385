"""LSMDC: short clips of films with the audio description of each."""

from collections.abc import Iterable, Iterator

from ...errors import AnnotationError
from ..annotations.annotation_file import AnnotationFile
from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.rows import Row, make_row, read_rows
from .base import Benchmark, Split

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
    """Rows of the authors' form: tabs, no header, no quoting; the times are those in the film, the clip is cut."""
    for where, line in file.read_lines():
        fields = line.split("\t")
        if len(fields) != _NUM_COLUMNS:
            raise AnnotationError(f"{where}: {len(fields)} columns, must be {_NUM_COLUMNS}, separated by tabs.")
        yield make_row(where, fields[0], fields[-1])


LSMDC = Benchmark(
    name="lsmdc",
    splits={"train": Split(None, 101_079), "val": Split(None, 7_408), "test": Split(1_000, 1_000)},
    read=_read,
)
