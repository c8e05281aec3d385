"""The report of the demo as text."""

from __future__ import annotations

from pathlib import Path

from .pipeline import DemoReport
from .search import Hit, SearchResult

SYNTHETIC_NOTICE = (
    "Synthetic data: the clips are rendered, one coloured shape each, and the CLIP is a tiny one, trained on stills\n"
    "of the same world. The figures show that order can be learned; they say nothing about real videos."
)
FIGURES = (
    ("text to video", "R@1", "t2v R@1"),
    ("", "R@5", "t2v R@5"),
    ("", "R@10", "t2v R@10"),
    ("video to text", "R@1", "v2t R@1"),
    ("", "R@5", "v2t R@5"),
    ("", "R@10", "v2t R@10"),
    ("a clip or its reversal", "accuracy", "order accuracy"),
)


def format_report(report: DemoReport) -> str:
    """Format the whole report: answers, figures, sizes and times."""
    settings = report.settings
    lines = ["Three questions to the held-out clips, answered by MV-Adapter (* the clip that was asked for):", ""]
    lines += [format_answers(report.answers, report.captions), ""]
    lines += [f"Retrieval among {settings.num_test_clips} held-out clips ({settings.split} captions), per cent:", ""]
    lines += [f"  {'':22}  {'':8}  {'zero-shot':>9}  {'MV-Adapter':>10}"]
    lines += [
        f"  {task:22}  {figure:8}  {report.before[name]:9.1f}  {report.after[name]:10.1f}"
        for task, figure, name in FIGURES
    ]
    facts = {
        "trained on": f"{settings.num_train_clips} clips, {settings.num_steps} steps of "
        f"{settings.clips_per_batch} clips, seed {settings.seed}",
        "configuration": f"bottleneck_dim={settings.bottleneck_dim}, scaling={settings.scaling}, "
        f"position_init_std={settings.position_init_std}, learning rate {settings.learning_rate:g}",
        "trainable": f"{report.num_trainable:,} of {report.num_parameters:,} parameters "
        f"({report.num_trainable / report.num_parameters:.1%})",
        "adapter": f"{report.adapter_folder} ({report.adapter_bytes:,} bytes); reloaded, the figures are the same",
        "clips": f"{settings.output / 'clips'}, with captions.csv",
        "seconds": ", ".join(f"{stage} {spent:.0f}" for stage, spent in report.seconds.items())
        + f"; in all {sum(report.seconds.values()):.0f}",
    }
    lines += [""] + [f"  {name:14}{fact}" for name, fact in facts.items()]
    return "\n".join(lines)


def format_answers(answers: dict[str, list[Hit]], captions: dict[Path, str] | None = None) -> str:
    """Format the best videos of each query with their scores; given captions, mark the right answer."""
    blocks = []
    for query, hits in answers.items():
        lines = [f"  {query}"]
        for hit in hits:
            caption = (
                "" if captions is None else f"  {'*' if captions[hit.path] == query else ' '} {captions[hit.path]}"
            )
            lines.append(f"    {hit.score:6.3f}  {hit.path}{caption}")
        blocks.append("\n".join(lines))
    return "\n".join(blocks)


def format_search(result: SearchResult) -> str:
    """Format the answers of a search, and the files that could not be read."""
    lines = [f"{result.num_videos} videos read.", "", format_answers(result.answers)]
    if result.unreadable:
        count = len(result.unreadable)
        lines += ["", f"{count} file{'s' if count > 1 else ''} could not be read:"]
        lines += [f"  {reason}" for reason in result.unreadable.values()]
    return "\n".join(lines)
