"""`metrics.json`: what `mv-peft train` and `mv-peft evaluate` note beside an adapter, and the model card shows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .files import METRICS_FILE, read_settings

SCHEMA = 1
_NUMBER = (int, float)
_FIELDS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "base_model": {"name": str, "revision": str, "architecture": str, "fingerprint": str},
    "adapter": {"method": str, "trainable_parameters": int, "total_parameters": int, "bytes": int, "sha256": str},
    "data": {
        "dataset": str,
        "split": str,
        "videos": int,
        "captions": int,
        "skipped_videos": int,
        "max_frames": int,
        "max_text_tokens": int,
        "frame_sampling": str,
        "synthetic": bool,
    },
    "protocol": {"name": str, "description": str, "source": str, "ties": str, "post_processing": str},
    "training": {
        "recipe": str,
        "learning_rate": _NUMBER,
        "seed": int,
        "epochs": _NUMBER,
        "steps": int,
        "batch_size": int,
        "num_processes": int,
        "precision": str,
        "device": str,
        "seconds": _NUMBER,
        "selected_on": str,
        "selected_by": str,
        "best_step": int,
    },
    "versions": {"mv_peft": str, "torch": str, "transformers": str, "peft": str, "accelerate": str, "python": str},
}
_MAX_METRICS, _MAX_TEXT = 200, 2000


@dataclass(frozen=True)
class RunRecord:
    """A run, as far as it is known: each part may lack any of its keys."""

    base_model: dict[str, Any] = field(default_factory=dict)
    adapter: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    protocol: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As it stands in `metrics.json`."""
        parts = {name: part for name, part in asdict(self).items() if part and name != "metrics"}
        return {"schema": SCHEMA, **parts, "metrics": self.metrics}


def parse_record(settings: Mapping[str, Any]) -> RunRecord:
    """A record from the content of `metrics.json`; unknown keys and nulls are left out.

    Raises:
        CheckpointError: For another schema, or a value of the wrong type.
    """
    if settings.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{METRICS_FILE} has schema {settings.get('schema')!r}, known is {SCHEMA}. Update mv_peft."
        )
    parts: dict[str, Any] = {}
    for part, known in _FIELDS.items():
        given = _mapping(settings, part)
        parts[part] = {
            key: _checked(f"{part}.{key}", given[key], kind)
            for key, kind in known.items()
            if given.get(key) is not None
        }
    metrics = _mapping(settings, "metrics")
    if len(metrics) > _MAX_METRICS:
        raise CheckpointError(f"{METRICS_FILE} has {len(metrics)} metrics, at most {_MAX_METRICS} make sense.")
    parts["metrics"] = {
        _text(key): _checked(f"metrics.{key}", value, _NUMBER) for key, value in metrics.items() if value is not None
    }
    return RunRecord(**parts)


def read_record(folder: Path) -> RunRecord:
    """The record of an adapter folder, an empty one if it has none.

    Raises:
        CheckpointError: If the file is damaged.
    """
    path = folder / METRICS_FILE
    return parse_record(read_settings(path)) if path.is_file() else RunRecord()


def _mapping(settings: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = settings.get(name) or {}
    if not isinstance(value, Mapping):
        raise CheckpointError(f"`{name}` in {METRICS_FILE} must be an object, got {value!r:.60}.")
    return value


def _checked(name: str, value: Any, kind: type | tuple[type, ...]) -> Any:
    fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
    if not fits or (isinstance(value, float) and not math.isfinite(value)):
        wanted = kind.__name__ if isinstance(kind, type) else "a finite number"
        raise CheckpointError(f"`{name}` in {METRICS_FILE} must be {wanted}, got {value!r:.60}.")
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> str:
    return re.sub(r"\s+", " ", value)[:_MAX_TEXT]
