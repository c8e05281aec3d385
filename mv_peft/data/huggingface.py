"""Conversion to and from Hugging Face `datasets`. No other file imports that package.

Every record is one row, with these columns:

| column          | type           | content                                                                     |
|-----------------|----------------|-----------------------------------------------------------------------------|
| `video_id`      | string         | name of the video; written only, since it follows from `video`              |
| `video`         | string         | path; a column of type `Video` is read too, and paths relative to `videos`  |
| `captions`      | list of string | at least one caption; a column `caption` of strings is read too             |
| `start_seconds` | float64        | start of the moment, or null; may be left out                               |
| `end_seconds`   | float64        | end of the moment, or null; may be left out                                 |
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import AnnotationError
from .annotations.rows import END_COLUMN, START_COLUMN, Row, parse_row
from .annotations.video_folder import VideoFolder
from .custom import CaptionedVideos
from .records import VideoRecord, make_records

if TYPE_CHECKING:
    import datasets


def to_hf_dataset(records: Iterable[VideoRecord]) -> datasets.Dataset:
    """Make a `datasets.Dataset` of the records, with the columns above.

    Raises:
        ImportError: `datasets` is not installed.
    """
    import datasets

    features = {
        "video_id": datasets.Value("string"),
        "video": datasets.Value("string"),
        "captions": [datasets.Value("string")],
        START_COLUMN: datasets.Value("float64"),
        END_COLUMN: datasets.Value("float64"),
    }
    rows = [
        {
            "video_id": record.video_id,
            "video": None if record.path is None else os.fspath(record.path),
            "captions": list(record.captions),
            START_COLUMN: record.start_seconds,
            END_COLUMN: record.end_seconds,
        }
        for record in records
    ]
    return datasets.Dataset.from_list(rows, features=datasets.Features(features))


def from_hf_dataset(
    dataset: datasets.Dataset | datasets.IterableDataset, videos: str | os.PathLike, *, strict: bool = False
) -> CaptionedVideos:
    """Make captioned videos of the rows of a data set; all rows of a video, or of a moment in it, make one record.

    Args:
        dataset: One split, with the columns above or with those of `CaptionedVideos.load`.
        videos: The folder of the video files, in which all paths must lie.
        strict: Raise an error instead of a warning about missing videos.

    Raises:
        AnnotationError: A row is malformed or its path leads out of the folder, or all videos are missing; or some
            are, and `strict`.
    """
    return CaptionedVideos(make_records(_rows(dataset), VideoFolder(videos)), "data set", strict=strict)


def _rows(dataset: datasets.Dataset | datasets.IterableDataset) -> Iterator[Row]:
    import datasets

    for name, feature in (dataset.features or {}).items():
        if isinstance(feature, datasets.Video):
            dataset = dataset.cast_column(name, datasets.Video(decode=False))
    for number, row in enumerate(dataset, start=1):
        where = f"row {number}"
        if isinstance(row.get("video"), dict):
            if not row["video"].get("path"):
                raise AnnotationError(
                    f"{where}: the video is in the data set, not in a file. Write it to a file first."
                )
            row = {**row, "video": row["video"]["path"]}
        yield parse_row(where, row)
