"""What a folder of data holds, split by split: videos that are there, that can be read, captions that are long."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ..errors import VideoDecodeError
from ..video import read_frames
from .annotations.rows import some_of
from .records import VideoRecord

# Begin and end of a caption are tokens too, and every word is at least one.
_TOKENS_BESIDE_WORDS = 2


@dataclass(frozen=True)
class SplitCheck:
    """What was found of a split.

    Attributes:
        split: its name.
        num_videos: videos that the annotations name.
        num_pairs: pairs of a video, or moment, and a caption.
        missing: ids of the videos without a file.
        unreadable: the reason, by id of the video.
        seconds: from first to last frame, all readable videos together; None if they were not read.
        num_long_captions: captions that surely lose words, having more than `max_words`.
        max_words: how many words fit at the very most.
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
        """Videos that have a file, readable or not."""
        return self.num_videos - len(self.missing)

    @property
    def is_complete(self) -> bool:
        """Whether every video is there and, if they were read, readable."""
        return not self.missing and not self.unreadable

    def remarks(self) -> list[str]:
        """Sentences that name the first missing videos and the reason of every unreadable one."""
        missing = (
            [f"{self.split}: {len(self.missing)} videos are missing{some_of(self.missing)}."] if self.missing else []
        )
        return missing + [f"{self.split}: {reason}" for reason in self.unreadable.values()]


def read_videos(paths: Iterable[Path], num_threads: int = 1) -> dict[Path, float | VideoDecodeError]:
    """Seconds from first to last frame, or what is wrong with the file, for each path; both frames are decoded.

    Args:
        paths: video files; each is read once.
        num_threads: how many are read at a time.
    """

    def seconds_of(path: Path) -> float | VideoDecodeError:
        try:
            return float(read_frames(path, 2, "clip4clip").pts_seconds[-1])
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
    """Sum up the records of a split.

    Args:
        split: its name.
        records: all of them, those without a file included.
        max_text_tokens: limit of a caption, in tokens.
        videos: what `read_videos` found; None if it was not asked.
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
    """A table of a line a split."""
    rows = [("split", "pairs", "videos", "found", "missing", "unreadable", "seconds", "long captions")]
    for check in checks:
        read = check.seconds is not None
        rows.append(
            (
                check.split,
                f"{check.num_pairs:,}",
                f"{check.num_videos:,}",
                f"{check.num_found:,}",
                f"{len(check.missing):,}",
                f"{len(check.unreadable):,}" if read else "-",
                f"{check.seconds:,.1f}" if read else "-",
                f"{check.num_long_captions:,} of over {check.max_words} words",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(cells))
        for cells in (zip(row, widths, strict=True) for row in rows)
    )
