"""`load`: adapter, base model and processor in one line, in three steps.

find     the adapter's folder, its configuration and what `metrics.json` says       `find_adapter`
check    that its tensors fit the base model, and that the base is the right one    `check_base`
build    the model with the adapter in it, and the processor                        `build_model`, `load_processor`
"""

from __future__ import annotations

import logging
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import PeftConfig, PeftModel
from torch import nn

from ..encoders import MVProcessor
from ..encoders.families import DualEncoder
from ..encoders.fingerprint import fingerprint, same_architecture, same_base
from ..encoders.loading import HubOptions, find_base_model
from ..encoders.video_input import enable_video
from ..errors import CheckpointError
from ..runs.files import PROCESSOR_FILES, WEIGHTS_FILE
from ..runs.metrics_file import MetricsFile
from ..tuners.mv_adapter.config import MVAdapterConfig
from .folder import sha256
from .names import checked_subfolder, is_hub_name
from .pull import download_adapter
from .remote import hub_errors
from .untrusted import check_tensors, read_config

logger = logging.getLogger(__name__)

NameOrPath = str | os.PathLike[str]


class LoadedAdapter(NamedTuple):
    """What `load` returns: `model, processor = load(...)`.

    Attributes:
        model: The base model with the adapter in it, which takes videos; in evaluation mode unless it is trainable.
        processor: The adapter's processor, or the base model's; None if neither has one.
    """

    model: PeftModel
    processor: MVProcessor | None


def load(
    name: NameOrPath,
    *,
    subfolder: str | None = None,
    revision: str | None = None,
    base_model: NameOrPath | nn.Module | None = None,
    allow_other_base: bool = False,
    adapter_name: str = "default",
    is_trainable: bool = False,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    token: str | bool | None = None,
    cache_dir: NameOrPath | None = None,
    local_files_only: bool = False,
    force_download: bool = False,
) -> LoadedAdapter:
    """Load an adapter of any PEFT method from the Hub or a folder, and the base model that it was trained on.

    There are more than eight arguments, because this is the one line that users write: each is an independent wish,
    given by keyword, and the last four are those of every function that reads from the Hub.

    Args:
        name: Name of a repository on the Hub, or an adapter folder.
        subfolder: Subfolder of it, as "msrvtt".
        revision: Branch, tag or commit of the adapter's repository; the base model's stands in the adapter.
        base_model: Another name or folder of the base model, or the model itself, plain or with other adapters in it.
        allow_other_base: Warns, where a base model other than the one that was adapted would be an error.
        adapter_name: The adapter's name in the model.
        is_trainable: Loads the adapter to train it further.
        dtype: Of the base model; None for that of its checkpoint.
        device: Where the model goes; None for the CPU, or for where the given base model is.
        token: As in `huggingface_hub`.
        cache_dir: As in `huggingface_hub`.
        local_files_only: Takes everything from the cache, without asking the Hub.
        force_download: Downloads again what is in the cache.

    Raises:
        CheckpointError: If there is no whole adapter, it is not what its settings ask for, or the base model is another
            one.
        HubError: If the Hub does not give it.
        ValueError: For arguments that would have no effect.
    """
    if isinstance(base_model, nn.Module) and dtype is not None:
        raise ValueError("`dtype` is for a base model to be loaded, but `base_model` is one. Leave `dtype` out.")
    hub = HubOptions(token, cache_dir, local_files_only, force_download)
    adapter = find_adapter(name, subfolder, revision, hub)
    base = check_base(adapter, base_model, hub, allow_other_base=allow_other_base)
    base.model.to(device=device, dtype=dtype)
    model = build_model(adapter, base, adapter_name, is_trainable=is_trainable)
    return LoadedAdapter(model, load_processor(adapter, base, hub))


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter that was found and read, and that is in no model yet.

    Attributes:
        folder: Where its files are.
        config: Its configuration.
        metrics_file: What is known of it.
        is_local: Whether the folder was given, not downloaded.
    """

    folder: Path
    config: PeftConfig
    metrics_file: MetricsFile
    is_local: bool


@dataclass(frozen=True)
class CheckedBase:
    """A base model that an adapter fits.

    Attributes:
        model: The model, maybe with other adapters in it.
        name: Its name on the Hub or its folder, if it is known.
        revision: Its revision on the Hub, if it was pinned.
    """

    model: nn.Module
    name: str | None
    revision: str | None


def find_adapter(name: NameOrPath, subfolder: str | None, revision: str | None, hub: HubOptions) -> FoundAdapter:
    """Find an adapter in a folder or on the Hub, and read its settings.

    Raises:
        CheckpointError: If there is no whole adapter, or its settings ask for what is not taken from others.
        HubError: If the Hub does not give it.
        ValueError: If a revision of a folder is asked for.
    """
    is_local = os.path.isdir(name)
    if is_local and revision is not None:
        raise ValueError(f"`revision` is of a repository on the Hub, but '{name}' is a folder. Leave it out.")
    if is_local:
        folder = Path(name) / checked_subfolder(subfolder)
    else:
        folder = download_adapter(str(name), subfolder, revision, hub)
    adapter = FoundAdapter(folder, read_config(folder), MetricsFile.read(folder), is_local)
    # Nothing but the checksum that `push_adapter` noted shows that a single number is damaged.
    noted = adapter.metrics_file.adapter.sha256
    if noted is not None and sha256(folder / WEIGHTS_FILE) != noted:
        raise CheckpointError(
            f"{WEIGHTS_FILE} in '{folder.name}' is damaged: it is not the file that was pushed. "
            "Load it with `force_download=True`."
        )
    return adapter


def check_base(
    adapter: FoundAdapter, base_model: NameOrPath | nn.Module | None, hub: HubOptions, *, allow_other_base: bool
) -> CheckedBase:
    """Load the base model if need be, and check that it is the one that the adapter was trained on.

    The adapter is compared with the base model's configuration before any weights of the base are loaded.

    Args:
        adapter: The adapter.
        base_model: The base model, or its name or folder; None for the one that the adapter names.
        hub: How the Hub is asked.
        allow_other_base: Warns, where another base model would be an error.

    Raises:
        CheckpointError: If the adapter does not fit the base model, or was trained on another one.
        HubError: If the Hub does not give the base model.
        TypeError: If the given model is not a dual encoder that mv_peft adapts.
        ValueError: If the adapter does not name its base model, and none is given.
    """
    if isinstance(base_model, nn.Module):
        plain: Any = base_model.get_base_model() if isinstance(base_model, PeftModel) else base_model
        DualEncoder.of(plain)
        check_tensors(adapter.folder, adapter.config, type(plain), plain.config)
        base = CheckedBase(base_model, plain.config._name_or_path or None, None)
    else:
        name, revision = _base_name(base_model, adapter)
        with hub_errors(f"load the base model '{name}'"):
            architecture = adapter.metrics_file.base_model.architecture
            source = find_base_model(name, revision=revision, architecture=architecture, hub=hub)
            check_tensors(adapter.folder, adapter.config, source.model_class, source.config)
            base = CheckedBase(source.load(), name, revision)
    _check_fingerprint(base, adapter.metrics_file, allow_other_base)
    return base


def build_model(adapter: FoundAdapter, base: CheckedBase, adapter_name: str, *, is_trainable: bool) -> PeftModel:
    """Put an adapter into its base model, and let the model take videos."""
    folder, model = str(adapter.folder), base.model
    if isinstance(model, PeftModel):
        model.load_adapter(folder, adapter_name, is_trainable=is_trainable)
    else:
        model = PeftModel.from_pretrained(model, folder, adapter_name, is_trainable=is_trainable, config=adapter.config)
    if not is_trainable:  # PEFT makes an adapter's ParameterDict trainable when it casts it to float32
        model.set_requires_grad(adapter_name, requires_grad=False)
    if not isinstance(adapter.config, MVAdapterConfig):
        enable_video(model)
    return model


def load_processor(adapter: FoundAdapter, base: CheckedBase, hub: HubOptions) -> MVProcessor | None:
    """Load the adapter's processor, or else the base model's, within the adapter's limits."""
    if (processor := adapter_processor(adapter)) is not None or base.name is None:
        return processor
    limits = adapter_limits(adapter.config)
    try:
        return MVProcessor.from_pretrained(
            base.name, revision=base.revision, trust_remote_code=False, **limits, **hub.as_arguments()
        )
    except (OSError, ValueError) as error:
        logger.warning("Neither the adapter nor '%s' has a processor (%s).", base.name, type(error).__name__)
        return None


def adapter_processor(adapter: FoundAdapter) -> MVProcessor | None:
    """Load the processor that was saved with an adapter, within the adapter's limits; None if there is none."""
    folder = adapter.folder
    if not any((folder / name).is_file() for name in PROCESSOR_FILES):
        return None
    processor = MVProcessor.from_pretrained(folder, trust_remote_code=False)
    limits = adapter_limits(adapter.config)
    beyond = {name: limit for name, limit in limits.items() if getattr(processor, name) > limit}
    return MVProcessor.from_pretrained(folder, trust_remote_code=False, **beyond) if beyond else processor


def adapter_limits(config: PeftConfig) -> dict[str, int]:
    """Return the most frames and tokens that an adapter takes, where its method has such limits."""
    return {name: getattr(config, name) for name in ("max_frames", "max_text_tokens") if hasattr(config, name)}


def _base_name(given: NameOrPath | None, adapter: FoundAdapter) -> tuple[str, str | None]:
    """Return name and revision of the base model to load; a folder is taken from the user, never from a repository."""
    config, noted_base = adapter.config, adapter.metrics_file.base_model
    noted = config.base_model_name_or_path or noted_base.name
    revision = config.revision or noted_base.revision
    if given is not None:
        return os.fspath(given), revision if os.fspath(given) == noted else None
    if not noted:
        raise ValueError("The adapter does not say which base model it was trained on. Give it as `base_model`.")
    if not adapter.is_local and not is_hub_name(noted):
        raise CheckpointError(
            f"The adapter names '{noted}' as its base model, which is no name on the Hub. Give `base_model`."
        )
    return noted, revision


def _check_fingerprint(base: CheckedBase, metrics_file: MetricsFile, allow_other_base: bool) -> None:
    """Compare the base model's fingerprint with the one that was noted in training.

    Raises:
        CheckpointError: If it is another model, unless that is allowed; then a warning.
    """
    noted, trained_on = metrics_file.base_model.fingerprint, metrics_file.base_model.name
    if noted is None:
        logger.warning("The adapter does not say which weights it was trained on: the base model is not checked.")
        return
    found = fingerprint(base.model)
    if same_base(noted, found):
        return
    difference = "its weights differ" if same_architecture(noted, found) else "its architecture differs"
    fact = f"{f'{base.name!r}' if base.name else 'The given model'} is not the model that the adapter was trained on"
    fact += f" ('{trained_on}'): {difference}." if trained_on else f": {difference}."
    if not allow_other_base:
        raise CheckpointError(f"{fact} Give that one as `base_model`, or `allow_other_base=True`.")
    warnings.warn(f"{fact} The adapter may do anything.", stacklevel=4)
