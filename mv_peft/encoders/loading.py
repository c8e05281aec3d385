"""The one loader of base models: any dual encoder of the table, by its name on the Hub or from a folder.

Weights are read from safetensors only, and no code of a repository is ever run.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import MODEL_MAPPING, AutoConfig, PreTrainedConfig, PreTrainedModel

from ..errors import CheckpointError, some_of
from .families import TOWERS, DualEncoder


@dataclass(frozen=True)
class HubOptions:
    """How the Hub is asked, in the words of `huggingface_hub`.

    Attributes:
        token: None for the token that is logged in, False for none.
        cache_dir: Where files are kept; None for the default folder.
        local_files_only: Takes everything from the cache, without asking the Hub.
        force_download: Downloads again what is in the cache.
    """

    token: str | bool | None = field(default=None, repr=False)
    cache_dir: str | os.PathLike[str] | None = None
    local_files_only: bool = False
    force_download: bool = False

    def as_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of `from_pretrained` and of `snapshot_download`."""
        return dict(vars(self))


@dataclass(frozen=True)
class BaseModelSource:
    """A base model that was found, and whose weights are not loaded yet.

    Attributes:
        name: Its name on the Hub, or its folder.
        revision: Its branch, tag or commit; None for the latest.
        model_class: Its class: both towers, or one alone.
        config: Its configuration, for that class.
        hub: How the Hub is asked.
    """

    name: str
    revision: str | None
    model_class: type[PreTrainedModel]
    config: PreTrainedConfig
    hub: HubOptions

    def load(self, *, dtype: torch.dtype | None = None, attn_implementation: str | None = None) -> PreTrainedModel:
        """Load the model in evaluation mode, on the CPU.

        Args:
            dtype: None for the one of the checkpoint.
            attn_implementation: As in Transformers; None for its choice.

        Raises:
            CheckpointError: If there are no weights in safetensors, or not all that the model needs.
        """
        options = {"dtype": dtype, "attn_implementation": attn_implementation}
        with _checkpoint_errors(f"Cannot load '{self.name}'"):
            model, report = self.model_class.from_pretrained(
                self.name,
                config=self.config,
                revision=self.revision,
                use_safetensors=True,
                output_loading_info=True,
                **{name: value for name, value in options.items() if value is not None},
                **self.hub.as_arguments(),
            )
        if report["missing_keys"]:
            raise CheckpointError(
                f"The checkpoint of '{self.name}' lacks {len(report['missing_keys'])} weights of a "
                f"{self.model_class.__name__} ({some_of(sorted(report['missing_keys']))}). Give a complete one."
            )
        return model

    def without_weights(self) -> PreTrainedModel:
        """Build the model on the meta device: names and shapes, no values."""
        with torch.device("meta"):
            return self.model_class(self.config)


def find_base_model(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    architecture: str | None = None,
    hub: HubOptions | None = None,
) -> BaseModelSource:
    """Find a base model by reading its configuration.

    Args:
        name: Its name on the Hub, or its folder.
        revision: Branch, tag or commit on the Hub.
        architecture: Name of a class of the model's family, as "CLIPVisionModelWithProjection" for the vision tower
            alone. Any other name means the model with both towers.
        hub: How the Hub is asked; None for the defaults.

    Raises:
        CheckpointError: If there is no such model, or it is of no family of the table.
    """
    name, hub = os.fspath(name), hub or HubOptions()
    with _checkpoint_errors(f"Cannot read the configuration of '{name}'"):
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False, **hub.as_arguments())
    try:
        family = DualEncoder.of_config(config, f"a model of the type '{config.model_type}'")
    except TypeError as error:
        raise CheckpointError(f"'{name}' cannot be adapted: {error}") from error
    both, *alone = family.model_classes
    if architecture in alone:
        config = getattr(config, f"{TOWERS[alone.index(architecture)]}_config")
    class_name = architecture if architecture in alone else both
    # A family that a user has added to the table need not be Transformers' own.
    model_class = getattr(transformers, class_name, None) or MODEL_MAPPING[type(config)]
    return BaseModelSource(name, revision, model_class, config, hub)


def load_base_model(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    dtype: torch.dtype | None = None,
    attn_implementation: str | None = None,
    hub: HubOptions | None = None,
) -> PreTrainedModel:
    """Load a base model with both towers in evaluation mode, on the CPU.

    Args:
        name: Its name on the Hub, or its folder.
        revision: Branch, tag or commit on the Hub.
        dtype: None for the one of the checkpoint.
        attn_implementation: As in Transformers; None for its choice.
        hub: How the Hub is asked; None for the defaults.

    Raises:
        CheckpointError: If there is no such model, it is of no family of the table, or its checkpoint is not whole or
            not in safetensors.
    """
    source = find_base_model(name, revision=revision, hub=hub)
    return source.load(dtype=dtype, attn_implementation=attn_implementation)


@contextmanager
def _checkpoint_errors(failure: str) -> Iterator[None]:
    """Turn what Transformers raises into a CheckpointError of one sentence and the way out."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise CheckpointError(
            f"{failure}: {first}. Give the name of a model on the Hub, or a folder that `save_pretrained` wrote, with "
            "weights in safetensors."
        ) from error
