"""What annotation files say, row by row: who describes which video, and how."""

import math
from collections.abc import Iterator, Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, NamedTuple

from ...errors import AnnotationError
from .annotation_file import AnnotationFile

# The first of each is our convention; `file_name` is that of Hugging Face's video folders, the others the benchmarks'.
VIDEO_COLUMNS = ("video", "video_id", "videoID", "file_name", "filename", "video_path", "path")
CAPTION_COLUMNS = ("caption", "captions", "sentence", "sentences", "description", "text", "enCap")
START_COLUMN, END_COLUMN = "start_seconds", "end_seconds"

_NAMED_IN_REPORT = 5


class Row(NamedTuple):
    """Some captions of a video.

    Attributes:
        where: file and line, or file and entry, for messages.
        video: the video's name as the file has it.
        captions: at least one.
        start_seconds: begin of the moment described.
        end_seconds: its end.
    """

    where: str
    video: str
    captions: tuple[str, ...]
    start_seconds: float | None = None
    end_seconds: float | None = None


def make_row(where: str, video: object, captions: object, start: object = None, end: object = None) -> Row:
    """A row of checked values: text that is not blank, and a moment that is not empty.

    Raises:
        AnnotationError: a value is not of that kind.
    """
    captions = captions if isinstance(captions, list) else [captions]
    if not captions:
        raise AnnotationError(f"{where}: no caption. Describe the video, or leave it out.")
    texts = tuple(_text(where, "caption", caption) for caption in captions)
    start_seconds, end_seconds = _seconds(where, START_COLUMN, start), _seconds(where, END_COLUMN, end)
    if end_seconds is not None and end_seconds <= (start_seconds or 0.0):
        raise AnnotationError(
            f"{where}: the moment ends at {end_seconds:g} s, before or where it starts ({start_seconds or 0.0:g} s)."
        )
    return Row(where, _text(where, "video", video), texts, start_seconds, end_seconds)


def read_rows(file: AnnotationFile) -> Iterator[Row]:
    """Rows of a file with a video and a caption, or a list of captions, in each.

    Read are CSV with a header, JSON lines, and JSON: a list of objects, or one object of captions by video.

    Raises:
        AnnotationError: the file is none of these; the message says where.
    """
    for where, entry in _read_entries(file):
        yield parse_row(where, entry)


def parse_row(where: str, entry: object) -> Row:
    """The row that an entry holds under the names of columns above.

    Raises:
        AnnotationError: it is no mapping, or has no video or no caption.
    """
    if not isinstance(entry, Mapping):
        raise AnnotationError(f"{where}: expected a video with captions, got {shortened(entry)}.")
    video, captions = (_first(where, entry, columns) for columns in (VIDEO_COLUMNS, CAPTION_COLUMNS))
    return make_row(where, video, captions, entry.get(START_COLUMN), entry.get(END_COLUMN))


def read_entries(file: AnnotationFile) -> Iterator[tuple[str, Any]]:
    """Entries of a JSON list, each behind its place.

    Raises:
        AnnotationError: the file is no JSON list.
    """
    return _numbered(file, file.read_json())


def some_of(names: Sequence[str]) -> str:
    """A colon and the first of the names, for the end of a sentence; nothing if there are none."""
    if not names:
        return ""
    more = len(names) - _NAMED_IN_REPORT
    return f": {', '.join(map(repr, names[:_NAMED_IN_REPORT]))}{f' and {more:,} more' if more > 0 else ''}"


def _numbered(file: AnnotationFile, entries: object) -> Iterator[tuple[str, Any]]:
    if not isinstance(entries, list):
        raise AnnotationError(f"{file}: expected a JSON list, got {shortened(entries)}.")
    for number, entry in enumerate(entries, start=1):
        yield f"{file}, entry {number}", entry


def _read_entries(file: AnnotationFile) -> Iterator[tuple[str, Any]]:
    if file.suffix in (".csv", ".tsv"):
        return file.read_table()
    if file.suffix == ".jsonl":
        return file.read_json_lines()
    if file.suffix != ".json":
        raise AnnotationError(f"'{file}' must end in .csv, .tsv, .json or .jsonl.")
    return _read_json_entries(file)


def _read_json_entries(file: AnnotationFile) -> Iterator[tuple[str, Any]]:
    try:
        document = file.read_json()
    except AnnotationError as err:
        if getattr(err.__cause__, "msg", None) != "Extra data":
            raise
        yield from file.read_json_lines()  # what Hugging Face's `to_json` writes under this suffix
        return
    if not isinstance(document, dict):
        yield from _numbered(file, document)
        return
    for video, said in document.items():
        entry = {VIDEO_COLUMNS[0]: video}
        yield f"{file}, {video!r}", {**said, **entry} if isinstance(said, dict) else {**entry, CAPTION_COLUMNS[0]: said}


def _first(where: str, entry: Mapping, columns: tuple[str, ...]) -> Any:
    for column in columns:
        if column in entry:
            return entry[column]
    raise AnnotationError(f"{where}: none of the columns {', '.join(columns)}, only {', '.join(map(str, entry))}.")


def _text(where: str, kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise AnnotationError(f"{where}: the {kind} must be text, got {shortened(value)}.")
    if not value.strip():
        raise AnnotationError(f"{where}: the {kind} is empty.")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise AnnotationError(f"{where}: the {kind} {shortened(value)} has half a character ({err.reason}).") from err
    return value.strip()


def _seconds(where: str, column: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise AnnotationError(f"{where}: `{column}` must be seconds, not negative, got {shortened(value)}.")
    return seconds
