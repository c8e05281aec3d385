"""The configuration of an adapter that `--preset` and `--set` describe."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import Any

from peft import PeftConfig

from ..tuners import MVAdapterConfig


def mv_adapter_config(args: argparse.Namespace, default_preset: str | None = None) -> MVAdapterConfig:
    """Build MV-Adapter's configuration from `--preset`, or the default one, and the fields of `--set`."""
    # Not what follows from the model, and not CLIP's modules or a start of training.
    of_peft = {*PeftConfig.__dataclass_fields__, "modules_to_save", "init_weights"}
    fields = given_fields(args, sorted({field.name for field in dataclasses.fields(MVAdapterConfig)} - of_peft))
    preset = args.preset or default_preset
    try:
        return MVAdapterConfig.from_preset(preset, **fields) if preset else MVAdapterConfig(**fields)
    except (TypeError, ValueError) as error:
        args.refuse(str(error))
        raise


def given_fields(args: argparse.Namespace, known: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the fields of `--set`, each of which may be given once.

    Args:
        args: With the options of `add_config_options`.
        known: The fields that may be given; None for any.
    """
    names = [name for name, _ in args.settings]
    for name in names:
        if known is not None and name not in known:
            args.refuse(f"Unknown field '{name}' in `--set`. Choose from: {', '.join(known)}.")
        if names.count(name) > 1:
            args.refuse(f"`--set` names '{name}' twice. Give each field once.")
    return dict(args.settings)
