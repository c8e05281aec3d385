"""Rows -> one SVG file for each group: R@1 over order accuracy for all methods, and R@1 by family of clips.

The file holds a digest of the figures that it shows. So it can be checked without matplotlib whether it is in step.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .rows import Row, families, galleries
from .tables import SECTIONS

# Blue, vermilion and green are told apart by the colour-blind too.
COLOURS = {"rivals": "#0072b2", "mv_adapter": "#d55e00", "head": "#009e73"}
WIDTH = 10
FONT_SIZE = 9
_DIGEST = re.compile(r"drawn from results with SHA-256 ([0-9a-f]{64})")


def figures_of(rows: list[Row]) -> dict[str, Any]:
    """The figures that are drawn, in types that JSON has.

    Returns:
        "points": for each method its label, its section, and order accuracy and R@1 with their deviations; empty if
        there are no twins. "bars": R@1 of the main methods by family of clips, or by direction if there is one family.
    """
    gallery = galleries(rows)[0]
    points = [
        {
            **_name(row),
            "is_ablation": row.is_ablation,
            "x": _spread(row.figures("order", "t2v order accuracy")),
            "y": _spread(row.figures(gallery, "t2v R@1")),
        }
        for row in rows
        if "order" in rows[0].results[0]["metrics"]
    ]
    kinds = families(rows, gallery, "t2v R@1")
    if len(kinds) > 1:
        places = {
            f"{family}: {', '.join(members)}": [f"t2v R@1 {kind}" for kind in members]
            for family, members in kinds.items()
        }
    else:
        places = {"text to video": ["t2v R@1"], "video to text": ["v2t R@1"]}
    main = [row for row in rows if row.method.summary] or [row for row in rows if not row.is_ablation] or rows
    bars = {
        title: [{**_name(row), "x": _spread(row.figures(gallery, *names))} for row in main]
        for title, names in places.items()
    }
    named = f", {gallery} gallery" if len(galleries(rows)) > 1 else ""
    return {"gallery": named, "points": points, "bars": bars}


def digest(rows: list[Row]) -> str:
    """The digest of the figures of a group."""
    return hashlib.sha256(json.dumps(figures_of(rows), sort_keys=True).encode()).hexdigest()


def drawn_from(file: Path) -> str | None:
    """The digest in the file of a plot; None if there is no file or no digest in it."""
    found = _DIGEST.search(file.read_text(encoding="utf-8")) if file.exists() else None
    return found[1] if found else None


def draw(rows: list[Row], file: Path) -> None:
    """Draw a group. The same rows give the same file."""
    import matplotlib
    from matplotlib.figure import Figure

    drawn = figures_of(rows)
    num_bars = len(next(iter(drawn["bars"].values())))
    heights = [6.5 if drawn["points"] else 0.0, 1.2 + 0.25 * num_bars]
    style = {
        "svg.hashsalt": "mv_peft",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Verdana", "sans-serif"],  # the first comes with matplotlib
        "font.size": FONT_SIZE,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(style)
        figure = Figure(figsize=(WIDTH, sum(heights)), dpi=72, facecolor="white")
        if drawn["points"]:
            edges = heights[1] / sum(heights)
            _draw_points(figure.add_axes((0.08, edges + 0.06, 0.9, 0.91 - edges)), drawn)
        _draw_bars(figure, drawn, heights[1] / sum(heights))
        figure.savefig(
            file,
            format="svg",
            metadata={
                "Date": None,
                "Creator": None,
                "Description": f"drawn from results with SHA-256 {digest(rows)}",
            },
        )


def _name(row: Row) -> dict[str, str]:
    return {"label": row.label.removeprefix("- "), "section": row.method.group}


def _spread(figures: Sequence[float]) -> list[float] | None:
    """Mean and deviation, which is 0 for one figure; rounded, so that all machines give the same."""
    if not figures:
        return None
    return [round(statistics.mean(figures), 2), round(statistics.stdev(figures), 2) if len(figures) > 1 else 0.0]


def _draw_points(axes: Any, drawn: dict[str, Any]) -> None:
    points = [point for point in drawn["points"] if point["x"] and point["y"]]
    for section, title in SECTIONS.items():
        for is_ablation in (False, True):
            chosen = [p for p in points if (p["section"], p["is_ablation"]) == (section, is_ablation)]
            if not chosen:
                continue
            (x, x_error), (y, y_error) = (zip(*(p[axis] for p in chosen), strict=True) for axis in "xy")
            colour = COLOURS[section]
            axes.errorbar(
                x,
                y,
                xerr=x_error,
                yerr=y_error,
                fmt="o",
                color=colour,
                markerfacecolor="white" if is_ablation else colour,
                markersize=5,
                elinewidth=0.6,
                alpha=0.8,
                label=f"{title}, ablations" if is_ablation else title,
            )
    axes.axvline(50, color="gray", linestyle=":", linewidth=1)
    axes.set(
        xlabel="order accuracy, text to video (%); dotted: a guess", ylabel=f"R@1, text to video{drawn['gallery']} (%)"
    )
    axes.margins(0.08)
    axes.legend(loc="lower right", frameon=False)
    _label(axes, [point for point in points if not point["is_ablation"] or _is_alone(point, points)])


def _is_alone(point: dict[str, Any], points: Sequence[dict[str, Any]]) -> bool:
    """Whether no other point of its section is within five points of a point in both figures."""
    others = [other for other in points if other is not point and other["section"] == point["section"]]
    return all(max(abs(other[axis][0] - point[axis][0]) for axis in "xy") > 5 for other in others)


def _label(axes: Any, points: Sequence[dict[str, Any]]) -> None:
    """Write the name of each point at the nearest free position, with a line to the point if that is not beside it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    axes.autoscale_view()
    axes.autoscale(False)
    centres = [axes.transData.transform((point["x"][0], point["y"][0])) for point in points]
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in centres]
    for point in points:
        (x, x_error), (y, y_error) = point["x"], point["y"]
        for side, rise in ((x_error, 0.0), (0.0, y_error)):
            taken.append(Bbox(axes.transData.transform([(x - side, y - rise), (x + side, y + rise)])).padded(1))
    taken.append(axes.get_legend().get_window_extent(renderer))
    inside = axes.get_window_extent(renderer)
    for point, (x, y) in zip(points, centres, strict=True):
        text = axes.text(0, 0, point["label"], fontsize=FONT_SIZE - 1.5, color=COLOURS[point["section"]])
        size = text.get_window_extent(renderer)
        box, least = Bbox.null(), math.inf
        for distance in range(7, 200, 6):
            for rise in sorted(range(-distance, distance + 1, 6), key=abs):
                for left in (x + distance, x - distance - size.width):
                    place = Bbox.from_bounds(left, y + rise - size.height / 2, size.width, size.height)
                    cost = _cost(place, taken, inside, x, y)
                    if cost < least:
                        box, least = place, cost
            if least < distance + 6:
                break
        taken.append(box)
        text.set_position(axes.transData.inverted().transform((box.x0, box.y0)))
        text.set_verticalalignment("bottom")
        near = (min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1))
        if abs(near[0] - x) + abs(near[1] - y) > 12:
            ends = axes.transData.inverted().transform([(x, y), near])
            axes.plot(*ends.T, color="gray", linewidth=0.4, zorder=0)


def _cost(place: Any, taken: Sequence[Any], inside: Any, x: float, y: float) -> float:
    """The cost of a position for a label: overlap counts most, then the distance from the point."""
    overlap = sum(
        max(0.0, min(place.x1, other.x1) - max(place.x0, other.x0))
        * max(0.0, min(place.y1, other.y1) - max(place.y0, other.y0))
        for other in taken
    )
    outside = not (inside.x0 <= place.x0 and place.x1 <= inside.x1 and inside.y0 <= place.y0 and place.y1 <= inside.y1)
    distance = max(place.x0 - x, x - place.x1, 0) + abs((place.y0 + place.y1) / 2 - y)
    return 1e6 * outside + 100 * overlap + distance


def _draw_bars(figure: Any, drawn: dict[str, Any], share: float) -> None:
    """Draw a panel for each family of clips, with a bar for each method."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    labels = [bar["label"] for bar in next(iter(drawn["bars"].values()))]
    texts = [figure.text(0, 0, label) for label in labels]
    left, gap = max(text.get_window_extent(renderer).width for text in texts) / (72 * WIDTH) + 0.02, 0.02
    for text in texts:
        text.remove()
    width = (0.98 - left) / len(drawn["bars"]) - gap
    for index, (title, bars) in enumerate(drawn["bars"].items()):
        axes = figure.add_axes((left + index * (width + gap), 0.14 * share, width, 0.7 * share))
        for place, bar in enumerate(bars):
            if bar["x"] is None:
                continue
            mean, deviation = bar["x"]
            axes.barh(
                place,
                mean,
                xerr=deviation or None,
                color=COLOURS[bar["section"]],
                alpha=0.8,
                error_kw={"elinewidth": 0.8},
            )
            beside = mean + deviation if mean < 15 else 0
            colour = "black" if beside else "white"
            axes.text(beside + 2, place, f"{mean:.1f}", va="center", color=colour, fontsize=FONT_SIZE - 1)
        axes.set_yticks(range(len(bars)), labels if index == 0 else [""] * len(bars))
        axes.set(xlim=(0, 100), xticks=range(0, 100, 20), ylim=(len(bars) - 0.4, -0.6), title=title)
        axes.title.set_fontsize(FONT_SIZE)
        axes.tick_params(axis="y", length=0)
    figure.text(left + (0.98 - left) / 2, 0.02 * share, f"R@1{_of(drawn)} (%)", ha="center")


def _of(drawn: dict[str, Any]) -> str:
    return drawn["gallery"] if "text to video" in drawn["bars"] else f", text to video{drawn['gallery']}"
