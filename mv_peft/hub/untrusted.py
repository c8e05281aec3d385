"""Checks of an adapter that anybody may have made, before it is loaded.

Its settings must run no code, and its tensors must be those that the settings ask for. Nothing of the size that a
configuration asks for is allocated: the adapter is built on the meta device, and its names and shapes are compared with
the header of the file. So a file cannot be larger than what was downloaded, cannot lack a tensor, and cannot bring one
that would replace a weight of the base model.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftType, get_peft_model, get_peft_model_state_dict
from transformers import PreTrainedConfig

from ..errors import CheckpointError, some_of
from ..runs.files import CONFIG_FILE, WEIGHTS_FILE, read_json
from ..tuners.base.names import current_key
from .folder import weight_shapes

# Settings that make PEFT import a module, read a file or repeat layers when it builds an adapter.
_REFUSED = ("megatron_config", "layer_replication", "loftq_config", "corda_config", "eva_config", "lora_ga_config")
_REFUSED_TYPES = {PeftType.XLORA.value, PeftType.POLY.value}  # load other repositories; need a task for each row
_MAX_LIST = 10_000


def read_config(folder: Path) -> PeftConfig:
    """Read the configuration in an adapter folder that anybody may have made.

    Raises:
        CheckpointError: If a file is missing or damaged, or the configuration is out of bounds, is of an unknown
            method, or asks for code or files.
    """
    weight_shapes(folder)
    settings = read_json(folder / CONFIG_FILE)
    where = f"The configuration in '{folder.name}'"
    for key in _REFUSED:
        if any(part.get(key) for part in _objects(settings)):  # a method may hold the configuration of another
            raise CheckpointError(
                f"{where} sets `{key}`, which is not taken from others. Load it with PEFT, if you trust it."
            )
    if longest := _longest(settings):
        raise CheckpointError(f"{where} holds a list of {longest} entries, at most {_MAX_LIST} are read.")
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except KeyError as error:
        raise CheckpointError(f"{where} is of the method {error}, unknown to this PEFT. Update peft.") from error
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{where} is refused: {error}") from error
    inner = {str(part["peft_type"]) for part in _objects(settings) if part.get("peft_type")}
    refused = sorted(inner & _REFUSED_TYPES)
    if config.is_prompt_learning or refused:
        method = refused[0] if refused else config.peft_type.value
        raise CheckpointError(f"{where} is of the method {method}, which does not fit a dual encoder.")
    config.auto_mapping = None  # names a module to import, for PEFT's AutoPeftModel
    return config


def check_tensors(folder: Path, config: PeftConfig, model_class: Any, model_config: PreTrainedConfig) -> None:
    """Compare the tensors of an adapter's file with those that its configuration makes in a base model.

    Args:
        folder: The adapter's folder.
        config: Its configuration.
        model_class: Class of the base model.
        model_config: Configuration of the base model.

    Raises:
        CheckpointError: If any tensor is missing, left over or of another shape.
    """
    shapes = {current_key(key): shape for key, shape in weight_shapes(folder).items()}
    dry = copy.deepcopy(config)
    try:
        with torch.device("meta"):
            model = get_peft_model(model_class(model_config), dry, low_cpu_mem_usage=True)
            expected = get_peft_model_state_dict(model, save_embedding_layers=False)
    except Exception as error:
        raise CheckpointError(
            f"The adapter in '{folder.name}' cannot be put into this {model_class.__name__}: {error}"
        ) from error
    unlike = [
        key
        for key in sorted(expected.keys() | shapes.keys())
        if key not in expected or key not in shapes or tuple(expected[key].shape) != shapes[key]
    ]
    if unlike:
        raise CheckpointError(
            f"The adapter in '{folder.name}' does not fit: {len(unlike)} tensors of {WEIGHTS_FILE} are missing, left "
            f"over or of another shape than {CONFIG_FILE} and the base model ask for ({some_of(unlike)}). "
            "Give the model that it was trained on as `base_model`."
        )


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield all JSON objects in a value, itself included."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(item)


def _longest(value: Any) -> int:
    """Return the length of the first list or object beyond the limit, 0 if there is none."""
    if not isinstance(value, (list, dict)):
        return 0
    if len(value) > _MAX_LIST:
        return len(value)
    return max((_longest(item) for item in (value.values() if isinstance(value, dict) else value)), default=0)
