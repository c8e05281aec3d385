"""The work of `mv-peft demo`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..demo.pipeline import run_demo
from ..demo.pretrained import FRAME_SAMPLING, TINY_CLIP
from ..demo.report import SYNTHETIC_NOTICE, format_report, format_search
from ..demo.search import search_videos
from ..demo.settings import DemoSettings
from ..hub.retrieval_model import load_retrieval_model
from ..video import find_videos
from .settings_options import given_settings

DEFAULT_QUERIES = (
    "a red circle moves from left to right over snow",
    "a blue square grows over sand",
    "a large yellow star rests at the top over slate",
)
TINY_CLIP_NOTICE = (
    "The CLIP that comes with the package knows coloured shapes only. Pass a real one for real videos, for example "
    "--model openai/clip-vit-base-patch32."
)


def run(args: argparse.Namespace) -> int:
    """Run the demo, or the search if a folder of videos is given."""
    training = given_settings(args, DemoSettings)
    search = {name: getattr(args, name) for name in ("queries", "model", "adapter")}
    search = {name: value for name, value in search.items() if value is not None}
    if args.folder is None and search:
        args.refuse("`--query`, `--model` and `--adapter` search videos. Give their folder as `--videos`.")
    if args.folder is not None and training:
        args.refuse("The options of training have no effect with `--videos`, which trains nothing. Leave them out.")
    try:
        settings = DemoSettings(**training)
    except ValueError as error:
        args.refuse(str(error))
    return _train(settings) if args.folder is None else _search(args.folder, **search)


def _train(settings: DemoSettings) -> int:
    print(SYNTHETIC_NOTICE + "\n", flush=True)
    print("\n" + format_report(run_demo(settings)))
    return 0


def _search(
    folder: Path, queries: Sequence[str] = DEFAULT_QUERIES, model: str | None = None, adapter: str | None = None
) -> int:
    paths = find_videos(folder)
    if model is None:
        print(TINY_CLIP_NOTICE + "\n", flush=True)
    clip, processor = load_retrieval_model(model or TINY_CLIP, adapter, frame_sampling=FRAME_SAMPLING)
    print(format_search(search_videos(clip, processor, paths, queries)))
    return 0
