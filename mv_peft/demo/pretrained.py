"""The tiny CLIP that comes with the package; `tiny_clip/README.md` says what it was trained on."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import PreTrainedModel

from ..encoders import MVProcessor
from ..encoders.loading import load_base_model
from ..video import FrameSampling

TINY_CLIP = Path(__file__).parent / "tiny_clip"
MAX_TEXT_TOKENS = 16
# From the first frame to the last. The authors' rule, "uniform", never takes the last one: a mean of frames then leans
# to a clip's beginning, and a CLIP that sees no order picks the reversal more often than not (57% of events).
FRAME_SAMPLING: FrameSampling = "clip4clip"


def load_tiny_clip() -> PreTrainedModel:
    """Load it in float32; eager attention is the fastest on a CPU for sequences as short as these."""
    return load_base_model(TINY_CLIP, dtype=torch.float32, attn_implementation="eager")


def load_tiny_processor() -> MVProcessor:
    """Its tokenizer and image processor."""
    return MVProcessor.from_pretrained(TINY_CLIP, max_text_tokens=MAX_TEXT_TOKENS, frame_sampling=FRAME_SAMPLING)
