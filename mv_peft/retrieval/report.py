"""A result as a table, with the published rows of its data set beside it."""

from __future__ import annotations

from .evaluation import RetrievalResult
from .published import PUBLISHED, PUBLISHED_SOURCE

_FIGURES = ("R@1", "R@5", "R@10", "R@50", "median rank", "mean rank")
_HEADS = ("R@1", "R@5", "R@10", "R@50", "median", "mean")


def format_result(result: RetrievalResult, label: str = "this run", *, published: str | None = None) -> str:
    """A line a direction, and below it what others published.

    Args:
        result: What was measured.
        label: What to call it.
        published: A benchmark whose published figures to quote: where the test was measured; others are not comparable.
    """
    quoted = PUBLISHED.get(published or "", ())
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
        lines.append(f"{len(result.skipped)} videos could not be read and are in none of these figures.")
    if quoted:
        lines.append(f"[quoted] was not measured here: {PUBLISHED_SOURCE}.")
        if result.post_processing is not None:
            lines.append("The quoted figures are without post-processing.")
    return "\n".join(lines)
