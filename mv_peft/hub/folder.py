"""An adapter in a folder: what of it is for others, with everything private taken out or refused."""

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
from ..runs.files import (
    ADAPTER_FILES,
    CONFIG_FILE,
    METRICS_FILE,
    SETTINGS_FILES,
    WEIGHTS_FILE,
    checked_repo_id,
    is_repo_id,
    private_strings,
    read_settings,
)
from ..runs.metrics_file import SCHEMA, RunRecord, parse_record, read_record
from .remote import AdapterInfo

Content = bytes | Path  # of a file that goes up
# What Transformers notes of the machine that saved a tokenizer.
_OF_THIS_MACHINE = ("name_or_path", "special_tokens_map_file", "is_local", "local_files_only")


def read_folder(folder: Path, base_model: str | None = None) -> tuple[dict[str, Content], AdapterInfo]:
    """What of an adapter folder goes up, by name, and what the card says of it.

    Args:
        folder: As `mv-peft train` or PEFT wrote it.
        base_model: The CLIP's name on the Hub; None for the one that the adapter names.

    Raises:
        CheckpointError: If the folder holds no whole adapter, or something that must not leave this machine.
    """
    weight_shapes(folder)
    config, record = read_settings(folder / CONFIG_FILE), read_record(folder)
    record = replace(
        record,
        base_model=_without_none({**record.base_model, "name": _public_base(base_model, config, record)}),
        adapter={
            **record.adapter,
            "method": str(config.get("peft_type")),
            "bytes": (folder / WEIGHTS_FILE).stat().st_size,
            "sha256": sha256(folder / WEIGHTS_FILE),
        },
    )
    config["base_model_name_or_path"] = record.base_model.get("name")
    config["revision"] = config.get("revision") or record.base_model.get("revision")
    settings = {name: read_settings(folder / name) for name in SETTINGS_FILES if (folder / name).is_file()}
    settings |= {CONFIG_FILE: config, METRICS_FILE: record.to_dict()}
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
    return files, AdapterInfo("", config, record, record.adapter["bytes"])


def save_adapter(
    model: PeftModel,
    folder: Path,
    adapter_name: str | None,
    processor: ProcessorMixin | None,
    metrics: Mapping[str, Any] | None,
) -> Path:
    """Saves one adapter of a model with all that belongs to it, and gives the folder that it lies in.

    Raises:
        ValueError: If the model has no such adapter, or several are active and none is named.
    """
    active = model.active_adapters
    if adapter_name is None and len(active) != 1:
        raise ValueError(f"The active adapters are {', '.join(active)}. Name one by `adapter_name`.")
    name = adapter_name or active[0]
    if name not in model.peft_config:
        raise ValueError(f"The model has no adapter {name!r}. Choose from: {', '.join(model.peft_config)}.")
    record = parse_record({"metrics": {}, **(metrics or {}), "schema": SCHEMA})
    base = model.get_base_model()
    record.base_model.setdefault("architecture", type(base).__name__)
    record.base_model.setdefault("fingerprint", fingerprint(base))
    model.save_pretrained(str(folder), selected_adapters=[name], save_embedding_layers=False)
    folder = folder if name == "default" else folder / name
    (folder / METRICS_FILE).write_text(json.dumps(record.to_dict()), encoding="utf-8")
    if processor is not None:
        processor.save_pretrained(str(folder))
    return folder


def weight_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an adapter's tensors, from the header of its safetensors file.

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
    """Of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def is_hub_name(name: object) -> bool:
    """Whether a name is that of somebody's repository; one without an owner may be a folder's, and is not taken."""
    return is_repo_id(name) and "/" in str(name) and not Path(str(name)).is_dir()


def _public_base(given: str | None, config: dict[str, Any], record: RunRecord) -> str | None:
    """The CLIP's name on the Hub, as far as it is known."""
    if given is not None:
        return checked_repo_id(given)
    names = (config.get("base_model_name_or_path"), record.base_model.get("name"))
    public = [name for name in names if is_hub_name(name)]
    if public:
        return public[0]
    warnings.warn(
        f"The base model is known as {names[0] or names[1]!r} only, which is no name on the Hub and is left out: who "
        "loads the adapter has to give the CLIP. Name it by `base_model`, if it has a name.",
        stacklevel=4,
    )
    return None


def _without_none(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if value is not None}
