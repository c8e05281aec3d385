"""Reading of checkpoints of the authors' program: tensors only, and no code from a file is ever run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ...errors import CheckpointError, some_of

_SAVE_STATE_DICT = "Give the program's `model.state_dict()`, saved by `torch.save` or as safetensors."


def read_official(checkpoint: str | os.PathLike[str] | Mapping[str, Any]) -> dict[str, Tensor]:
    """Read a checkpoint of the authors' program as a flat state dict; no code from a file is ever run.

    Args:
        checkpoint: A `.safetensors` file, a file of `torch.save` with any other suffix, or a state dict. The state dict
            may lie one level down, under "state_dict", "model_state_dict" or "model", and have DDP's prefix `module.`.

    Raises:
        CheckpointError: If it is none of those.
    """
    what = "The mapping"
    if isinstance(checkpoint, (str, os.PathLike)):
        what, checkpoint = f"'{os.fspath(checkpoint)}'", _read_file(Path(checkpoint))
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
            break
    if not isinstance(checkpoint, Mapping):
        raise CheckpointError(f"{what} holds no state dict but {type(checkpoint).__name__}. {_SAVE_STATE_DICT}")
    for key, value in checkpoint.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{what} holds no state dict: {key!r} is {type(value).__name__}. {_SAVE_STATE_DICT}")
    flat = {key.removeprefix("module."): value for key, value in checkpoint.items()}
    if len(flat) < len(checkpoint):
        twice = [key for key in flat if key in checkpoint and f"module.{key}" in checkpoint]
        raise CheckpointError(f"{what} holds keys with and without `module.`: {some_of(twice)}. {_SAVE_STATE_DICT}")
    return flat


def _read_file(path: Path) -> Any:
    if not path.is_file():
        kind = "is a folder" if path.is_dir() else "does not exist"
        raise CheckpointError(f"The checkpoint '{path}' {kind}. Give the path of a .pth or .safetensors file.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        unpickled = re.search(r"GLOBAL ([\w.]+)", str(error))  # torch's message recommends unpickling it
        form = "safetensors" if path.suffix == ".safetensors" else "torch.save"
        reason = f"it asks for the Python object {unpickled[1]}" if unpickled else f"it is not a file of {form}"
        raise CheckpointError(
            f"Cannot read '{path}' as a checkpoint: {reason}. Only tensors are read. {_SAVE_STATE_DICT}"
        ) from error
