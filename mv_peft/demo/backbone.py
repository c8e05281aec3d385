"""A CLIP with what turns captions and video files into its inputs; the one shipped here is tiny."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    BaseImageProcessor,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerBase,
)

from ..video import read_frames

TINY_CLIP = Path(__file__).parent / "tiny_clip"

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Backbone:
    """A CLIP by name, its tokenizer and its image processor.

    Attributes:
        name: A folder, or a name on the Hub.
        tokenizer: Its tokenizer.
        image_processor: Its image processor.
        num_frames: Frames that are sampled from a video.
        max_text_tokens: Longer captions are cut.
    """

    name: str
    tokenizer: PreTrainedTokenizerBase
    image_processor: BaseImageProcessor
    num_frames: int
    max_text_tokens: int

    @classmethod
    def load(cls, name: str | Path = TINY_CLIP, num_frames: int = 12, max_text_tokens: int | None = None) -> Backbone:
        """Loads tokenizer and image processor, the weights come with `new_clip`; captions are as long as CLIP's may be."""
        tokenizer = AutoTokenizer.from_pretrained(name)
        image_processor = CLIPImageProcessor.from_pretrained(name)
        return cls(str(name), tokenizer, image_processor, num_frames, max_text_tokens or tokenizer.model_max_length)

    def new_clip(self) -> CLIPModel:
        """A fresh CLIP in fp32; eager attention is the fastest one on the CPU for sequences as short as these."""
        return CLIPModel.from_pretrained(self.name, dtype=torch.float32, attn_implementation="eager")

    def texts(self, captions: Sequence[str]) -> Batch:
        """`input_ids` and `attention_mask`, each (captions, tokens)."""
        tokens = self.tokenizer(
            list(captions), padding=True, truncation=True, max_length=self.max_text_tokens, return_tensors="pt"
        )
        return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}

    def video(self, path: Path) -> Batch:
        """Reads a video file as a batch of one.

        A video that has fewer than `num_frames` is padded with blank frames, which the mask marks.

        Returns:
            `pixel_values` (1, frames, 3, height, width) and `frame_mask` (1, frames).

        Raises:
            VideoDecodeError: If the file cannot be read.
        """
        frames = read_frames(path, num_frames=self.num_frames).frames
        pixel_values = self.image_processor(images=list(frames), return_tensors="pt").pixel_values
        blank = pixel_values.new_zeros(self.num_frames - len(frames), *pixel_values.shape[1:])
        return {
            "pixel_values": torch.cat([pixel_values, blank]).unsqueeze(0),
            "frame_mask": (torch.arange(self.num_frames) < len(frames)).float().unsqueeze(0),
        }


def stack(batches: Sequence[Batch]) -> Batch:
    """Joins batches along their first dimension."""
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
