"""An adapter in a folder: which of its files go to the Hub, without or instead of anything that is private."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError, safe_open
from transformers.processing_utils import ProcessorMixin

from ..encoders.fingerprint import fingerprint
from ..errors import CheckpointError
from ..runs.files import ADAPTER_FILES, CONFIG_FILE, METRICS_FILE, SETTINGS_FILES, WEIGHTS_FILE, read_json
from ..runs.metrics_file import SCHEMA, MetricsFile
from .names import checked_repo_id, is_hub_name
from .private import private_strings
from .remote import AdapterInfo

Content = bytes | Path  # of a file that goes up
# What Transformers notes of the machine that saved a tokenizer.
_OF_THIS_MACHINE = ("name_or_path", "special_tokens_map_file", "is_local", "local_files_only")


def read_folder(folder: Path, base_model: str | None = None) -> tuple[dict[str, Content], AdapterInfo]:
    """Read what goes to the Hub of an adapter folder, by file name, and what the card says of it.

    Args:
        folder: As `mv-peft train` or PEFT wrote it.
        base_model: The base model's name on the Hub; None for the one that the adapter names.

    Raises:
        CheckpointError: If the folder holds no whole adapter, or something that must not leave this machine.
    """
    weight_shapes(folder)
    config, metrics_file = read_json(folder / CONFIG_FILE), MetricsFile.read(folder)
    size = (folder / WEIGHTS_FILE).stat().st_size
    metrics_file = replace(
        metrics_file,
        base_model=replace(metrics_file.base_model, name=_public_base(base_model, config, metrics_file)),
        adapter=replace(
            metrics_file.adapter,
            method=str(config.get("peft_type")),
            bytes=size,
            sha256=sha256(folder / WEIGHTS_FILE),
        ),
    )
    config["base_model_name_or_path"] = metrics_file.base_model.name
    config["revision"] = config.get("revision") or metrics_file.base_model.revision
    settings = {name: read_json(folder / name) for name in SETTINGS_FILES if (folder / name).is_file()}
    settings |= {CONFIG_FILE: config, METRICS_FILE: metrics_file.to_dict()}
    for key in _OF_THIS_MACHINE:
        settings.get("tokenizer_config.json", {}).pop(key, None)
    for name, content in settings.items():
        for key, what in private_strings(content):
            raise CheckpointError(f"`{key}` in {name} holds {what}, which is not for others. Take it out.")
    files: dict[str, Content] = {}
    for name in ADAPTER_FILES:
        if name in settings:
            files[name] = (json.dumps(settings[name], indent=2, sort_keys=True) + "\n").encode()
        elif (folder / name).is_file():
            files[name] = folder / name
    return files, AdapterInfo("", config, metrics_file, size)


def save_adapter(
    model: PeftModel,
    folder: Path,
    adapter_name: str | None,
    processor: ProcessorMixin | None,
    metrics: Mapping[str, Any] | None,
) -> Path:
    """Save one adapter of a model with its processor and its metrics, and return the folder that it lies in.

    Raises:
        ValueError: If the model has no such adapter, or several are active and none is named.
    """
    active = model.active_adapters
    if adapter_name is None and len(active) != 1:
        raise ValueError(f"The active adapters are {', '.join(active)}. Name one by `adapter_name`.")
    name = adapter_name or active[0]
    if name not in model.peft_config:
        raise ValueError(f"The model has no adapter {name!r}. Choose from: {', '.join(model.peft_config)}.")
    metrics_file = MetricsFile.from_dict({**(metrics or {}), "schema": SCHEMA})
    base, noted = model.get_base_model(), metrics_file.base_model
    base_model = replace(
        noted,
        architecture=noted.architecture or type(base).__name__,
        fingerprint=noted.fingerprint or fingerprint(base),
    )
    model.save_pretrained(str(folder), selected_adapters=[name], save_embedding_layers=False)
    folder = folder if name == "default" else folder / name
    replace(metrics_file, base_model=base_model).write(folder)
    if processor is not None:
        processor.save_pretrained(str(folder))
    return folder


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of an adapter's tensors, from the header of its safetensors file.

    Raises:
        CheckpointError: If a file is missing, is a pickle, is cut off or damaged, or holds nothing.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            pickles = " Weights in a .bin file are a pickle, which is never read." if name == WEIGHTS_FILE else ""
            raise CheckpointError(f"There is no whole adapter in '{folder.name}': it has no {name}.{pickles}")
    try:
        with safe_open(folder / WEIGHTS_FILE, "pt") as file:
            shapes = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{WEIGHTS_FILE} is cut off or damaged ({error}). Save it again, or load it with `force_download=True`."
        ) from error
    if not shapes:
        raise CheckpointError(f"{WEIGHTS_FILE} holds no tensors. Save the adapter again.")
    return shapes


def sha256(path: Path) -> str:
    """Return the checksum of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _public_base(given: str | None, config: dict[str, Any], metrics_file: MetricsFile) -> str | None:
    """Return the base model's name on the Hub; None, with a warning, where only a folder is known."""
    if given is not None:
        return checked_repo_id(given)
    names = (config.get("base_model_name_or_path"), metrics_file.base_model.name)
    public = [name for name in names if is_hub_name(name)]
    if public:
        return public[0]
    warnings.warn(
        f"The base model is known as {names[0] or names[1]!r} only, which is no name on the Hub and is left out: users "
        "of the adapter have to name the base model. Name it by `base_model`, if it is on the Hub.",
        stacklevel=4,
    )
    return None
