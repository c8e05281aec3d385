"""A torch data set of pairs of a video and a caption."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..choices import CaptionChoice, FrameSampling
from ..video import VideoFrames, read_frames
from ..video.sampling import check_sampling
from .custom import stable_hash
from .records import VideoRecord


class VideoProcessor(Protocol):
    """The part of `MVProcessor` that preprocesses videos."""

    max_frames: int
    frame_sampling: FrameSampling

    def pixel_values(self, video: VideoFrames) -> Tensor:
        """Preprocess one video: float32 (frames, 3, height, width)."""


class VideoSample(NamedTuple):
    """A video with one of its captions.

    This is not a dict, because a Trainer removes the entries of a dict that the model does not take.

    Attributes:
        video: Pixel values, float32 (frames, 3, height, width), from a data set with a processor; else the frames.
        caption: The caption.
        video_id: Id of the video.
    """

    video: VideoFrames | Tensor
    caption: str
    video_id: str


class VideoCaptionDataset(Dataset[VideoSample]):
    """Pairs of a video and a caption, read when they are requested.

    DataLoader workers, forked or spawned, may iterate over it. Its items depend only on its arguments and the epoch.

    Args:
        records: `CaptionedVideos`, or any records with a `path`.
        captions: `all` makes a pair of every caption (180,000 for MSR-VTT). `one_per_video` makes one pair of each
            video, with another caption in each epoch, drawn from the seed, the epoch and the id of the video.
        seed: Seed of `one_per_video`; None means 0.
        processor: An `MVProcessor`, which preprocesses each video as it is read, so that workers never hold the whole
            frames of a batch. Without one, the samples hold frames, in their original size.
        max_frames: The most frames of a video. None uses the limit of the processor, or 12.
        frame_sampling: Which frames to read, see `mv_peft.video.sampling`. None uses the rule of the processor, or
            `fps_uniform`, the protocol of the benchmarks.
        read: Reads files in place of `read_frames`, for example `VideoCache.read_frames`. It is called as
            `read(path, max_frames, frame_sampling, start_seconds=..., end_seconds=...)`.

    Raises:
        ValueError: If a record has no path, a choice is unknown, or a seed has no effect.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        captions: CaptionChoice = "all",
        *,
        seed: int | None = None,
        processor: VideoProcessor | None = None,
        max_frames: int | None = None,
        frame_sampling: FrameSampling | None = None,
        read: Callable[..., VideoFrames] = read_frames,
    ):
        if captions not in get_args(CaptionChoice):
            raise ValueError(
                f"Unknown captions {captions!r}. Choose from: {', '.join(sorted(get_args(CaptionChoice)))}."
            )
        if captions == "all" and seed is not None:
            raise ValueError(
                f"`seed` {seed} has no effect with `captions='all'`. Leave it out, or use 'one_per_video'."
            )
        for record in records:
            if record.path is None:
                raise ValueError(f"Video {record.video_id!r} has no path. Leave it out, as `CaptionedVideos` does.")
        self.records = tuple(records)
        self.captions = captions
        self.seed = seed or 0
        self.processor = processor
        if processor is not None:
            max_frames = processor.max_frames if max_frames is None else max_frames
            frame_sampling = frame_sampling or processor.frame_sampling
        self.max_frames = 12 if max_frames is None else max_frames
        self.frame_sampling: FrameSampling = frame_sampling or "fps_uniform"
        check_sampling(self.max_frames, self.frame_sampling)
        self._read = read
        num_pairs = [len(record.captions) if captions == "all" else 1 for record in self.records]
        self._ends = np.cumsum(num_pairs, dtype=np.int64)  # for each record, the index after its last pair
        # In shared memory, so that persistent workers see the next epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._epoch.share_memory_()

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __repr__(self) -> str:
        return f"VideoCaptionDataset({len(self)} pairs of {len(self.records)} records, captions={self.captions!r})"

    def __getitem__(self, index: int) -> VideoSample:
        record, caption = self.pair(index)
        frames = self._read(
            record.path,
            self.max_frames,
            self.frame_sampling,
            start_seconds=record.start_seconds,
            end_seconds=record.end_seconds,
        )
        video = frames if self.processor is None else self.processor.pixel_values(frames)
        return VideoSample(video, caption, record.video_id)

    def pair(self, index: int) -> tuple[VideoRecord, str]:
        """Return the record and the caption of a pair in this epoch, without reading the video.

        Raises:
            IndexError: If there are fewer pairs.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"Pair {index} of {len(self)}.")
        index %= len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        record = self.records[number]
        if self.captions == "all":
            return record, record.captions[index - int(self._ends[number])]  # counted from the record's last one
        draw = stable_hash(f"{self.seed} {int(self._epoch)} {record.video_id}")
        return record, record.captions[draw % len(record.captions)]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, from which `one_per_video` draws captions; trainers call this before each epoch."""
        self._epoch.fill_(epoch)
