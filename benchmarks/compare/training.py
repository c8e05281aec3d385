"""What every training has: the method in the CLIP, the bytes that it saves, and the memory that it took."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers import CLIPModel, set_seed

from mv_peft.encoders import MVProcessor
from mv_peft.tuners import create_method, method_config

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
        other = load_method(method.match, tiny=settings.has_tiny_clip)
        fields["match"] = method_config(clip, other.method, **{**limits, **other.overrides})
    return fields


def saved_bytes(model: nn.Module) -> int:
    """Size of the weights that the model is saved with."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))


class Clock:
    """Time since it was made, on the wall and of all threads."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """As `Source.train` reports it: "seconds" and "cpu_seconds"."""
        seconds, cpu_seconds = time.perf_counter() - self._began, time.process_time() - self._cpu_began
        return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}


def reset_peak_memory() -> None:
    """Begins to measure for `peak_memory_mib`."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib() -> float | None:
    """Since `reset_peak_memory`: on a GPU of its tensors, on Linux of the whole process; elsewhere not known."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if not Path("/proc/self/status").exists():
        return None
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(fields["VmHWM"].split()[0]) / 2**10, 1)
