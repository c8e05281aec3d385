"""What a user chooses by name, in Python and on the command line, and how a setting is declared for both.

The modules that implement a choice say what it means. This one loads nothing else, so that `mv-peft --help` can list
the choices without torch.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal, get_args, get_origin, get_type_hints

FrameSampling = Literal["uniform", "clip4clip", "head", "tail", "fps_uniform", "fps_clip4clip", "fps_head", "fps_tail"]
FrameFormat = Literal["uint8", "jpeg"]
CaptionChoice = Literal["all", "one_per_video"]
RecipeName = Literal["modern", "paper"]
Precision = Literal["fp32", "bf16", "fp16"]
Ties = Literal["strict", "optimistic", "clip4clip"]
PostProcessingName = Literal["dual-softmax", "qb-norm"]

# The k for which retrieval metrics have a recall at k.
RECALLS = (1, 5, 10, 50)


def setting(default: Any, help: str, **metadata: Any) -> Any:
    """Declare a field of a settings dataclass that is also an option of the command line.

    Args:
        default: The default value.
        help: What the field means, as the option's help.
        metadata: What else `mv_peft.cli.settings_options` reads: `group`, `metavar`, `choices`, `option` and
            `default_text`.
    """
    return field(default=default, metadata={"help": help, **metadata})


def check_choices(settings: Any) -> None:
    """Check the fields of a settings dataclass that have fixed choices: those of a Literal type, or with `choices`.

    Raises:
        ValueError: If a value is not among the choices.
    """
    for name, choices in field_choices(type(settings)).items():
        value = getattr(settings, name)
        if value not in choices:
            raise ValueError(f"Unknown `{name}` {value!r}. Choose from: {', '.join(choices)}.")


def field_choices(settings_cls: type) -> dict[str, tuple[str, ...]]:
    """Return the choices of each field of a settings dataclass that has fixed ones."""
    hints = get_type_hints(settings_cls)
    choices = {
        name: declared.metadata.get("choices") or (get_args(hints[name]) if get_origin(hints[name]) is Literal else ())
        for name, declared in settings_cls.__dataclass_fields__.items()  # type: ignore[attr-defined]
    }
    return {name: values for name, values in choices.items() if values}
