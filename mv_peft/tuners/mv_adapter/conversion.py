"""Conversion between official checkpoints and adapter folders, over a CLIP without weights."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...encoders.families import DualEncoder
from ...encoders.loading import find_base_model
from ...errors import CheckpointError, some_of
from ...runs.files import CARD_FILE, CONFIG_FILE, WEIGHTS_FILE
from .config import MVAdapterConfig
from .layer import MVAdapterLinear, SharedFactors
from .official import ConversionReport, load_official_checkpoint, official_state_dict
from .official_file import read_official


def adapter_from_official(
    checkpoint: str | os.PathLike[str], base_model: str, config: MVAdapterConfig
) -> tuple[PeftModel, ConversionReport]:
    """Make an adapter of an official checkpoint, to be saved: the CLIP around it is on the meta device.

    Args:
        checkpoint: As `load_official_checkpoint` takes it. Where all tensors of its adapter have one dtype, so has the
            result; otherwise the result is float32.
        base_model: Folder or Hub name of the CLIP that was adapted.
        config: The settings of the run.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit, or `base_model` is not CLIP.
        ValueError: If the configuration does not fit the model.
    """
    state = read_official(checkpoint)
    model = _with_empty_adapter(base_model, config)
    _materialise(model, [value for key, value in state.items() if ".adapter." in key or key.startswith("clip.prompt.")])
    return model, load_official_checkpoint(model, state)


def official_from_adapter(folder: str | os.PathLike[str], base_model: str) -> dict[str, Tensor]:
    """Return a saved adapter under the names of the authors' program, in its dtype, or in float32 if it has several.

    Args:
        folder: An adapter as PEFT saves it, with `adapter_config.json` and `adapter_model.safetensors`.
        base_model: Folder or Hub name of the CLIP that was adapted.

    Raises:
        CheckpointError: If the folder holds no whole MV-Adapter, or one that does not fit the model, or trained modules
            of CLIP beside it, or `base_model` is not CLIP.
    """
    folder = Path(folder)
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise CheckpointError(f"'{folder}' is no adapter folder: it has no {name}. Give a folder that PEFT saved.")
    try:
        config = PeftConfig.from_pretrained(str(folder))
        weights = load_file(folder / WEIGHTS_FILE)
    except Exception as error:
        raise CheckpointError(f"Cannot read the adapter in '{folder}': {_first_line(error)}. Save it again.") from error
    if not isinstance(config, MVAdapterConfig):
        raise CheckpointError(f"'{folder}' holds a {config.peft_type.value} adapter. Only MV_ADAPTER can be converted.")
    if config.modules_to_save:
        raise CheckpointError(
            f"The adapter in '{folder}' also holds CLIP's {', '.join(config.modules_to_save)}, which the program's "
            "adapter cannot hold. Use `official_state_dict` to convert the adapter without them."
        )
    model = _with_empty_adapter(base_model, config)
    expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    unlike = [
        key
        for key in sorted(expected.keys() | weights.keys())
        if key not in expected or key not in weights or expected[key].shape != weights[key].shape
    ]
    if unlike:
        raise CheckpointError(
            f"The adapter in '{folder}' does not fit '{base_model}': {len(unlike)} tensors are missing, left over or "
            f"of another shape ({some_of(unlike)}). Name the model that it was trained on."
        )
    _materialise(model, weights.values())
    set_peft_model_state_dict(model, weights)
    return official_state_dict(model)


def write_adapter(model: PeftModel, folder: Path) -> None:
    """Save the adapter as PEFT does, without the blank model card that PEFT adds."""
    model.save_pretrained(str(folder), save_embedding_layers=False)
    (folder / CARD_FILE).unlink()


def write_official(state: dict[str, Tensor], path: Path) -> None:
    """Save an official state dict as safetensors, or by `torch.save` under any other suffix."""
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)


def _with_empty_adapter(base_model: str, config: MVAdapterConfig) -> PeftModel:
    """Build a CLIP and its adapter on the meta device: names and shapes, no values."""
    source = find_base_model(base_model)
    family = DualEncoder.of_config(source.config)
    if family.model_type != "clip":
        raise CheckpointError(
            f"The authors' program has CLIP only, and '{base_model}' is a {family.title}. Name the CLIP of the run."
        )
    clip = source.without_weights()
    model = get_peft_model(clip, config, low_cpu_mem_usage=True, autocast_adapter_dtype=False)
    model.peft_config["default"].base_model_name_or_path = base_model
    return model


def _materialise(model: PeftModel, like: Iterable[Tensor]) -> None:
    """Allocate the adapter, and nothing else, on the CPU, in the dtype of `like` or in float32 where that varies."""
    dtypes = {tensor.dtype for tensor in like if tensor.is_floating_point()}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float32
    for module in model.modules():
        if isinstance(module, MVAdapterLinear):
            module.mv_adapter_block.to_empty(device="cpu").to(dtype)
        elif isinstance(module, SharedFactors):
            module.to_empty(device="cpu").to(dtype)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
