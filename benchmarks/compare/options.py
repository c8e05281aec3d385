"""The arguments that `run`, `tune` and `suite` share, and the settings that follow from them."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from mv_peft.data import BENCHMARKS

from ..worlds import DATA
from .method import load_method, method_names
from .settings import CUSTOM, RESULTS, RunSettings, VideoSettings, WorldSettings

ON_DISK = (*BENCHMARKS, CUSTOM)
# Options for one kind of data only. Their default is None, so that one that would have no effect can be refused.
_OF_WORLDS = ("fast", "batches", "num_train_clips", "num_gallery_clips", "num_frames")
_OF_VIDEOS = ("model", "root", "videos", "cache", "num_workers")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that `settings_of` reads."""
    parser.add_argument("--data", choices=(*DATA, *ON_DISK), default="shapes", metavar="NAME", help=_choices())
    parser.add_argument("--steps", type=int, metavar="N", help="training steps")
    parser.add_argument("--batch-size", type=int, metavar="N", help="clips in a step")
    worlds = parser.add_argument_group(f"rendered worlds ({', '.join(DATA)})")
    worlds.add_argument(
        "--fast", action="store_true", default=None, help="use fewer clips, frames and steps: minutes instead of hours"
    )
    worlds.add_argument(
        "--batches",
        choices=("paired", "random"),
        help="a clip and its twin in the same batch, or clips drawn one by one (default: paired)",
    )
    for name, what in (
        ("num_train_clips", "clips to train on"),
        ("num_gallery_clips", "clips in each gallery"),
        ("num_frames", "frames of a clip"),
    ):
        worlds.add_argument(_option(name), type=int, metavar="N", help=what)
    videos = parser.add_argument_group(f"videos on disk ({', '.join(ON_DISK)})")
    videos.add_argument("--model", metavar="NAME_OR_DIR", help="the CLIP: a folder or a name on the Hub")
    videos.add_argument("--root", type=Path, metavar="DIR", help="the annotation files; for `custom` a file or folder")
    videos.add_argument("--videos", type=Path, metavar="DIR", help="the videos (default: below --root)")
    videos.add_argument("--cache", type=Path, metavar="CACHE", help="frames that `mv-peft cache` stored")
    videos.add_argument("--num-workers", type=int, metavar="N", help="processes that read videos")
    parser.set_defaults(refuse=parser.error)


def settings_of(args: argparse.Namespace, *, method: str, **more: Any) -> RunSettings:
    """The settings of a command; a ValueError of the settings ends the command as a mistake in its arguments."""
    given = {
        name: getattr(args, name)
        for name in ("steps", "batch_size", *_OF_WORLDS, *_OF_VIDEOS)
        if getattr(args, name) is not None
    }
    is_on_disk = args.data in ON_DISK
    for name in _OF_WORLDS if is_on_disk else _OF_VIDEOS:
        if name in given:
            other = f"rendered worlds: {', '.join(DATA)}" if is_on_disk else f"videos on disk: {', '.join(ON_DISK)}"
            args.refuse(f"`{_option(name)}` has no effect with `--data {args.data}`. Leave it out; it is for {other}.")
    try:
        load_method(method, tiny=not is_on_disk)
        if not is_on_disk:
            size = "fast" if given.pop("fast", False) else "full"
            return WorldSettings(data=args.data, method=method, size=size, **given, **more)
        for name, what in (("model", "name or folder of a CLIP"), ("root", "folder of the annotations")):
            if name not in given:
                args.refuse(f"`--data {args.data}` needs `--{name}`. Give the {what}.")
        return VideoSettings(data=args.data, method=method, **given, **more)
    except ValueError as error:
        args.refuse(str(error))
        raise


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that choose one method and change its fields."""
    parser.add_argument(
        "--method", choices=method_names(), metavar="NAME", required=True, help="a file of `benchmarks/compare/methods`"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        type=field_and_value,
        help="replace a field of the method; may be repeated",
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the folder of results."""
    parser.add_argument(
        "--results", type=Path, metavar="DIR", default=RESULTS, help="folder of results (default: benchmarks/results)"
    )


def command_of(settings: RunSettings, *, learning_rate: float | None = None) -> str:
    """The command of `benchmarks.compare.run` that repeats a run.

    Args:
        settings: The settings of the run.
        learning_rate: The learning rate if it was given, None if it was tuned.
    """
    words = ["--method", settings.method, *settings.arguments()]
    words += [] if learning_rate is None else ["--learning-rate", f"{learning_rate:g}"]
    for name, value in settings.overrides.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    words += [] if settings.split == "test" else ["--split", settings.split]
    return f"python -m benchmarks.compare.run {shlex.join([*words, '--seed', str(settings.seed)])}"


def field_and_value(text: str) -> tuple[str, Any]:
    """Parse the `field=value` of `--set`; a value that is not JSON is taken as a string.

    Raises:
        ValueError: If there is no "=".
    """
    name, separator, value = text.partition("=")
    if not separator:
        raise ValueError(f"`--set` takes field=value, got {text!r}.")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _choices() -> str:
    return f"{', '.join(DATA)} are rendered, {', '.join(ON_DISK)} are videos on disk (default: shapes)"
