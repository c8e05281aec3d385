"""Options that several commands share: which captioned videos, and how an adapter is configured."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from ..data.benchmarks import BENCHMARKS
from ..data.custom import CUSTOM
from ..tuners.mv_adapter.presets import PRESETS
from .settings_options import describe


def dataset_names() -> tuple[str, ...]:
    """List what `--dataset` accepts: every registered benchmark, and `custom` for other data."""
    return (*BENCHMARKS, CUSTOM)


def add_source_options(parser: argparse.ArgumentParser) -> None:
    """Add `--dataset`, `--root` and `--videos`, which say where annotations and videos are."""
    parser.add_argument(
        "--dataset", required=True, choices=dataset_names(), metavar="NAME", help=describe("data set", dataset_names())
    )
    parser.add_argument(
        "--root",
        required=True,
        type=Path,
        metavar="DIR",
        help=f"folder of the annotation files; with --dataset {CUSTOM}, a file or folder of your own",
    )
    parser.add_argument("--videos", type=Path, metavar="DIR", help="folder of the videos (default: --root)")


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a command that reads videos, for `load_split` and `frame_reader` of `splits.py`."""
    add_source_options(parser)
    parser.add_argument("--cache", type=Path, metavar="CACHE", help="read frames that `mv-peft cache` stored")
    parser.add_argument(
        "--skip-videos",
        nargs="+",
        action="extend",
        default=[],
        metavar="ID",
        help="leave out these videos; @FILE reads an id from each line, also ids that begin with a hyphen",
    )
    parser.add_argument("--strict", action="store_true", help="fail if videos are missing, instead of warning")


def add_config_options(parser: argparse._ActionsContainer, default_preset: str) -> None:
    """Add `--preset` and `--set`, for `adapter_config.py`.

    Args:
        parser: The parser or group to add to.
        default_preset: What the help says of a command without `--preset`.
    """
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help=describe("published setting of MV-Adapter", PRESETS, default_preset),
    )
    parser.add_argument(
        "--set",
        dest="settings",
        type=_parse_field,
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="set a field of the adapter's configuration, as JSON or a bare word; repeatable",
    )


def _parse_field(text: str) -> tuple[str, Any]:
    """Parse `FIELD=VALUE`, where the value is JSON or a bare word such as down_out."""
    field, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be FIELD=VALUE, got {text!r}.")
    try:
        return field, json.loads(value)
    except json.JSONDecodeError:
        if re.fullmatch(r"[a-z_]+", value):
            return field, value
        raise argparse.ArgumentTypeError(f"the value of `{field}` must be JSON, got {value!r}.") from None
