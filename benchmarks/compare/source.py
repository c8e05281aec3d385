"""What a run adapts and measures on: the one interface of rendered worlds and of videos on disk."""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn
from transformers import CLIPModel

from mv_peft.encoders import MVProcessor

from .method import Method


class Source(Protocol):
    """A CLIP, clips to train on, and galleries of the split that the run measures on."""

    def load_clip(self) -> tuple[CLIPModel, MVProcessor]:
        """A fresh CLIP in fp32, and its processor."""

    def train(self, model: nn.Module, processor: MVProcessor, method: Method) -> tuple[nn.Module, dict[str, Any]]:
        """Trains a model.

        Returns:
            What is to be measured, on the same device; and at least "steps", "seconds", "cpu_seconds" of all threads,
            "peak_memory_mib" and "curve", a list of [step, loss].
        """

    def measure(self, model: nn.Module, processor: MVProcessor) -> dict[str, dict[str, float]]:
        """Figures by gallery, in per cent; "order" is the name of what is no gallery."""

    def config(self) -> dict[str, Any]:
        """What was run, without anybody's folders; to be asked after `load_clip`."""
