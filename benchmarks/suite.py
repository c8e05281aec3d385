"""All methods: tunes those that are not tuned, runs what has no result yet, in one process that renders once.

python -m benchmarks.suite --data shapes --fast --seeds 0,1,2
python -m benchmarks.suite --data shapes --fast --methods full,lora,mv_adapter_large
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from .method import load_method, method_names
from .run import add_settings, resolve, run, settings_of, tuned_settings, write_result
from .settings import RESULTS, RunSettings
from .tune import tune


def command_of(settings: RunSettings) -> str:
    """The command that gives the same result as a run of the suite, once its learning rate is chosen."""
    parts = ["python -m benchmarks.run", f"--method {settings.method}", f"--data {settings.data}"]
    parts += ["--fast"] if settings.size == "fast" else []
    parts += ["--batches random"] if settings.batches == "random" else []
    defaults = RunSettings(method=settings.method, size=settings.size)
    for name in ("steps", "num_train_clips", "num_gallery_clips", "num_frames"):
        if getattr(settings, name) != getattr(defaults, name):
            parts.append(f"--{name.replace('_', '-')} {getattr(settings, name)}")
    return " ".join([*parts, f"--seed {settings.seed}"])


def _tune_if_needed(settings: RunSettings, results: Path) -> None:
    """Runs the candidates that were not tried yet."""
    rates = sorted(load_method(settings.method).learning_rates)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(method_names()), help="names, with commas between them")
    add_settings(parser)
    parser.add_argument("--seeds", default="0", help="numbers, with commas between them")
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    for name in args.methods.split(","):
        settings = settings_of(args, method=name)
        _tune_if_needed(tuned_settings(settings), args.results)
        for seed in map(int, args.seeds.split(",")):
            seeded = replace(settings, seed=seed)
            file = seeded.result_file(args.results)
            if not _is_current(file, seeded, args.results):
                result = run(resolve(seeded, args.results), command=command_of(seeded))
                write_result(result, file)
                figures = [f"{result['metrics'][g]['t2v R@1']:.1f}" for g in ("natural", "twin")]
                order = result["metrics"]["order"]["t2v order accuracy"]
                print(f"{name} seed {seed}: t2v R@1 {' '.join(figures)}, order {order:.1f}", flush=True)


if __name__ == "__main__":
    main()
