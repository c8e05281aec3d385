"""Sets of captioned videos: custom data, and what the splits of the benchmarks are loaded into."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from ..errors import AnnotationError, some_of
from .annotations.annotation_file import AnnotationFile
from .annotations.rows import Row, make_row, read_rows
from .annotations.video_folder import VideoFolder
from .records import VideoRecord, make_records, report

CUSTOM = "custom"  # what the command line calls a data set that is none of the benchmarks


class CaptionedVideos(Sequence[VideoRecord]):
    """Captioned videos whose files exist, in the order of their annotations.

    Args:
        records: The records. Those without a path are left out and reported once.
        name: What to call the set in messages.
        strict: Raise an error instead of a warning about missing videos.
        skip_videos: Ids of videos to leave out, unreadable ones for example.

    Attributes:
        missing: Ids of the videos that were left out because they have no file.

    Raises:
        AnnotationError: All videos are missing; or some are, and `strict`.
        ValueError: `skip_videos` names a video that is not in the set.
    """

    def __init__(
        self,
        records: Iterable[VideoRecord],
        name: str = "videos",
        *,
        strict: bool = False,
        skip_videos: Collection[str] = (),
    ):
        records = list(records)
        unknown = sorted(set(skip_videos) - {record.video_id for record in records})
        if unknown:
            raise ValueError(f"`skip_videos` names {unknown[0]!r}, which {name} does not have. Remove it.")
        skipped = frozenset(skip_videos)
        wanted = [record for record in records if record.video_id not in skipped]
        self.name = name
        self.records = tuple(record for record in wanted if record.path is not None)
        self.missing = tuple(dict.fromkeys(record.video_id for record in wanted if record.path is None))
        names = some_of(map(repr, self.missing))
        if not wanted:
            raise AnnotationError(f"{name} has no videos{' besides those of `skip_videos`' if skipped else ''}.")
        if not self.records:
            raise AnnotationError(
                f"All {len(self.missing)} videos of {name} are missing: {names}. Check the folder of the videos."
            )
        if self.missing:
            num_videos = len({record.video_id for record in wanted})
            report(f"{name}: {len(self.missing)} of {num_videos} videos are missing: {names}.", strict)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike,
        *,
        videos: str | os.PathLike | None = None,
        strict: bool = False,
        skip_videos: Collection[str] = (),
    ) -> CaptionedVideos:
        """Load custom data.

        Args:
            source: A CSV, JSON or JSONL file with the columns `video` and `caption` (a text or, in JSON, a list), and,
                for moments, `start_seconds` and `end_seconds`; or a folder of videos, each with a `.txt` file of the
                same name beside it that has a caption on every line.
            videos: The folder that the names in the file are relative to; None for the folder of the file.
            strict: Raise an error instead of a warning about videos without a file or without captions.
            skip_videos: Ids of videos to leave out.

        Raises:
            AnnotationError: The file is malformed, a name leads out of the folder, or all videos are missing; or, if
                `strict`, some videos are missing or have no captions.
            ValueError: `videos` was given together with a folder, or `skip_videos` names a video that is not there.
        """
        records, uncaptioned = read_custom(source, videos)
        name = Path(source).name
        if uncaptioned:
            names = some_of(map(repr, uncaptioned))
            report(f"{name}: {len(uncaptioned)} videos have no captions in a .txt file: {names}.", strict)
        return cls(records, name, strict=strict, skip_videos=skip_videos)

    @overload
    def __getitem__(self, index: int) -> VideoRecord: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[VideoRecord, ...]: ...

    def __getitem__(self, index: int | slice) -> VideoRecord | tuple[VideoRecord, ...]:
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        missing = f", {len(self.missing)} videos missing" if self.missing else ""
        return f"CaptionedVideos({self.name}: {len(self)} records, {self.num_captions} captions{missing})"

    @property
    def num_captions(self) -> int:
        """The number of captions of all records together."""
        return sum(len(record.captions) for record in self.records)

    def carve_validation(self, fraction: float = 0.05) -> tuple[CaptionedVideos, CaptionedVideos]:
        """Split off a validation set, to choose epochs and hyper-parameters without looking at the test set.

        The id of a video alone (its SHA-256) decides which part it goes to. The order, the other videos, the platform
        and the process make no difference.

        Args:
            fraction: The share of the videos to split off, on average.

        Returns:
            The training set that is left, and the validation set.

        Raises:
            ValueError: `fraction` is not between 0 and 1, or leaves one of the two sets empty.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"`fraction` must be between 0 and 1, got {fraction}.")
        training: list[VideoRecord] = []
        validation: list[VideoRecord] = []
        for record in self.records:
            part = validation if stable_hash(record.video_id) < fraction * 2**64 else training
            part.append(record)
        if not training or not validation:
            raise ValueError(
                f"`fraction` {fraction} leaves the {'validation' if training else 'training'} set empty, out of "
                f"{len(self)} records. Choose another."
            )
        return CaptionedVideos(training, f"{self.name}, training"), CaptionedVideos(
            validation, f"{self.name}, validation"
        )


def stable_hash(text: str) -> int:
    """Hash a text to 64 bits (of its SHA-256) that are the same on every platform and in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def read_custom(
    source: str | os.PathLike, videos: str | os.PathLike | None = None
) -> tuple[list[VideoRecord], list[str]]:
    """Read the records of custom data, as `CaptionedVideos.load` describes it.

    Returns:
        The records, those without a file included, and the names of the videos in a folder that have no captions.

    Raises:
        AnnotationError: The file is malformed, or a name leads out of the folder.
        ValueError: `videos` was given together with a folder.
    """
    source = Path(source)
    if not source.is_dir():
        rows = read_rows(AnnotationFile(source))
        return make_records(rows, VideoFolder(source.parent if videos is None else videos)), []
    if videos is not None:
        raise ValueError(f"`videos` has no effect with '{source}', a folder of videos. Leave it out.")
    folder = VideoFolder(source)
    captioned = [name for name in folder if _text_file(source / name).is_file()]
    uncaptioned = sorted(set(folder).difference(captioned))
    rows = (row for name in captioned for row in _read_text(source / name, name))
    return make_records(rows, folder), uncaptioned


def _text_file(video: Path) -> Path:
    return video.with_suffix(".txt")


def _read_text(video: Path, name: str) -> Iterator[Row]:
    for where, line in AnnotationFile(_text_file(video)).read_lines():
        yield make_row(where, name, line)
