"""DiDeMo: the first 30 seconds of Flickr videos, with descriptions of moments that annotators located in them.

For retrieval, the descriptions of a video are joined to a paragraph. In the `-moments` splits they are
kept apart, each with its moment.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from ...errors import AnnotationError
from ..annotations.annotation_file import AnnotationFile
from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.lists import read_list, select_listed
from ..annotations.rows import Row, make_row, read_entries, read_rows
from .base import MV_ADAPTER_PAPER, Benchmark, PublishedRow, Split, register_benchmark

_SEGMENT_SECONDS = 5.0
_VIDEO_SECONDS = 30.0


def _read(files: AnnotationFolder, split: str) -> Iterable[Row]:
    part = split.removesuffix("-moments")
    if part != split:
        return _moments(files.require(f"{part}_data.json"))
    rows = read_rows(files.require(f"{part}_data.json", f"didemo_ret_{part}.json", f"didemo_{part}.json"))
    trimmed = (row._replace(start_seconds=0.0, end_seconds=_VIDEO_SECONDS) for row in rows)
    listed = files.find(f"{part}_list.txt")
    return select_listed(trimmed, read_list(listed)) if listed else trimmed


def _moments(file: AnnotationFile) -> Iterator[Row]:
    for where, entry in read_entries(file):
        if not isinstance(entry, dict):
            raise AnnotationError(f"{where}: expected an object with 'video', 'description' and 'times'.")
        start_seconds, end_seconds = _agreed_moment(where, entry.get("times"))
        yield make_row(where, entry.get("video"), entry.get("description"), start_seconds, end_seconds)


def _agreed_moment(where: str, times: object) -> tuple[float, float]:
    """Find the start and end, in seconds, of the segments that most annotators chose; the first of those in a tie."""
    if not isinstance(times, list) or not times or not all(map(_is_span, times)):
        raise AnnotationError(f"{where}: 'times' must be pairs of a first and a last segment, got {times!r:.60}.")
    (first, last), _ = Counter(map(tuple, times)).most_common(1)[0]
    return first * _SEGMENT_SECONDS, (last + 1) * _SEGMENT_SECONDS


def _is_span(time: object) -> bool:
    return isinstance(time, list) and [*map(type, time)] == [int, int] and 0 <= time[0] <= time[1]


DIDEMO = register_benchmark(
    Benchmark(
        name="didemo",
        title="DiDeMo",
        splits={
            "train": Split(8_392, None, paragraphs=True),
            "val": Split(1_065, 4_180, paragraphs=True),
            "test": Split(1_004, 4_021, paragraphs=True),
            "train-moments": Split(None, 33_005),
            "val-moments": Split(None, 4_180),
            "test-moments": Split(None, 4_021),
        },
        protocol="paragraphs",
        read=_read,
        max_frames=32,
        max_text_tokens=64,
        epochs=15,
        batch_size=64,
        published=(
            PublishedRow("full fine-tuning", (44.7, 73.6, 81.2), (45.0, 73.1, 80.8), MV_ADAPTER_PAPER),
            PublishedRow("MV-Adapter", (44.3, 72.1, 80.5), (42.7, 73.0, 81.9), MV_ADAPTER_PAPER),
        ),
    )
)
