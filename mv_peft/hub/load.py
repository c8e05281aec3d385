"""`load`: base CLIP, adapter and processor in one line, and the base checked to be the one that was adapted."""

from __future__ import annotations

import logging
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig, PeftModel
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoConfig,
    CLIPConfig,
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPVisionModelWithProjection,
)

from ..encoders import MVProcessor
from ..encoders.families import DualEncoder
from ..encoders.fingerprint import fingerprint, same_architecture, same_base
from ..encoders.video_input import enable_video
from ..errors import CheckpointError
from ..runs.files import PROCESSOR_FILES, WEIGHTS_FILE, checked_subfolder
from ..runs.metrics_file import RunRecord, read_record
from ..tuners.mv_adapter.config import MVAdapterConfig
from .folder import is_hub_name, sha256
from .pull import download_adapter
from .remote import hub_errors
from .untrusted import check_tensors, read_config

logger = logging.getLogger(__name__)


class LoadedAdapter(NamedTuple):
    """What `load` gives: `model, processor = load(...)`.

    Attributes:
        model: The CLIP with the adapter in it, taking videos, in evaluation mode unless it is loaded to be trained.
        processor: The adapter's processor, or the CLIP's; None if neither has one.
    """

    model: PeftModel
    processor: MVProcessor | None


def load(
    name: str | os.PathLike[str],
    *,
    subfolder: str | None = None,
    revision: str | None = None,
    base_model: str | os.PathLike[str] | nn.Module | None = None,
    allow_other_base: bool = False,
    adapter_name: str = "default",
    is_trainable: bool = False,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> LoadedAdapter:
    """Loads an adapter of any PEFT method from the Hub or a folder, and the CLIP that it was trained on.

    Args:
        name: Name of a repository on the Hub, or an adapter folder.
        subfolder: Where in it, as "msrvtt".
        revision: Branch, tag or commit of the adapter's repository; that of the CLIP stands in the adapter.
        base_model: Another name or folder of the CLIP, or the CLIP itself, plain or with other adapters in it.
        allow_other_base: Warns, where a CLIP other than the one that was adapted would be an error.
        adapter_name: Its name in the model.
        is_trainable: Loads it to be trained on.
        dtype: Of the CLIP; None for that of its checkpoint.
        device: Where the model goes; None for the CPU, or where the given CLIP is.
        token: As in `huggingface_hub`.
        cache_dir: As in `huggingface_hub`.
        local_files_only: Asks the Hub nothing, and takes what is in the cache.
        force_download: Downloads what is in the cache already.

    Raises:
        CheckpointError: If there is no whole adapter, it is not what its settings ask for, or the CLIP is another one.
        HubError: If the Hub does not give it.
        ValueError: For arguments that would have no effect.
    """
    if isinstance(base_model, nn.Module) and dtype is not None:
        raise ValueError("`dtype` is that of a CLIP to be loaded, but `base_model` is one. Leave `dtype` out.")
    is_local = os.path.isdir(name)
    if is_local and revision is not None:
        raise ValueError(f"`revision` is of a repository on the Hub, but '{name}' is a folder. Leave it out.")
    hub: dict[str, Any] = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
    hub["force_download"] = force_download
    if is_local:
        folder = Path(name) / checked_subfolder(subfolder)
    else:
        folder = download_adapter(str(name), subfolder=subfolder, revision=revision, **hub)
    config, record = read_config(folder), read_record(folder)
    _check_file(folder, record)
    source: tuple[str | None, str | None]
    if isinstance(base_model, nn.Module):
        base = base_model
        plain = base.get_base_model() if isinstance(base, PeftModel) else base
        DualEncoder.of(plain)
        check_tensors(folder, config, type(plain), plain.config)
        source = plain.config._name_or_path or None, None
    else:
        source = _base_name(base_model, config, record, is_local)
        base = _load_clip(source, folder, config, record, hub)
    _check_base(base, source[0], record, allow_other_base)
    base = base.to(device=device, dtype=dtype)
    if isinstance(base, PeftModel):
        base.load_adapter(str(folder), adapter_name, is_trainable=is_trainable)
        model = base
    else:
        model = PeftModel.from_pretrained(base, str(folder), adapter_name, is_trainable=is_trainable, config=config)
    if not is_trainable:  # PEFT thaws an adapter's ParameterDict when it casts it to float32
        model.set_requires_grad(adapter_name, requires_grad=False)
    if not isinstance(config, MVAdapterConfig):
        enable_video(model)
    return LoadedAdapter(model, _load_processor(folder, source, config, hub))


def _check_file(folder: Path, record: RunRecord) -> None:
    """Compares the weights with the checksum that `push_adapter` noted: a damaged number has no other sign."""
    noted = record.adapter.get("sha256")
    if noted is not None and (folder / WEIGHTS_FILE).is_file() and sha256(folder / WEIGHTS_FILE) != noted:
        raise CheckpointError(
            f"{WEIGHTS_FILE} in '{folder.name}' is damaged: it is not the file that was pushed. "
            "Load it with `force_download=True`."
        )


def _base_name(
    given: str | os.PathLike[str] | None, config: PeftConfig, record: RunRecord, is_local: bool
) -> tuple[str, str | None]:
    """Name and revision of the CLIP to load; a folder's name is taken from the user, never from a repository."""
    noted = config.base_model_name_or_path or record.base_model.get("name")
    revision = config.revision or record.base_model.get("revision")
    if given is not None:
        return os.fspath(given), revision if os.fspath(given) == noted else None
    if not noted:
        raise ValueError("The adapter does not say which CLIP it was trained on. Give it as `base_model`.")
    if not is_local and not is_hub_name(noted):
        raise CheckpointError(
            f"The adapter names '{noted}' as its CLIP, which is no name on the Hub. Give `base_model`."
        )
    return noted, revision


def _load_clip(
    source: tuple[str | None, str | None], folder: Path, config: PeftConfig, record: RunRecord, hub: dict[str, Any]
) -> nn.Module:
    """The CLIP of a name and revision, after the adapter was found to fit its configuration; from safetensors only."""
    name, revision = source
    classes = {
        model_class.__name__: model_class
        for model_class in (CLIPModel, CLIPVisionModelWithProjection, CLIPTextModelWithProjection)
    }
    model_class = classes.get(record.base_model.get("architecture", ""), CLIPModel)
    try:
        with hub_errors(f"load the CLIP '{name}'"):
            clip_config: Any = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False, **hub)
            if not isinstance(clip_config, CLIPConfig):
                raise CheckpointError(f"'{name}' is a {clip_config.model_type}, not a CLIP. Give one as `base_model`.")
            own = {CLIPVisionModelWithProjection: "vision_config", CLIPTextModelWithProjection: "text_config"}
            if model_class in own:
                clip_config = getattr(clip_config, own[model_class])
            check_tensors(folder, config, model_class, clip_config)
            return model_class.from_pretrained(name, revision=revision, use_safetensors=True, **hub)
    except (OSError, ValueError, SafetensorError) as error:
        if isinstance(error, CheckpointError):
            raise
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"Cannot load the CLIP '{name}': {first} Load it yourself, as `base_model`.") from error


def _check_base(base: nn.Module, name: str | None, record: RunRecord, allow_other_base: bool) -> None:
    """Compares the CLIP's fingerprint with the one that was noted in training.

    Raises:
        CheckpointError: If it is another CLIP, unless that is allowed; then a warning.
    """
    noted = record.base_model.get("fingerprint")
    if noted is None:
        logger.warning("The adapter does not say which weights it was trained on: the CLIP is not checked.")
        return
    own = fingerprint(base)
    if same_base(noted, own):
        return
    trained_on = record.base_model.get("name")
    other = "its weights differ" if same_architecture(noted, own) else "its architecture differs"
    fact = f"{f'{name!r}' if name else 'The given CLIP'} is not the CLIP that the adapter was trained on"
    fact += f" ('{trained_on}'): {other}." if trained_on else f": {other}."
    if not allow_other_base:
        raise CheckpointError(f"{fact} Give that one as `base_model`, or `allow_other_base=True`.")
    warnings.warn(f"{fact} The adapter may do anything.", stacklevel=3)


def _load_processor(
    folder: Path, base: tuple[str | None, str | None], config: PeftConfig, hub: dict[str, Any]
) -> MVProcessor | None:
    """The adapter's own processor, within the adapter's limits, or that of the CLIP with them."""
    base_name, base_revision = base
    limits = {name: getattr(config, name) for name in ("max_frames", "max_text_tokens") if hasattr(config, name)}
    if any((folder / name).is_file() for name in PROCESSOR_FILES):
        processor = MVProcessor.from_pretrained(folder, trust_remote_code=False)
        beyond = {name: limit for name, limit in limits.items() if getattr(processor, name) > limit}
        return MVProcessor.from_pretrained(folder, trust_remote_code=False, **beyond) if beyond else processor
    if base_name is None:
        return None
    try:
        return MVProcessor.from_pretrained(base_name, revision=base_revision, trust_remote_code=False, **limits, **hub)
    except (OSError, ValueError) as error:
        logger.warning("Neither the adapter nor '%s' has a processor (%s).", base_name, type(error).__name__)
        return None
