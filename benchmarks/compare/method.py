"""The methods of the comparison: one JSON file each in `benchmarks/compare/methods`.

A file describes a method for a CLIP of usual size. Entries under "tiny" replace those of the same name for the tiny
CLIPs of the rendered worlds; "overrides" and "head" are merged field by field. To add a rival to the comparison, write
such a file:

    {
     "label": "LoRA r=8 + temporal head",
     "method": "lora",
     "overrides": {"r": 8},
     "head": {"num_layers": 4},
     "learning_rates": [1e-05, 3e-05, 0.0001, 0.0003, 0.001],
     "tiny": {"head": {"num_heads": 4}, "learning_rates": [0.001, 0.003, 0.01, 0.03]},
     "group": "head",
     "order": 330
    }
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

METHODS = Path(__file__).parent / "methods"
Group = Literal["rivals", "mv_adapter", "head"]
LAST = 10_000


@dataclass(frozen=True)
class Method:
    """A row of the comparison, for a CLIP of one size.

    Attributes:
        name: Name of the file, without ".json".
        label: The name in tables and pictures. The label of an ablation starts with "- ".
        method: The name that `mv_peft.tuners.create_method` knows it by, without a head.
        overrides: Fields of its configuration.
        head: Fields of the temporal head beside it; None if there is no head beside it.
        match: Name of the method that this one must match in its number of parameters, if any.
        learning_rates: Candidates for the learning rate, chosen on the validation split. Empty if nothing is trained
            or if the learning rate is that of another method.
        learning_rate_of: Name of the method whose chosen learning rate this one uses.
        recipe: A recipe of `mv_peft.training.recipes`.
        tiny_only: Whether the method is for tiny CLIPs only, because its label or its fields do not fit others.
        group: Section of the tables: rivals, MV-Adapter with its ablations, or methods with the temporal head.
        order: Position within the section; files without one come last, sorted by name.
        summary: Whether the short table shows the method too.

    Raises:
        ValueError: If the group is unknown, or if there are both `learning_rates` and `learning_rate_of`.
    """

    name: str
    label: str
    method: str
    overrides: dict[str, Any] = field(default_factory=dict)
    head: dict[str, Any] | None = None
    match: str | None = None
    learning_rates: tuple[float, ...] = ()
    learning_rate_of: str | None = None
    recipe: str = "modern"
    tiny_only: bool = False
    group: Group = "rivals"
    order: int = LAST
    summary: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rates", tuple(self.learning_rates))
        if self.group not in get_args(Group):
            raise ValueError(
                f"Unknown group {self.group!r} of '{self.name}'. Choose from: {', '.join(get_args(Group))}."
            )
        if self.learning_rates and self.learning_rate_of is not None:
            raise ValueError(
                f"'{self.name}' has learning rates of its own and also uses that of '{self.learning_rate_of}'. "
                "Leave out `learning_rates` or `learning_rate_of`."
            )

    @property
    def trains(self) -> bool:
        """Whether the method has anything to train."""
        return bool(self.learning_rates) or self.learning_rate_of is not None

    @property
    def sort_key(self) -> tuple[int, int, str]:
        """Sort key of the method's row."""
        return (get_args(Group).index(self.group), self.order, self.name)


def load_method(name: str, *, tiny: bool = True) -> Method:
    """Load a method by the name of its file.

    Args:
        name: Name of the file, without ".json".
        tiny: Whether the method goes into a tiny CLIP.

    Raises:
        ValueError: If there is no such method, if it is for tiny CLIPs only, or if it uses the learning rate of a
            method that chooses none.
    """
    method = _read(name, tiny)
    if method.learning_rate_of is not None and not _read(method.learning_rate_of, tiny).learning_rates:
        raise ValueError(
            f"'{name}' uses the learning rate of '{method.learning_rate_of}', which chooses none. "
            "Name a method that has `learning_rates`."
        )
    if method.tiny_only and not tiny:
        raise ValueError(
            f"The method '{name}' is for tiny CLIPs only. Choose from: {', '.join(method_names(tiny=False))}."
        )
    return method


def method_names(*, tiny: bool = True) -> list[str]:
    """Names of all methods for a tiny CLIP, or for one of usual size, sorted."""
    names = sorted(path.stem for path in METHODS.glob("*.json"))
    return names if tiny else [name for name in names if not _read(name, tiny).tiny_only]


def _read(name: str, tiny: bool) -> Method:
    if name not in method_names():
        raise ValueError(f"Unknown method {name!r}. Choose from: {', '.join(method_names())}.")
    entries = json.loads((METHODS / f"{name}.json").read_text(encoding="utf-8"))
    for key, value in entries.pop("tiny", {}).items():
        if tiny:
            entries[key] = {**entries.get(key, {}), **value} if isinstance(value, dict) else value
    return Method(name=name, **entries)
