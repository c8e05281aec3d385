"""The section of a model card about one adapter; what is not known is left out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ..data import BENCHMARKS
from ..encoders.families import FAMILIES, DualEncoder
from ..runs.metrics_file import AdapterFacts, DataFacts, known
from .remote import AdapterInfo

_DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}
_FIGURES = ("R@1", "R@5", "R@10", "R@50", "median rank", "mean rank")


@dataclass(frozen=True)
class Section:
    """The parts of an adapter's section, ready to be written.

    Attributes:
        heading: The adapter's subfolder.
        facts: Name and value of each fact.
        snippet: Python that loads the adapter.
        plain_peft: The call that loads the adapter with PEFT alone.
        columns: Columns of the table of figures.
        metrics: Rows of that table, one for each direction.
        other_metrics: Name and value of the figures in neither direction.
        overview: The adapter's row in the table of all adapters.
    """

    heading: str
    facts: list[tuple[str, str]]
    snippet: str
    plain_peft: str
    columns: list[str]
    metrics: list[tuple[str, list[str]]]
    other_metrics: list[tuple[str, str]]
    overview: list[str]


def section(repo_id: str, adapter: AdapterInfo) -> Section:
    """Write the section about an adapter of the repository `repo_id`."""
    metrics = adapter.metrics_file.metrics
    columns = [figure for figure in _FIGURES if any(f"{direction} {figure}" in metrics for direction in _DIRECTIONS)]
    in_table = {f"{direction} {figure}" for direction in _DIRECTIONS for figure in columns}
    return Section(
        heading=adapter.subfolder or "Adapter",
        facts=[(name, value) for name, value in _facts(adapter).items() if value],
        snippet=_snippet(repo_id, adapter),
        plain_peft=f"PeftModel.from_pretrained(base_model, {_arguments(repo_id, adapter)})",
        columns=columns,
        metrics=[
            (title, [_figure(metrics.get(f"{direction} {figure}")) for figure in columns])
            for direction, title in _DIRECTIONS.items()
            if any(f"{direction} {figure}" in metrics for figure in columns)
        ],
        other_metrics=[(plain(name), _figure(value)) for name, value in metrics.items() if name not in in_table],
        overview=[
            f"`{adapter.subfolder or 'root'}`",
            method_title(adapter),
            _data_name(adapter.metrics_file.data),
            _figure(metrics.get("t2v R@1")),
            _figure(metrics.get("v2t R@1")),
            _megabytes(adapter.num_bytes),
        ],
    )


def method_title(adapter: AdapterInfo) -> str:
    """Return the method's name as people write it."""
    if adapter.method == "MV_ADAPTER":
        return "MV-Adapter"
    return plain(adapter.method.replace("LORA", "LoRA").replace("_", " "))


def dataset_title(dataset: str) -> str:
    """The name of a data set as its authors write it, if it is a benchmark."""
    return BENCHMARKS[dataset].title if dataset in BENCHMARKS else dataset


def family(adapter: AdapterInfo) -> DualEncoder:
    """Return the family of an adapter's base model; CLIP if it is not known."""
    architecture = adapter.metrics_file.base_model.architecture
    return next((row for row in FAMILIES.values() if architecture in row.model_classes), FAMILIES["clip"])


def plain(text: object) -> str:
    """Turn text of unknown origin into Markdown that shows it and does nothing else."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", re.sub(r"\s+", " ", str(text)))


def _facts(adapter: AdapterInfo) -> dict[str, str]:
    metrics_file = adapter.metrics_file
    data, training, protocol = metrics_file.data, metrics_file.training, metrics_file.protocol
    return {
        "Method": method_title(adapter),
        "Base model": _base(adapter),
        "Data": _data(data),
        "Videos and captions": _join(
            _some("at most {} frames a video", data.max_frames),
            _some("frames by the rule {}", data.frame_sampling),
            _some("at most {} tokens a caption", data.max_text_tokens),
        ),
        "Protocol": _join(
            _some("{}", protocol.name),
            _some("{}", protocol.description),
            _some("ties {}", protocol.ties),
            _some("post-processing {}", protocol.post_processing),
            _some("after {}", protocol.source),
        ),
        "Parameters": _parameters(metrics_file.adapter),
        "Size": _megabytes(adapter.num_bytes),
        "Training": _join(
            _some("recipe {}", training.recipe),
            _some("learning rate {:g}", training.learning_rate),
            _some("weight decay {:g}", training.weight_decay),
            _some("seed {}", training.seed),
            _some("{:g} epochs", training.epochs),
            _some("{:,} steps", training.steps),
            _some("batches of {}", training.batch_size),
            _some("captions: {}", training.captions),
            _some("{} processes", training.num_processes if training.num_processes != 1 else None),
            _some("{}", training.precision),
            _some("{}", training.device),
            _some("{:,.0f} s", training.seconds),
        ),
        "Checkpoint": _join(
            _some("chosen on {}", training.selected_on),
            _some("by {}", training.selected_by),
            _some("step {:,}", training.best_step),
        ),
        "Versions": _join(
            *(f"{plain(name)} {plain(version)}" for name, version in known(metrics_file.versions).items())
        ),
    }


def _base(adapter: AdapterInfo) -> str:
    if adapter.base_model is None:
        return ""
    name = plain(adapter.base_model)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", adapter.base_model):
        name = f"[{name}](https://hf.co/{adapter.base_model})"
    return name + _some(", revision {}", adapter.base_revision)


def _data(data: DataFacts) -> str:
    if data.dataset is None:
        return ""
    counts = _join(
        _some("{:,} videos", data.videos),
        _some("{:,} captions", data.captions),
        _some("{:,} videos skipped", data.skipped_videos),
    )
    return _data_name(data) + (f" ({counts})" if counts else "") + (", synthetic" if data.synthetic else "")


def _data_name(data: DataFacts) -> str:
    return _join(_some("{}", dataset_title(data.dataset or "") or None), _some("split {}", data.split))


def _parameters(adapter: AdapterFacts) -> str:
    trainable, total = adapter.trainable_parameters, adapter.total_parameters
    if trainable is None:
        return ""
    share = f", {trainable / total:.2%} of all" if total else ""
    return f"{trainable:,} trained{share}"


def _snippet(repo_id: str, adapter: AdapterInfo) -> str:
    base_model = "" if adapter.base_model else ', base_model="the-model-it-was-trained-on"'
    return (
        "import mv_peft\n\n"
        f"model, processor = mv_peft.load({_arguments(repo_id, adapter)}{base_model})\n"
        'batch = processor(text=["a dog catches a ball", "a man cooks"], videos=["video.mp4"])\n'
        "similarity = model(**batch).logits_per_text"
    )


def _arguments(repo_id: str, adapter: AdapterInfo) -> str:
    """Name the adapter in a call."""
    return f'"{repo_id}"' + (f', subfolder="{adapter.subfolder}"' if adapter.subfolder else "")


def _some(form: str, value: Any) -> str:
    """Put a value into words, or nothing if it is not known."""
    if value is None:
        return ""
    return form.format(plain(value) if isinstance(value, str) else value)


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _megabytes(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes:,} bytes"
