"""Lists of the videos of a split, for benchmarks whose captions are in another file."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from ...errors import AnnotationError, some_of
from .annotation_file import AnnotationFile
from .rows import VIDEO_COLUMNS, Row
from .video_folder import portable, strip_suffixes


def read_list(file: AnnotationFile) -> dict[str, str]:
    """Read the list of a split's videos, one a line; the header of a CSV file is skipped.

    Returns:
        For each video's name the line on which it is listed, for messages.

    Raises:
        AnnotationError: A video is listed twice.
    """
    listed: dict[str, str] = {}
    for where, line in file.read_lines():
        name = strip_suffixes(portable(line))
        if name in listed:
            raise AnnotationError(f"{where}: {name!r} is already listed ({listed[name]}). Remove one of the two.")
        if name not in VIDEO_COLUMNS:
            listed[name] = where
    return listed


def select_listed(rows: Iterable[Row], listed: Mapping[str, str]) -> Iterator[Row]:
    """Select the rows of the listed videos, in the order of the list.

    Raises:
        AnnotationError: A listed video has no row.
    """
    by_video: dict[str, list[Row]] = {name: [] for name in listed}
    for row in rows:
        by_video.get(strip_suffixes(portable(row.video)), []).append(row)
    without = [name for name, found in by_video.items() if not found]
    if without:
        raise AnnotationError(
            f"{listed[without[0]]}: no captions of {len(without)} listed videos: {some_of(map(repr, without))}. "
            "Add the annotation file that has them."
        )
    return chain.from_iterable(by_video.values())
