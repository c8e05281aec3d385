"""Command-line options made from the fields of a settings dataclass, which declare them (see `mv_peft.choices`)."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from dataclasses import MISSING, Field, fields
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from ..choices import field_choices


def add_settings(
    parser: argparse.ArgumentParser, settings_cls: type, names: Collection[str] | None = None
) -> dict[str, argparse._ArgumentGroup]:
    """Add an option for each field that has a help text.

    An option that is not given leaves nothing in the namespace, so that the dataclass alone owns the defaults; see
    `given_settings`.

    Args:
        parser: The parser to add to.
        settings_cls: The dataclass.
        names: The fields to add; None for all.

    Returns:
        The groups of options that were made, by their titles.
    """
    hints, choices = get_type_hints(settings_cls), field_choices(settings_cls)
    groups: dict[str, argparse._ArgumentGroup] = {}
    for field in fields(settings_cls):
        if "help" in field.metadata and (names is None or field.name in names):
            title = field.metadata.get("group", "")
            if title and title not in groups:
                groups[title] = parser.add_argument_group(title)
            option = field.metadata.get("option") or f"--{field.name.replace('_', '-')}"
            arguments = _arguments(field, hints[field.name], choices.get(field.name))
            groups.get(title, parser).add_argument(option, dest=field.name, **arguments)
    return groups


def given_settings(args: argparse.Namespace, settings_cls: type) -> dict[str, Any]:
    """Return the fields whose options were given."""
    names = [field.name for field in fields(settings_cls) if hasattr(args, field.name)]
    return {name: _as_field(getattr(args, name)) for name in names}


def _as_field(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _arguments(field: Field[Any], hint: Any, choices: tuple[str, ...] | None) -> dict[str, Any]:
    """Translate a field into arguments of `add_argument`."""
    if hint is bool:
        return {"action": "store_true", "default": argparse.SUPPRESS, "help": describe(field.metadata["help"])}
    arguments: dict[str, Any] = {"default": argparse.SUPPRESS, "required": field.default is MISSING}
    if choices is not None:
        arguments["choices"] = choices
    elif get_origin(hint) is tuple:
        hint = get_args(hint)[0]
        arguments |= {"action": "append", "type": hint}
    else:
        arguments["type"] = _converter(hint)
    default = field.metadata.get("default_text")
    if default is None and field.default not in (MISSING, None, ()):
        default = field.default
    arguments["help"] = describe(field.metadata["help"], choices, default)
    arguments["metavar"] = field.metadata.get("metavar") or ("NAME" if choices else "N")
    return arguments


def describe(meaning: str, choices: Collection[str] | None = None, default: Any = None) -> str:
    """Write the help of an option: its meaning, its choices and its default."""
    remarks = [", ".join(choices)] if choices else []
    remarks += [] if default is None else [f"default: {default}"]
    text = f"{meaning} ({'; '.join(remarks)})" if remarks else meaning
    return text.replace("%", "%%")  # argparse formats it


def _converter(hint: Any) -> Callable[[str], Any]:
    """Return what turns a word of the command line into a value of a type, a type or None, or a type or fixed words."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    words = [word for member in members if get_origin(member) is Literal for word in get_args(member)]
    (kind,) = (member for member in members if isinstance(member, type) and member is not type(None))
    if not words:
        return kind

    def convert(text: str) -> Any:
        if text in words:
            return text
        try:
            return kind(text)
        except ValueError:
            wanted = f"a number or {' or '.join(words)}"
            raise argparse.ArgumentTypeError(f"must be {wanted}, got {text!r}.") from None

    return convert
