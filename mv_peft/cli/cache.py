"""The work of `mv-peft cache`."""

from __future__ import annotations

import argparse
from typing import Any

from ..video import CacheSettings, VideoCache, build_cache, find_videos


def run(args: argparse.Namespace) -> int:
    """Make or verify the cache, and print what could not be done."""
    given = {
        "frame_sampling": args.frame_sampling,
        "max_frames": args.max_frames,
        "short_side": args.short_side,
        "format": args.format,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if args.verify:
        if args.videos is not None or given or args.retry:
            args.refuse("`--verify` changes nothing. Leave out all options but `--out`.")
        cache = VideoCache(args.out)
        return _report(f"{len(cache)} cached videos verified", dict.fromkeys(cache.verify(), "damaged"))
    if args.videos is None:
        args.refuse("`--videos` is needed to make a cache.")
    if args.threads < 1:
        args.refuse(f"`--threads` must be positive, got {args.threads}.")
    return _build(args, given)


def _build(args: argparse.Namespace, given: dict[str, Any]) -> int:
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
