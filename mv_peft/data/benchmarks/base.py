"""What the benchmarks share: published sizes, paragraphs, and loading a split from a folder."""

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..annotations.annotation_folder import AnnotationFolder
from ..annotations.rows import Row
from ..annotations.video_folder import VideoFolder
from ..custom import CaptionedVideos
from ..records import VideoRecord, find_videos, report


@dataclass(frozen=True)
class Split:
    """A published split.

    Attributes:
        num_videos: published number of videos; None where it is not known.
        num_captions: published number of captions, or of sentences; None where it is not known.
        paragraphs: whether a video's sentences are joined, in the order of the file, to one caption.
    """

    num_videos: int | None
    num_captions: int | None
    paragraphs: bool = False


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: its splits, and how its files are read.

    Attributes:
        name: in lower case, as the command line has it.
        splits: by name; every benchmark has `train` and `test`.
        read: gives the rows of a split from the folder of annotation files.
        max_frames: frames of a video in the published protocol.
        max_text_tokens: BPE tokens of a caption in the published protocol.
        other_names: names that a video's file may have instead of its id.
    """

    name: str
    splits: Mapping[str, Split]
    read: Callable[[AnnotationFolder, str], Iterable[Row]]
    max_frames: int = 12
    max_text_tokens: int = 32
    other_names: Callable[[str], Sequence[str]] = lambda video_id: ()

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
            root: folder of the annotation files as they are distributed, anywhere in it, zipped or not.
            split: one of `splits`.
            videos: folder of the video files, anywhere in it; None for `root`.
            strict: raise where a warning would report missing videos, or another size than the published one.
            skip_videos: ids of videos to leave out.

        Raises:
            AnnotationError: a file is missing or malformed, no video is there, or `strict`.
            ValueError: unknown split, or `skip_videos` names a video that is not in it.
        """
        self.check_split(split)
        name = f"{self.name}/{split}"
        records = self.find_records(AnnotationFolder(root), split, VideoFolder(root if videos is None else videos))
        for difference in self.differences(records, split):
            report(f"{name} {difference}.", strict)
        return CaptionedVideos(self.caption(records, split), name, strict=strict, skip_videos=skip_videos)

    def find_records(self, annotations: AnnotationFolder, split: str, videos: VideoFolder) -> list[VideoRecord]:
        """Records of a split before sentences are joined; their `path` is None where the file is missing.

        Raises:
            AnnotationError: a file is missing or malformed.
        """
        return find_videos(self.read(annotations, split), videos, self.other_names)

    def differences(self, records: Sequence[VideoRecord], split: str) -> list[str]:
        """How the size of a split differs from the published one."""
        published = self.splits[split]
        num_videos = len({record.video_id for record in records})
        num_captions = sum(len(record.captions) for record in records)
        joined_already = published.paragraphs and num_captions == num_videos
        sizes = (
            ("videos", num_videos, published.num_videos),
            ("captions", num_captions, None if joined_already else published.num_captions),
        )
        return [
            f"has {here:,} {kind} in these files, {wanted:,} are published"
            for kind, here, wanted in sizes
            if wanted not in (None, here)
        ]

    def caption(self, records: Iterable[VideoRecord], split: str) -> list[VideoRecord]:
        """The records with their sentences joined where the split is one of paragraphs."""
        if not self.splits[split].paragraphs:
            return list(records)
        return [replace(record, captions=(" ".join(record.captions),)) for record in records]

    def check_split(self, split: str) -> None:
        """Raise ValueError for a split that the benchmark does not have."""
        if split not in self.splits:
            hint = " Carve it out of 'train' by `carve_validation()`." if split == "val" else ""
            raise ValueError(f"Unknown split {split!r} of {self.name}. Choose from: {', '.join(self.splits)}.{hint}")
