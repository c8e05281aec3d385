"""Captioned videos -> embeddings: each video and each text once, in one process or over all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
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
from .embeddings import RetrievalEmbeddings

logger = logging.getLogger(__name__)


def embed_records(
    model: nn.Module,
    processor: MVProcessor,
    records: Sequence[VideoRecord],
    *,
    batch_size: int = 32,
    num_workers: int = 0,
    frame_sampling: FrameSampling | None = None,
    read: Callable[..., VideoFrames] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
    progress: bool = True,
) -> RetrievalEmbeddings:
    """Embeds captioned videos with a CLIP that takes videos, in inference mode; training mode is as before afterwards.

    Where torch.distributed is initialised every process must call this with the same arguments: each embeds every n-th
    batch, and all get the whole, to the bit what one process gets. Texts that are equal, and videos that are, are
    embedded once: their embeddings are equal, whatever batches they would have been in.

    Args:
        model: A CLIP with MV-Adapter or after `enable_video`, on its device; under autocast too.
        processor: Its processor, which limits frames and tokens.
        records: `CaptionedVideos`, or any records whose `path` is there; each is a video.
        batch_size: Videos, and captions, at a time.
        num_workers: Processes that read and preprocess videos.
        frame_sampling: Which frames; None for the processor's rule.
        read: Takes the place of `mv_peft.video.read_frames`: a cache's, for example.
        on_error: "raise" for the first video that cannot be read; "skip" leaves it out, with its captions, and reports.
        progress: Whether to show a bar, on the main process.

    Raises:
        VideoDecodeError: A video cannot be read, and `on_error` is "raise".
        MVPeftError: None can be read.
        ValueError: An argument makes no sense, or a record has no path.
    """
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be positive, got {batch_size}.")
    if on_error not in ("raise", "skip"):
        raise ValueError(f"Unknown on_error {on_error!r}. Choose from: raise, skip.")
    if not records:
        raise ValueError("`records` must hold at least one video, got none.")
    for record in records:
        if record.path is None:
            raise ValueError(f"Video {record.video_id!r} has no path. Leave it out, as `CaptionedVideos` does.")
    texts = list(dict.fromkeys(caption for record in records for caption in record.captions))
    clips = list(dict.fromkeys(map(_clip_of, records)))
    dataset = _Clips(clips, processor, frame_sampling or processor.frame_sampling, read)
    share = _Share(batch_size, stop_at_failure=on_error == "raise")
    shown = progress and share.rank == 0
    with (
        _evaluating(model),
        tqdm(total=len(texts) + len(clips), desc="embedding", unit="item", disable=None if shown else True) as bar,
    ):
        text_batches = (_Loaded(processor(text=[texts[i] for i in batch])) for batch in share.batches(len(texts)))
        text_rows, _ = share.embed(text_batches, partial(_text_features, model), bar)
        loader = DataLoader(
            dataset,
            batch_sampler=share.batches(len(clips)),
            num_workers=num_workers,
            collate_fn=dataset.collate,
            generator=torch.Generator(),  # from the global one a loader would draw, and change the training around it
        )
        video_rows, failures = share.embed(loader, partial(_video_features, model), bar)
    if failures and on_error == "raise":
        raise VideoDecodeError(failures[min(failures)])
    return _assemble(records, texts, clips, text_rows, video_rows, failures)


class _Clip(NamedTuple):
    path: Path
    start_seconds: float | None
    end_seconds: float | None


class _Loaded(NamedTuple):
    """A batch for the model, None if nothing of it could be read; and the reasons, by place in the batch."""

    inputs: Mapping[str, Tensor] | None
    failures: Mapping[int, str] = {}


class _Clips(Dataset["VideoFrames | VideoDecodeError"]):
    """Videos to be read by workers; one that cannot be is an item too, so that the main process says which it was."""

    def __init__(
        self,
        clips: Sequence[_Clip],
        processor: MVProcessor,
        sampling: FrameSampling,
        read: Callable[..., VideoFrames] | None,
    ):
        self.clips, self.processor, self.sampling = clips, processor, sampling
        self.read = read or partial(read_frames, backend=processor.video_backend)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> VideoFrames | VideoDecodeError:
        path, start, end = self.clips[index]
        try:
            return self.read(path, self.processor.max_frames, self.sampling, start_seconds=start, end_seconds=end)
        except VideoDecodeError as error:
            return error

    def collate(self, items: Sequence[VideoFrames | VideoDecodeError]) -> _Loaded:
        videos = [item for item in items if not isinstance(item, VideoDecodeError)]
        failures = {place: str(item) for place, item in enumerate(items) if isinstance(item, VideoDecodeError)}
        return _Loaded(dict(self.processor(videos=videos)) if videos else None, failures)


class _Share:
    """This process's part of the work: every n-th batch, of the same items whatever the number of processes."""

    def __init__(self, batch_size: int, stop_at_failure: bool):
        self.batch_size, self.stop_at_failure = batch_size, stop_at_failure
        together = distributed.is_available() and distributed.is_initialized()
        self.rank, self.num_processes = (distributed.get_rank(), distributed.get_world_size()) if together else (0, 1)

    def batches(self, num_items: int) -> list[list[int]]:
        everything = [
            list(range(first, min(first + self.batch_size, num_items)))
            for first in range(0, num_items, self.batch_size)
        ]
        return everything[self.rank :: self.num_processes]

    def embed(
        self, loaded: Iterable[_Loaded], features: Callable[[Mapping[str, Tensor]], Tensor], bar: tqdm
    ) -> tuple[Tensor, dict[int, str]]:
        """The rows of all processes' batches in order, and why some are not there, by number of the item.

        A process that fails does not leave the others waiting: it stops, and hands over the reason.
        """
        parts: list[tuple[int, Tensor | None, Mapping[int, str]]] = []
        for turn, (inputs, failures) in enumerate(loaded):
            number = self.rank + turn * self.num_processes
            parts.append((number, None if inputs is None else features(inputs).cpu(), failures))
            if failures and self.stop_at_failure:
                break
            # What the others do beside it is about as much.
            bar.update(min(self.num_processes * self.batch_size, bar.total - bar.n))
        if self.num_processes > 1:
            gathered: list[Any] = [None] * self.num_processes
            distributed.all_gather_object(gathered, parts)
            parts = sorted((part for share in gathered for part in share), key=lambda part: part[0])
        rows = [embeds for _, embeds, _ in parts if embeds is not None]
        reasons = {
            number * self.batch_size + place: reason for number, _, why in parts for place, reason in why.items()
        }
        return torch.cat(rows) if rows else torch.empty(0, 0), reasons


def _assemble(
    records: Sequence[VideoRecord],
    texts: Sequence[str],
    clips: Sequence[_Clip],
    text_rows: Tensor,
    video_rows: Tensor,
    failures: Mapping[int, str],
) -> RetrievalEmbeddings:
    """Rows of unique texts and videos -> rows of the captions and records that are left."""
    row_of_text = {text: row for row, text in enumerate(texts)}
    readable = [clip for number, clip in enumerate(clips) if number not in failures]
    row_of_clip = {clip: row for row, clip in enumerate(readable)}
    kept = [record for record in records if _clip_of(record) in row_of_clip]
    skipped = tuple(dict.fromkeys(record.video_id for record in records if _clip_of(record) not in row_of_clip))
    if not kept:
        raise MVPeftError(f"None of the {len(records)} videos can be read. The first: {failures[min(failures)]}")
    if skipped:
        logger.warning(
            "Skipped %d of %d videos, with their captions: %s.",
            len(skipped),
            len(records),
            "; ".join(failures.values()),
        )
    captions = [caption for record in kept for caption in record.captions]
    num_captions = torch.tensor([len(record.captions) for record in kept])
    return RetrievalEmbeddings(
        text_embeds=text_rows[[row_of_text[caption] for caption in captions]],
        video_embeds=video_rows[[row_of_clip[_clip_of(record)] for record in kept]],
        video_of_caption=torch.arange(len(kept)).repeat_interleave(num_captions),
        video_ids=tuple(record.video_id for record in kept),
        captions=tuple(captions),
        skipped=skipped,
    )


def _clip_of(record: VideoRecord) -> _Clip:
    assert record.path is not None
    return _Clip(record.path, record.start_seconds, record.end_seconds)


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


def _text_features(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    return _unit(model, model.get_text_features, inputs)


def _video_features(model: nn.Module, inputs: Mapping[str, Tensor]) -> Tensor:
    return _unit(model, model.get_image_features, inputs)


def _unit(model: nn.Module, features: Callable[..., Any], inputs: Mapping[str, Tensor]) -> Tensor:
    device = next(model.parameters()).device
    output = features(**{name: tensor.to(device) for name, tensor in inputs.items()})
    embeds = getattr(output, "pooler_output", output)  # a tensor in early versions 5
    return F.normalize(embeds.float(), dim=-1)
