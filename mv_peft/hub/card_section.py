"""What the model card says of one adapter; of what is not known it says nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..data import BENCHMARKS
from .remote import AdapterInfo

_DIRECTIONS = {"t2v": "text to video", "v2t": "video to text"}
_FIGURES = ("R@1", "R@5", "R@10", "R@50", "median rank", "mean rank")


@dataclass(frozen=True)
class Section:
    """The parts of one adapter's section.

    Attributes:
        heading: Its subfolder.
        facts: Name and value of what is known.
        snippet: Python that loads it.
        plain_peft: The call that loads it into a CLIP by PEFT alone.
        columns: Figures of the table.
        metrics: For each direction its figures.
        other_metrics: Name and value of those in neither direction.
        overview: Its row in the table of all adapters.
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
    """One adapter's section of the card of `repo_id`."""
    metrics = adapter.record.metrics
    columns = [figure for figure in _FIGURES if any(f"{direction} {figure}" in metrics for direction in _DIRECTIONS)]
    in_table = {f"{direction} {figure}" for direction in _DIRECTIONS for figure in columns}
    return Section(
        heading=adapter.subfolder or "Adapter",
        facts=[(name, value) for name, value in _facts(adapter).items() if value],
        snippet=_snippet(repo_id, adapter),
        plain_peft=f"PeftModel.from_pretrained(clip, {_place(repo_id, adapter)})",
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
            _data_name(adapter.record.data),
            _figure(metrics.get("t2v R@1")),
            _figure(metrics.get("v2t R@1")),
            _megabytes(adapter.num_bytes),
        ],
    )


def method_title(adapter: AdapterInfo) -> str:
    """The method's name as people write it."""
    if adapter.method == "MV_ADAPTER":
        return "MV-Adapter"
    return plain(adapter.method.replace("LORA", "LoRA").replace("_", " "))


def dataset_title(dataset: str) -> str:
    """The name of a data set as its authors write it, if it is a benchmark."""
    return BENCHMARKS[dataset].title if dataset in BENCHMARKS else dataset


def plain(text: object) -> str:
    """Text of unknown origin as Markdown that shows it and does nothing else."""
    return re.sub(r"([\\`*_{}\[\]<>|#!])", r"\\\1", re.sub(r"\s+", " ", str(text)))


def _facts(adapter: AdapterInfo) -> dict[str, str]:
    record = adapter.record
    data, training, protocol = record.data, record.training, record.protocol
    return {
        "Method": method_title(adapter),
        "Base model": _base(adapter),
        "Data": _data(data),
        "Videos and captions": _join(
            _some("at most {} frames a video", data.get("max_frames")),
            _some("frames by the rule {}", data.get("frame_sampling")),
            _some("at most {} tokens a caption", data.get("max_text_tokens")),
        ),
        "Protocol": _join(
            _some("{}", protocol.get("name")),
            _some("{}", protocol.get("description")),
            _some("ties {}", protocol.get("ties")),
            _some("post-processing {}", protocol.get("post_processing")),
            _some("after {}", protocol.get("source")),
        ),
        "Parameters": _parameters(record.adapter),
        "Size": _megabytes(adapter.num_bytes),
        "Training": _join(
            _some("recipe {}", training.get("recipe")),
            _some("learning rate {:g}", training.get("learning_rate")),
            _some("seed {}", training.get("seed")),
            _some("{:g} epochs", training.get("epochs")),
            _some("{:,} steps", training.get("steps")),
            _some("batches of {}", training.get("batch_size")),
            _some("{} processes", training.get("num_processes") if training.get("num_processes") != 1 else None),
            _some("{}", training.get("precision")),
            _some("{}", training.get("device")),
            _some("{:,.0f} s", training.get("seconds")),
        ),
        "Checkpoint": _join(
            _some("chosen on {}", training.get("selected_on")),
            _some("by {}", training.get("selected_by")),
            _some("step {:,}", training.get("best_step")),
        ),
        "Versions": _join(*(f"{plain(name)} {plain(version)}" for name, version in record.versions.items())),
    }


def _base(adapter: AdapterInfo) -> str:
    if adapter.base_model is None:
        return ""
    name = plain(adapter.base_model)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", adapter.base_model):
        name = f"[{name}](https://hf.co/{adapter.base_model})"
    return name + _some(", revision {}", adapter.base_revision)


def _data(data: Mapping[str, Any]) -> str:
    if "dataset" not in data:
        return ""
    counts = _join(
        _some("{:,} videos", data.get("videos")),
        _some("{:,} captions", data.get("captions")),
        _some("{:,} videos skipped", data.get("skipped_videos")),
    )
    return _data_name(data) + (f" ({counts})" if counts else "") + (", synthetic" if data.get("synthetic") else "")


def _data_name(data: Mapping[str, Any]) -> str:
    return _join(_some("{}", dataset_title(data.get("dataset", "")) or None), _some("split {}", data.get("split")))


def _parameters(adapter: Mapping[str, Any]) -> str:
    trainable, total = adapter.get("trainable_parameters"), adapter.get("total_parameters")
    if trainable is None:
        return ""
    share = f", {trainable / total:.2%} of all" if total else ""
    return f"{trainable:,} trained{share}"


def _snippet(repo_id: str, adapter: AdapterInfo) -> str:
    base_model = "" if adapter.base_model else ', base_model="the-clip-it-was-trained-on"'
    return (
        "import mv_peft\n\n"
        f"model, processor = mv_peft.load({_place(repo_id, adapter)}{base_model})\n"
        'batch = processor(text=["a dog catches a ball", "a man cooks"], videos=["video.mp4"])\n'
        "similarity = model(**batch).logits_per_text"
    )


def _place(repo_id: str, adapter: AdapterInfo) -> str:
    return f'"{repo_id}"' + (f', subfolder="{adapter.subfolder}"' if adapter.subfolder else "")


def _some(form: str, value: Any) -> str:
    if value is None:
        return ""
    return form.format(plain(value) if isinstance(value, str) else value)


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _megabytes(num_bytes: int | None) -> str:
    return "" if num_bytes is None else f"{num_bytes / 1e6:.1f} MB" if num_bytes >= 1e5 else f"{num_bytes:,} bytes"
