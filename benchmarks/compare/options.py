"""The arguments that `run`, `tune` and `suite` share, and the settings that they stand for."""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

from mv_peft.data import BENCHMARKS

from ..worlds import DATA
from .method import load_method
from .settings import CUSTOM, RunSettings, VideoSettings, WorldSettings

ON_DISK = (*BENCHMARKS, CUSTOM)
# Options for one kind of data only. Their default is None: what is given where it has no effect is refused.
_OF_WORLDS = ("fast", "batches", "num_train_clips", "num_gallery_clips", "num_frames")
_OF_VIDEOS = ("model", "root", "videos", "cache", "num_workers")


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments, for `settings_of`."""
    parser.add_argument("--data", choices=(*DATA, *ON_DISK), default="shapes", metavar="NAME", help=_choices())
    parser.add_argument("--steps", type=int, metavar="N", help="of the training")
    parser.add_argument("--batch-size", type=int, metavar="N", help="clips in a step")
    worlds = parser.add_argument_group(f"rendered worlds ({', '.join(DATA)})")
    worlds.add_argument(
        "--fast", action="store_true", default=None, help="fewer clips, frames and steps: minutes instead of hours"
    )
    worlds.add_argument("--batches", choices=("paired", "random"))
    for name in ("num_train_clips", "num_gallery_clips", "num_frames"):
        worlds.add_argument(_option(name), type=int, metavar="N")
    videos = parser.add_argument_group(f"videos on disk ({', '.join(ON_DISK)})")
    videos.add_argument("--model", metavar="NAME_OR_DIR", help="the CLIP")
    videos.add_argument("--root", type=Path, metavar="DIR", help="the annotation files; a file or folder for `custom`")
    videos.add_argument("--videos", type=Path, metavar="DIR", help="the videos (default: below --root)")
    videos.add_argument("--cache", type=Path, metavar="CACHE", help="frames that `mv-peft cache` stored")
    videos.add_argument("--num-workers", type=int, metavar="N", help="processes that read videos")
    parser.set_defaults(refuse=parser.error)


def settings_of(args: argparse.Namespace, *, method: str, **more: Any) -> RunSettings:
    """The settings of the shared arguments, and more; what makes no sense is refused as a mistake in the arguments."""
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
        for name, what in (("model", "name or folder of a CLIP"), ("root", "place of the annotations")):
            if name not in given:
                args.refuse(f"`--data {args.data}` needs `--{name}`. Give the {what}.")
        return VideoSettings(data=args.data, method=method, **given, **more)
    except ValueError as error:
        args.refuse(str(error))
        raise


def command_of(settings: RunSettings, *, learning_rate: float | None = None) -> str:
    """The `benchmarks.compare.run` that gives the same result, once its learning rate is chosen.

    Args:
        settings: Of the run.
        learning_rate: If it was given, not chosen.
    """
    words = ["--method", settings.method, *settings.arguments()]
    words += [] if learning_rate is None else ["--learning-rate", f"{learning_rate:g}"]
    for name, value in settings.overrides.items():
        words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    words += [] if settings.split == "test" else ["--split", settings.split]
    return f"python -m benchmarks.compare.run {shlex.join([*words, '--seed', str(settings.seed)])}"


def field_and_value(text: str) -> tuple[str, Any]:
    """`field=value` of `--set`; the value is JSON, or else a word.

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
