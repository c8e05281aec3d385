"""Lists of the videos of a split, where their captions stand in another file."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from ...errors import AnnotationError
from .annotation_file import AnnotationFile
from .rows import VIDEO_COLUMNS, Row, some_of
from .video_folder import portable, strip_suffixes


def read_list(file: AnnotationFile) -> dict[str, str]:
    """Where each video of a split's list stands, by the video's name; a header of CSV is allowed.

    Raises:
        AnnotationError: a video is listed twice.
    """
    places: dict[str, str] = {}
    for where, line in file.read_lines():
        name = strip_suffixes(portable(line))
        if name in places:
            raise AnnotationError(f"{where}: {name!r} is listed already ({places[name]}). Remove one of the two.")
        if name not in VIDEO_COLUMNS:
            places[name] = where
    return places


def select_listed(rows: Iterable[Row], listed: Mapping[str, str]) -> Iterator[Row]:
    """The rows of the listed videos, in the order of the list.

    Raises:
        AnnotationError: nothing describes a listed video.
    """
    by_video: dict[str, list[Row]] = {name: [] for name in listed}
    for row in rows:
        by_video.get(strip_suffixes(portable(row.video)), []).append(row)
    silent = [name for name, found in by_video.items() if not found]
    if silent:
        raise AnnotationError(
            f"{listed[silent[0]]}: no captions of {len(silent)} listed videos{some_of(silent)}. "
            "Add the annotation file that has them."
        )
    return chain.from_iterable(by_video.values())
