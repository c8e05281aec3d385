"""One training: the method in the CLIP, `RetrievalTrainer` over clips in memory, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import CLIPModel, set_seed

from mv_peft.baselines import create_method, method_config
from mv_peft.training import ProgressBar, RetrievalTrainer, RetrievalTrainingArguments
from mv_peft.video import MVProcessor

from .data import ClipSet, draw
from .method import Method, load_method
from .settings import RunSettings


def build(clip: CLIPModel, processor: MVProcessor, method: Method, settings: RunSettings) -> nn.Module:
    """The CLIP with the method in it, started from the run's seed."""
    set_seed(settings.seed)
    return create_method(clip, method.method, **_fields(clip, processor, method, settings))


def _fields(clip: CLIPModel, processor: MVProcessor, method: Method, settings: RunSettings) -> dict[str, Any]:
    """The method's fields, the run's in front of them, and the lengths that follow from the data."""
    limits = {"max_frames": settings.num_frames, "max_text_tokens": processor.max_text_tokens}
    fields = {**method.overrides, **settings.overrides}
    if method.method.startswith("mv_adapter"):
        fields = {**limits, **fields}
    if method.method == "head":
        fields = {"max_frames": settings.num_frames, **fields}
    elif method.method.endswith("+head"):
        fields["head"] = {"max_frames": settings.num_frames, **fields.get("head", {})}
    if method.match is not None:
        other = load_method(method.match)
        fields["match"] = method_config(clip, other.method, **{**limits, **other.overrides})
    return fields


class _Numbers(Dataset):
    """Item i is the numbers of the clips that go into a batch together: a clip and its twin, or one clip."""

    def __init__(self, num_clips: int, together: int) -> None:
        self.items = torch.arange(num_clips).reshape(-1, together)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Tensor:
        return self.items[index]


@dataclass(frozen=True, eq=False)
class _Rows:
    """Numbers of clips -> a batch, of captions that are tokenised and frames that are kept as bytes."""

    texts: dict[str, Tensor]
    frames: Tensor
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, clips: ClipSet, processor: MVProcessor) -> _Rows:
        image = processor.image_processor
        texts = dict(processor(text=list(clips.captions)))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (image.image_mean, image.image_std))
        return cls(texts, torch.from_numpy(clips.frames), mean, std)

    def __call__(self, items: Sequence[Tensor]) -> dict[str, Tensor]:
        rows = torch.cat(list(items))
        texts = {name: tensor[rows] for name, tensor in self.texts.items()}
        return {**texts, "pixel_values": self.pixel_values(rows)}

    def pixel_values(self, rows: Tensor | slice) -> Tensor:
        """float32 (clips, frames, 3, height, width), as the processor gives them for frames of CLIP's size."""
        return (self.frames[rows].permute(0, 1, 4, 2, 3) / 255 - self.mean) / self.std


def train(model: nn.Module, processor: MVProcessor, method: Method, settings: RunSettings) -> dict[str, Any]:
    """Trains a model in place.

    Returns:
        "steps", "seconds", "cpu_seconds" of all threads, "peak_memory_mib" and "curve", a list of [step, loss].
    """
    paired = settings.batches == "paired"
    clips = draw(
        settings.data,
        "train",
        settings.num_train_clips,
        paired=paired,
        num_frames=settings.num_frames,
        seed=settings.data_seed,
    )
    together = 2 if paired else 1
    assert settings.learning_rate is not None
    with TemporaryDirectory() as folder:
        arguments = RetrievalTrainingArguments(
            output_dir=folder,
            recipe=method.recipe,
            learning_rate=settings.learning_rate,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch_size // together,
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
            _Numbers(len(clips), together),
            _Rows.of(clips, processor),
            callbacks=[ProgressBar(settings.batch_size, description=settings.name)],
        )
        _reset_peak_memory()
        began, cpu_began = time.perf_counter(), time.process_time()
        trainer.train()
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    curve = [[entry["step"], round(float(entry["loss"]), 4)] for entry in trainer.state.log_history if "loss" in entry]
    return {
        "steps": trainer.state.global_step,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "peak_memory_mib": _peak_memory_mib(),
        "curve": curve,
    }


@torch.inference_mode()
def similarity(model: nn.Module, processor: MVProcessor, clips: ClipSet, captions: list[str]) -> Tensor:
    """The cosine of every caption with every clip, (captions, clips), on the CPU."""
    model.eval()
    device = next(model.parameters()).device
    rows = _Rows.of(clips, processor)
    texts = processor(text=captions)
    found: dict[str, list[Tensor]] = {"texts": [], "clips": []}
    for first in range(0, len(captions), 256):
        batch = {name: tensor[first : first + 256].to(device) for name, tensor in texts.items()}
        found["texts"].append(model.get_text_features(**batch).pooler_output)
    for first in range(0, len(clips), 32):
        pixel_values = rows.pixel_values(slice(first, first + 32)).to(device)
        found["clips"].append(model.get_image_features(pixel_values=pixel_values).pooler_output)
    text_embeds, clip_embeds = (nn.functional.normalize(torch.cat(each).float(), dim=-1) for each in found.values())
    return (text_embeds @ clip_embeds.T).cpu()


def saved_bytes(model: nn.Module) -> int:
    """Size of the weights that the model is saved with."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))


def _reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_mib() -> float | None:
    """Of the training alone: on a GPU of its tensors, on Linux of the whole process; elsewhere not known."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if not Path("/proc/self/status").exists():
        return None
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(fields["VmHWM"].split()[0]) / 2**10, 1)
