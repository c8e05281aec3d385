"""The methods of the benchmark: one JSON each in `benchmarks/methods`, for tiny CLIPs and for those of usual size."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

METHODS = Path(__file__).parent / "methods"
# What to choose from where CLIP is one of usual size: a factor of about three apart, as many for every method. LoRA is
# known to do well near 6e-4, full fine-tuning at 1e-7, CLIP4Clip's rate.
USUAL_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
USUAL_RATES_OF_CLIP = (1e-7, 3e-7, 1e-6, 3e-6, 1e-5)


@dataclass(frozen=True)
class Method:
    """A row of the comparison, as it is put into a CLIP of one size.

    Attributes:
        name: Of its file.
        label: What tables call it.
        method: What `mv_peft.baselines.create_method` calls it.
        overrides: Fields of its configuration; those of a head stand under "head".
        learning_rates: What to choose from on the validation split; none if nothing is trained.
        recipe: Of `mv_peft.training.recipes`.
        match: For "lora_matched": the name of the method to have as many parameters as.
    """

    name: str
    label: str
    method: str
    overrides: dict[str, Any] = field(default_factory=dict)
    learning_rates: tuple[float, ...] = ()
    recipe: str = "modern"
    match: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rates", tuple(self.learning_rates))

    @property
    def trains_clip(self) -> bool:
        """Whether CLIP's own weights are trained."""
        return self.method.partition("+")[0] == "full"


def load_method(name: str, *, tiny: bool = True) -> Method:
    """A method by the name of its file.

    Args:
        name: Of the file, without ".json".
        tiny: Whether it goes into a tiny CLIP. The file's "tiny", fields that replace those of "overrides", and its
            "learning_rates" are for those alone; else what is not in "overrides" is the method's own default, and the
            rates are `USUAL_RATES`, or `USUAL_RATES_OF_CLIP` where CLIP itself is trained.

    Raises:
        ValueError: If there is none.
    """
    if name not in method_names():
        raise ValueError(f"Unknown method {name!r}. Choose from: {', '.join(method_names())}.")
    entries = json.loads((METHODS / f"{name}.json").read_text(encoding="utf-8"))
    fields_if_tiny = entries.pop("tiny", {})
    method = Method(name=name, **entries)
    if tiny:
        return replace(method, overrides={**method.overrides, **fields_if_tiny})
    rates = USUAL_RATES_OF_CLIP if method.trains_clip else USUAL_RATES
    return replace(method, learning_rates=rates if method.learning_rates else ())


def method_names() -> list[str]:
    """All methods, in order of their names."""
    return sorted(path.stem for path in METHODS.glob("*.json"))
