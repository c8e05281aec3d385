"""Train MV-Adapter on rendered clips, from video files, in minutes and offline; or search your own videos.

Without --videos, the demo renders captioned clips to mp4 files, reads them back, measures how well a tiny CLIP that
comes with the package finds held-out clips, trains MV-Adapter, measures again, saves and reloads the adapter, and
answers three queries. With --videos, it answers --query over the video files of a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..demo.settings import DemoSettings
from .settings_options import add_settings

EXAMPLES = """examples:
  mv-peft demo
  mv-peft demo --output my-demo --seed 1
  mv-peft demo --videos my-demo/clips/test --adapter my-demo/adapter --query "a red circle appears over snow"
  mv-peft demo --videos holiday --model openai/clip-vit-base-patch32 --query "children on a beach" --query "a dog runs"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options. Those of one half are refused in the other, where they would have no effect."""
    add_settings(parser, DemoSettings)
    search = parser.add_argument_group("searching your own videos")
    search.add_argument(
        "--videos", dest="folder", type=Path, metavar="DIR", help="folder of videos, with its subfolders"
    )
    search.add_argument("--query", dest="queries", action="append", metavar="TEXT", help="what to look for; repeatable")
    search.add_argument("--model", metavar="NAME_OR_DIR", help="CLIP to search with (default: the package's tiny one)")
    search.add_argument("--adapter", metavar="NAME_OR_DIR", help="adapter of that CLIP (default: none)")
