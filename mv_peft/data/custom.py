"""Sets of captioned videos: the benchmarks' splits, and one's own data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

from ..errors import AnnotationError
from .annotations.annotation_file import AnnotationFile
from .annotations.rows import Row, make_row, read_rows, some_of
from .annotations.video_folder import VideoFolder
from .records import VideoRecord, find_videos, report


class CaptionedVideos(Sequence[VideoRecord]):
    """Videos that are there, with their captions, in the order of their annotations.

    Args:
        records: those whose `path` is None are left out and reported once.
        name: what to call the set in messages.
        strict: raise where a warning would report missing videos.
        skip_videos: ids of videos to leave out: unreadable ones, for example.

    Attributes:
        missing: ids of the videos left out because they have no file.

    Raises:
        AnnotationError: no video is there; or one is missing, and `strict`.
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
        if not self.records:
            raise AnnotationError(
                f"No video of {name} is there, {len(self.missing)} are missing{some_of(self.missing)}."
            )
        if self.missing:
            num_videos = len({record.video_id for record in wanted})
            report(f"{name}: {len(self.missing)} of {num_videos} videos are missing{some_of(self.missing)}.", strict)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike,
        *,
        videos: str | os.PathLike | None = None,
        strict: bool = False,
        skip_videos: Collection[str] = (),
    ) -> CaptionedVideos:
        """Load your own data.

        Args:
            source: a CSV, JSON or JSONL file of `video` and `caption` (a text, or, in JSON, a list), and, for moments,
                `start_seconds` and `end_seconds`; or a folder of videos, each with a `.txt` file of its name beside it,
                a caption a line.
            videos: folder that the file's names are relative to; None for the folder of the file.
            strict: raise where a warning would report videos without a file, or without captions.
            skip_videos: ids of videos to leave out.

        Raises:
            AnnotationError: the file is malformed, a name leads out of the folder, no video is there, or `strict`.
            ValueError: `videos` beside a folder, or `skip_videos` names a video that is not there.
        """
        records, silent = read_own(source, videos)
        name = Path(source).name
        if silent:
            report(f"{name}: {len(silent)} videos have no captions in a .txt file{some_of(silent)}.", strict)
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
        """How many pairs of a video and a caption there are."""
        return sum(len(record.captions) for record in self.records)

    def carve_validation(self, fraction: float = 0.05) -> tuple[CaptionedVideos, CaptionedVideos]:
        """Split off a validation set, to choose epochs and hyper-parameters on without looking at the test set.

        On which side a video falls is a matter of its id alone (SHA-256): not of the order, of other videos, of the
        platform or of the process.

        Args:
            fraction: how much of the videos to split off, on average.

        Returns:
            What is left to train on, and the validation set.

        Raises:
            ValueError: `fraction` is not between 0 and 1, or leaves a side empty.
        """
        if not 0 < fraction < 1:
            raise ValueError(f"`fraction` must be between 0 and 1, got {fraction}.")
        training: list[VideoRecord] = []
        validation: list[VideoRecord] = []
        for record in self.records:
            side = validation if stable_hash(record.video_id) < fraction * 2**64 else training
            side.append(record)
        if not training or not validation:
            raise ValueError(f"`fraction` {fraction} leaves a side of {len(self)} records empty. Choose another.")
        return CaptionedVideos(training, f"{self.name}, training"), CaptionedVideos(
            validation, f"{self.name}, validation"
        )


def stable_hash(text: str) -> int:
    """64 bits of SHA-256: the same on every platform and in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def read_own(source: str | os.PathLike, videos: str | os.PathLike | None = None) -> tuple[list[VideoRecord], list[str]]:
    """Records of one's own data, see `CaptionedVideos.load`, and the videos of a folder that nothing describes.

    Raises:
        AnnotationError: the file is malformed, or a name leads out of the folder.
        ValueError: `videos` beside a folder.
    """
    source = Path(source)
    if not source.is_dir():
        rows = read_rows(AnnotationFile(source))
        return find_videos(rows, VideoFolder(source.parent if videos is None else videos)), []
    if videos is not None:
        raise ValueError(f"`videos` has no effect with '{source}', a folder of videos. Leave it out.")
    folder = VideoFolder(source)
    described = [name for name in folder if _text_file(source / name).is_file()]
    silent = sorted(set(folder).difference(described))
    return find_videos((row for name in described for row in _read_text(source / name, name)), folder), silent


def _text_file(video: Path) -> Path:
    return video.with_suffix(".txt")


def _read_text(video: Path, name: str) -> Iterator[Row]:
    for where, line in AnnotationFile(_text_file(video)).read_lines():
        yield make_row(where, name, line)
