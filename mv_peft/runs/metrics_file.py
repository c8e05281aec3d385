"""`metrics.json`: what a training or an evaluation says about an adapter, for its users and for the model card.

The dataclasses of this file are its only description. A field's annotation says what may stand in the file, and the
check of that type (`_CHECKS`) says which values are accepted from a file that anybody may have written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

from ..atomic import write_json
from ..errors import CheckpointError
from .files import METRICS_FILE, read_json

SCHEMA = 1

Figures = dict[str, float]  # by their names, as "t2v R@1"


@dataclass(frozen=True, kw_only=True)
class BaseModelFacts:
    """The base model.

    Attributes:
        name: On the Hub, or of its folder.
        revision: The commit, where it came from the Hub.
        architecture: Its class in Transformers.
        fingerprint: See `mv_peft.encoders.fingerprint`.
    """

    name: str | None = None
    revision: str | None = None
    architecture: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, kw_only=True)
class AdapterFacts:
    """The adapter.

    Attributes:
        method: PEFT's name of the method, or ours.
        trainable_parameters: How many parameters were trained.
        total_parameters: How many parameters the model has, those of the adapter included.
        bytes: Size of the file of weights.
        sha256: Checksum of that file, in hexadecimal.
    """

    method: str | None = None
    trainable_parameters: int | None = None
    total_parameters: int | None = None
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataFacts:
    """The videos and captions that the metrics were measured on.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        videos: How many there are.
        captions: How many there are.
        skipped_videos: How many videos could not be read and are in none of the metrics.
        max_frames: The most frames of a video.
        max_text_tokens: The most tokens of a caption.
        frame_sampling: Which frames stand for a video that has more.
        synthetic: Whether the videos were rendered.
    """

    dataset: str | None = None
    split: str | None = None
    videos: int | None = None
    captions: int | None = None
    skipped_videos: int | None = None
    max_frames: int | None = None
    max_text_tokens: int | None = None
    frame_sampling: str | None = None
    synthetic: bool | None = None


@dataclass(frozen=True, kw_only=True)
class ProtocolFacts:
    """How the metrics were measured.

    Attributes:
        name: What reports call it.
        description: How ranks are made.
        source: Who measured so first.
        ties: How equally near targets were counted.
        post_processing: What was done to the similarities.
    """

    name: str | None = None
    description: str | None = None
    source: str | None = None
    ties: str | None = None
    post_processing: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingFacts:
    """The training.

    Attributes:
        recipe: Name of the recipe.
        learning_rate: The highest one.
        weight_decay: The optimizer's.
        seed: Of everything that was drawn.
        epochs: How many were trained.
        steps: How many were trained.
        batch_size: Pairs in a step, of all processes together.
        captions: Which captions of a video made pairs.
        num_processes: How many trained together.
        precision: "fp32", "bf16" or "fp16".
        device: What the main process trained on.
        seconds: How long it took; None for a training that was interrupted.
        selected_on: The split that the best adapter was chosen on.
        selected_by: The figure that it was chosen by.
        best_step: The step after which it was saved.
        before: The figures of the model before training, on the same videos as `metrics`.
    """

    recipe: str | None = None
    learning_rate: float | None = None
    weight_decay: float | None = None
    seed: int | None = None
    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    captions: str | None = None
    num_processes: int | None = None
    precision: str | None = None
    device: str | None = None
    seconds: float | None = None
    selected_on: str | None = None
    selected_by: str | None = None
    best_step: int | None = None
    before: Figures | None = None


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The versions of the packages that were used, and of Python."""

    mv_peft: str | None = None
    torch: str | None = None
    transformers: str | None = None
    peft: str | None = None
    accelerate: str | None = None
    python: str | None = None


@dataclass(frozen=True, kw_only=True)
class MetricsFile:
    """The content of a `metrics.json`; what is not known is None, and is left out of the file.

    Attributes:
        base_model: The base model.
        adapter: The adapter.
        data: What the metrics were measured on.
        protocol: How they were measured.
        training: How the adapter was trained.
        versions: What it was trained or measured with.
        metrics: What was measured, in per cent or as ranks.
        unknown: What a newer version of mv_peft wrote and this one does not know, in the places where it stands in the
            file. It is kept as it is, and written again.
    """

    base_model: BaseModelFacts = BaseModelFacts()
    adapter: AdapterFacts = AdapterFacts()
    data: DataFacts = DataFacts()
    protocol: ProtocolFacts = ProtocolFacts()
    training: TrainingFacts = TrainingFacts()
    versions: Versions = Versions()
    metrics: Figures = field(default_factory=dict)
    unknown: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return what stands in the file."""
        content: dict[str, Any] = {"schema": SCHEMA, **self.unknown}
        for name in _parts():
            part = {**self.unknown.get(name, {}), **known(getattr(self, name))}
            if part:
                content[name] = part
        return {**content, "metrics": dict(self.metrics)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> MetricsFile:
        """Check the content of a file that anybody may have written.

        Raises:
            CheckpointError: If it has another schema, a value of the wrong type, a number that is not finite or beyond
                64 bits, too many figures, or too much that is unknown.
        """
        if content.get("schema") != SCHEMA:
            raise CheckpointError(
                f"{METRICS_FILE} has schema {content.get('schema')!r}, known is {SCHEMA}. Update mv_peft."
            )
        values: dict[str, Any] = {"metrics": _figures("metrics", content.get("metrics") or {})}
        unknown = {name: value for name, value in content.items() if name not in {"schema", "metrics", *_parts()}}
        for name, part in _parts().items():
            given = _mapping(name, content.get(name) or {})
            values[name] = part(
                **{
                    key: check(f"{name}.{key}", given[key])
                    for key, check in _checks(part).items()
                    if given.get(key) is not None
                }
            )
            if rest := {key: value for key, value in given.items() if key not in _checks(part)}:
                unknown[name] = rest
        return cls(**values, unknown=_kept(unknown))

    @classmethod
    def read(cls, folder: Path) -> MetricsFile:
        """Read the `metrics.json` of a folder; without one nothing is known.

        Raises:
            CheckpointError: If the file is damaged.
        """
        path = folder / METRICS_FILE
        return cls.from_dict(read_json(path)) if path.is_file() else cls()

    def write(self, folder: Path) -> None:
        """Write the `metrics.json` of a folder, whole or not at all."""
        write_json(folder / METRICS_FILE, self.to_dict())


def known(part: Any) -> dict[str, Any]:
    """Return those fields of a part that are known, as they stand in the file."""
    values = {fact.name: getattr(part, fact.name) for fact in fields(part)}
    return {name: value for name, value in values.items() if value is not None}


_MAX_FIGURES, _MAX_TEXT, _MAX_NUMBER = 200, 2000, 2**63
_MAX_UNKNOWN_BYTES = 2**16


@cache
def _parts() -> dict[str, type]:
    hints = get_type_hints(MetricsFile)
    return {name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}


@cache
def _checks(part: type) -> dict[str, Callable[[str, Any], Any]]:
    """Return the check of each field of a part; None needs none."""
    kinds = {name: set(get_args(hint)) - {NoneType} for name, hint in get_type_hints(part).items()}
    return {name: _CHECKS[kind] for name, (kind,) in kinds.items()}


def _text(where: str, value: Any) -> str:
    """Check a text; its white space, newlines included, becomes single spaces."""
    if not isinstance(value, str):
        raise _refusal(where, "a string", value)
    return re.sub(r"\s+", " ", value)[:_MAX_TEXT]


def _number(where: str, value: Any) -> float:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not abs(value) < _MAX_NUMBER:  # false for NaN, too
        raise _refusal(where, "a finite number", value)
    return value


def _integer(where: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not abs(value) < _MAX_NUMBER:
        raise _refusal(where, "an integer", value)
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _refusal(where, "true or false", value)
    return value


def _figures(where: str, value: Any) -> Figures:
    figures = _mapping(where, value)
    if len(figures) > _MAX_FIGURES:
        raise CheckpointError(f"`{where}` in {METRICS_FILE} has {len(figures)} figures, at most {_MAX_FIGURES} fit.")
    return {
        _text(where, name): _number(f"{where}.{name:.60}", figure)
        for name, figure in figures.items()
        if figure is not None
    }


def _mapping(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _refusal(where, "an object", value)
    return value


def _refusal(where: str, wanted: str, value: Any) -> CheckpointError:
    return CheckpointError(f"`{where}` in {METRICS_FILE} must be {wanted}, got {value!r:.60}.")


def _kept(unknown: dict[str, Any]) -> dict[str, Any]:
    """Check that the unknown part is JSON of a reasonable size."""
    try:
        size = len(json.dumps(unknown, allow_nan=False))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{METRICS_FILE} holds an unknown field that is no JSON ({error}).") from error
    if size > _MAX_UNKNOWN_BYTES:
        raise CheckpointError(
            f"{METRICS_FILE} holds {size} bytes of fields that are unknown here, at most {_MAX_UNKNOWN_BYTES} are kept."
        )
    return unknown


_CHECKS: dict[Any, Callable[[str, Any], Any]] = {
    str: _text,
    int: _integer,
    float: _number,
    bool: _flag,
    Figures: _figures,
}
