r"""Choose the learning rate of a method on the validation split, from as many candidates as every method has.

    python -m benchmarks.compare.tune --method lora --data shapes --fast
    python -m benchmarks.compare.tune --method lora --data msrvtt --model openai/clip-vit-base-patch16 \
        --root data/msrvtt

Each candidate is one run, half as long as the reported runs, with a seed that none of them has. The candidate with the
highest mean R@1 over both directions and all galleries is chosen: natural and twin in a rendered world, a single one of
videos on disk. All candidates are written to `results/.../tuning`.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from .method import load_method
from .options import add_method, add_results, add_settings, settings_of
from .run import run, write_result
from .settings import RunSettings

TUNING_SEED = 1000


def tune(settings: RunSettings, before: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run every candidate on the validation split.

    Args:
        settings: The settings of the method; split, seed and learning rate are replaced.
        before: The result of an earlier call; its candidates are not run again.

    Returns:
        "rule", "seed", "candidates" (each with "learning_rate", "score" and the figures behind it), "chosen", and
        "at_edge": whether the chosen one is the smallest or the largest, so that a better one may lie beyond.

    Raises:
        ValueError: If the method trains nothing, or if it uses the learning rate of another method.
    """
    from .measure import order_figures, order_note, selection_figures

    method = load_method(settings.method, tiny=settings.has_tiny_clip)
    if method.learning_rate_of is not None:
        raise ValueError(
            f"'{method.name}' uses the learning rate of '{method.learning_rate_of}'. Tune that method instead."
        )
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
    add_method(parser)
    add_settings(parser)
    add_results(parser)
    args = parser.parse_args()
    settings = settings_of(args, method=args.method, overrides=dict(args.set))
    write_result(tune(settings), settings.tuning_file(args.results))


if __name__ == "__main__":
    main()
