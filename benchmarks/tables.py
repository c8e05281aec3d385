"""Results -> tables in Markdown: the mean over seeds, and the standard deviation where there are several."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What must be the same in all results of a group.
SHARED = (
    "data",
    "size",
    "split",
    "data_seed",
    "batch_size",
    "precision",
    "steps",
    "num_train_clips",
    "num_gallery_clips",
    "num_frames",
)
# The order of the rows; whatever is not named here comes after, by name.
ORDER = (
    "zero-shot",
    "full",
    "lora",
    "lora_matched",
    "adapter_sequential",
    "prompts",
    "mv_adapter",
    "mv_adapter_large",
    "mv_adapter_paper_recipe",
    "mv_adapter_no_temporal",
    "mv_adapter_no_calibration",
    "mv_adapter_no_tying",
    "mv_adapter_tying_identity",
    "full+head",
    "lora+head",
    "mv_adapter+head",
)
AT_EDGE = "*"


@dataclass(frozen=True)
class Row:
    """A method with the results of all its seeds.

    Attributes:
        label: What the table calls it.
        results: One a seed.
        tuning: How its learning rate was chosen; None if it was given, or nothing is trained.
    """

    label: str
    results: tuple[dict[str, Any], ...]
    tuning: dict[str, Any] | None

    def figures(self, gallery: str, name: str) -> list[float]:
        """A figure of every seed; none where it was not measured."""
        return [result["metrics"][gallery][name] for result in self.results if name in result["metrics"][gallery]]

    def cost(self, name: str) -> list[float]:
        """An entry of `train_info` of every seed."""
        return [result["train_info"][name] for result in self.results if result["train_info"][name] is not None]


def read_group(folder: Path) -> list[Row]:
    """The test results of a folder.

    Raises:
        ValueError: If they are not comparable, or there is none.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    shared: dict[str, Any] = {}
    for file in sorted(folder.glob("*-seed*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        config = result["config"]
        if config["split"] != "test":
            continue
        facts = {name: config[name] for name in SHARED}
        shared = shared or facts
        if facts != shared:
            differing = [f"{name}: {shared[name]!r}, {facts[name]!r}" for name in SHARED if facts[name] != shared[name]]
            raise ValueError(f"'{file}' is not comparable with the others ({'; '.join(differing)}). Run it again.")
        results.setdefault(file.name.rpartition("-seed")[0], []).append(result)
    if not results:
        raise ValueError(f"'{folder}' holds no result on the test split. Run `python -m benchmarks.suite`.")
    rows = []
    for name in sorted(results, key=_place):
        config = results[name][0]["config"]
        changes = [f"{field}={value}" for field, value in sorted(config["overrides"].items())]
        changes += ["random batches"] if config["batches"] == "random" else []
        file = folder / "tuning" / f"{name}.json"
        tuning = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        rows.append(Row(", ".join([config["label"], *changes]), tuple(results[name]), tuning))
    return rows


def _place(name: str) -> tuple[int, str]:
    method = name.partition(",")[0]
    return (ORDER.index(method) if method in ORDER else len(ORDER), name)


def mean_and_deviation(figures: Sequence[float], digits: int = 1) -> str:
    """As "24.7 ± 0.9", the deviation of a sample; one figure stands alone, none is a dash."""
    if not figures:
        return "-"
    mean = f"{statistics.mean(figures):.{digits}f}"
    return mean if len(figures) == 1 else f"{mean} ± {statistics.stdev(figures):.{digits}f}"


def render_group(rows: Sequence[Row]) -> str:
    """All tables of a group."""
    config = rows[0].results[0]["config"]
    blind = {gallery: rows[0].figures(gallery, "order-blind ceiling")[0] for gallery in ("natural", "twin")}
    lines = [
        f"{config['steps']:,} steps of {config['batch_size']} clips ({config['num_frames']} frames each) out of "
        f"{config['num_train_clips']:,}, galleries of {config['num_gallery_clips']:,} clips of the {config['split']} "
        "split. Per cent; mean and standard deviation over seeds, where a method has several.",
        "",
        *_retrieval(rows, "natural", "The natural gallery: clips drawn one by one", blind["natural"]),
        *_retrieval(rows, "twin", "The twin gallery: every clip beside its reversal", blind["twin"]),
        *_order(rows),
        *_by_kind(rows),
        *_costs(rows),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(title: str, heads: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"**{title}**", "", f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    return [*lines, *(f"| {' | '.join(cells)} |" for cells in body), ""]


def _retrieval(rows: Sequence[Row], gallery: str, title: str, blind: float) -> list[str]:
    names = [f"{way} R@{k}" for way in ("t2v", "v2t") for k in (1, 5, 10)]
    return _table(
        f"{title}. R@1 of someone who sees everything but the order of frames: {blind:.1f}",
        ["method", "seeds", *names],
        ([row.label, str(len(row.results)), *_cells(row, gallery, names)] for row in rows),
    )


def _order(rows: Sequence[Row]) -> list[str]:
    names = [f"{way} order accuracy" for way in ("t2v", "v2t")]
    kinds = _kinds(rows, "order", "t2v order accuracy ")
    by_kind = [f"t2v order accuracy {kind}" for kind in kinds]
    return _table(
        "Order accuracy: the choice between a clip and its reversal, 50 being a guess; by kind, from text to video",
        ["method", "t2v", "v2t", *kinds],
        ([row.label, *_cells(row, "order", [*names, *by_kind])] for row in rows),
    )


def _by_kind(rows: Sequence[Row]) -> list[str]:
    kinds = _kinds(rows, "natural", "t2v R@1 ")
    names = [f"t2v R@1 {kind}" for kind in kinds]
    return _table(
        "R@1 from text to video in the natural gallery, by kind of clip",
        ["method", *kinds],
        ([row.label, *_cells(row, "natural", names)] for row in rows),
    )


def _costs(rows: Sequence[Row]) -> list[str]:
    def cells(row: Row) -> list[str]:
        info = row.results[0]["train_info"]
        if not info["trainable_parameters"]:
            return [row.label, *["-"] * 6]
        config = row.results[0]["config"]
        rate = f"{config['learning_rate']:g}{AT_EDGE if row.tuning and row.tuning['at_edge'] else ''}"
        grid = "given" if row.tuning is None else ", ".join(f"{c['learning_rate']:g}" for c in row.tuning["candidates"])
        return [
            row.label,
            f"{info['trainable_parameters']:,}",
            f"{info['adapter_bytes']:,}",
            rate,
            grid,
            mean_and_deviation(row.cost("seconds"), 0),
            mean_and_deviation(row.cost("peak_memory_mib"), 0),
        ]

    heads = ["method", "trained parameters", "bytes saved", "learning rate", "out of", "seconds", "peak MiB"]
    title = (
        f"Cost and learning rates ({AT_EDGE} the smallest or largest tried: a better one may lie beyond). Seconds are "
        "wall clock on a machine with other work, and no measure of speed; memory is the whole process's"
    )
    return _table(title, heads, map(cells, rows))


def _cells(row: Row, gallery: str, names: Sequence[str]) -> list[str]:
    return [mean_and_deviation(row.figures(gallery, name)) for name in names]


def _kinds(rows: Sequence[Row], gallery: str, prefix: str) -> list[str]:
    return [name.removeprefix(prefix) for name in rows[0].results[0]["metrics"][gallery] if name.startswith(prefix)]
