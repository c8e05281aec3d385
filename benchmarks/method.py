"""The methods of the benchmark: one JSON each in `benchmarks/methods`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

METHODS = Path(__file__).parent / "methods"


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Attributes:
        name: Of its file.
        label: What tables call it.
        method: What `mv_peft.baselines.create_method` calls it.
        overrides: Fields of its configuration; those of a head stand under "head".
        learning_rates: What to choose from on the validation split; none if nothing is trained.
        recipe: Of `mv_peft.training.recipes`.
        match: For "lora_matched": the name of the method to have as many parameters as.
        group: The section of the report.
        summary: Whether the short table has it.
        learning_rate_of: The name of the method whose chosen rate an ablation takes.
    """

    name: str
    label: str
    method: str
    overrides: dict[str, Any] = field(default_factory=dict)
    learning_rates: tuple[float, ...] = ()
    recipe: str = "modern"
    match: str | None = None
    group: str = "rivals"
    summary: bool = False
    learning_rate_of: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rates", tuple(self.learning_rates))


def load_method(name: str) -> Method:
    """A method by the name of its file.

    Raises:
        ValueError: If there is none.
    """
    if name not in method_names():
        raise ValueError(f"Unknown method {name!r}. Choose from: {', '.join(method_names())}.")
    return Method(name=name, **json.loads((METHODS / f"{name}.json").read_text(encoding="utf-8")))


def method_names() -> list[str]:
    """All methods, in order of their names."""
    return sorted(path.stem for path in METHODS.glob("*.json"))
