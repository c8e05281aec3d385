"""Decodes every video of a folder once, into a cache that training reads instead of the files.

An interrupted run goes on where it was when it is started again. Exits with 1 if a video gives no frames, or, with
--verify, if a cached one is damaged.
"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "decode videos once, into a cache of frames"
EXAMPLES = """examples:
  mv-peft cache --videos MSRVTT/videos --out cache
  mv-peft cache --videos MSRVTT/videos --out cache-jpeg --format jpeg --threads 4
  mv-peft cache --videos MSRVTT/videos --out cache-uniform --sampling uniform --max-frames 12
  mv-peft cache --out cache --verify
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options; those that are not given are the cache's own, or the defaults."""
    parser.add_argument("--videos", type=Path, metavar="DIR", help="the videos, with subfolders")
    parser.add_argument("--out", required=True, type=Path, metavar="CACHE", help="the cache")
    parser.add_argument("--sampling", metavar="RULE", help="which frames (default: fps_uniform, one a second)")
    parser.add_argument("--max-frames", type=int, metavar="N", help="the most frames a video (default: all the rule's)")
    parser.add_argument("--short-side", type=int, metavar="N", help="pixels to scale to, as CLIP does (default: 224)")
    parser.add_argument("--format", metavar="NAME", help="uint8, or jpeg for a ninth of the space (default: uint8)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="videos decoded at a time (default: 1)")
    parser.add_argument("--retry", action="store_true", help="try again what could not be read before")
    parser.add_argument("--verify", action="store_true", help="compare every cached video with its checksum, no more")
    parser.set_defaults(refuse=parser.error)


def run(args: argparse.Namespace) -> int:
    """Makes or verifies the cache, and says what it could not do."""
    from ..video import VideoCache

    given = {name: getattr(args, name) for name in ("max_frames", "short_side", "format")}
    given["frame_sampling"] = args.sampling
    given = {name: value for name, value in given.items() if value is not None}
    if args.verify:
        if args.videos is not None or given or args.retry:
            args.refuse("--verify changes nothing: leave out all but --out")
        cache = VideoCache(args.out)
        return _report(f"{len(cache)} cached videos verified", dict.fromkeys(cache.verify(), "damaged"))
    if args.videos is None:
        args.refuse("--videos is needed to make a cache")
    if args.threads < 1:
        args.refuse(f"--threads must be positive, got {args.threads}")
    return _build(args, given)


def _build(args: argparse.Namespace, given: dict) -> int:
    from ..video import CacheSettings, build_cache, find_videos

    settings = CacheSettings(**given) if given else None
    report = build_cache(
        args.out, args.videos, find_videos(args.videos), settings, num_threads=args.threads, retry=args.retry
    )
    done = f"{report.num_cached} videos cached in '{args.out}', {report.num_present} were there"
    return _report(done, report.unreadable)


def _report(done: str, wrong: dict[str, str]) -> int:
    print(f"{done}; {len(wrong)} wrong.")
    for name, reason in wrong.items():
        print(f"  {name}: {reason}")
    return 1 if wrong else 0
