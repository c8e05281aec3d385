"""The rows of annotation files: captions of a video, or of a moment in it."""

import math
from collections.abc import Iterator, Mapping
from reprlib import repr as shortened
from typing import Any, NamedTuple

from ...errors import AnnotationError
from .annotation_file import AnnotationFile

# The first name of each is ours, `file_name` that of Hugging Face's video folders; the others are the benchmarks'.
VIDEO_COLUMNS = ("video", "video_id", "videoID", "file_name", "filename", "video_path", "path")
CAPTION_COLUMNS = ("caption", "captions", "sentence", "sentences", "description", "text", "enCap")
START_COLUMN, END_COLUMN = "start_seconds", "end_seconds"


class Row(NamedTuple):
    """Some captions of a video.

    Attributes:
        where: The file and the line, or the file and the entry, for messages.
        video: The name of the video as the file has it.
        captions: At least one caption.
        start_seconds: The start of the moment that is described.
        end_seconds: The end of that moment.
    """

    where: str
    video: str
    captions: tuple[str, ...]
    start_seconds: float | None = None
    end_seconds: float | None = None


def make_row(where: str, video: object, captions: object, start: object = None, end: object = None) -> Row:
    """Make a row of checked values: text that is not blank, and a moment that is not empty.

    Raises:
        AnnotationError: A value is of another kind.
    """
    captions = captions if isinstance(captions, list) else [captions]
    if not captions:
        raise AnnotationError(f"{where}: no caption. Add one, or leave the video out.")
    texts = tuple(_text(where, "caption", caption) for caption in captions)
    start_seconds, end_seconds = _seconds(where, START_COLUMN, start), _seconds(where, END_COLUMN, end)
    if end_seconds is not None and end_seconds <= (start_seconds or 0.0):
        raise AnnotationError(
            f"{where}: the moment starts at {start_seconds or 0.0:g} s and ends at {end_seconds:g} s. "
            "It must end later than it starts."
        )
    return Row(where, _text(where, "video", video), texts, start_seconds, end_seconds)


def read_rows(file: AnnotationFile) -> Iterator[Row]:
    """Read a file that has a video and a caption, or a list of captions, in every row.

    The file is CSV with a header, JSON lines, or JSON: a list of objects, or one object of captions by video.

    Raises:
        AnnotationError: The file is none of these, or a row is malformed; the message names the line.
    """
    for where, entry in _read_entries(file):
        yield parse_row(where, entry)


def parse_row(where: str, entry: object) -> Row:
    """Make a row of an entry whose keys are among `VIDEO_COLUMNS`, `CAPTION_COLUMNS` and the two of a moment.

    Raises:
        AnnotationError: The entry is not a mapping, or has no video or no caption.
    """
    if not isinstance(entry, Mapping):
        raise AnnotationError(f"{where}: expected a video with captions, got {shortened(entry)}.")
    video, captions = (_first(where, entry, columns) for columns in (VIDEO_COLUMNS, CAPTION_COLUMNS))
    return make_row(where, video, captions, entry.get(START_COLUMN), entry.get(END_COLUMN))


def read_entries(file: AnnotationFile) -> Iterator[tuple[str, Any]]:
    """Read the entries of a JSON list, each with where it is for messages.

    Raises:
        AnnotationError: The file is not a JSON list.
    """
    return _numbered(file, file.read_json())


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
        yield from file.read_json_lines()  # Hugging Face's `to_json` writes JSON lines under this suffix
        return
    if not isinstance(document, dict):
        yield from _numbered(file, document)
        return
    for video, value in document.items():
        entry = value if isinstance(value, dict) else {CAPTION_COLUMNS[0]: value}
        yield f"{file}, {video!r}", {**entry, VIDEO_COLUMNS[0]: video}


def _first(where: str, entry: Mapping, columns: tuple[str, ...]) -> Any:
    for column in columns:
        if column in entry:
            return entry[column]
    raise AnnotationError(
        f"{where}: needs one of the columns {', '.join(columns)}, has only {', '.join(map(str, entry))}."
    )


def _text(where: str, kind: str, value: object) -> str:
    if not isinstance(value, str):
        raise AnnotationError(f"{where}: the {kind} must be text, got {shortened(value)}.")
    if not value.strip():
        raise AnnotationError(f"{where}: the {kind} is empty.")
    try:
        value.encode()
    except UnicodeEncodeError as err:
        raise AnnotationError(
            f"{where}: the {kind} {shortened(value)} contains half a character ({err.reason})."
        ) from err
    return value.strip()


def _seconds(where: str, column: str, value: object) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise AnnotationError(f"{where}: `{column}` must be a number of seconds, at least 0, got {shortened(value)}.")
    return seconds
