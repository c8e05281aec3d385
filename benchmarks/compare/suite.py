"""All methods: tunes those that are not tuned, runs what has no result yet, in one process that renders a world once.

python -m benchmarks.compare.suite --data shapes --fast --seeds 0,1,2
python -m benchmarks.compare.suite --data shapes --fast --methods full,lora,mv_adapter
python -m benchmarks.compare.suite --data msrvtt --model openai/clip-vit-base-patch16 --root data/msrvtt --seeds 0,1,2
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from .method import load_method, method_names
from .options import ON_DISK, add_settings, command_of, settings_of
from .run import resolve, run, tuned_settings, write_result
from .settings import RESULTS, RunSettings
from .tune import tune


def _tune_if_needed(settings: RunSettings, results: Path) -> None:
    """Runs the candidates that were not tried yet."""
    rates = sorted(load_method(settings.method, tiny=settings.has_tiny_clip).learning_rates)
    file = settings.tuning_file(results)
    before = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"candidates": []}
    if rates != [candidate["learning_rate"] for candidate in before["candidates"]]:
        write_result(tune(settings, before), file)


def _is_current(file: Path, settings: RunSettings, results: Path) -> bool:
    """Whether a result is there, with the learning rate that is chosen now."""
    if not file.exists():
        return False
    result = json.loads(file.read_text(encoding="utf-8"))
    return result["config"]["learning_rate"] == resolve(settings, results).learning_rate


def _say(what: str, metrics: Mapping[str, Mapping[str, float]], galleries: Sequence[str]) -> None:
    from .measure import order_note

    figures = [f"{metrics[gallery]['t2v R@1']:.1f}" for gallery in galleries]
    print(f"{what}: t2v R@1 {' '.join(figures)}{order_note(metrics)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", help="names, with commas between them (default: all that there are for the data)")
    add_settings(parser)
    parser.add_argument("--seeds", default="0", help="numbers, with commas between them")
    parser.add_argument("--results", type=Path, default=RESULTS)
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
                _say(f"{name} seed {seed}", result["metrics"], seeded.galleries)


if __name__ == "__main__":
    main()
