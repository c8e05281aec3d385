"""A CLIP that takes videos, as a command line names it: zero-shot, or with an adapter; and the processor to it."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, CLIPConfig, CLIPModel

from ..encoders import MVProcessor
from ..encoders.video_input import enable_video
from ..errors import CheckpointError
from ..tuners.mv_adapter.config import MVAdapterConfig
from ..video import FrameSampling
from .load import load

_SAVED = "processor_config.json"  # what an `MVProcessor` saves itself in


def load_video_clip(
    name: str | os.PathLike[str],
    adapter: str | os.PathLike[str] | None = None,
    *,
    max_frames: int = 12,
    max_text_tokens: int | None = None,
    frame_sampling: FrameSampling = "fps_uniform",
) -> tuple[nn.Module, MVProcessor]:
    """Loads a CLIP in float32, in evaluation mode, on the CPU.

    The processor is the one that was saved with the adapter, or with the CLIP. Where there is none it is made of the
    CLIP's; an MV-Adapter's limits go before those given here.

    Args:
        name: A CLIP, by its folder or its name on the Hub.
        adapter: An adapter of that CLIP, of any PEFT method, likewise; None for zero-shot.
        max_frames: Of a processor to be made.
        max_text_tokens: Of a processor to be made, no more than the CLIP takes; None for as many as it takes.
        frame_sampling: Of a processor to be made.

    Raises:
        CheckpointError: If there is no such CLIP or adapter, or the two do not belong together.
    """
    if adapter is None:
        model: nn.Module = enable_video(_load_clip(name))
        config, positions = None, model.config.text_config.max_position_embeddings
        saved = _saved(name)
    else:
        loaded = load(adapter, base_model=name, dtype=torch.float32)
        model, config = loaded.model, loaded.model.peft_config["default"]
        positions = model.get_base_model().config.text_config.max_position_embeddings
        is_local = os.path.isdir(adapter)
        if not is_local and loaded.processor is not None:
            return model.eval(), loaded.processor
        saved = _saved(adapter) or _saved(name)
    settings: dict[str, object] = {}
    if isinstance(config, MVAdapterConfig):
        settings["adapter_config"] = config
    if saved is None:
        tokens = min(positions, positions if max_text_tokens is None else max_text_tokens)
        settings |= {"max_frames": max_frames, "max_text_tokens": tokens, "frame_sampling": frame_sampling}
    try:
        return model.eval(), MVProcessor.from_pretrained(name if saved is None else saved, **settings)
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"Cannot load the processor of '{saved or name}': {first}") from error


def _saved(folder: str | os.PathLike[str]) -> Path | None:
    """The folder, if a processor for videos was saved in it."""
    path = Path(folder)
    return path if (path / _SAVED).is_file() else None


def _load_clip(name: str | os.PathLike[str]) -> CLIPModel:
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        if not isinstance(config, CLIPConfig):
            raise CheckpointError(f"'{name}' is a {config.model_type}, not a CLIP. Name a CLIP with both towers.")
        return CLIPModel.from_pretrained(name, dtype=torch.float32)
    except (OSError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"Cannot load '{name}': {first}") from error
