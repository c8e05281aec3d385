"""To and from Hugging Face `datasets`, the only file that imports it.

One row a record, in these columns:

| column          | type           | what it holds                                                             |
|-----------------|----------------|---------------------------------------------------------------------------|
| `video_id`      | string         | name of the video; written, not read: it follows from `video`             |
| `video`         | string         | path; read also from a column of type `Video`, and relative to `videos`   |
| `captions`      | list of string | at least one; read also from `caption`, a string                          |
| `start_seconds` | float64        | begin of the moment, or null; may be left out                             |
| `end_seconds`   | float64        | end of the moment, or null; may be left out                               |
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..errors import AnnotationError
from .annotations.rows import END_COLUMN, START_COLUMN, Row, parse_row
from .annotations.video_folder import VideoFolder
from .custom import CaptionedVideos
from .records import VideoRecord, find_videos

if TYPE_CHECKING:
    import datasets


def to_hf_dataset(records: Iterable[VideoRecord]) -> datasets.Dataset:
    """A `datasets.Dataset` of the records, in the columns above.

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
    """Captioned videos from the rows of a data set; rows of the same video, or moment, become one record.

    Args:
        dataset: one split, in the columns above or in those of `CaptionedVideos.load`.
        videos: folder that holds the files; paths must lie below it.
        strict: raise where a warning would report missing videos.

    Raises:
        AnnotationError: a row is malformed or leads out of the folder, no video is there, or `strict`.
    """
    return CaptionedVideos(find_videos(_rows(dataset), VideoFolder(videos)), "data set", strict=strict)


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
