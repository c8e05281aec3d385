"""MVProcessor, which makes videos and captions into the input of a dual encoder."""

import html
import inspect
import os
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import AutoConfig, BatchFeature, PreTrainedTokenizerBase
from transformers.image_processing_utils import BaseImageProcessor
from transformers.processing_utils import ProcessorMixin

from ..choices import FrameSampling
from ..video.frames import VideoFrames
from ..video.reader import Backend, read_frames
from ..video.sampling import check_sampling, rule_indices
from .families import FAMILIES, REFUSED, DualEncoder
from .pixels import FramePreprocessor, Preprocessing

Video = str | os.PathLike | VideoFrames | np.ndarray | Tensor | Sequence

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "subfolder", "token")


class _Limits(Protocol):
    max_frames: int
    max_text_tokens: int


class MVProcessor(ProcessorMixin):
    """A processor of videos and captions for every family of `mv_peft.encoders.families`.

    It is saved and loaded as the processors of Transformers are. Each of its arguments is a setting that is saved,
    hence there are more than eight.

    Args:
        image_processor: The model's image processor.
        tokenizer: The model's tokenizer.
        max_frames: The most frames of a video.
        max_text_tokens: The most tokens of a caption, including begin and end tokens. The default is 32, or
            `pad_to_tokens` where that is set.
        frame_sampling: Which frames represent a video that has more; see `mv_peft.video.sampling`.
        preprocessing: `exact`, as Transformers to the bit; `fast`, within 2/255 of it; or `official`, for CLIP only, as
            OpenAI's CLIP and the program of MV-Adapter's authors to the bit, whose crop may differ by a pixel.
        video_backend: Decoder of the files, see the `backend` of `read_frames`.
        pad_to_tokens: Length to which captions are always padded, without an attention mask, as SigLIP's text tower
            was trained. None pads to the longest caption of a batch, with an attention mask.
        lowercase: Whether to lower-case captions, as they were for SigLIP's training.
        adapter_config: An `MVAdapterConfig`, whose `max_frames` and `max_text_tokens` take precedence.

    Raises:
        ValueError: If a limit or a choice is invalid.

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
        max_text_tokens: int | None = None,
        frame_sampling: FrameSampling = "fps_uniform",
        preprocessing: Preprocessing = "exact",
        video_backend: Backend = "pyav",
        pad_to_tokens: int | None = None,
        lowercase: bool = False,
        adapter_config: _Limits | None = None,
    ) -> None:
        super().__init__(image_processor, tokenizer)
        if adapter_config is not None:
            max_frames, max_text_tokens = adapter_config.max_frames, adapter_config.max_text_tokens
        if max_text_tokens is None:
            max_text_tokens = 32 if pad_to_tokens is None else pad_to_tokens
        if max_text_tokens < 3:
            raise ValueError(f"`max_text_tokens` must leave a token between begin and end, got {max_text_tokens}.")
        if pad_to_tokens is not None and max_text_tokens > pad_to_tokens:
            raise ValueError(
                f"`max_text_tokens` must be at most `pad_to_tokens` = {pad_to_tokens}, the length of the text tower, "
                f"got {max_text_tokens}."
            )
        check_sampling(max_frames, frame_sampling)
        self.max_frames = max_frames
        self.max_text_tokens = max_text_tokens
        self.frame_sampling = frame_sampling
        self.preprocessing = preprocessing
        self.video_backend = video_backend
        self.pad_to_tokens = pad_to_tokens
        self.lowercase = lowercase
        self._preprocess = FramePreprocessor(image_processor, preprocessing)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> "MVProcessor":
        """Load the processor of a model, or one that `save_pretrained` wrote.

        Where the model's family always pads captions to the full length of its text tower, as SigLIP does, the
        processor does the same, and allows captions of this length; likewise it lower-cases them. Where a text tower
        takes fewer tokens than the default of `max_text_tokens`, its limit is the default.

        Args:
            pretrained_model_name_or_path: Name on the Hub, or folder.
            kwargs: Arguments of `MVProcessor`, which override what was saved. All others (`revision`, `token`,
                `cache_dir`, ...) are those of Transformers' `from_pretrained`.

        Raises:
            TypeError: If the model is a dual encoder that cannot take videos.
        """
        settings = [name for name in inspect.signature(cls).parameters if name not in cls.get_attributes()]
        given = {name: kwargs.pop(name) for name in settings if name in kwargs}
        hub_options = {name: kwargs[name] for name in _HUB_OPTIONS if name in kwargs}
        family, length = _text_tower(pretrained_model_name_or_path, hub_options)
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        saved = {name: getattr(loaded, name) for name in settings if hasattr(loaded, name)}
        if family is not None and family.padding == "max_length" and saved["pad_to_tokens"] is None:
            saved |= {"pad_to_tokens": length, "max_text_tokens": length, "lowercase": family.lowercase}
        elif length is not None:
            saved["max_text_tokens"] = min(length, saved["max_text_tokens"])
        return cls(loaded.image_processor, loaded.tokenizer, **saved | given)

    def __call__(
        self, text: str | Sequence[str] | None = None, videos: Video | Sequence[Video] | None = None
    ) -> BatchFeature:
        """Make a batch of captions and videos.

        Args:
            text: A caption, or a list of captions. HTML entities are replaced. A caption of more than `max_text_tokens`
                tokens is truncated, and keeps its begin and end tokens.
            videos: A video, or a list of videos, each in a form that `pixel_values` takes. A list of images is taken as
                a video only inside a list of videos.

        Returns:
            input_ids: int64 (captions, tokens).
            attention_mask: int64 (captions, tokens), 1 on real tokens; not with `pad_to_tokens`.
            pixel_values: float32 (videos, frames, 3, height, width), as many frames as the longest video has; zeros
                after the last frame of a shorter one.
            frame_mask: int64 (videos, frames), 1 on real frames.

        Raises:
            VideoDecodeError: If a file gives no frames.
            ValueError: If neither text nor videos are given, or a video has none of these forms.
        """
        if text is None and videos is None:
            raise ValueError("A batch needs `text`, `videos` or both, got neither.")
        batch = BatchFeature()
        if text is not None:
            captions = [text] if isinstance(text, str) else list(text)
            if not captions:
                raise ValueError("`text` must hold at least one caption, got none.")
            batch.update(self._tokenize(captions))
        if videos is not None:
            videos = list(videos) if isinstance(videos, (list, tuple)) else [videos]
            if not videos:
                raise ValueError("`videos` must hold at least one video, got none.")
            batch.update(_pad([self.pixel_values(video) for video in videos]))
        return batch

    def pixel_values(self, video: Video) -> Tensor:
        """Preprocess one video, as DataLoader workers do, so that the whole frames of a batch are never in memory.

        Args:
            video: A path, a `VideoFrames`, uint8 frames as an array or tensor (frames, height, width, 3), a list of RGB
                images, or pixel values that this method returned. Of more than `max_frames` frames, the index rule of
                `frame_sampling` keeps some; one frame a second can be chosen only in files, which have times.

        Returns:
            float32 (frames, 3, height, width), at most `max_frames` frames.

        Raises:
            VideoDecodeError: If a file gives no frames.
            ValueError: If the video has none of these forms.
        """
        if isinstance(video, Tensor) and video.is_floating_point():
            kept = self._check_pixel_values(video)
            return kept[rule_indices(len(kept), self.max_frames, self.frame_sampling)]
        return self._preprocess(self._frames(video))

    @property
    def model_input_names(self) -> list[str]:
        """Keys of a batch of captions and videos."""
        text = ["input_ids"] if self.pad_to_tokens is not None else ["input_ids", "attention_mask"]
        return [*text, "pixel_values", "frame_mask"]

    def _tokenize(self, captions: Sequence[str]) -> dict[str, Tensor]:
        # Twice, as CLIP's own program does, because captions from the web contain `&amp;quot;`.
        captions = [html.unescape(html.unescape(caption)) for caption in captions]
        if self.lowercase:
            captions = [caption.lower() for caption in captions]
        limit = {"truncation": True, "max_length": self.max_text_tokens}
        # No token types: those of single sentences are zeros, which is the default of the towers that have them.
        if self.pad_to_tokens is None:
            tokens = self.tokenizer(
                captions,
                padding=True,
                **limit,
                return_token_type_ids=False,
                return_attention_mask=True,
                return_tensors="pt",
            )
            return {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
        tokens = self.tokenizer(captions, **limit, return_token_type_ids=False, return_attention_mask=False)
        padded = self.tokenizer.pad(
            tokens, "max_length", self.pad_to_tokens, return_attention_mask=False, return_tensors="pt"
        )
        return {"input_ids": padded["input_ids"]}

    def _frames(self, video: Video) -> np.ndarray:
        """Return uint8 (frames, height, width, 3), at most `max_frames`."""
        if isinstance(video, (str, os.PathLike)):
            return read_frames(video, self.max_frames, self.frame_sampling, backend=self.video_backend).frames
        if isinstance(video, VideoFrames):
            video = video.frames
        if isinstance(video, Tensor):
            video = video.cpu().numpy()
        if not isinstance(video, np.ndarray):
            video = np.stack([np.asarray(image) for image in video]) if len(video) else np.empty(0)
        if video.dtype != np.uint8 or video.ndim != 4 or video.shape[-1] != 3 or len(video) == 0:
            raise ValueError(
                f"A video must be a path, or uint8 frames of shape (frames, height, width, 3) with at least one frame, "
                f"got {video.dtype} of shape {video.shape}."
            )
        return video[rule_indices(len(video), self.max_frames, self.frame_sampling)]

    def _check_pixel_values(self, video: Tensor) -> Tensor:
        height, width = self._preprocess.image_size or video.shape[-2:]
        if video.dtype != torch.float32 or video.shape != (len(video), 3, height, width) or len(video) == 0:
            raise ValueError(
                f"A video of floating-point numbers must be pixel values, float32 (frames, 3, {height}, {width}) with "
                f"at least one frame, got {video.dtype} of shape {tuple(video.shape)}. Pass frames as uint8 instead."
            )
        return video


def _text_tower(model: str | os.PathLike, hub_options: dict[str, Any]) -> tuple[DualEncoder | None, int | None]:
    """Return a model's family and the most tokens of its text tower; None and None if no model of the table is there.

    Raises:
        TypeError: If the model is a dual encoder that cannot take videos.
    """
    try:
        config = AutoConfig.from_pretrained(model, trust_remote_code=False, **hub_options)
    except (OSError, ValueError):
        return None, None
    if config.model_type in REFUSED:
        DualEncoder.of_config(config, f"'{os.fspath(model)}'")
    family = FAMILIES.get(config.model_type.removesuffix("_text_model"))
    text_config = getattr(config, "text_config", config)
    if family is None or not hasattr(text_config, "max_position_embeddings"):
        return family, None
    return family, family.max_text_tokens(text_config)


def _pad(videos: list[Tensor]) -> dict[str, Tensor]:
    """Stack videos (frames, 3, height, width) of different lengths, with zeros after the shorter ones."""
    num_frames = torch.tensor([len(video) for video in videos])
    return {
        "pixel_values": torch.nn.utils.rnn.pad_sequence(videos, batch_first=True),
        "frame_mask": (torch.arange(int(num_frames.max())) < num_frames[:, None]).long(),
    }
