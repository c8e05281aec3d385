"""The card says what ran, nothing that is not known, and keeps what a person wrote."""

from __future__ import annotations

import ast
import re

import pytest
from huggingface_hub import ModelCard

from mv_peft.errors import CheckpointError
from mv_peft.hub.card import BEGIN, END, render_card
from mv_peft.hub.remote import AdapterInfo
from mv_peft.runs.metrics_file import MetricsFile
from tests.hub.conftest import record

BASE = "openai/clip-vit-base-patch16"


def info(subfolder: str = "msrvtt", metrics: dict | None = None, **config: object) -> AdapterInfo:
    settings = {"peft_type": "MV_ADAPTER", "base_model_name_or_path": BASE, "revision": None, **config}
    return AdapterInfo(subfolder, settings, MetricsFile.from_dict(metrics or record()), 13_606_912)


def empty(**parts: object) -> dict:
    return {"schema": 1, "metrics": {}, **parts}


def test_what_is_known_stands_in_it():
    text = render_card("org/x", [info(revision="abc123")])
    assert "\n# MV-Adapter for video-text retrieval with CLIP\n" in text
    for fact in (
        "- **Method:** MV-Adapter\n",
        f"- **Base model:** [{BASE}](https://hf.co/{BASE}), revision abc123\n",
        "- **Data:** MSR-VTT, split test (1,000 videos, 1,000 captions)\n",
        "- **Protocol:** pairs, ties strict\n",
        "- **Parameters:** 1,234 trained, 0.20% of all\n",
        "- **Size:** 13.6 MB\n",
        "- **Training:** recipe modern, learning rate 0.0001, seed 7, 7,030 steps, 1,234 s\n",
        "- **Versions:** mv\\_peft 0.1.0, torch 2.13.0\n",
        "| | R@1 | R@5 | median rank |\n|---|---|---|---|\n"
        "| text to video | 46.2 | 72.1 |  |\n| video to text | 45.9 |  | 2.0 |\n",
        "doi = {10.1109/CVPR52733.2024.02563}",
        "not the multi-view one",
    ):
        assert fact in text, fact


def test_the_metadata_is_what_the_hubs_filters_look_for():
    data = ModelCard(render_card("org/x", [info()])).data
    assert data.library_name == "peft"
    assert data.base_model == BASE
    assert data.to_dict()["base_model_relation"] == "adapter"
    assert {"video-text-retrieval", "mv-adapter", "clip", "msrvtt"} <= set(data.tags)
    results = {(result.dataset_name, result.dataset_split, result.metric_name): result for result in data.eval_results}
    assert results["MSR-VTT", "test", "t2v R@1"].metric_value == 46.2
    assert results["MSR-VTT", "test", "t2v R@1"].metric_type == "t2v_recall_at_1"
    assert {result.task_type for result in data.eval_results} == {"video-text-retrieval"}
    assert len(results) == len(record()["metrics"])


def test_what_is_not_known_is_left_out():
    text = render_card("org/x", [info("", empty(), base_model_name_or_path=None)])
    facts = re.findall(r"^- \*\*(.*?):\*\*", text, flags=re.MULTILINE)
    assert facts == ["Method", "Size"]
    assert "None" not in text
    assert "null" not in text
    assert "model-index" not in text
    assert "R@1" not in text
    assert 'base_model="the-model-it-was-trained-on"' in text
    assert "base_model:" not in text


@pytest.mark.parametrize(
    "data", [{"synthetic": True}, {"dataset": "demo"}, {"dataset": "demo-2"}, {"dataset": "custom", "synthetic": True}]
)
def test_a_demo_says_so_in_the_title(data):
    text = render_card("org/x", [info("demo", empty(data=data))])
    assert "# MV-Adapter for video-text retrieval with CLIP (demo on synthetic data)\n\n**Synthetic data.**" in text
    both = render_card("org/x", [info(), info("demo", empty(data=data))])
    assert "(partly on synthetic data)\n\n**Synthetic data.** `demo`: trained on rendered clips." in both
    assert "ynthetic" not in render_card("org/x", [info()])


def test_figures_that_chose_the_checkpoint_are_said_to_flatter():
    chosen = record(training={"selected_on": "test", "selected_by": "t2v R@1", "best_step": 5624})
    text = render_card("org/x", [info(metrics=chosen), info("other")])
    assert "- **Checkpoint:** chosen on test, by t2v R@1, step 5,624\n" in text
    assert "chosen by the very figures that are shown for `msrvtt`, so they flatter." in text
    chosen["training"]["selected_on"] = "validation"
    assert "flatter" not in render_card("org/x", [info(metrics=chosen)])


def test_skipped_videos_are_counted():
    data = {"dataset": "msrvtt", "split": "test", "videos": 998, "captions": 998, "skipped_videos": 2}
    assert "(998 videos, 998 captions, 2 videos skipped)\n" in render_card("org/x", [info(metrics=empty(data=data))])


def test_other_methods_do_not_cite_us():
    text = render_card("org/x", [info(peft_type="LORA")])
    assert "# LoRA for video-text retrieval with CLIP\n" in text
    assert "bibtex" not in text
    assert "multi-view" not in text


def test_the_same_adapters_give_the_same_card_in_any_order():
    adapters = [info("a"), info("b", record("msvd")), info("", empty())]
    text = render_card("org/x", adapters)
    assert render_card("org/x", adapters[::-1]) == text
    assert render_card("org/x", adapters, text) == text
    assert text.index("## Adapter\n") < text.index("## a\n") < text.index("## b\n")
    assert "\n\n\n" not in text


def test_what_a_person_wrote_stays():
    old = render_card("org/x", [info()])
    old = old.replace("---\nbase", "---\nlicense: mit\nlanguage: en\nbase", 1).replace("- clip\n", "- clip\n- my-tag\n")
    old = old.replace(BEGIN, f"Read this first.\n\n{BEGIN}").replace(END, f"{END}\n\nThank you.")
    new = render_card("org/x", [info(), info("msvd", record("msvd", 50.0))], old)
    card = ModelCard(new)
    assert (card.data.license, card.data.language) == ("mit", "en")
    assert "my-tag" in card.data.tags
    assert new.count("Read this first.") == new.count("Thank you.") == new.count(BEGIN) == new.count(END) == 1
    assert new.index("Read this first.") < new.index(BEGIN) < new.index("## msvd") < new.index(END)
    assert {result.dataset_type for result in card.data.eval_results} == {"msrvtt", "msvd"}
    assert render_card("org/x", [info(), info("msvd", record("msvd", 50.0))], new) == new


def test_a_card_by_hand_is_kept_and_a_blank_one_replaced():
    new = render_card("org/x", [info()], "---\nlicense: mit\n---\n# My work\n\nWith care.\n")
    assert "license: mit\n" in new
    assert "# My work\n\nWith care.\n\n" + BEGIN in new
    blank = "---\nlibrary_name: peft\n---\n# Model Card for Model ID\n\n[More Information Needed]\n"
    assert render_card("org/x", [info()], blank) == render_card("org/x", [info()])


def test_metadata_that_cannot_be_read_is_not_thrown_away():
    with pytest.raises(CheckpointError, match="metadata of the repository's README.md cannot be read"):
        render_card("org/x", [info()], "---\nlicense: [mit\n---\ntext")


def test_text_from_a_file_is_only_text():
    evil = "x | y\n# Heading\n<script>[a](http://b)`{{ 7 * 7 }}"
    text = render_card(
        "org/x", [info("a", empty(data={"dataset": evil}, protocol={"name": evil}, training={"device": evil}))]
    )
    body = text.split("\n---\n", 1)[1]
    assert "\n# Heading" not in body
    assert "<script>" not in body
    assert not re.search(r"(?<!\\)\]\(http://b", body)
    assert "49" not in body
    assert "Heading" in body
    assert ModelCard(text).data.library_name == "peft"


def test_the_snippets_are_python():
    text = render_card("org/x", [info(), info("", empty(), base_model_name_or_path=None)])
    snippets = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        assert isinstance(ast.parse(snippet).body[0], ast.Import)
