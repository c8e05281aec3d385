"""What commands share to name an adapter's configuration: a preset, and fields that replace its own."""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..tuners.mv_adapter.config import MVAdapterConfig


def add_config_options(parser: argparse.ArgumentParser, preset: str = "start from a published setting") -> None:
    """`--preset` and `--set`, for `read_config`; `preset` is the help of the former."""
    parser.add_argument("--preset", metavar="NAME", help=preset)
    parser.add_argument(
        "--set",
        dest="settings",
        type=_setting,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="a field of the adapter's configuration, as JSON or a bare word; repeatable",
    )
    parser.set_defaults(refuse=parser.error)


def _setting(text: str) -> tuple[str, Any]:
    """`FIELD=VALUE` -> the field and its value, which is JSON, or a bare word such as down_out."""
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be FIELD=VALUE, got {text!r}.")
    try:
        return field, json.loads(value)
    except json.JSONDecodeError:
        if re.fullmatch(r"[a-z_]+", value):
            return field, value
        raise argparse.ArgumentTypeError(f"the value of `{field}` must be JSON, got {value!r}.") from None


def mv_adapter_config(args: argparse.Namespace, default_preset: str | None = None) -> MVAdapterConfig:
    """The configuration that the options name: `--preset` or the default one, with the fields of `--set`."""
    from peft import PeftConfig

    from ..tuners.mv_adapter.config import MVAdapterConfig

    # Not what follows from the model, and not CLIP's own modules or a start of training.
    of_peft = {*PeftConfig.__dataclass_fields__, "modules_to_save", "init_weights"}
    fields = given_fields(args, sorted({field.name for field in dataclasses.fields(MVAdapterConfig)} - of_peft))
    preset = args.preset or default_preset
    try:
        return MVAdapterConfig.from_preset(preset, **fields) if preset else MVAdapterConfig(**fields)
    except (TypeError, ValueError) as error:
        args.refuse(str(error))
        raise


def given_fields(args: argparse.Namespace, known: Sequence[str] | None = None) -> dict[str, Any]:
    """The fields of `--set`, each once and, where `known` is given, one of those."""
    names = [name for name, _ in args.settings]
    for name in names:
        if known is not None and name not in known:
            args.refuse(f"Unknown field '{name}' in `--set`. Choose from: {', '.join(known)}.")
        if names.count(name) > 1:
            args.refuse(f"`--set` names '{name}' twice. Give each field once.")
    return dict(args.settings)
