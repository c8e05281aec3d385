"""What a training writes down: `run.json` for whoever ran it, `metrics.json` for everyone."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import accelerate
import peft
import torch
import transformers
from torch import nn

from .. import __version__
from ..encoders import MVProcessor
from ..encoders.fingerprint import fingerprint
from ..errors import TrainingError
from .checkpoints import last_checkpoint
from .settings import TrainSettings

RUN_FILE = "run.json"
METRICS_FILE = "metrics.json"
_WEIGHTS = ("adapter_model.safetensors", "model.safetensors")
# Fields of every adapter's configuration that say nothing of what it computes, or follow from the model.
_OF_ANY_ADAPTER = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"}
_ADAPTER_FILES = ("adapter_config.json", "config.json", *_WEIGHTS)


@dataclass(frozen=True)
class RunFacts:
    """What a training is about, as it is to be written down.

    Attributes:
        dataset: Name of the data set.
        method: What is trained: "mv_adapter", for example.
        base_model: Name, revision, architecture and fingerprint of the CLIP.
        train: What is trained on, in words.
        validation: What the best adapter is chosen on, in words.
        selected_on: The split that the best adapter is chosen on: "validation", or "test", which must be said.
        command: The command line.
        synthetic: Whether the videos were rendered.
    """

    dataset: str
    method: str
    base_model: Mapping[str, Any]
    train: str
    validation: str
    selected_on: str = "validation"
    command: str = ""
    synthetic: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """All that makes one training another one; the command may be put differently."""
        return {name: value for name, value in asdict(self).items() if name != "command"}


def configuration(model: nn.Module, processor: MVProcessor) -> dict[str, Any]:
    """The adapter's configuration and the most frames and tokens, in types that JSON has: another makes another run."""
    limits = {"max_frames": processor.max_frames, "max_text_tokens": processor.max_text_tokens}
    config = getattr(model, "peft_config", {}).get("default")
    fields = {} if config is None else {**config.to_dict(), "method": getattr(config, "method", None)}
    known: dict[str, Any] = json.loads(json.dumps(fields, default=_plain, sort_keys=True))
    return {name: value for name, value in known.items() if name not in _OF_ANY_ADAPTER} | limits


def _plain(value: Any) -> Any:
    if isinstance(value, peft.PeftConfig):
        return value.to_dict()
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def begin_run(
    settings: TrainSettings, facts: RunFacts, configured: Mapping[str, Any], *, resume: bool
) -> dict[str, Any]:
    """What the folder knows of a training that was interrupted, if it is this one; nothing if it holds none.

    One that ended before its first checkpoint has left nothing to go on with, and does not count.

    Raises:
        TrainingError: If it holds a training, and `resume` is false or that was another training; or an adapter alone.
    """
    file = settings.output / RUN_FILE
    if not file.exists() and any((settings.output / name).exists() for name in _ADAPTER_FILES):
        raise TrainingError(
            f"'{settings.output}' holds an adapter, and nothing of its training. Choose another folder."
        )
    is_finished = (settings.output / METRICS_FILE).exists()
    if not file.exists() or not (is_finished or last_checkpoint(settings.checkpoints)):
        return {}
    if not resume:
        raise TrainingError(f"'{settings.output}' holds a training. Resume it, or choose another folder.")
    before = json.loads(file.read_text(encoding="utf-8"))
    now = json.loads(json.dumps({"settings": settings.as_json(), "facts": facts.identity}))
    differences = TrainSettings.differences(before["settings"], now["settings"])
    planned, share = before["plan"]["chunk_size"], settings.batch_size // before["plan"]["num_processes"]
    if settings.chunk_size != "auto" and min(settings.chunk_size, share) != planned:
        differences.append(f"chunk_size: {planned}, now {settings.chunk_size}")
    differences += TrainSettings.differences(before["facts"], now["facts"])
    differences += TrainSettings.differences(before.get("configuration", {}), dict(configured))
    if differences:
        raise TrainingError(
            f"'{settings.output}' holds another training ({'; '.join(differences)}). "
            "Resume it with its own settings, or choose another folder."
        )
    return before


def write_run(settings: TrainSettings, facts: RunFacts, before: Mapping[str, Any], **more: Any) -> None:
    """Writes `run.json`: settings, facts, the commands so far, versions, and `more`."""
    commands = list(before.get("commands", []))
    commands += [] if facts.command in commands else [facts.command]
    record = {"settings": settings.as_json(), "facts": facts.identity, "commands": commands, "versions": versions()}
    write_json(settings.output / RUN_FILE, {**before, **record, **more})


def publish_adapter(best: Path, output: Path) -> int:
    """Copies the best adapter, or the whole model where that was trained, and gives the bytes of its weights."""
    size = 0
    for name in _ADAPTER_FILES:
        if (best / name).exists():
            shutil.copyfile(best / name, output / name)
            size += (best / name).stat().st_size if name in _WEIGHTS else 0
    return size


def base_facts(clip: nn.Module, name: str) -> dict[str, Any]:
    """The "base_model" of `metrics.json`: of a folder its name alone, since a path is nobody's business."""
    return {
        "name": Path(name).resolve().name if Path(name).is_dir() else name,
        "revision": getattr(clip.config, "_commit_hash", None),
        "architecture": type(clip).__name__,
        "fingerprint": fingerprint(clip),
    }


def adapter_facts(model: nn.Module, method: str, num_bytes: int) -> dict[str, Any]:
    """The "adapter" of `metrics.json`."""
    return {
        "method": method,
        "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
        "total_parameters": sum(p.numel() for p in model.parameters()),
        "bytes": num_bytes,
    }


def versions() -> dict[str, str]:
    """Of mv_peft and what it computes with."""
    return {
        "mv_peft": __version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "accelerate": accelerate.__version__,
        "python": platform.python_version(),
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes a file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
