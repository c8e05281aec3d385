"""Videos and captions -> what CLIP with MV-Adapter takes."""

import html
import inspect
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import BatchFeature, PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin

from ..choices import FrameSampling
from ..video.frames import VideoFrames
from ..video.reader import Backend, read_frames
from ..video.sampling import check_sampling, rule_indices
from .pixels import FramePreprocessor, Preprocessing

Video = str | os.PathLike | VideoFrames | np.ndarray | Tensor | Sequence


class _Limits(Protocol):
    max_frames: int
    max_text_tokens: int


class MVProcessor(ProcessorMixin):
    """A CLIP processor for videos: saved and loaded as Transformers' processors are.

    Args:
        image_processor: the model's CLIP image processor.
        tokenizer: the model's CLIP tokenizer.
        max_frames: the most frames of a video.
        max_text_tokens: the most BPE tokens of a caption, begin and end tokens included.
        frame_sampling: which frames stand for a video that has more; see `mv_peft.video.sampling`.
        preprocessing: `exact`, as Transformers to the bit; `fast`, within 2/255 of it; or `official`, as OpenAI's CLIP
            and the authors' program to the bit, whose crop may lie a pixel aside.
        video_backend: decoder of the files, see the `backend` of `read_frames`.
        adapter_config: an `MVAdapterConfig`, whose `max_frames` and `max_text_tokens` then rule.

    Raises:
        ValueError: a limit or a choice makes no sense.

    Example:
        >>> processor = MVProcessor.from_pretrained("openai/clip-vit-base-patch16", adapter_config=config)
        >>> batch = processor(text=["a dog runs", "a cat sleeps"], videos=["dog.mp4", "cat.mp4"])
        >>> logits_per_text = model(**batch).logits_per_text
    """

    def __init__(
        self,
        image_processor: BaseImageProcessor,
        tokenizer: PreTrainedTokenizerBase,
        max_frames: int = 12,
        max_text_tokens: int = 32,
        frame_sampling: FrameSampling = "uniform",
        preprocessing: Preprocessing = "exact",
        video_backend: Backend = "pyav",
        adapter_config: _Limits | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        if adapter_config is not None:
            max_frames, max_text_tokens = adapter_config.max_frames, adapter_config.max_text_tokens
        if max_frames < 1:
            raise ValueError(f"`max_frames` must be positive, got {max_frames}.")
        if max_text_tokens < 3:
            raise ValueError(f"`max_text_tokens` must leave a token between begin and end, got {max_text_tokens}.")
        check_sampling(max_frames, frame_sampling)
        self.max_frames = max_frames
        self.max_text_tokens = max_text_tokens
        self.frame_sampling = frame_sampling
        self.preprocessing = preprocessing
        self.video_backend = video_backend
        self._preprocess = FramePreprocessor(image_processor, preprocessing)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> "MVProcessor":
        """Load from a CLIP model, or from where `save_pretrained` wrote.

        Args:
            pretrained_model_name_or_path: name on the Hub, or folder.
            kwargs: arguments of `MVProcessor`, which override what was saved; the others (`revision`, `token`,
                `cache_dir`, ...) are those of Transformers' `from_pretrained`.
        """
        settings = [name for name in inspect.signature(cls).parameters if name not in cls.get_attributes()]
        given = {name: kwargs.pop(name) for name in settings if name in kwargs}
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        saved = {name: getattr(loaded, name) for name in settings if hasattr(loaded, name)}
        return cls(loaded.image_processor, loaded.tokenizer, **saved | given)

    def __call__(
        self, text: str | Sequence[str] | None = None, videos: Video | Sequence[Video] | None = None
    ) -> BatchFeature:
        """Captions and videos to a batch.

        Args:
            text: a caption, or a list of them. HTML's entities in it become what they stand for. One of more than
                `max_text_tokens` tokens is truncated as CLIP does it: the begin token, the first words, the end token.
            videos: a video, or a list of them. A video is a path, a `VideoFrames`, uint8 frames as an array or tensor
                (frames, height, width, 3), or, within the list, a list of RGB pictures. Of frames given beyond
                `max_frames`, the index rule of `frame_sampling` keeps some; one frame a second is a matter of files.

        Returns:
            input_ids, attention_mask: int64 (captions, tokens), as long as the longest caption.
            pixel_values: float32 (videos, frames, 3, height, width), as many frames as the longest video has; zeros
                where a shorter one has none.
            frame_mask: int64 (videos, frames), 1 on real frames.

        Raises:
            VideoDecodeError: a file gives no frames.
            ValueError: neither text nor videos, or a video in none of these forms.
        """
        if text is None and videos is None:
            raise ValueError("A batch needs `text`, `videos` or both, got neither.")
        batch = BatchFeature()
        if text is not None:
            # Twice, as CLIP's own program does: captions from the web hold `&amp;quot;`.
            captions = [
                html.unescape(html.unescape(caption)) for caption in ([text] if isinstance(text, str) else text)
            ]
            if not captions:
                raise ValueError("`text` must hold at least one caption, got none.")
            batch.update(
                self.tokenizer(
                    captions, padding=True, truncation=True, max_length=self.max_text_tokens, return_tensors="pt"
                )
            )
        if videos is not None:
            videos = list(videos) if isinstance(videos, (list, tuple)) else [videos]
            if not videos:
                raise ValueError("`videos` must hold at least one video, got none.")
            batch.update(_pad([self._preprocess(self._frames(video)) for video in videos]))
        return batch

    @property
    def model_input_names(self) -> list[str]:
        """Keys of a batch of captions and videos."""
        return ["input_ids", "attention_mask", "pixel_values", "frame_mask"]

    def _frames(self, video: Video) -> np.ndarray:
        """uint8 (frames, height, width, 3), at most `max_frames`."""
        if isinstance(video, (str, os.PathLike)):
            return read_frames(video, self.max_frames, self.frame_sampling, backend=self.video_backend).frames
        if isinstance(video, VideoFrames):
            video = video.frames
        frames = np.stack([np.asarray(picture) for picture in video]) if len(video) else np.empty(0)
        if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            raise ValueError(
                f"A video must be a path, or uint8 frames of shape (frames, height, width, 3) with at least one frame, "
                f"got {frames.dtype} of shape {frames.shape}."
            )
        return frames[rule_indices(len(frames), self.max_frames, self.frame_sampling)]


def _pad(videos: list[Tensor]) -> dict[str, Tensor]:
    """Stack videos (frames, 3, height, width) of different lengths, with zeros after the shorter ones."""
    num_frames = torch.tensor([len(video) for video in videos])
    return {
        "pixel_values": torch.nn.utils.rnn.pad_sequence(videos, batch_first=True),
        "frame_mask": (torch.arange(int(num_frames.max())) < num_frames[:, None]).long(),
    }
