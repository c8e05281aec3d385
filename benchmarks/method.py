"""The methods of the benchmark: one JSON each in `benchmarks/methods`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

METHODS = Path(__file__).parent / "methods"
Group = Literal["rivals", "mv_adapter", "head"]


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes:
        name: Of its file.
        label: What tables call it; that of an ablation begins with "- ".
        method: What `mv_peft.baselines.create_method` calls it.
        overrides: Fields of its configuration; those of a head stand under "head".
        learning_rates: What to choose from on the validation split; none if nothing is trained, or another's is taken.
        learning_rate_of: The name of the method whose chosen learning rate it takes.
        recipe: Of `mv_peft.training.recipes`.
        match: For "lora_matched": the name of the method to have as many parameters as.
        group: The section of the tables: rivals, MV-Adapter and its ablations, or with the temporal head.
        summary: Whether the short table has it too.

    Raises:
        ValueError: For an unknown group, or learning rates of its own and another's.
    """

    name: str
    label: str
    method: str
    overrides: dict[str, Any] = field(default_factory=dict)
    learning_rates: tuple[float, ...] = ()
    learning_rate_of: str | None = None
    recipe: str = "modern"
    match: str | None = None
    group: Group = "rivals"
    summary: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rates", tuple(self.learning_rates))
        if self.group not in get_args(Group):
            raise ValueError(
                f"Unknown group {self.group!r} of '{self.name}'. Choose from: {', '.join(get_args(Group))}."
            )
        if self.learning_rates and self.learning_rate_of is not None:
            raise ValueError(
                f"'{self.name}' has learning rates of its own and those of '{self.learning_rate_of}'. "
                "Leave `learning_rates` or `learning_rate_of` out."
            )

    @property
    def trains(self) -> bool:
        """Whether there is anything to train."""
        return bool(self.learning_rates) or self.learning_rate_of is not None


def load_method(name: str) -> Method:
    """A method by the name of its file.

    Raises:
        ValueError: If there is none, or its learning rate is to be that of a method that chooses none.
    """
    method = _read(name)
    if method.learning_rate_of is not None and not _read(method.learning_rate_of).learning_rates:
        raise ValueError(
            f"'{name}' wants the learning rate of '{method.learning_rate_of}', which chooses none. "
            "Name a method that has `learning_rates`."
        )
    return method


def method_names() -> list[str]:
    """All methods, in order of their names."""
    return sorted(path.stem for path in METHODS.glob("*.json"))


def _read(name: str) -> Method:
    if name not in method_names():
        raise ValueError(f"Unknown method {name!r}. Choose from: {', '.join(method_names())}.")
    return Method(name=name, **json.loads((METHODS / f"{name}.json").read_text(encoding="utf-8")))
