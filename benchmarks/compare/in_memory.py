"""A rendered world as the source of a run: clips in memory, twins side by side, and the world's tiny CLIP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import CLIPModel

from mv_peft.encoders import MVProcessor
from mv_peft.retrieval import encode_texts, encode_videos
from mv_peft.training import ProgressBar, RetrievalTrainer, RetrievalTrainingArguments

from ..pretrain.clip import load_clip
from ..worlds import ClipSet, Split, draw, events
from .costs import Clock, peak_memory_mib, reset_peak_memory
from .measure import caption_groups, gallery_metrics, order_metrics
from .method import Method
from .settings import WorldSettings


class WorldInMemory:
    """The `Source` of a rendered world.

    Args:
        settings: The settings of the run.
        clip_steps: Number of steps in the training of the world's CLIP, for tests.
        clip_cache: Folder of the CLIPs that are trained here, for tests.
    """

    def __init__(
        self, settings: WorldSettings, *, clip_steps: int | None = None, clip_cache: Path | None = None
    ) -> None:
        self.settings = settings
        given = (("steps", clip_steps), ("cache", clip_cache))
        self._given: dict[str, Any] = {name: value for name, value in given if value is not None}

    def load_clip(self) -> tuple[CLIPModel, MVProcessor]:
        """Load the CLIP of the world."""
        return load_clip(self.settings.data, **self._given)

    def train(self, model: nn.Module, processor: MVProcessor, method: Method) -> tuple[nn.Module, dict[str, Any]]:
        """Train a model in place, to the last step."""
        settings = self.settings
        paired = settings.batches == "paired"
        clips = self._draw("train", settings.num_train_clips, paired=paired)
        clips_per_item = 2 if paired else 1
        assert settings.learning_rate is not None
        with TemporaryDirectory() as folder:
            arguments = RetrievalTrainingArguments(
                output_dir=folder,
                recipe=method.recipe,
                learning_rate=settings.learning_rate,
                max_steps=settings.steps,
                per_device_train_batch_size=settings.batch_size // clips_per_item,
                bf16=settings.precision == "bf16",
                use_cpu=not torch.cuda.is_available(),
                seed=settings.seed,
                save_strategy="no",
                logging_steps=max(1, settings.steps // 20),
                disable_tqdm=True,
            )
            trainer = RetrievalTrainer(
                model,
                arguments,
                _ClipIndices(len(clips), clips_per_item),
                ClipCollator.of(clips, processor),
                callbacks=[ProgressBar(settings.batch_size, description=settings.name)],
            )
            reset_peak_memory()
            clock = Clock()
            trainer.train()
            spent = clock.read()
        history = trainer.state.log_history
        return model, {
            "steps": trainer.state.global_step,
            **spent,
            "peak_memory_mib": peak_memory_mib(),
            "curve": [[entry["step"], round(float(entry["loss"]), 4)] for entry in history if "loss" in entry],
        }

    def measure(self, model: nn.Module, processor: MVProcessor) -> dict[str, dict[str, float]]:
        """Measure a natural gallery, a gallery of twins, and the choice between twins."""
        settings = self.settings
        metrics: dict[str, dict[str, float]] = {}
        for gallery in settings.galleries:
            clips = self._draw(settings.split, settings.num_gallery_clips, paired=gallery == "twin")
            captions, _ = caption_groups(clips.captions)
            cosines = similarity(model, processor, clips, captions)
            metrics[gallery] = gallery_metrics(cosines, clips)
            if gallery == "twin":
                metrics["order"] = order_metrics(cosines, clips, events(settings.data))
        return metrics

    def config(self) -> dict[str, Any]:
        """The settings of the run."""
        return asdict(self.settings)

    def _draw(self, split: Split, num_clips: int, *, paired: bool) -> ClipSet:
        settings = self.settings
        return draw(
            settings.data, split, num_clips, paired=paired, num_frames=settings.num_frames, seed=settings.data_seed
        )


class _ClipIndices(Dataset):
    """The indices of the clips that are always in the same batch: a clip and its twin, or one clip."""

    def __init__(self, num_clips: int, clips_per_item: int) -> None:
        self.items = torch.arange(num_clips).reshape(-1, clips_per_item)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        return self.items[index]


@dataclass(frozen=True, eq=False)
class ClipCollator:
    """Indices of clips -> a batch; captions are tokenised in advance, and frames are kept as bytes."""

    texts: dict[str, Tensor]
    frames: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, clips: ClipSet, processor: MVProcessor) -> ClipCollator:
        """Make the collator of a set of clips."""
        image = processor.image_processor
        texts = dict(processor(text=list(clips.captions)))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (image.image_mean, image.image_std))
        return cls(texts, torch.from_numpy(clips.frames), mean, std)

    def __call__(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        rows = torch.cat(list(items))
        texts = {name: tensor[rows] for name, tensor in self.texts.items()}
        return {**texts, "pixel_values": self.pixel_values(rows)}

    def pixel_values(self, rows: Tensor | slice) -> Tensor:
        """float32 (clips, frames, 3, height, width), as the processor returns them for frames of CLIP's size."""
        return (self.frames[rows].permute(0, 1, 4, 2, 3) / 255 - self.mean) / self.std


def similarity(model: nn.Module, processor: MVProcessor, clips: ClipSet, captions: list[str]) -> Tensor:
    """Return the cosine of every caption with every clip, (captions, clips), on the CPU."""
    rows = ClipCollator.of(clips, processor)
    videos = (rows.pixel_values(slice(number, number + 1))[0] for number in range(len(clips)))
    text_embeds = encode_texts(model, processor, captions, batch_size=256, progress=False)
    return text_embeds @ encode_videos(model, processor, videos, progress=False).embeds.T
