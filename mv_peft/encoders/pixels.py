"""Preprocessing of frames into pixel values: the family's resize, crop and normalisation, exact or fast."""

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_utils import PILImageResampling

Preprocessing = Literal["exact", "fast", "official"]

_INTERPOLATION = {PILImageResampling.BICUBIC: "bicubic", PILImageResampling.BILINEAR: "bilinear"}


class FramePreprocessor:
    """The preprocessing of an image processor, applied to the frames of a video.

    `exact` runs the image processor's own code in Pillow, and gives what Transformers gives, to the bit. `fast` resizes
    the uint8 frames with torch's antialiased filter. It is several times faster, and differs from `exact` by at most
    2/255, on average by less than 0.01/255. `official` is CLIP's only. It gives what OpenAI's CLIP and the program of
    MV-Adapter's authors give, to the bit, which differs from `exact` where the margin to crop is odd: they round half a
    pixel to the even side, while Transformers always rounds it down.

    Args:
        image_processor: The model's image processor.
        preprocessing: `exact`, `fast` or `official`.

    Raises:
        ValueError: If `fast` or `official` cannot do what the image processor does.
    """

    def __init__(self, image_processor: BaseImageProcessor, preprocessing: Preprocessing = "exact") -> None:
        if preprocessing not in get_args(Preprocessing):
            raise ValueError(f"Unknown preprocessing {preprocessing!r}. Choose from: exact, fast, official.")
        self.image_processor = in_pillow(image_processor)
        self.preprocessing = preprocessing
        if preprocessing == "fast" and not (self._resizes_and_crops() or self._resizes_to_a_rectangle()):
            raise ValueError(
                "Fast preprocessing resizes the short side and crops the centre, or resizes to height and width, then "
                f"rescales and normalises. This image processor differs: {self.image_processor.to_dict()}. "
                "Use `preprocessing='exact'`."
            )
        is_clip = self.image_processor.to_dict()["image_processor_type"] == "CLIPImageProcessor"
        if preprocessing == "official" and not (is_clip and self._resizes_and_crops(("bicubic",))):
            raise ValueError(
                "Official preprocessing is that of OpenAI's CLIP: bicubic resize of the short side, centre crop, "
                f"rescale and normalise. This image processor differs: {self.image_processor.to_dict()}. "
                "Use `preprocessing='exact'`."
            )

    def __call__(self, frames: np.ndarray) -> Tensor:
        """Preprocess frames.

        Args:
            frames: uint8 (frames, height, width, 3).

        Returns:
            float32 (frames, 3, height, width), of the image processor's size.
        """
        if self.preprocessing == "fast":
            return self._fast(frames)
        if self.preprocessing == "official":
            return self._official(frames)
        return self._run(frames)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """Height and width of the pixel values, or None if they depend on the frames."""
        processor = self.image_processor
        if self._crops:
            return processor.crop_size["height"], processor.crop_size["width"]
        if processor.do_resize and set(dict(processor.size)) == {"height", "width"}:
            return processor.size["height"], processor.size["width"]
        return None

    @property
    def _crops(self) -> bool:
        return bool(getattr(self.image_processor, "do_center_crop", False))

    def _run(self, frames: np.ndarray | list[np.ndarray], **options: Any) -> Tensor:
        # The format must be given, because that of an image with a height of three pixels cannot be inferred. Frames go
        # through one at a time, so that copies of all of them in their full size are never in memory.
        options = {**options, "input_data_format": "channels_last", "return_tensors": "pt"}
        return torch.cat([self.image_processor(frame, **options)["pixel_values"] for frame in frames])

    def _fast(self, frames: np.ndarray) -> Tensor:
        processor = self.image_processor
        # A view instead of a copy, because torch resizes uint8 fast only where the channels are innermost.
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
        size = self._resized(*frames.shape[1:3])
        mode = _INTERPOLATION[processor.resample]
        if _scales_columns_first(frames.shape[1:3], size, processor.resample):
            columns = size[0], frames.shape[2]
            pixels = torch.nn.functional.interpolate(pixels, columns, mode=mode, antialias=True)
        pixels = torch.nn.functional.interpolate(pixels, size, mode=mode, antialias=True)
        assert self.image_size is not None
        height, width = self.image_size
        top, left = (size[0] - height) // 2, (size[1] - width) // 2
        pixels = pixels[:, :, top : top + height, left : left + width].float()
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
        return pixels.mul_(processor.rescale_factor / std).sub_(mean / std)

    def _official(self, frames: np.ndarray) -> Tensor:
        height, width = self._resized(*frames.shape[1:3])
        assert self.image_size is not None
        crop_height, crop_width = self.image_size
        top, left = round((height - crop_height) / 2), round((width - crop_width) / 2)
        box = (left, top, left + crop_width, top + crop_height)
        cropped = [
            np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC).crop(box))
            for frame in frames
        ]
        return self._run(cropped, do_resize=False, do_center_crop=False)

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) after the image processor's resize."""
        size = self.image_processor.size
        if self._resizes_to_a_rectangle():
            return size["height"], size["width"]
        new_short = size["shortest_edge"]
        return int(new_short * height / min(height, width)), int(new_short * width / min(height, width))

    def _resizes_and_crops(self, modes: tuple[str, ...] = ("bicubic", "bilinear")) -> bool:
        """Tell whether this is CLIP's rule: resize of the short side, then crop of the centre."""
        processor = self.image_processor
        return (
            self._is_plain(modes)
            and self._crops
            and set(dict(processor.size)) == {"shortest_edge"}
            and processor.size["shortest_edge"] >= max(processor.crop_size["height"], processor.crop_size["width"])
        )

    def _resizes_to_a_rectangle(self) -> bool:
        """Tell whether this is SigLIP's rule: resize to a height and a width, which ignores the aspect ratio."""
        processor = self.image_processor
        return (
            self._is_plain(("bicubic", "bilinear"))
            and not self._crops
            and set(dict(processor.size)) == {"height", "width"}
        )

    def _is_plain(self, modes: tuple[str, ...]) -> bool:
        processor = self.image_processor
        steps = processor.do_resize, processor.do_rescale, processor.do_normalize
        return (
            all(steps) and not getattr(processor, "do_pad", False) and _INTERPOLATION.get(processor.resample) in modes
        )


@lru_cache(maxsize=4096)
def _scales_columns_first(size: tuple[int, int], new_size: tuple[int, int], resample: int) -> bool:
    """Tell whether Pillow scales columns before rows, between two sizes (height, width).

    Both orders round differently. Torch always scales rows first, as old versions of Pillow do; newer ones choose by
    the sizes. Pillow is therefore asked, once for each pair of sizes.
    """
    (height, width), (new_height, new_width) = size, new_size
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    def resize(*steps: tuple[int, int]) -> np.ndarray:
        image = Image.fromarray(noise)
        for step in steps:
            image = image.resize(step, Image.Resampling(resample))
        return np.asarray(image)

    resized = resize((new_width, new_height))
    if np.array_equal(resized, resize((new_width, height), (new_width, new_height))):
        return False
    return np.array_equal(resized, resize((width, new_height), (new_width, new_height)))


def in_pillow(image_processor: BaseImageProcessor) -> BaseImageProcessor:
    """Return the same image processor in Transformers' implementation for Pillow.

    Where torchvision is installed, Transformers chooses another implementation by default, which rounds differently.

    Raises:
        TypeError: If Transformers has no such implementation.
    """
    for cls in type(image_processor).__mro__:
        name = cls.__name__.removesuffix("Pil").removesuffix("Fast")
        # Before Transformers 5.4 the implementation for Pillow had the short name.
        pillow = getattr(transformers, f"{name}Pil", None) or getattr(transformers, name, None)
        if pillow is not None and pillow.__module__.startswith("transformers.models."):
            return pillow.from_dict(image_processor.to_dict())
    raise TypeError(
        f"Transformers has no Pillow implementation of {type(image_processor).__name__}. Use the image processor of a "
        "model that mv_peft adapts."
    )
