"""A result as a table, beside the figures that are published for its benchmark."""

from __future__ import annotations

from ..data import BENCHMARKS
from .evaluation import RetrievalResult

_FIGURES = ("R@1", "R@5", "R@10", "R@50", "median rank", "mean rank")
_HEADS = ("R@1", "R@5", "R@10", "R@50", "median", "mean")


def format_result(result: RetrievalResult, label: str = "this run", *, published: str | None = None) -> str:
    """Format a result as a table with one line per direction, followed by the published figures.

    Args:
        result: What was measured.
        label: What to call it in the table.
        published: The benchmark whose published figures to quote. Those are figures of its test split, and results on
            other splits are not comparable with them.
    """
    quoted = () if published is None else BENCHMARKS[published].published
    width = max(map(len, [label, *(f"{row.method} [quoted]" for row in quoted)]))
    lines = []
    for direction, title in (("t2v", "text to video"), ("v2t", "video to text")):
        lines.append(f"{title:{width}}  " + "  ".join(f"{head:>6}" for head in _HEADS))
        figures = [result.metrics[f"{direction} {name}"] for name in _FIGURES]
        lines.append(f"{label:{width}}  " + "  ".join(f"{figure:6.1f}" for figure in figures))
        for row in quoted:
            figures = [*getattr(row, direction)]
            cells = [f"{figure:6.1f}" for figure in figures] + [f"{'-':>6}"] * (len(_FIGURES) - len(figures))
            lines.append(f"{row.method + ' [quoted]':{width}}  " + "  ".join(cells))
        lines.append("")
    lines.append(
        f"{result.num_captions:,} captions of {result.num_videos:,} videos; protocol: {result.label}; "
        "recall in per cent, ranks from 1."
    )
    if result.skipped:
        lines.append(f"{len(result.skipped)} videos could not be read and are not part of these figures.")
    for source in dict.fromkeys(row.source for row in quoted):
        lines.append(f"[quoted] was not measured here: {source}.")
    if quoted and result.post_processing is not None:
        lines.append("The quoted figures are without post-processing.")
    return "\n".join(lines)
