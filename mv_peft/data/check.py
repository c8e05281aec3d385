"""A check of captioned videos, split by split: which are missing, which are unreadable, which captions are too long."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..errors import VideoDecodeError, some_of
from ..video import read_frames
from .records import VideoRecord

# The start and the end of a caption are tokens too, and every word is at least one token.
_TOKENS_BESIDE_WORDS = 2


@dataclass(frozen=True)
class SplitCheck:
    """What was found in a split.

    Attributes:
        split: The name of the split.
        num_videos: The number of videos that the annotations name.
        num_pairs: The number of pairs of a video, or a moment in one, and a caption.
        missing: Ids of the videos that have no file.
        unreadable: The reason for every unreadable video, by its id.
        seconds: The length of all readable videos together, from first to last frame; None if they were not read.
        num_long_captions: The number of captions of more than `max_words` words, which will surely be cut off.
        max_words: The number of words that fit at most.
    """

    split: str
    num_videos: int
    num_pairs: int
    missing: tuple[str, ...]
    unreadable: Mapping[str, str]
    seconds: float | None
    num_long_captions: int
    max_words: int

    @property
    def num_found(self) -> int:
        """The number of videos that have a file, readable or not."""
        return self.num_videos - len(self.missing)

    @property
    def is_complete(self) -> bool:
        """Whether no video is missing and, as far as videos were read, none is unreadable."""
        return not self.missing and not self.unreadable

    def remarks(self) -> list[str]:
        """Say in sentences which videos are missing, and why videos are unreadable."""
        remarks = [f"{self.split}: {reason}" for reason in self.unreadable.values()]
        if self.missing:
            names = some_of(map(repr, self.missing))
            remarks.insert(0, f"{self.split}: {len(self.missing)} videos are missing: {names}.")
        return remarks


def read_videos(paths: Iterable[Path], num_threads: int = 1) -> dict[Path, float | VideoDecodeError]:
    """Decode the first and the last frame of every video.

    Args:
        paths: The video files; each is read once.
        num_threads: The number of files that are read at a time.

    Returns:
        For each path the seconds from first to last frame, or the error.
    """

    def seconds_of(path: Path) -> float | VideoDecodeError:
        try:
            return float(read_frames(path, 2, "clip4clip").pts_seconds[-1])  # the first frame and the last
        except VideoDecodeError as err:
            return err

    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(num_threads) as threads:
        found = threads.map(seconds_of, unique)
        return dict(zip(unique, tqdm(found, total=len(unique), unit="video", disable=None), strict=True))


def check_split(
    split: str,
    records: Sequence[VideoRecord],
    max_text_tokens: int,
    videos: Mapping[Path, float | VideoDecodeError] | None = None,
) -> SplitCheck:
    """Count what a split has and what is wrong with it.

    Args:
        split: The name of the split.
        records: All its records, those without a file included.
        max_text_tokens: The limit of a caption in tokens.
        videos: The result of `read_videos`; None if the videos were not read.
    """
    max_words = max_text_tokens - _TOKENS_BESIDE_WORDS
    paths = {record.video_id: record.path for record in records}
    found = (
        {video_id: videos[path] for video_id, path in paths.items() if path is not None} if videos is not None else {}
    )
    captions = [caption for record in records for caption in record.captions]
    return SplitCheck(
        split=split,
        num_videos=len(paths),
        num_pairs=len(captions),
        missing=tuple(video_id for video_id, path in paths.items() if path is None),
        unreadable={video_id: str(error) for video_id, error in found.items() if isinstance(error, VideoDecodeError)},
        seconds=None if videos is None else sum(value for value in found.values() if isinstance(value, float)),
        num_long_captions=sum(len(caption.split()) > max_words for caption in captions),
        max_words=max_words,
    )


def format_table(checks: Sequence[SplitCheck]) -> str:
    """Format the checks as a table with one line per split."""
    rows = [("split", "pairs", "videos", "found", "missing", "unreadable", "seconds", "long captions")]
    for check in checks:
        was_read = check.seconds is not None
        rows.append(
            (
                check.split,
                f"{check.num_pairs:,}",
                f"{check.num_videos:,}",
                f"{check.num_found:,}",
                f"{len(check.missing):,}",
                f"{len(check.unreadable):,}" if was_read else "-",
                f"{check.seconds:,.1f}" if was_read else "-",
                f"{check.num_long_captions:,} of over {check.max_words} words",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    )
