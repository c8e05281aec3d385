"""`run.json`: what the person who trains needs to resume a training, and the check that it is the same training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import peft
from torch import nn

from ..atomic import write_json
from ..encoders import MVProcessor
from ..errors import TrainingError
from ..runs.facts import versions
from ..runs.files import METRICS_FILE, RUN_FILE, TRAINED_FILES
from ..runs.metrics_file import BaseModelFacts, known
from .checkpoints import last_checkpoint
from .settings import TrainSettings

# Fields of every adapter's configuration that say nothing of what it computes, or follow from the model.
_OF_ANY_ADAPTER = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"}


@dataclass(frozen=True)
class RunFacts:
    """What a training is about, for `run.json` and `metrics.json`.

    Attributes:
        dataset: Name of the data set.
        method: The method that is trained, as "mv_adapter".
        base_model: The base model.
        train: The videos to train on, in words.
        validation: The videos that the best adapter is chosen on, in words.
        selected_on: The split that the best adapter is chosen on: "validation", or "test", which is then said wherever
            figures are shown.
        command: The command line.
        synthetic: Whether the videos were rendered.
    """

    dataset: str
    method: str
    base_model: BaseModelFacts
    train: str
    validation: str
    selected_on: str = "validation"
    command: str = ""
    synthetic: bool = False

    @property
    def identity(self) -> dict[str, Any]:
        """The facts that tell one training from another; the same training may be started by another command."""
        return {name: value for name, value in asdict(self).items() if name != "command"}


def configuration(model: nn.Module, processor: MVProcessor) -> dict[str, Any]:
    """Return the adapter's configuration and the processor's limits in types that JSON has.

    A training with another configuration is another training.
    """
    limits = {"max_frames": processor.max_frames, "max_text_tokens": processor.max_text_tokens}
    config = getattr(model, "peft_config", {}).get("default")
    fields = {} if config is None else {**config.to_dict(), "method": getattr(config, "method", None)}
    content: dict[str, Any] = json.loads(json.dumps(fields, default=_plain, sort_keys=True))
    return {name: value for name, value in content.items() if name not in _OF_ANY_ADAPTER} | limits


def _plain(value: Any) -> Any:
    if isinstance(value, peft.PeftConfig):
        return value.to_dict()
    return sorted(value) if isinstance(value, (set, frozenset)) else str(value)


def begin_run(
    settings: TrainSettings, facts: RunFacts, configured: Mapping[str, Any], *, resume: bool
) -> dict[str, Any]:
    """Read the `run.json` of an interrupted training, and check that it is the one that is to be continued.

    A training that ended before its first checkpoint has left nothing to resume, and does not count.

    Args:
        settings: How to train; their `output` is the folder.
        facts: What the training is about.
        configured: What `configuration` returns for it.
        resume: Whether an interrupted training may be continued.

    Returns:
        The content of `run.json`; empty if the folder holds no training.

    Raises:
        TrainingError: If the folder holds a training, and `resume` is false or that was another training; or an adapter
            alone.
    """
    file = settings.output / RUN_FILE
    if not file.exists() and any((settings.output / name).exists() for name in TRAINED_FILES):
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
    """Write `run.json`: settings, facts, the commands so far, versions, and `more`."""
    commands = list(before.get("commands", []))
    commands += [] if facts.command in commands else [facts.command]
    content = {
        "settings": settings.as_json(),
        "facts": facts.identity,
        "commands": commands,
        "versions": known(versions()),
    }
    write_json(settings.output / RUN_FILE, {**before, **content, **more})
