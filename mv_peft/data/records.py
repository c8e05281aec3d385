"""The one record type, and how rows of annotation files become records with files."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import AnnotationError
from .annotations.rows import Row
from .annotations.video_folder import VideoFolder

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class VideoRecord:
    """A video, or a moment of one, and what is said of it.

    Attributes:
        video_id: its name in the annotations, without suffix; the moments of a video share it.
        path: its file; None where that is missing.
        captions: at least one.
        start_seconds: begin of the moment in the video; None for its beginning.
        end_seconds: end of the moment; None for its end.
    """

    video_id: str
    path: Path | None
    captions: tuple[str, ...]
    start_seconds: float | None = None
    end_seconds: float | None = None


def find_videos(
    rows: Iterable[Row],
    videos: VideoFolder,
    other_names: Callable[[str], Sequence[str]] = lambda video_id: (),
) -> list[VideoRecord]:
    """One record a video, or a moment of one: the captions of its rows together, and its file.

    Args:
        rows: in the order that the records and their captions shall have.
        videos: the folder that holds the files.
        other_names: under which a file may lie, by video id.

    Raises:
        AnnotationError: a row's name leads out of the folder, or fits several files.
    """
    captions: dict[tuple[str, float | None, float | None], list[str]] = {}
    paths: dict[str, Path | None] = {}  # by name
    path_of: dict[str, Path | None] = {}  # by video id
    for row in rows:
        try:
            video_id = videos.video_id(row.video)
            if row.video not in paths:
                found = map(videos.find, (row.video, *other_names(video_id)))
                paths[row.video] = next(filter(None, found), None)
        except ValueError as err:
            raise AnnotationError(f"{row.where}: {err}") from err
        path = paths[row.video]
        if path_of.setdefault(video_id, path) != path:
            raise AnnotationError(
                f"{row.where}: {row.video!r} is '{path}', but '{path_of[video_id]}' has the same name. Rename one."
            )
        captions.setdefault((video_id, row.start_seconds, row.end_seconds), []).extend(row.captions)
    return [VideoRecord(key[0], path_of[key[0]], tuple(said), *key[1:]) for key, said in captions.items()]


def report(message: str, strict: bool) -> None:
    """Log what is not as it should be in data that can be used all the same.

    Raises:
        AnnotationError: `strict`.
    """
    if strict:
        raise AnnotationError(message)
    logger.warning(message)
