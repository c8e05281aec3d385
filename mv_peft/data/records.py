"""Records, the one type for a video with its captions, made from the rows of annotation files."""

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
    """A video, or a moment in one, and its captions.

    Attributes:
        video_id: The name of the video in the annotations, without suffix; all moments of a video share it.
        path: The video file; None if it is missing.
        captions: At least one caption.
        start_seconds: The start of the moment in the video; None for the start of the video.
        end_seconds: The end of the moment; None for the end of the video.
    """

    video_id: str
    path: Path | None
    captions: tuple[str, ...]
    start_seconds: float | None = None
    end_seconds: float | None = None


def make_records(
    rows: Iterable[Row],
    videos: VideoFolder,
    other_names: Callable[[str], Sequence[str]] = lambda video_id: (),
) -> list[VideoRecord]:
    """Make one record of all rows of a video, or of a moment in it, and find its file.

    Args:
        rows: The rows, in the order in which the records and their captions are wanted.
        videos: The folder of the video files.
        other_names: Further names that the file of a video may have, given the video's id.

    Raises:
        AnnotationError: The name in a row leads out of the folder, or matches several files.
    """
    captions: dict[tuple[str, float | None, float | None], list[str]] = {}
    path_of_name: dict[str, Path | None] = {}
    path_of_id: dict[str, Path | None] = {}
    for row in rows:
        try:
            video_id = videos.video_id(row.video)
            if row.video not in path_of_name:
                found = map(videos.find, (row.video, *other_names(video_id)))
                path_of_name[row.video] = next(filter(None, found), None)
        except ValueError as err:
            raise AnnotationError(f"{row.where}: {err}") from err
        path = path_of_name[row.video]
        if path_of_id.setdefault(video_id, path) != path:
            raise AnnotationError(
                f"{row.where}: {row.video!r} is '{path}', but '{path_of_id[video_id]}' has the same name. Rename one."
            )
        captions.setdefault((video_id, row.start_seconds, row.end_seconds), []).extend(row.captions)
    return [VideoRecord(key[0], path_of_id[key[0]], tuple(texts), *key[1:]) for key, texts in captions.items()]


def report(message: str, strict: bool) -> None:
    """Log a fault in the data that does not prevent its use.

    Raises:
        AnnotationError: If `strict`, instead of the log entry.
    """
    if strict:
        raise AnnotationError(message)
    logger.warning(message)
