"""Rows -> tables in Markdown: the mean over seeds, with the standard deviation if there are several."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..worlds import DATA
from .method import load_method
from .rows import Row, families, galleries

AT_EDGE = "*"
RUN = "python -m benchmarks.compare.run"
WAYS = ("t2v", "v2t")
SIZES = {"full": "full size", "fast": "reduced size"}
SECTIONS = {"rivals": "Rivals", "mv_adapter": "MV-Adapter", "head": "With the temporal head"}
LEGEND = {
    "ways": "*t2v*: from text to video; *v2t*: from video to text",
    "natural": "*natural*: the gallery of clips drawn one by one",
    "twin": "*twin*: the gallery of clips beside their twins",
    "order": "*order accuracy*: the choice between a clip and its twin, 50 being a guess",
}
BLIND = "*blind to the order of frames, at best*"


def mean_and_deviation(figures: Sequence[float], digits: int = 1) -> str:
    """Format figures as "24.7 ± 0.9", one figure without a deviation, none as a dash."""
    if not figures:
        return "-"
    mean = f"{statistics.mean(figures):.{digits}f}"
    return mean if len(figures) == 1 else f"{mean} ± {statistics.stdev(figures):.{digits}f}"


def render_group(rows: list[Row], plot: str) -> str:
    """Render a group in full: what was measured, the comparison, its plot, and folded details.

    Args:
        rows: The rows of `read_group`.
        plot: Path of the plot, relative to the page.
    """
    lines = [
        *_caption(rows),
        *_comparison(rows, with_sections=True),
        *_picture(plot),
    ]
    for gallery in galleries(rows):
        lines += _folded(f"R@1, R@5 and R@10{_in(rows, gallery)}", _recalls(rows, gallery))
        if kinds := families(rows, gallery, "t2v R@1"):
            title = f"By kind of clip: R@1 from text to video{_in(rows, gallery)}"
            lines += _folded(title, _by_kind(rows, gallery, "t2v R@1", kinds))
    if kinds := families(rows, "order", "t2v order accuracy"):
        title = "By kind of clip: order accuracy from text to video"
        lines += _folded(title, _by_kind(rows, "order", "t2v order accuracy", kinds))
    lines += _folded("Costs and learning rates", _costs(rows))
    return "\n".join(lines).rstrip() + "\n"


def render_summary(rows: list[Row], chosen: Sequence[str], plot: str) -> str:
    """Render the comparison of some methods, what it was made by, and the plot of all of them.

    Args:
        rows: The rows of `read_group`.
        chosen: Names of methods.
        plot: Path of the plot, relative to the page.

    Raises:
        ValueError: If a chosen method has no result, or if none is chosen.
    """
    short = [row for row in rows if row.method.name in chosen and not _is_changed(row)]
    missing = sorted(set(chosen) - {row.method.name for row in short})
    if missing or not chosen:
        raise ValueError(
            f"The summary of {rows[0].results[0]['config']['data']} needs results of: "
            f"{', '.join(missing) or 'no method'}. "
            'Run them with `python -m benchmarks.compare.suite`, or set `"summary"` in other files of '
            "`benchmarks/compare/methods`."
        )
    return "\n".join([*_caption(short), *_comparison(short, with_sections=False), *_picture(plot)]).rstrip() + "\n"


def _picture(plot: str) -> list[str]:
    return [f"![All methods in a picture, the same figures as in the tables]({plot})", ""]


def _caption(rows: list[Row]) -> list[str]:
    """What was measured, in which size and by which commands; then what the columns mean."""
    config = rows[0].results[0]["config"]
    results = [result for row in rows for result in row.results]
    seeds = sorted({result["config"]["seed"] for result in results})
    commits = sorted({result["run_info"]["commit"] or "unknown" for result in results})
    commands = dict.fromkeys(_command(result) for result in results)
    legend = [LEGEND[name] for name in ("ways", *rows[0].results[0]["metrics"]) if name in LEGEND]
    return [
        f"{'Synthetic clips' if config['data'] in DATA else 'Real videos'}, {_size(config)}. "
        f"Seed{_s(seeds)} {', '.join(map(str, seeds))}; commit{_s(commits)} {', '.join(commits)}; "
        f"{', '.join(f'`{command}`' for command in commands)}.",
        "",
        f"Per cent; mean and standard deviation over seeds, where a method has several. {'; '.join(legend)}.",
        "",
    ]


def _command(result: dict[str, Any]) -> str:
    """The command that repeats runs like this one; older results name the module by an older path."""
    command = re.sub(r"^python -m \S+", RUN, result["run_info"]["command"])
    return re.sub(
        r"--(method|seed|learning-rate)[ =]\S+",
        lambda option: f"--{option[1]} {option[1].rpartition('-')[2].upper()}",
        command,
    )


def _size(config: dict[str, Any]) -> str:
    """The size of the runs, as far as the results know it; those on videos do not count clips."""
    parts = [f"`{config['data']}`", config.get("model") and f"CLIP `{config['model']}`", SIZES.get(config.get("size"))]
    steps = f"{config['steps']:,} steps of {config['batch_size']} clips"
    steps += f" of {config['num_frames']} frames" if config.get("num_frames") else ""
    steps += f" out of {config['num_train_clips']:,}" if config.get("num_train_clips") else ""
    clips = f", galleries of {config['num_gallery_clips']:,} clips" if config.get("num_gallery_clips") else ""
    return f"{', '.join(filter(None, parts))}: {steps}{clips}, {config['split']} split"


def _s(things: Sequence[object]) -> str:
    return "s" if len(things) > 1 else ""


def _is_changed(row: Row) -> bool:
    config = row.results[0]["config"]
    return bool(config["overrides"]) or config.get("batches") == "random"


def _in(rows: list[Row], gallery: str) -> str:
    return f", {gallery} gallery" if len(galleries(rows)) > 1 else ""


def _comparison(rows: list[Row], *, with_sections: bool) -> list[str]:
    """The main table. Where the order of frames matters, its last row is the limit of methods that are blind to it."""
    named = len(galleries(rows)) > 1
    columns = {
        f"{gallery} {way} R@1" if named else f"{way} R@1": (gallery, f"{way} R@1")
        for gallery in galleries(rows)
        for way in WAYS
    }
    if "order" in rows[0].results[0]["metrics"]:
        columns |= {f"order accuracy {way}": ("order", f"{way} order accuracy") for way in WAYS}

    def cells(row: Row) -> list[str]:
        trained = row.results[0]["train_info"]["trainable_parameters"]
        figures = [mean_and_deviation(row.figures(*place)) for place in columns.values()]
        return [row.label, f"{trained:,}" if trained else "-", *figures, str(len(row.results))]

    heads = ["method", "trained parameters", *columns, "seeds"]
    body = list(_sections(rows, cells, len(heads)) if with_sections else map(cells, rows))
    ceilings = {name: rows[0].figures(name, "order-blind ceiling")[:1] for name in galleries(rows)}
    if any(ceiling and ceiling[0] < 100 for ceiling in ceilings.values()):
        limits = [mean_and_deviation(ceilings.get(gallery, [50.0])) for gallery, _ in columns.values()]
        body.append([BLIND, "-", *limits, "-"])
    return _table(heads, body)


def _sections(rows: list[Row], cells: Callable[[Row], list[str]], width: int) -> Iterable[list[str]]:
    """The rows; if there are several sections, each has a title."""
    present = dict.fromkeys(row.method.group for row in rows)
    for group in present:
        if len(present) > 1:
            yield [f"**{SECTIONS[group]}**", *[""] * (width - 1)]
        yield from (cells(row) for row in rows if row.method.group == group)


def _recalls(rows: list[Row], gallery: str) -> list[str]:
    names = [f"{way} R@{k}" for way in WAYS for k in (1, 5, 10)]
    return _detail(rows, names, lambda row: [mean_and_deviation(row.figures(gallery, name)) for name in names])


def _by_kind(rows: list[Row], gallery: str, figure: str, kinds: dict[str, list[str]]) -> list[str]:
    """A table with a column for each family of kinds, and for each kind of a family that has several."""
    columns: dict[str, list[str]] = {}
    for family, members in kinds.items():
        if len(kinds) > 1:
            columns[f"{family} ({members[0] if len(members) == 1 else 'mean'})"] = members
        if len(kinds) == 1 or len(members) > 1:
            columns |= {kind: [kind] for kind in members}

    def cells(row: Row) -> list[str]:
        return [
            mean_and_deviation(row.figures(gallery, *(f"{figure} {kind}" for kind in members)))
            for members in columns.values()
        ]

    note = ["The mean counts each kind alike.", ""] if any(head.endswith("(mean)") for head in columns) else []
    return [*_detail(rows, list(columns), cells), *note]


def _costs(rows: list[Row]) -> list[str]:
    def cells(row: Row) -> list[str]:
        info, config = row.results[0]["train_info"], row.results[0]["config"]
        if not info["trainable_parameters"]:
            return ["-"] * 6
        return [
            f"{info['trainable_parameters']:,}",
            f"{info['adapter_bytes']:,}",
            f"{config['learning_rate']:g}{AT_EDGE if row.tuning and row.tuning['at_edge'] else ''}",
            _out_of(row),
            mean_and_deviation(row.cost("seconds"), 0),
            mean_and_deviation(row.cost("peak_memory_mib"), 0),
        ]

    heads = ["trained parameters", "bytes saved", "learning rate", "out of", "seconds", "peak MiB"]
    note = (
        f"A rate with {AT_EDGE} is the smallest or largest tried: a better one may lie beyond. Seconds are wall clock "
        "on a machine with other work, and no measure of speed; memory is the whole process's."
    )
    return [*_detail(rows, heads, cells), note, ""]


def _out_of(row: Row) -> str:
    if row.tuning is None:
        return "given"
    if row.method.learning_rate_of is not None:
        return f"{load_method(row.method.learning_rate_of).label}'s"
    return ", ".join(f"{candidate['learning_rate']:g}" for candidate in row.tuning["candidates"])


def _detail(rows: list[Row], heads: Sequence[str], cells: Callable[[Row], list[str]]) -> list[str]:
    return _table(["method", *heads], _sections(rows, lambda row: [row.label, *cells(row)], len(heads) + 1))


def _table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    return [*lines, *(f"| {' | '.join(cells)} |" for cells in body), ""]


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["<details>", f"<summary>{title}</summary>", "", *lines, "</details>", ""]
