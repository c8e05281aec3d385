"""The interface of what a run adapts and measures: rendered worlds and videos on disk."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn
from transformers import CLIPModel

from mv_peft.encoders import MVProcessor

from .method import Method


class Source(Protocol):
    """A CLIP, clips to train on, and galleries of the split that is measured."""

    def load_clip(self) -> tuple[CLIPModel, MVProcessor]:
        """Load a fresh CLIP in fp32, and its processor."""

    def train(self, model: nn.Module, processor: MVProcessor, method: Method) -> tuple[nn.Module, dict[str, Any]]:
        """Train a model.

        Returns:
            The model to measure, on the same device; and at least "steps", "seconds", "cpu_seconds" of all threads,
            "peak_memory_mib" and "curve", a list of [step, loss].
        """

    def measure(self, model: nn.Module, processor: MVProcessor) -> dict[str, dict[str, float]]:
        """Measure a model: figures in per cent by gallery, and under "order" the choice between twins."""

    def config(self) -> dict[str, Any]:
        """The configuration of the run, without names of folders; complete after `load_clip`."""
