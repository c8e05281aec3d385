"""The methods of the benchmark: one JSON each in `benchmarks/methods`, for tiny CLIPs and for those of usual size."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

METHODS = Path(__file__).parent / "methods"
Group = Literal["rivals", "mv_adapter", "head"]
# What to choose from where CLIP is one of usual size: a factor of about three apart, as many for every method. LoRA is
# known to do well near 6e-4; CLIP4Clip trains CLIP itself at 1e-7; what has few parameters wants larger steps.
USUAL_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
USUAL_RATES_OF = {
    "full": (1e-7, 3e-7, 1e-6, 3e-6, 1e-5),
    **dict.fromkeys(("bias", "ia3", "ln_tuning", "prompts"), (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)),
}


@dataclass(frozen=True)
class Method:
    """A row of the comparison, as it is put into a CLIP of one size.

    Attributes:
        name: Of its file.
        label: What tables call it; that of an ablation begins with "- ".
        method: What `mv_peft.baselines.create_method` calls it.
        overrides: Fields of its configuration; those of a head stand under "head".
        tiny_only: Whether the label would not be true, or the fields not fit, in a CLIP of usual size.
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
    tiny_only: bool = False
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


def load_method(name: str, *, tiny: bool = True) -> Method:
    """A method by the name of its file.

    Args:
        name: Of the file, without ".json".
        tiny: Whether it goes into a tiny CLIP. The file's "learning_rates", and the fields under its "tiny", are for
            those alone. In a CLIP of usual size such a field is the method's own default, and the rates are
            `USUAL_RATES_OF` the method, or `USUAL_RATES`.

    Raises:
        ValueError: If there is none, if it is for tiny CLIPs only, or if its learning rate is to be that of a method
            that chooses none.
    """
    method = _read(name, tiny)
    if method.learning_rate_of is not None and not _read(method.learning_rate_of, tiny).learning_rates:
        raise ValueError(
            f"'{name}' wants the learning rate of '{method.learning_rate_of}', which chooses none. "
            "Name a method that has `learning_rates`."
        )
    if method.tiny_only and not tiny:
        raise ValueError(
            f"The method '{name}' is for tiny CLIPs only. Choose from: {', '.join(method_names(tiny=False))}."
        )
    return method


def method_names(*, tiny: bool = True) -> list[str]:
    """All methods for a tiny CLIP, or for one of usual size, in order of their names."""
    names = sorted(path.stem for path in METHODS.glob("*.json"))
    return names if tiny else [name for name in names if not _read(name, tiny).tiny_only]


def _read(name: str, tiny: bool) -> Method:
    if name not in method_names():
        raise ValueError(f"Unknown method {name!r}. Choose from: {', '.join(method_names())}.")
    entries = json.loads((METHODS / f"{name}.json").read_text(encoding="utf-8"))
    if_tiny = entries.pop("tiny", {})
    method = Method(name=name, **entries)
    if not tiny:
        rates = USUAL_RATES_OF.get(method.method.partition("+")[0], USUAL_RATES)
        return replace(method, learning_rates=rates if method.learning_rates else ())
    fields = {**method.overrides, **if_tiny}
    if "head" in fields:
        fields["head"] = {**method.overrides.get("head", {}), **if_tiny.get("head", {})}
    return replace(method, overrides=fields)
