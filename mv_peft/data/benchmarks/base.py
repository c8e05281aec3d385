"""What a benchmark is: everything that is published about it, and how its splits are loaded from a folder."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.rows import Row
from ..annotations.video_folder import VideoFolder
from ..custom import CUSTOM, CaptionedVideos
from ..records import VideoRecord, make_records, report

# Where the published figures of MV-Adapter and of its full fine-tuning come from.
MV_ADAPTER_PAPER = "arXiv 2301.07868, CLIP ViT-B/16, mean over three seeds"


@dataclass(frozen=True)
class Split:
    """A published split.

    Attributes:
        num_videos: The published number of videos; None if it is not known.
        num_captions: The published number of captions, or of sentences; None if it is not known.
        paragraphs: Whether the sentences of a video are joined, in the order of the file, to one caption.
    """

    num_videos: int | None
    num_captions: int | None
    paragraphs: bool = False


@dataclass(frozen=True)
class PublishedRow:
    """What a paper reports on a benchmark's test split, in per cent; quoted, never measured here.

    Attributes:
        method: The paper's name for the method.
        t2v: R@1, R@5 and R@10 from text to video.
        v2t: The same from video to text.
        source: The paper, and the conditions of the measurement.
    """

    method: str
    t2v: tuple[float, float, float]
    v2t: tuple[float, float, float]
    source: str


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: everything that is published about it, and how its files are read.

    Attributes:
        name: The name in lower case, for the command line and for `BENCHMARKS`.
        title: The name as its authors write it, for people.
        splits: The splits by name; every benchmark has `train` and `test`.
        protocol: The name of the protocol of the test split, one of `mv_peft.retrieval.PROTOCOLS`.
        read: Reads the rows of a split from the folder of the annotation files.
        max_frames: The most frames of a video, in the published protocol.
        max_text_tokens: The most tokens of a caption, in the published protocol.
        epochs: How often MV-Adapter is trained on every pair, in its paper.
        batch_size: The number of pairs in a step of that training.
        published: Figures of the test split to compare with.
        other_names: Further names that the file of a video may have, given the video's id.

    Raises:
        ValueError: `train` or `test` is missing from `splits`.
    """

    name: str
    title: str
    splits: Mapping[str, Split]
    protocol: str
    read: Callable[[AnnotationFolder, str], Iterable[Row]]
    max_frames: int = 12
    max_text_tokens: int = 32
    epochs: int = 5
    batch_size: int = 128
    published: tuple[PublishedRow, ...] = ()
    other_names: Callable[[str], Sequence[str]] = lambda video_id: ()

    def __post_init__(self) -> None:
        if not {"train", "test"} <= self.splits.keys():
            raise ValueError(f"`splits` of '{self.name}' must have 'train' and 'test', got {', '.join(self.splits)}.")

    def __repr__(self) -> str:
        return f"Benchmark({self.name}: {', '.join(self.splits)})"

    def load(
        self,
        root: str | os.PathLike,
        split: str = "train",
        *,
        videos: str | os.PathLike | None = None,
        strict: bool = False,
        skip_videos: Collection[str] = (),
    ) -> CaptionedVideos:
        """Load a split.

        Args:
            root: The folder of the annotation files as they are distributed, in any subfolder, zipped or not.
            split: One of `splits`.
            videos: The folder of the video files, in any subfolder; None for `root`.
            strict: Raise an error instead of a warning about missing videos, or about sizes other than the published.
            skip_videos: Ids of videos to leave out.

        Raises:
            AnnotationError: An annotation file is missing or malformed, or all videos are missing; or, if `strict`,
                some videos are missing or a size differs from the published one.
            ValueError: The split is unknown, or `skip_videos` names a video that is not in it.
        """
        self.check_split(split)
        name = f"{self.name}/{split}"
        records = self.find_records(AnnotationFolder(root), split, VideoFolder(root if videos is None else videos))
        for difference in self.differences(records, split):
            report(f"{name} {difference}.", strict)
        return CaptionedVideos(self.join_captions(records, split), name, strict=strict, skip_videos=skip_videos)

    def find_records(self, annotations: AnnotationFolder, split: str, videos: VideoFolder) -> list[VideoRecord]:
        """Read the records of a split, before any sentences are joined; `path` is None for missing videos.

        Raises:
            AnnotationError: A file is missing or malformed.
        """
        return make_records(self.read(annotations, split), videos, self.other_names)

    def differences(self, records: Sequence[VideoRecord], split: str) -> list[str]:
        """Say how the size of a split differs from the published one."""
        published = self.splits[split]
        num_videos = len({record.video_id for record in records})
        num_captions = sum(len(record.captions) for record in records)
        already_joined = published.paragraphs and num_captions == num_videos
        sizes = (
            ("videos", num_videos, published.num_videos),
            ("captions", num_captions, None if already_joined else published.num_captions),
        )
        return [
            f"has {found:,} {kind} in these files, {expected:,} are published"
            for kind, found, expected in sizes
            if expected not in (None, found)
        ]

    def join_captions(self, records: Iterable[VideoRecord], split: str) -> list[VideoRecord]:
        """Join the sentences of each record to one caption if the captions of the split are paragraphs."""
        if not self.splits[split].paragraphs:
            return list(records)
        return [replace(record, captions=(" ".join(record.captions),)) for record in records]

    def check_split(self, split: str) -> None:
        """Raise ValueError for a split that the benchmark does not have."""
        if split not in self.splits:
            hint = " Carve it out of 'train' by `carve_validation()`." if split == "val" else ""
            raise ValueError(f"Unknown split {split!r} of {self.name}. Choose from: {', '.join(self.splits)}.{hint}")


BENCHMARKS: dict[str, Benchmark] = {}


def register_benchmark(benchmark: Benchmark) -> Benchmark:
    """Make a benchmark known by its name to `BENCHMARKS`, and so to every command, table and model card.

    Returns:
        The benchmark.

    Raises:
        ValueError: The name is taken.
    """
    if benchmark.name == CUSTOM or BENCHMARKS.setdefault(benchmark.name, benchmark) is not benchmark:
        raise ValueError(f"There is already a data set called '{benchmark.name}'. Choose another name.")
    return benchmark
