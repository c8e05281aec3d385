"""Results -> rows: each method with the results of all its seeds, checked to be comparable, and put in order."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from .method import Group, Method, load_method

# What must be the same in all results of a group, and in all seeds of a method beside its resolved configuration.
SHARED = (
    "data",
    "model",
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
SHARED_BY_SEEDS = ("recipe", "learning_rate")
# Worlds whose clips are rendered, for a tiny CLIP.
SYNTHETIC = ("shapes", "digits", "babyai")
# The order of the rows within a section; whatever is not named here comes after, by name.
ORDER = (
    "zero-shot",
    "full",
    "lora",
    "lora_matched",
    "lora_all",
    "dora",
    "ia3",
    "ln_tuning",
    "bias",
    "adapter_sequential",
    "adapter_parallel",
    "st_adapter",
    "prompts",
    "mv_adapter",
    "mv_adapter_paper",
    "mv_adapter_paper_recipe",
    "mv_adapter_no_temporal",
    "mv_adapter_no_calibration",
    "mv_adapter_no_tying",
    "mv_adapter_tying_paper",
    "mv_adapter_scaling_paper",
    "mv_adapter_positions_paper",
    "mv_adapter_tied_1",
    "mv_adapter_width_8",
    "mv_adapter_width_16",
    "mv_adapter_width_64",
    "mv_adapter_down_out",
    "mv_adapter_up_in",
    "mv_adapter_up_out",
    "mv_adapter_last_layer",
    "head",
    "full+head",
    "lora+head",
    "mv_adapter+head",
)
# Kinds of clips by family; the others are order or change.
FAMILIES = {"still": "static", "move": "motion"}
REST = "order/change"


@dataclass(frozen=True)
class Row:
    """A method with the results of all its seeds.

    Attributes:
        label: What tables call it.
        method: What its file says.
        results: One a seed.
        tuning: How its learning rate was chosen; None if it was given, or nothing is trained.
    """

    label: str
    method: Method
    results: tuple[dict[str, Any], ...]
    tuning: dict[str, Any] | None

    @property
    def is_ablation(self) -> bool:
        return self.label.startswith("- ")

    def figures(self, gallery: str, *names: str) -> list[float]:
        """A figure of every seed, or the mean of several; none where one of them was not measured."""
        measured = [result["metrics"].get(gallery, {}) for result in self.results]
        return [
            statistics.mean(metrics[name] for name in names)
            for metrics in measured
            if all(name in metrics for name in names)
        ]

    def cost(self, name: str) -> list[float]:
        """An entry of `train_info` of every seed."""
        return [result["train_info"][name] for result in self.results if result["train_info"][name] is not None]


def read_group(folder: Path) -> list[Row]:
    """The test results of a folder, in the order of the tables.

    Raises:
        ValueError: If there is none, if they are not comparable, or if one is not of what the method's file says now,
            or not of the learning rate that is chosen now.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    shared: dict[str, Any] = {}
    for file in sorted(folder.glob("*-seed*.json")):
        result = json.loads(file.read_text(encoding="utf-8"))
        config = result["config"]
        if config["split"] != "test":
            continue
        facts = {name: config.get(name) for name in SHARED} | {"galleries": sorted(result["metrics"])}
        shared = shared or facts
        _compare(f"'{file}'", "the others", shared, facts)
        seeds = results.setdefault(file.name.rpartition("-seed")[0], [])
        if seeds:
            _compare(f"'{file}'", "the first seed", _of_method(seeds[0]["config"]), _of_method(config))
        seeds.append(result)
    if not results:
        raise ValueError(f"'{folder}' holds no result on the test split. Run `python -m benchmarks.compare.suite`.")
    rows = {name: _row(name, seeds, folder) for name, seeds in results.items()}
    return [rows[name] for name in sorted(rows, key=lambda name: _place(name, rows[name].method))]


def galleries(rows: list[Row]) -> list[str]:
    """Where recalls were measured: all but the choice between twins."""
    return [name for name in rows[0].results[0]["metrics"] if name != "order"]


def families(rows: list[Row], gallery: str, figure: str) -> dict[str, list[str]]:
    """The kinds of clips that a figure was measured of, by family; families in order, none that is empty."""
    names = rows[0].results[0]["metrics"].get(gallery, {})
    kinds = [name.removeprefix(f"{figure} ") for name in names if name.startswith(f"{figure} ")]
    found = {
        family: [kind for kind in kinds if FAMILIES.get(kind, REST) == family] for family in (*FAMILIES.values(), REST)
    }
    return {family: members for family, members in found.items() if members}


def _compare(what: str, others: str, wanted: dict[str, Any], facts: dict[str, Any]) -> None:
    differing = [
        f"{name}: {wanted.get(name)!r}, {facts.get(name)!r}"
        for name in dict.fromkeys([*wanted, *facts])
        if wanted.get(name) != facts.get(name)
    ]
    if differing:
        raise ValueError(f"{what} is not comparable with {others} ({'; '.join(differing)}). Run it again.")


def _of_method(config: dict[str, Any]) -> dict[str, Any]:
    return {name: config[name] for name in SHARED_BY_SEEDS} | (config.get("peft") or {})


def _row(name: str, results: list[dict[str, Any]], folder: Path) -> Row:
    config = results[0]["config"]
    method = load_method(config["method"])
    wanted: dict[str, Any] = {"recipe": method.recipe}
    if config["data"] in SYNTHETIC:  # the file's fields are for tiny CLIPs
        wanted |= {**method.overrides, **config["overrides"]}
    had = config.get("peft") or {}
    if method.method.endswith("+head"):  # that of the head, with the method's in it
        had = {**(had.get("method") or {}), "head": {field: had.get(field) for field in wanted.get("head", {})}}
    had = {**had, "recipe": config["recipe"]}
    _compare(f"'{name}' in '{folder}'", f"'{method.name}.json'", wanted, {name: had.get(name) for name in wanted})
    changes = [f"{field}={value}" for field, value in sorted(config["overrides"].items())]
    changes += ["random batches"] if config.get("batches") == "random" else []
    tuned = name
    if method.learning_rate_of is not None:
        tuned = ",".join([method.learning_rate_of, *(["random"] if config.get("batches") == "random" else [])])
    file = folder / "tuning" / f"{tuned}.json"
    tuning = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    if tuning is not None and config["learning_rate"] != tuning["chosen"]:
        raise ValueError(
            f"'{name}' in '{folder}' ran at a learning rate of {config['learning_rate']}, but 'tuning/{file.name}' "
            f"chose {tuning['chosen']}. Run it again."
        )
    return Row(", ".join([method.label, *changes]), method, tuple(results), tuning)


def _place(name: str, method: Method) -> tuple[int, int, str]:
    order = ORDER.index(method.name) if method.name in ORDER else len(ORDER)
    return (get_args(Group).index(method.group), order, name)
