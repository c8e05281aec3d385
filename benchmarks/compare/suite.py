r"""Tune and run all methods in one process, which renders a world only once.

    python -m benchmarks.compare.suite --data shapes --fast --seeds 0,1,2
    python -m benchmarks.compare.suite --data shapes --fast --methods full,lora,mv_adapter
    python -m benchmarks.compare.suite --data msrvtt --model openai/clip-vit-base-patch16 --root data/msrvtt \
        --seeds 0,1,2

Learning rates that were tried and results that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .method import load_method, method_names
from .options import ON_DISK, add_results, add_settings, command_of, settings_of
from .run import resolve, run, tuned_settings, write_result
from .settings import RunSettings
from .tune import tune


def _tune_if_needed(settings: RunSettings, results: Path) -> None:
    """Run the candidate learning rates that were not tried yet."""
    rates = sorted(load_method(settings.method, tiny=settings.has_tiny_clip).learning_rates)
    file = settings.tuning_file(results)
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"candidates": []}
    if rates != [candidate["learning_rate"] for candidate in before["candidates"]]:
        write_result(tune(settings, before), file)


def _is_current(file: Path, settings: RunSettings, results: Path) -> bool:
    """Whether there is a result with the learning rate that is chosen now."""
    if not file.exists():
        return False
    result = json.loads(file.read_text(encoding="utf-8"))
    return result["config"]["learning_rate"] == resolve(settings, results).learning_rate


def _print_figures(what: str, metrics: Mapping[str, Mapping[str, float]], galleries: Sequence[str]) -> None:
    from .measure import order_note

    figures = [f"{metrics[gallery]['t2v R@1']:.1f}" for gallery in galleries]
    print(f"{what}: t2v R@1 {' '.join(figures)}{order_note(metrics)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", metavar="NAMES", help="separated by commas (default: all that fit the data)")
    add_settings(parser)
    parser.add_argument("--seeds", metavar="NUMBERS", default="0", help="separated by commas (default: 0)")
    add_results(parser)
    args = parser.parse_args()
    names = args.methods.split(",") if args.methods else method_names(tiny=args.data not in ON_DISK)
    for name in names:
        settings = settings_of(args, method=name)
        _tune_if_needed(tuned_settings(settings), args.results)
        for seed in map(int, args.seeds.split(",")):
            seeded = replace(settings, seed=seed)
            file = seeded.result_file(args.results)
            if not _is_current(file, seeded, args.results):
                result = run(resolve(seeded, args.results), command=command_of(seeded))
                write_result(result, file)
                _print_figures(f"{name} seed {seed}", result["metrics"], seeded.galleries)


if __name__ == "__main__":
    main()
