"""Trains MV-Adapter on rendered clips, from video files, in minutes and offline; or searches your own videos.

Without --videos: renders captioned clips to mp4 files, reads them back, measures how well a tiny CLIP that comes with
the package finds held-out clips, trains MV-Adapter, measures again, saves and reloads the adapter, and answers three
questions. With --videos: answers --query over the video files of a folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from ..demo.settings import DemoSettings

HELP = "train MV-Adapter on rendered clips in minutes, or search your own videos"
EXAMPLES = """examples:
  mv-peft demo
  mv-peft demo --output my-demo --seed 1
  mv-peft demo --videos my-demo/clips/test --adapter my-demo/adapter --query "a red circle appears over snow"
  mv-peft demo --videos holiday --model openai/clip-vit-base-patch32 --query "children on a beach" --query "a dog runs"
"""
DEFAULT_QUERIES = (
    "a red circle moves from left to right over snow",
    "a blue square grows over sand",
    "a large yellow star rests at the top over slate",
)
TINY_CLIP_NOTICE = (
    "The CLIP that comes with the package knows coloured shapes only. Pass a real one for real videos, for example "
    "--model openai/clip-vit-base-patch32."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mv-peft demo`; those of one half are refused in the other, where they would have no effect."""
    training = parser.add_argument_group("training on rendered clips")
    search = parser.add_argument_group("searching your own videos")

    def setting(option: str, name: str, metavar: str, meaning: str) -> None:
        default = getattr(DemoSettings, name)
        kind = Path if isinstance(default, Path) else type(default)
        training.add_argument(option, dest=name, type=kind, metavar=metavar, help=f"{meaning} (default: {default})")

    setting("--output", "output", "DIR", "where clips and adapter go")
    setting("--seed", "seed", "N", "of clips and training")
    setting("--train-clips", "num_train_clips", "N", "clips to train on")
    setting("--test-clips", "num_test_clips", "N", "held-out clips")
    setting("--steps", "num_steps", "N", "training steps")
    setting("--learning-rate", "learning_rate", "X", "choose it with --split validation")
    setting("--split", "split", "NAME", "of the held-out clips: test, or validation")
    search.add_argument(
        "--videos", dest="folder", type=Path, metavar="DIR", help="folder of videos, with its subfolders"
    )
    search.add_argument("--query", dest="queries", action="append", metavar="TEXT", help="what to look for; repeatable")
    search.add_argument("--model", metavar="NAME_OR_DIR", help="a CLIP (default: the tiny one of the package)")
    search.add_argument("--adapter", metavar="NAME_OR_DIR", help="an adapter of that CLIP (default: none)")
    parser.set_defaults(usage_error=parser.error)


def run(args: argparse.Namespace) -> int:
    """Runs the demo, or the search if there are videos."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    training = {field.name: given[field.name] for field in fields(DemoSettings) if field.name in given}
    search = {name: given[name] for name in ("queries", "model", "adapter") if name in given}
    if args.folder is None and search:
        args.usage_error("--query, --model and --adapter need --videos")
    if args.folder is not None and training:
        args.usage_error("--videos trains nothing: the options of training would have no effect")
    try:
        settings = DemoSettings(**training)
    except ValueError as error:
        args.usage_error(str(error))
    return _train(settings) if args.folder is None else _search(args.folder, **search)


def _train(settings: DemoSettings) -> int:
    from ..demo.pipeline import run_demo
    from ..demo.report import SYNTHETIC_NOTICE, format_report

    print(SYNTHETIC_NOTICE + "\n", flush=True)
    print("\n" + format_report(run_demo(settings)))
    return 0


def _search(
    folder: Path, queries: Sequence[str] = DEFAULT_QUERIES, model: str | None = None, adapter: str | None = None
) -> int:
    from ..demo.pretrained import FRAME_SAMPLING, TINY_CLIP
    from ..demo.report import format_search
    from ..demo.search import search_videos
    from ..hub.retrieval_model import load_retrieval_model
    from ..video import find_videos

    paths = find_videos(folder)
    if model is None:
        print(TINY_CLIP_NOTICE + "\n", flush=True)
    clip, processor = load_retrieval_model(model or TINY_CLIP, adapter, frame_sampling=FRAME_SAMPLING)
    print(format_search(search_videos(clip, processor, paths, queries)))
    return 0
