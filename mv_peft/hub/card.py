"""The model card of a repository of adapters, made from the `metrics.json` and `adapter_config.json` of each.

What a person writes into the card outside the two marks stays when the card is made again, and so does metadata that is
not made here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..errors import CheckpointError
from .card_section import dataset_title, family, method_title, section
from .remote import AdapterInfo

TEMPLATE = Path(__file__).parent / "card.md"
BEGIN = "<!-- made by mv_peft from here: what you write between these marks is lost at the next push -->"
END = "<!-- made by mv_peft to here -->"
_BLANK_CARD = "# Model Card for Model ID"  # of the card that PEFT writes, with nothing filled in
_TASK, _TASK_NAME = "video-text-retrieval", "Video-Text Retrieval"
_OURS = ("base_model", "base_model_relation", "eval_results", "library_name", "model_name", "pipeline_tag", "tags")
_CITATION = """@inproceedings{jin2024mvadapter,
  title = {MV-Adapter: Multimodal Video Transfer Learning for Video Text Retrieval},
  author = {Jin, Xiaojie and Zhang, Bowen and Gong, Weibo and Xu, Kai and Deng, Xueqing and Wang, Peng and Zhang, Zhao
            and Shen, Xiaohui and Feng, Jiashi},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition (CVPR)},
  pages = {27144--27153},
  year = {2024},
  doi = {10.1109/CVPR52733.2024.02563}
}"""
_LIMITS = (
    "The figures hold for the data, the split and the protocol that are named; nothing else was measured.",
    "A score ranks videos for a caption, and captions for a video. It is not a probability.",
    "What the base model has learned from its data, biases included, is still there.",
)
_CHOSEN_BY_THEM = "The best checkpoint was chosen by the very figures that are shown for {}, so they flatter."
_NOT_MULTI_VIEW = "MV-Adapter means the one for video-text retrieval (arXiv 2301.07868), not the multi-view one."


def render_card(repo_id: str, adapters: Sequence[AdapterInfo], old: str | None = None) -> str:
    """Write the README.md of a repository.

    Args:
        repo_id: Name of the repository, for the snippets that load from it.
        adapters: All adapters that the repository holds.
        old: The README.md that it has now.

    Returns:
        The text, which is the same for the same arguments.

    Raises:
        CheckpointError: If the metadata of the old README.md cannot be read.
    """
    adapters = sorted(adapters, key=lambda adapter: adapter.subfolder)
    kept = None if old is None or _BLANK_CARD in old else _read(old)
    card = ModelCard.from_template(
        _metadata(repo_id, adapters, kept), template_path=str(TEMPLATE), **_text(repo_id, adapters)
    )
    text = str(card).strip() + "\n"
    if kept is None:
        return text
    before, after = _written_by_hand(kept.text)
    metadata, _, made = text.partition(BEGIN)
    return metadata + before + BEGIN + made.rstrip("\n") + after


def is_synthetic(adapter: AdapterInfo) -> bool:
    """Tell whether an adapter is of a demo, or was trained on rendered clips."""
    data = adapter.metrics_file.data
    return bool(data.synthetic) or (data.dataset or "").split("-")[0] in ("demo", "synthetic")


def _read(card: str) -> ModelCard:
    try:
        return ModelCard(card, ignore_metadata_errors=True)
    except Exception as error:
        raise CheckpointError(
            f"The metadata of the repository's README.md cannot be read ({type(error).__name__}). Correct or delete it."
        ) from error


def _written_by_hand(text: str) -> tuple[str, str]:
    """Return what stands before and after the part that is made; all of a card without marks stands before it."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return text.strip() + "\n\n", "\n"
    return before.lstrip("\n"), after


def _metadata(repo_id: str, adapters: Sequence[AdapterInfo], kept: ModelCard | None) -> ModelCardData:
    others = {} if kept is None else {key: value for key, value in kept.data.to_dict().items() if key != "model-index"}
    their_tags = others.get("tags") or []
    others = {key: value for key, value in others.items() if key not in _OURS}
    bases = sorted({adapter.base_model for adapter in adapters if adapter.base_model})
    tags = [
        _TASK,
        "text-to-video-retrieval",
        *sorted({family(adapter).model_type.replace("_", "-") for adapter in adapters}),
        *sorted({adapter.method.lower().replace("_", "-") for adapter in adapters}),
    ]
    tags += sorted({adapter.metrics_file.data.dataset for adapter in adapters if adapter.metrics_file.data.dataset})
    results = [result for adapter in adapters for result in _eval_results(adapter, several=len(adapters) > 1)]
    if bases:
        others["base_model_relation"] = "adapter"
    return ModelCardData(
        base_model=bases[0] if len(bases) == 1 else bases or None,
        library_name="peft",
        pipeline_tag="feature-extraction",  # the Hub has no task of its own for retrieval of videos
        tags=[*tags, *(tag for tag in their_tags if tag not in tags)],
        model_name=repo_id.split("/")[-1],
        eval_results=results or None,
        **others,
    )


def _eval_results(adapter: AdapterInfo, several: bool) -> list[EvalResult]:
    """Make the entries of `model-index`.

    Where there are several adapters, the metric's name tells which is meant, since a repository has one entry for each
    data set.
    """
    data = adapter.metrics_file.data
    if data.dataset is None:
        return []
    of = f" ({adapter.subfolder or 'root'})" if several else ""
    title = dataset_title(data.dataset) + (", synthetic" if is_synthetic(adapter) else "")
    return [
        EvalResult(
            task_type=_TASK,
            task_name=_TASK_NAME,
            dataset_type=data.dataset,
            dataset_name=title,
            dataset_split=data.split,
            metric_type=name.replace("R@", "recall at ").replace(" ", "_").lower(),
            metric_name=f"{name}{of}",
            metric_value=value,
        )
        for name, value in adapter.metrics_file.metrics.items()
    ]


def _text(repo_id: str, adapters: Sequence[AdapterInfo]) -> dict[str, Any]:
    """Return what the template needs, ready to be written."""
    synthetic = [adapter for adapter in adapters if is_synthetic(adapter)]
    methods = sorted({method_title(adapter) for adapter in adapters})
    has_ours = any(adapter.method == "MV_ADAPTER" for adapter in adapters)
    families = " and ".join(sorted({family(adapter).title for adapter in adapters}))
    title = f"{' and '.join(methods)} for video-text retrieval with {families}"
    notice = ""
    if synthetic:
        title += " (demo on synthetic data)" if len(synthetic) == len(adapters) else " (partly on synthetic data)"
        names = ", ".join(f"`{adapter.subfolder or 'root'}`" for adapter in synthetic)
        notice = (
            "Trained on rendered clips." if len(synthetic) == len(adapters) else f"{names}: trained on rendered clips."
        )
    flattered = [f"`{adapter.subfolder or 'root'}`" for adapter in adapters if _is_flattered(adapter)]
    sections = [section(repo_id, adapter) for adapter in adapters]
    return {
        "begin": BEGIN,
        "end": END,
        "title": title,
        "synthetic": notice,
        "summary": f"{_count(len(adapters))} for {families}, to find videos by text and texts by video.",
        "overview": [part.overview for part in sections] if len(adapters) > 1 else [],
        "adapters": sections,
        "limits": [
            *_LIMITS,
            *([_CHOSEN_BY_THEM.format(", ".join(flattered))] if flattered else []),
            *([_NOT_MULTI_VIEW] if has_ours else []),
        ],
        "citation": _CITATION if has_ours else "",
    }


def _is_flattered(adapter: AdapterInfo) -> bool:
    """Tell whether the checkpoint was chosen on the split that the figures are of."""
    selected_on = adapter.metrics_file.training.selected_on
    return selected_on is not None and selected_on == adapter.metrics_file.data.split


def _count(adapters: int) -> str:
    return "An adapter" if adapters == 1 else f"{adapters} adapters"
