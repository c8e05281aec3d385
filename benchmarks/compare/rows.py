"""Results -> rows of the tables, in order: each method with the results of all its seeds, checked to be comparable."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..worlds import DATA
from .method import Method, load_method

# What must be the same in all results of a group.
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
# What must be the same in all seeds of a method, besides its resolved configuration.
SHARED_BY_SEEDS = ("recipe", "learning_rate")
# Families of kinds of clips; a kind that is not listed is of the family `REST`.
FAMILIES = {"still": "static", "move": "motion"}
REST = "order/change"


@dataclass(frozen=True)
class Row:
    """A method with the results of all its seeds.

    Attributes:
        label: The name in tables and pictures: the method's, followed by what the runs changed.
        method: The method.
        results: One for each seed.
        tuning: How the learning rate was chosen; None if it was given or if nothing is trained.
    """

    label: str
    method: Method
    results: tuple[dict[str, Any], ...]
    tuning: dict[str, Any] | None

    @property
    def is_ablation(self) -> bool:
        """Whether the row is an ablation of the method above it."""
        return self.label.startswith("- ")

    def figures(self, gallery: str, *names: str) -> list[float]:
        """The mean of some figures in a gallery, for each seed that measured all of them."""
        measured = [result["metrics"].get(gallery, {}) for result in self.results]
        return [
            statistics.mean(metrics[name] for name in names)
            for metrics in measured
            if all(name in metrics for name in names)
        ]

    def cost(self, name: str) -> list[float]:
        """An entry of `train_info`, for each seed that has it."""
        return [result["train_info"][name] for result in self.results if result["train_info"][name] is not None]


def read_group(folder: Path) -> list[Row]:
    """Read the results of a folder that were measured on the test split.

    Returns:
        The rows, in the order of the tables.

    Raises:
        ValueError: If there are no results, if they are not comparable, or if a result no longer fits the method's file
            or the learning rate that was chosen.
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
    return [rows[name] for name in sorted(rows, key=lambda name: (rows[name].method.sort_key, name))]


def galleries(rows: list[Row]) -> list[str]:
    """The galleries in which recalls were measured; the choice between twins is none."""
    return [name for name in rows[0].results[0]["metrics"] if name != "order"]


def families(rows: list[Row], gallery: str, figure: str) -> dict[str, list[str]]:
    """The kinds of clips that a figure was measured for, by family; no family is empty."""
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
    _check_fields(name, config, method, folder)
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


def _check_fields(name: str, config: dict[str, Any], method: Method, folder: Path) -> None:
    """Check that a result had the fields that the method's file asks for now."""
    wanted: dict[str, Any] = {"recipe": method.recipe}
    if config["data"] in DATA:  # `load_method` gives the fields for tiny CLIPs
        wanted |= {**method.overrides, **config["overrides"]}
        wanted |= {} if method.head is None else {"head": config["overrides"].get("head", method.head)}
    had = config.get("peft") or {}
    if method.head is not None:  # the configuration is that of the head, with the method's inside
        had = {**(had.get("method") or {}), "head": {field: had.get(field) for field in wanted.get("head", {})}}
    had = {**had, "recipe": config["recipe"]}
    _compare(f"'{name}' in '{folder}'", f"'{method.name}.json'", wanted, {name: had.get(name) for name in wanted})
