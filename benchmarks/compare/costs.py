"""The costs of a training: its time, its memory, and the bytes that the trained weights take on disk."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn


def saved_bytes(model: nn.Module) -> int:
    """Size of the weights that `save_pretrained` writes for a model."""
    with TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return sum(path.stat().st_size for path in Path(folder).rglob("*.safetensors"))


class Clock:
    """The time since the clock was made: by the wall, and of the processor in all threads."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """The elapsed "seconds" and "cpu_seconds", as `Source.train` reports them."""
        seconds, cpu_seconds = time.perf_counter() - self._began, time.process_time() - self._cpu_began
        return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu_seconds, 2)}


def reset_peak_memory() -> None:
    """Start the measurement that `peak_memory_mib` reads."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mib() -> float | None:
    """The highest memory since `reset_peak_memory`.

    Returns:
        The memory of all tensors on a GPU, the memory of the whole process on Linux without one, None elsewhere.
    """
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 2**20, 1)
    if not Path("/proc/self/status").exists():
        return None
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return round(int(fields["VmHWM"].split()[0]) / 2**10, 1)
