"""Embeddings of captioned videos, which can be saved and loaded."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..errors import CheckpointError
from .metrics import check_video_of_caption

_TENSORS, _NAMES = "embeddings.safetensors", "embeddings.json"


@dataclass(frozen=True, eq=False, repr=False)
class RetrievalEmbeddings:
    """Embeddings of captions and videos, as unit vectors, and which caption belongs to which video.

    Attributes:
        text_embeds: Embeddings of the captions, (captions, dim), float32, on the CPU.
        video_embeds: Embeddings of the videos, (videos, dim), float32, on the CPU.
        video_of_caption: The index of each caption's video, (captions,), int64.
        video_ids: Id of each video. All moments of a video have the same id.
        captions: The texts.
        skipped: Ids of the videos that could not be read and were left out, with their captions.

    Raises:
        ValueError: If the numbers of rows do not agree.
    """

    text_embeds: Tensor
    video_embeds: Tensor
    video_of_caption: Tensor
    video_ids: tuple[str, ...]
    captions: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, embeds, names in (
            ("text_embeds", self.text_embeds, self.captions),
            ("video_embeds", self.video_embeds, self.video_ids),
        ):
            if embeds.ndim != 2 or len(embeds) != len(names):
                raise ValueError(f"`{name}` must have {len(names)} rows, one for each name, got {tuple(embeds.shape)}.")
        check_video_of_caption(self.video_of_caption, len(self.captions), len(self.video_ids))

    def __repr__(self) -> str:
        skipped = f", {len(self.skipped)} videos skipped" if self.skipped else ""
        return (
            f"RetrievalEmbeddings({len(self.captions)} captions of {len(self.video_ids)} videos, "
            f"dim {self.text_embeds.shape[1]}{skipped})"
        )

    def save(self, folder: str | os.PathLike) -> None:
        """Save to `embeddings.safetensors` and `embeddings.json` in a folder, which is created if it does not exist."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: getattr(self, name).contiguous() for name in _TENSOR_NAMES}
        names = {"schema": 1, **{name: list(getattr(self, name)) for name in _LIST_NAMES}}
        # Under another name first, so that a killed run leaves no incomplete file.
        save_file(tensors, folder / f"{_TENSORS}.part")
        (folder / f"{_NAMES}.part").write_text(json.dumps(names, ensure_ascii=False, indent=1), encoding="utf-8")
        for name in (_TENSORS, _NAMES):
            os.replace(folder / f"{name}.part", folder / name)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> RetrievalEmbeddings:
        """Load what `save` wrote, without unpickling anything.

        Raises:
            CheckpointError: If the folder does not hold both files, or they do not fit together.
        """
        folder = Path(folder)
        try:
            tensors = load_file(folder / _TENSORS)
            names: Any = json.loads((folder / _NAMES).read_text(encoding="utf-8"))
            fields: dict[str, Any] = {name: tensors[name] for name in _TENSOR_NAMES}
            return cls(**fields | {name: tuple(names[name]) for name in _LIST_NAMES})
        except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
            raise CheckpointError(f"Cannot read embeddings in '{folder}': {error} Save them again.") from error


_TENSOR_NAMES = ("text_embeds", "video_embeds", "video_of_caption")
_LIST_NAMES = ("video_ids", "captions", "skipped")
