"""Encoding of texts and videos into embeddings, in one process or shared by all of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..data import VideoRecord
from ..encoders import MVProcessor
from ..errors import MVPeftError, VideoDecodeError
from ..video import FrameSampling, VideoFrames, read_frames
from ..video.sampling import check_sampling
from .embeddings import RetrievalEmbeddings

logger = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]


class Moment(NamedTuple):
    """A video file, or the part of one between two times.

    Attributes:
        path: The file.
        start_seconds: Start of the part, in seconds from the first frame.
        end_seconds: End of the part, exclusive.
    """

    path: str | os.PathLike
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class EncodedVideos:
    """Embeddings of videos, and the reasons why some videos have none.

    Attributes:
        embeds: Unit vectors, (rows, dim), float32, on the CPU.
        indices: For each row, the index of its video among those that were to be encoded.
        failures: Why a video could not be read, by its index.
    """

    embeds: Tensor
    indices: tuple[int, ...]
    failures: dict[int, str] = field(default_factory=dict)

    def __repr__(self) -> str:
        failed = f", {len(self.failures)} failed" if self.failures else ""
        return f"EncodedVideos({len(self.indices)} videos, dim {self.embeds.shape[1]}{failed})"


def encode_texts(
    model: nn.Module,
    processor: MVProcessor,
    texts: str | Sequence[str],
    *,
    batch_size: int = 32,
    progress: bool = True,
) -> Tensor:
    """Encode texts, in inference mode; the training modes of the model's modules are restored afterwards.

    Where torch.distributed is initialised, every process must call this with the same arguments. Each encodes its share
    of the batches, and all get all embeddings, to the bit those that a single process gets.

    Args:
        model: A dual encoder, adapted or not, on its device.
        processor: Its processor.
        texts: A text, or several.
        batch_size: How many texts to encode at a time.
        progress: Whether the main process shows a progress bar.

    Returns:
        Unit vectors, (texts, dim), float32, on the CPU.

    Raises:
        ValueError: If `batch_size` is not positive.
    """
    texts = [texts] if isinstance(texts, str) else texts
    share = _Share(batch_size)
    batches = ((indices, processor(text=[texts[index] for index in indices])) for indices in share.batches(len(texts)))
    parts = []
    with share.progress_bar("encoding texts", "text", len(texts), progress) as update:
        for indices, inputs in batches:
            parts.append(EncodedVideos(_embed(model, model.get_text_features, inputs), tuple(indices)))
            update()
    return _join(share.gather(parts)).embeds


def encode_videos(
    model: nn.Module,
    processor: MVProcessor,
    videos: Any,
    *,
    batch_size: int = 32,
    num_workers: int = 0,
    frame_sampling: FrameSampling | None = None,
    read: Callable[..., VideoFrames] | None = None,
    on_error: OnError = "raise",
    progress: bool = True,
) -> EncodedVideos:
    """Encode videos, in inference mode; the training modes of the model's modules are restored afterwards.

    Of its nine parameters only three are needed; the others are those of a data loader, and independent of each other.
    Workers read and preprocess one video after another, so that no batch is ever held as whole frames. Where
    torch.distributed is initialised, every process must call this with the same arguments. Each encodes its share of
    the batches, and all get all embeddings, to the bit those that a single process gets.

    Args:
        model: A dual encoder that takes videos (`get_peft_model` with an adapter for videos, or `enable_video`), on its
            device.
        processor: Its processor, which limits the number of frames.
        videos: The videos: paths, `Moment`s, or anything that `MVProcessor.pixel_values` takes, such as decoded frames
            and pixel values. A sequence, a map-style data set or a 5-D tensor can be read by workers and shared by
            processes. Any other iterable is consumed one video after another, by every process.
        batch_size: How many videos to encode at a time.
        num_workers: How many processes read and preprocess videos.
        frame_sampling: Which frames of a file to read. None uses the rule of the processor.
        read: Reads files in place of `mv_peft.video.read_frames`, for example `VideoCache.read_frames`. It is called as
            `read(path, max_frames, frame_sampling, start_seconds=..., end_seconds=...)`.
        on_error: "raise" stops at the first video that cannot be read; "skip" leaves it out and reports it in
            `failures`.
        progress: Whether the main process shows a progress bar.

    Raises:
        VideoDecodeError: If a video cannot be read, and `on_error` is "raise".
        ValueError: If an argument is invalid.

    Example:
        >>> similarity = encode_texts(model, processor, queries) @ encode_videos(model, processor, paths).embeds.T
    """
    stops = _stops(on_error)
    share = _Share(batch_size)
    parts = []
    for part in _encode_share(share, model, _Videos(videos, processor, frame_sampling, read), num_workers, progress):
        parts.append(part)
        if part.failures and stops:
            break  # not an error yet, because the other processes wait for this one's parts
    encoded = _join(share.gather(parts))
    if encoded.failures and stops:
        raise VideoDecodeError(encoded.failures[min(encoded.failures)])
    return encoded


def encode_video_stream(
    model: nn.Module,
    processor: MVProcessor,
    videos: Any,
    *,
    batch_size: int = 32,
    num_workers: int = 0,
    frame_sampling: FrameSampling | None = None,
    read: Callable[..., VideoFrames] | None = None,
    on_error: OnError = "raise",
    progress: bool = True,
) -> Iterator[EncodedVideos]:
    """Encode videos as `encode_videos` does, with its nine parameters, and yield each batch as soon as it is done.

    Nothing is kept, so that there may be any number of videos. Between two batches the model is as it was before. Where
    torch.distributed is initialised, each process yields its own share of the batches.

    Args:
        model: As in `encode_videos`.
        processor: As in `encode_videos`.
        videos: As in `encode_videos`.
        batch_size: As in `encode_videos`.
        num_workers: As in `encode_videos`.
        frame_sampling: As in `encode_videos`.
        read: As in `encode_videos`.
        on_error: As in `encode_videos`.
        progress: As in `encode_videos`.

    Raises:
        VideoDecodeError: If a video cannot be read, and `on_error` is "raise".
        ValueError: If an argument is invalid.
    """
    stops = _stops(on_error)
    source = _Videos(videos, processor, frame_sampling, read)
    parts = _encode_share(_Share(batch_size), model, source, num_workers, progress)

    def stream() -> Iterator[EncodedVideos]:
        for part in parts:
            if part.failures and stops:
                raise VideoDecodeError(part.failures[min(part.failures)])
            yield part

    return stream()


def embed_records(
    model: nn.Module,
    processor: MVProcessor,
    records: Sequence[VideoRecord],
    *,
    batch_size: int = 32,
    num_workers: int = 0,
    frame_sampling: FrameSampling | None = None,
    read: Callable[..., VideoFrames] | None = None,
    on_error: OnError = "raise",
    progress: bool = True,
) -> RetrievalEmbeddings:
    """Encode the texts and videos of records for evaluation; the parameters are those of `encode_videos`.

    Equal texts, and equal videos, are encoded once, so that their embeddings are equal to the bit.

    Args:
        model: As in `encode_videos`.
        processor: As in `encode_videos`.
        records: `CaptionedVideos`, or any records with a `path`. Each record is a video.
        batch_size: How many videos, and how many captions, to encode at a time.
        num_workers: As in `encode_videos`.
        frame_sampling: As in `encode_videos`.
        read: As in `encode_videos`.
        on_error: "raise" stops at the first video that cannot be read; "skip" leaves it out with its captions, and
            reports it.
        progress: As in `encode_videos`.

    Raises:
        VideoDecodeError: If a video cannot be read, and `on_error` is "raise".
        MVPeftError: If no video can be read.
        ValueError: If an argument is invalid, or a record has no path.
    """
    _stops(on_error)
    check_sampling(processor.max_frames, frame_sampling or processor.frame_sampling)
    if not records:
        raise ValueError("`records` must hold at least one video, got none.")
    for record in records:
        if record.path is None:
            raise ValueError(f"Video {record.video_id!r} has no path. Leave it out, as `CaptionedVideos` does.")
    texts = list(dict.fromkeys(caption for record in records for caption in record.captions))
    moments = list(dict.fromkeys(map(_moment, records)))
    text_embeds = encode_texts(model, processor, texts, batch_size=batch_size, progress=progress)
    encoded = encode_videos(
        model,
        processor,
        moments,
        batch_size=batch_size,
        num_workers=num_workers,
        frame_sampling=frame_sampling,
        read=read,
        on_error=on_error,
        progress=progress,
    )
    return _assemble(records, texts, text_embeds, moments, encoded)


class _Loaded(NamedTuple):
    """The videos of a batch: their indices, the input of the model (None if no video could be read), and failures."""

    indices: tuple[int, ...]
    inputs: Mapping[str, Tensor] | None
    failures: dict[int, str]


class _Videos(Dataset[tuple[int, "Tensor | VideoDecodeError"]]):
    """Videos as workers read and preprocess them.

    A video that cannot be read is an item too, so that the main process knows which one it was.
    """

    def __init__(
        self,
        videos: Any,
        processor: MVProcessor,
        frame_sampling: FrameSampling | None,
        read: Callable[..., VideoFrames] | None,
    ) -> None:
        self.videos = [videos] if isinstance(videos, (str, os.PathLike, Moment, VideoFrames)) else videos
        self.processor = processor
        self.frame_sampling = frame_sampling or processor.frame_sampling
        self.read = read or partial(read_frames, backend=processor.video_backend)
        check_sampling(processor.max_frames, self.frame_sampling)

    @property
    def is_indexable(self) -> bool:
        """Whether workers can be told which video to read."""
        return isinstance(self.videos, Sized) and hasattr(self.videos, "__getitem__")

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> tuple[int, Tensor | VideoDecodeError]:
        return index, self.load(self.videos[index])

    def load(self, video: Any) -> Tensor | VideoDecodeError:
        """Read and preprocess one video: float32 (frames, 3, height, width)."""
        if isinstance(video, (str, os.PathLike)):
            video = Moment(video)
        if isinstance(video, Moment):
            moment = {"start_seconds": video.start_seconds, "end_seconds": video.end_seconds}
            try:
                video = self.read(video.path, self.processor.max_frames, self.frame_sampling, **moment)
            except VideoDecodeError as error:
                return error
        return self.processor.pixel_values(video)

    def collate(self, items: Sequence[tuple[int, Tensor | VideoDecodeError]]) -> _Loaded:
        """Make a batch of the videos that could be read."""
        videos = {index: item for index, item in items if isinstance(item, Tensor)}
        failures = {index: str(item) for index, item in items if isinstance(item, VideoDecodeError)}
        inputs = dict(self.processor(videos=list(videos.values()))) if videos else None
        return _Loaded(tuple(videos), inputs, failures)

    def loaded(self, share: _Share, num_workers: int) -> Iterator[_Loaded]:
        """Yield the batches of this process."""
        if self.is_indexable:
            yield from DataLoader(
                self,
                batch_sampler=share.batches(len(self)),
                num_workers=num_workers,
                collate_fn=self.collate,
                generator=torch.Generator(),  # the global one would change the training around it
            )
            return
        items: list[tuple[int, Tensor | VideoDecodeError]] = []
        for index, video in enumerate(self.videos):
            if share.is_mine(index // share.batch_size):
                items.append((index, self.load(video)))
            if items and (index + 1) % share.batch_size == 0:
                yield self.collate(items)
                items = []
        if items:
            yield self.collate(items)


class _Share:
    """The share of this process: every n-th batch. The batches do not depend on the number of processes."""

    def __init__(self, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"`batch_size` must be positive, got {batch_size}.")
        self.batch_size = batch_size
        together = distributed.is_available() and distributed.is_initialized()
        self.rank, self.num_processes = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)

    def is_mine(self, batch: int) -> bool:
        """Whether this process encodes the batch of this number."""
        return batch % self.num_processes == self.rank

    def batches(self, num_items: int) -> list[list[int]]:
        """Return the indices of each batch of this process."""
        starts = range(0, num_items, self.batch_size)[self.rank :: self.num_processes]
        return [list(range(start, min(start + self.batch_size, num_items))) for start in starts]

    def gather(self, parts: list[EncodedVideos]) -> list[EncodedVideos]:
        """Return the parts of all processes, in the order of their items."""
        if self.num_processes == 1:
            return parts
        gathered: list[Any] = [None] * self.num_processes
        distributed.all_gather_object(gathered, parts)
        return sorted(
            (part for share in gathered for part in share), key=lambda part: min((*part.indices[:1], *part.failures))
        )

    @contextmanager
    def progress_bar(self, title: str, unit: str, total: int | None, shown: bool) -> Iterator[Callable[[], None]]:
        """Show a bar on the main process, and give a function that counts one batch of each process."""
        with tqdm(total=total, desc=title, unit=unit, disable=None if shown and self.rank == 0 else True) as bar:

            def update() -> None:
                done = self.num_processes * self.batch_size
                bar.update(done if total is None else min(done, total - bar.n))

            yield update


def _encode_share(
    share: _Share, model: nn.Module, videos: _Videos, num_workers: int, progress: bool
) -> Iterator[EncodedVideos]:
    """Encode the batches of this process, and return an iterator over them, each with its failures."""
    if num_workers and not videos.is_indexable:
        raise ValueError(
            f"`num_workers` {num_workers} has no effect on videos that are no sequence. Set it to 0, or pass a "
            "sequence or a map-style data set."
        )
    return _encoded(share, model, videos, num_workers, progress)


def _encoded(
    share: _Share, model: nn.Module, videos: _Videos, num_workers: int, progress: bool
) -> Iterator[EncodedVideos]:
    total = len(videos) if videos.is_indexable else None
    with share.progress_bar("encoding videos", "video", total, progress) as update:
        for indices, inputs, failures in videos.loaded(share, num_workers):
            embeds = torch.empty(0, 0) if inputs is None else _embed(model, model.get_image_features, inputs)
            update()
            yield EncodedVideos(embeds, indices, failures)


def _join(parts: Sequence[EncodedVideos]) -> EncodedVideos:
    rows = [part.embeds for part in parts if part.indices]
    return EncodedVideos(
        torch.cat(rows) if rows else torch.empty(0, 0),
        tuple(index for part in parts for index in part.indices),
        {index: reason for part in parts for index, reason in part.failures.items()},
    )


def _embed(model: nn.Module, features: Callable[..., Any], inputs: Mapping[str, Tensor]) -> Tensor:
    """Run one of the model's towers in evaluation mode: unit vectors (items, dim), float32, on the CPU."""
    device = next(model.parameters()).device
    with _evaluating(model):
        output = features(**{name: tensor.to(device) for name, tensor in inputs.items()})
        embeds = getattr(output, "pooler_output", output)  # a tensor in early versions 5 of Transformers
        embeds = F.normalize(embeds.float(), dim=-1).cpu()
    return embeds.clone()  # an ordinary tensor, which autograd accepts


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _stops(on_error: str) -> bool:
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Unknown on_error {on_error!r}. Choose from: raise, skip.")
    return on_error == "raise"


def _moment(record: VideoRecord) -> Moment:
    assert record.path is not None
    return Moment(record.path, record.start_seconds, record.end_seconds)


def _assemble(
    records: Sequence[VideoRecord],
    texts: Sequence[str],
    text_embeds: Tensor,
    moments: Sequence[Moment],
    encoded: EncodedVideos,
) -> RetrievalEmbeddings:
    """Arrange the embeddings of unique texts and videos as those of captions and records."""
    row_of_text = {text: row for row, text in enumerate(texts)}
    row_of_moment = {moments[index]: row for row, index in enumerate(encoded.indices)}
    kept = [record for record in records if _moment(record) in row_of_moment]
    skipped = tuple(dict.fromkeys(record.video_id for record in records if _moment(record) not in row_of_moment))
    if not kept:
        first = encoded.failures[min(encoded.failures)]
        raise MVPeftError(f"None of the {len(records)} videos can be read. The first: {first}")
    if skipped:
        logger.warning(
            "Skipped %d of %d videos, with their captions: %s.",
            len(skipped),
            len(records),
            "; ".join(encoded.failures.values()),
        )
    captions = [caption for record in kept for caption in record.captions]
    num_captions = torch.tensor([len(record.captions) for record in kept])
    return RetrievalEmbeddings(
        text_embeds=text_embeds[[row_of_text[caption] for caption in captions]],
        video_embeds=encoded.embeds[[row_of_moment[_moment(record)] for record in kept]],
        video_of_caption=torch.arange(len(kept)).repeat_interleave(num_captions),
        video_ids=tuple(record.video_id for record in kept),
        captions=tuple(captions),
        skipped=skipped,
    )
