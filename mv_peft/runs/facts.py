"""The facts of `metrics.json` that models and packages tell about themselves."""

from __future__ import annotations

import platform
from pathlib import Path

import accelerate
import peft
import torch
import transformers
from torch import nn

from .. import __version__
from ..encoders.fingerprint import fingerprint
from .metrics_file import AdapterFacts, BaseModelFacts, Versions


def base_facts(model: nn.Module, name: str) -> BaseModelFacts:
    """Describe a base model that was loaded by its name on the Hub or from a folder.

    Of a folder only the last part of its path is noted: `metrics.json` is for everyone.
    """
    return BaseModelFacts(
        name=Path(name).resolve().name if Path(name).is_dir() else name,
        revision=getattr(model.config, "_commit_hash", None),
        architecture=type(model).__name__,
        fingerprint=fingerprint(model),
    )


def adapter_facts(model: nn.Module, method: str, num_bytes: int) -> AdapterFacts:
    """Describe an adapter in its model.

    Args:
        model: The model as it was trained: what requires a gradient counts as trained.
        method: Name of the method.
        num_bytes: Size of the adapter's file of weights.
    """
    return AdapterFacts(
        method=method,
        trainable_parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        total_parameters=sum(parameter.numel() for parameter in model.parameters()),
        bytes=num_bytes,
    )


def versions() -> Versions:
    """Return the versions that are installed here."""
    return Versions(
        mv_peft=__version__,
        torch=torch.__version__,
        transformers=transformers.__version__,
        peft=peft.__version__,
        accelerate=accelerate.__version__,
        python=platform.python_version(),
    )
