"""A model that retrieves videos, as a command line names it: a base model with or without an adapter."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch import nn

from ..encoders import MVProcessor
from ..encoders.families import DualEncoder
from ..encoders.loading import HubOptions, load_base_model
from ..encoders.video_input import enable_video
from ..errors import CheckpointError
from ..runs.files import VIDEO_PROCESSOR_FILE, read_json
from ..video import FrameSampling
from .load import adapter_limits, adapter_processor, build_model, check_base, find_adapter


def load_retrieval_model(
    name: str | os.PathLike[str],
    adapter: str | os.PathLike[str] | None = None,
    *,
    max_frames: int = 12,
    max_text_tokens: int | None = None,
    frame_sampling: FrameSampling = "fps_uniform",
) -> tuple[nn.Module, MVProcessor]:
    """Load a model in float32 and in evaluation mode, on the CPU, and its processor.

    The processor is the one that was saved with the adapter, or with the base model. Where neither was, it is made of
    the base model's processor; the limits of an adapter that has some take precedence over those given here.

    Args:
        name: A base model, by its folder or its name on the Hub.
        adapter: An adapter of that model, of any PEFT method, likewise; None for zero-shot.
        max_frames: The most frames of a video, if the processor has to be made.
        max_text_tokens: The most tokens of a caption, if the processor has to be made; never more than the model takes,
            and None for as many as it takes.
        frame_sampling: Which frames stand for a video that has more, if the processor has to be made.

    Raises:
        CheckpointError: If there is no such model or adapter, or the two do not belong together.
        HubError: If the Hub does not give them.
    """
    found = None
    if adapter is None:
        model: nn.Module = enable_video(load_base_model(name, dtype=torch.float32))
        base_model = model
    else:
        hub = HubOptions()
        found = find_adapter(adapter, None, None, hub)
        base = check_base(found, name, hub, allow_other_base=False)
        base_model = base.model.to(torch.float32)
        model = build_model(found, base, "default", is_trainable=False)
    settings: dict[str, object] = {}
    if not _has_video_processor(Path(name)):
        positions = DualEncoder.of(base_model).max_text_tokens(base_model.config.text_config)
        tokens = min(positions, positions if max_text_tokens is None else max_text_tokens)
        settings = {"max_frames": max_frames, "max_text_tokens": tokens, "frame_sampling": frame_sampling}
    if found is not None:
        settings |= adapter_limits(found.config)
    try:
        processor = None if found is None else adapter_processor(found)
        if processor is None:
            processor = MVProcessor.from_pretrained(name, trust_remote_code=False, **settings)
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"Cannot load a processor for '{adapter or name}': {first}") from error
    return model.eval(), processor


def _has_video_processor(folder: Path) -> bool:
    """Tell whether an `MVProcessor` was saved in a folder; Transformers saves others in a file of the same name."""
    path = folder / VIDEO_PROCESSOR_FILE
    return path.is_file() and read_json(path).get("processor_class") == MVProcessor.__name__
