"""What `mv-peft train` prints of a training, before and after."""

from __future__ import annotations

import shlex

from ..data.custom import CUSTOM
from ..training import TrainingRun, TrainOutcome


def describe_plan(training: TrainingRun) -> str:
    """Describe what will be trained."""
    plan, settings, facts = training.plan, training.settings, training.facts
    share = settings.batch_size // plan.num_processes
    chunks = f", {plan.chunk_size} at a time" if plan.chunk_size < share else ""
    lines = {
        "trained": f"{facts.method} on {facts.base_model.name}: {plan.num_trainable:,} of {plan.num_parameters:,} "
        f"parameters ({plan.num_trainable / plan.num_parameters:.2%})",
        "videos": facts.train,
        "chosen on": facts.validation,
        "pairs": f"{plan.num_pairs:,} in an epoch ({settings.captions})",
        "steps": f"{plan.num_steps:,}, {plan.steps_per_epoch:,} in an epoch; {settings.batch_size} pairs each, "
        f"shared by {plan.num_processes} process{'es' if plan.num_processes > 1 else ''}{chunks}",
        "recipe": training.describe_recipe(),
        "memory": f"{plan.memory.describe(share, plan.chunk_size)}, estimated for each process",
    }
    text = "\n".join(f"{name:10} {line}" for name, line in lines.items())
    if facts.selected_on == "test":
        text += "\nThe adapter is chosen on the TEST split, as papers do. Its test metrics are too good."
    if not training.draws_curve:
        text += "\nThere will be no curve.png without matplotlib. Install it with `pip install 'mv_peft[plots]'`."
    return text


def describe_outcome(training: TrainingRun, outcome: TrainOutcome, model: str) -> str:
    """Describe how well the best adapter does, and what was written.

    Args:
        training: The training.
        outcome: What it came to.
        model: The base model, as the command line named it.
    """
    output, facts = training.settings.output, training.facts
    names = [name for name in outcome.metrics if "R@" in name or "rank" in name]
    lines = [f"Best after step {outcome.best_step}, on {facts.validation}:", ""]
    if facts.selected_on == "test":
        lines[0] = f"Best after step {outcome.best_step}, CHOSEN ON THE TEST SPLIT, {facts.validation}:"
    lines += [f"  {'':18}{'before':>8}{'after':>8}"]
    lines += [f"  {name:18}{outcome.before[name]:8.1f}{outcome.metrics[name]:8.1f}" for name in names]
    figure = training.settings.select_by
    if outcome.metrics[figure] <= outcome.before[figure]:
        lines += [
            "",
            f"{figure} did not rise above the untrained model's. Train longer, or with another `--learning-rate`.",
        ]
    if facts.synthetic:
        lines += ["", "The videos are rendered."]
    lines += ["", f"Adapter, processor, metrics.json, run.json{' and curve.png' * training.draws_curve}: {output}"]
    if facts.selected_on == "validation" and facts.dataset != CUSTOM:
        lines += ["To measure it once on the test split: " + _evaluate_command(training, model)]
    return "\n".join(lines)


def _evaluate_command(training: TrainingRun, model: str) -> str:
    facts, output = training.facts, training.settings.output
    words = ["mv-peft", "evaluate", "--model", model, "--adapter", str(output)]
    return shlex.join([*words, "--dataset", facts.dataset, "--root", "..."])
