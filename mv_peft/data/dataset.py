"""A torch data set of videos and captions: what DataLoader draws from."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch.utils.data import Dataset

from ..choices import CaptionChoice, FrameSampling
from ..video import VideoFrames, read_frames
from .custom import stable_hash
from .records import VideoRecord


class VideoSample(NamedTuple):
    """A video with one of its captions; no dict, since a Trainer takes from those what the model does not know."""

    video: VideoFrames
    caption: str
    video_id: str


class VideoCaptionDataset(Dataset[VideoSample]):
    """Pairs of a video and a caption, decoded when they are asked for.

    It can be iterated by DataLoader workers, forked and spawned; what it gives depends on its arguments and the epoch
    only.

    Args:
        records: what to draw from: `CaptionedVideos`, or any records whose `path` is there.
        captions: `all` makes a pair of every caption (180,000 for MSR-VTT); `one_per_video` one a video, another in
            each epoch, drawn from the seed, the epoch and the video's id.
        seed: of `one_per_video`; 0 if None.
        num_frames: the most frames of a video.
        sampling: which frames, see `mv_peft.video.sampling`; the benchmarks' protocol is `fps_uniform`.
        read: takes the place of `read_frames` and its arguments: a cache of frames, for example.

    Raises:
        ValueError: a record has no path, an unknown choice, or a seed that nothing would be drawn from.
    """

    def __init__(
        self,
        records: Sequence[VideoRecord],
        captions: CaptionChoice = "all",
        *,
        seed: int | None = None,
        num_frames: int = 12,
        sampling: FrameSampling = "uniform",
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
        self.num_frames = num_frames
        self.sampling = sampling
        self._read = read
        num_pairs = [len(record.captions) if captions == "all" else 1 for record in self.records]
        self._ends = np.cumsum(num_pairs, dtype=np.int64)  # the number of the pair after a record's last one
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
        video = self._read(
            record.path,
            self.num_frames,
            self.sampling,
            start_seconds=record.start_seconds,
            end_seconds=record.end_seconds,
        )
        return VideoSample(video, caption, record.video_id)

    def pair(self, index: int) -> tuple[VideoRecord, str]:
        """Record and caption of a pair in this epoch, without reading the video.

        Raises:
            IndexError: there are fewer pairs.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"Pair {index} of {len(self)}.")
        index %= len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        record = self.records[number]
        if self.captions == "all":
            return record, record.captions[index - int(self._ends[number])]  # counted from the last
        draw = stable_hash(f"{self.seed} {int(self._epoch)} {record.video_id}")
        return record, record.captions[draw % len(record.captions)]

    def set_epoch(self, epoch: int) -> None:
        """Draw other captions; of no consequence where all of them are pairs. Trainers call it before each epoch."""
        self._epoch.fill_(epoch)
