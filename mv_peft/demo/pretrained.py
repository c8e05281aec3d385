"""The tiny CLIP that is part of the package; `tiny_clip/README.md` describes its training."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..encoders import MVProcessor
from ..encoders.loading import load_base_model
from ..video import FrameSampling

TINY_CLIP = Path(__file__).parent / "tiny_clip"
MAX_TEXT_TOKENS = 16
# Evenly from the first frame to the last. The rule of MV-Adapter's authors, "uniform", never takes the last frame. The
# mean of the frames would then be nearer to a clip's beginning, and a CLIP without any sense of order would choose the
# reversal of more than half of the events (57%).
FRAME_SAMPLING: FrameSampling = "clip4clip"


def load_tiny_clip() -> PreTrainedModel:
    """Load it in float32; eager attention is the fastest on a CPU for sequences as short as these."""
    return load_base_model(TINY_CLIP, dtype=torch.float32, attn_implementation="eager")


def load_tiny_processor() -> MVProcessor:
    """Load its processor."""
    return MVProcessor.from_pretrained(TINY_CLIP, max_text_tokens=MAX_TEXT_TOKENS, frame_sampling=FRAME_SAMPLING)
