r"""Chooses a method's learning rate on the validation split: the same number of candidates for every method.

    python -m benchmarks.compare.tune --method lora --data shapes --fast
    python -m benchmarks.compare.tune --method lora --data msrvtt --model openai/clip-vit-base-patch16 \
        --root data/msrvtt

Each candidate is one run, half as long as those that are reported, with a seed that none of them has. The best is the
one with the highest mean R@1 over both directions and all galleries: natural and twin in a rendered world, a single one
of videos on disk. All of them are written to `results/.../tuning`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from .method import load_method, method_names
from .options import add_settings, field_and_value, settings_of
from .run import run, write_result
from .settings import RESULTS, RunSettings

TUNING_SEED = 1000


def tune(settings: RunSettings, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """One validation run for each candidate.

    Args:
        settings: Of the method; split, seed and learning rate are replaced.
        before: What an earlier call gave: its candidates are not run again.

    Returns:
        "rule", "seed", "candidates" (each with "learning_rate", "score" and the figures behind it), "chosen", and
        "at_edge": whether the chosen one is the smallest or the largest, so that a better one may lie beyond.

    Raises:
        ValueError: If the method trains nothing, or takes the learning rate of another.
    """
    from .measure import order_figures, order_note, selection_figures

    method = load_method(settings.method, tiny=settings.has_tiny_clip)
    if method.learning_rate_of is not None:
        raise ValueError(f"'{method.name}' takes the learning rate of '{method.learning_rate_of}': choose that one's.")
    rates = sorted(method.learning_rates)
    if not rates:
        raise ValueError(f"'{settings.method}' trains nothing: there is no learning rate to choose.")
    trial = replace(settings.halved(), split="validation", seed=TUNING_SEED)
    known = {candidate["learning_rate"]: candidate for candidate in (before or {}).get("candidates", [])}
    candidates = []
    for rate in rates:
        if rate in known:
            candidates.append(known[rate])
            continue
        metrics = run(replace(trial, learning_rate=rate))["metrics"]
        figures = selection_figures(metrics, settings.galleries)
        score = sum(figures.values()) / len(figures)
        candidates.append({"learning_rate": rate, "score": score, **figures, **order_figures(metrics)})
        print(f"{settings.name}: {rate:g} gives {score:.1f}{order_note(metrics)}", flush=True)
    best = max(candidates, key=lambda candidate: candidate["score"])["learning_rate"]
    return {
        "rule": f"highest mean of R@1, {' and '.join(settings.galleries)} gallery, both directions, on the validation "
        "split",
        "seed": TUNING_SEED,
        "steps": trial.steps or None,
        "candidates": candidates,
        "chosen": best,
        "at_edge": best in (rates[0], rates[-1]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", choices=method_names(), required=True)
    add_settings(parser)
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", type=field_and_value)
    parser.add_argument("--results", type=Path, default=RESULTS)
    args = parser.parse_args()
    settings = settings_of(args, method=args.method, overrides=dict(args.set))
    write_result(tune(settings), settings.tuning_file(args.results))


if __name__ == "__main__":
    main()
