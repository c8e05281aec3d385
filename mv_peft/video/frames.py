"""The frames of one video, and the arithmetic of their size."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False, repr=False)
class VideoFrames:
    """Frames of one video with their times.

    Attributes:
        frames: RGB images, uint8, shape (frames, height, width, 3).
        pts_seconds: When each is shown, in seconds from the video's first frame, float64, shape (frames,).

    Raises:
        ValueError: If the arrays have other types or shapes.
    """

    frames: np.ndarray
    pts_seconds: np.ndarray

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(
                f"`frames` must be uint8 of shape (frames, height, width, 3), "
                f"got {self.frames.dtype} of shape {self.frames.shape}."
            )
        if self.pts_seconds.shape != self.frames.shape[:1]:
            raise ValueError(
                f"`pts_seconds` must have shape (frames,) = ({len(self.frames)},), got {self.pts_seconds.shape}."
            )

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        times = f"{self.pts_seconds[0]:.3f}..{self.pts_seconds[-1]:.3f}" if len(self) else "none"
        return f"VideoFrames(frames: uint8 {self.frames.shape}, pts_seconds: {times})"


def stack_images(images: Iterable[np.ndarray], num_images: int) -> np.ndarray:
    """Stack images of one shape as they arrive, so that no image is held twice.

    Args:
        images: At least one array of shape (height, width, 3).
        num_images: How many there are.

    Returns:
        Shape (num_images, height, width, 3).
    """
    images = iter(images)
    first = next(images)
    stacked = np.empty((num_images, *first.shape), dtype=first.dtype)
    stacked[0] = first
    for position, image in zip(range(1, num_images), images, strict=True):
        stacked[position] = image
    return stacked


def scaled_size(width: int, height: int, short_side: int | None) -> tuple[int, int]:
    """Return (width, height) after scaling the short side to `short_side`; unchanged where that is None."""
    if short_side is None:
        return width, height
    scale = short_side / min(width, height)
    return round(width * scale), round(height * scale)
