"""`metrics.json` keeps every fact that is written, and takes nothing else from a stranger."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_type_hints

import pytest

from mv_peft.errors import CheckpointError
from mv_peft.runs.metrics_file import MetricsFile, TrainingFacts, known

# What `mv-peft train` of version 0.1.0 wrote, shortened.
VERSION_0_1_0 = """{
  "schema": 1,
  "base_model": {"name": "tiny_clip", "revision": null, "architecture": "CLIPModel", "fingerprint": "clip1:a:b:c"},
  "data": {"videos": 14, "captions": 14, "dataset": "custom", "split": "validation", "max_frames": 12,
           "max_text_tokens": 16, "frame_sampling": "fps_uniform", "synthetic": true},
  "protocol": {"name": "pairs", "description": "One caption a video.", "source": "Yu et al.", "ties": "strict",
               "post_processing": null},
  "metrics": {"t2v R@1": 21.4, "v2t mean rank": 4.5},
  "training": {"recipe": "modern", "learning_rate": 0.001, "weight_decay": 0.2, "seed": 0, "epochs": 1.0, "steps": 4,
               "batch_size": 8, "captions": "all", "num_processes": 1, "precision": "fp32", "device": "cpu",
               "selected_on": "validation", "selected_by": "t2v R@1", "best_step": 2,
               "before": {"t2v R@1": 7.1, "v2t mean rank": 7.0}, "seconds": 12.3},
  "versions": {"mv_peft": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2",
               "accelerate": "1.15.0", "python": "3.11.7"},
  "adapter": {"method": "mv_adapter", "trainable_parameters": 100, "total_parameters": 1000, "bytes": 5000}
}"""


def filled() -> MetricsFile:
    """A file in which every field of every part is known and different, with fields of a newer version."""
    values: dict[str, Any] = {}
    for number, (name, part) in enumerate(sorted(get_type_hints(MetricsFile).items())):
        if is_dataclass(part):
            hints = get_type_hints(part)
            values[name] = part(**{key: _value(hints[key], 100 * number + i) for i, key in enumerate(sorted(hints))})
    unknown = {"cluster": {"gpus": [1, 2], "shared": None}, **{name: {"newer": f"of {name}"} for name in values}}
    return MetricsFile(**values, metrics={"t2v R@1": 46.25, "v2t mean rank": 3.0}, unknown=unknown)


def _value(hint: Any, number: int) -> Any:
    text = str(hint)
    if "dict" in text:
        return {"t2v R@1": number + 0.5}
    kinds = {"str": f"text {number}", "bool": bool(number % 2), "int": number, "float": number + 0.25}
    return next(value for kind, value in kinds.items() if text.startswith(kind))


def test_every_field_is_filled():
    """Or the tests that use `filled` would show nothing."""
    file = filled()
    parts = [getattr(file, field.name) for field in fields(file) if is_dataclass(getattr(file, field.name))]
    assert len(parts) == 6
    for part in parts:
        assert known(part).keys() == {field.name for field in fields(part)}


def test_what_is_written_is_read(tmp_path):
    file = filled()
    file.write(tmp_path)
    assert MetricsFile.read(tmp_path) == file
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]
    content = json.loads((tmp_path / "metrics.json").read_text())
    assert content["schema"] == 1
    assert content["cluster"] == {"gpus": [1, 2], "shared": None}
    assert content["training"]["newer"] == "of training"


def test_what_is_not_known_is_left_out(tmp_path):
    assert MetricsFile().to_dict() == {"schema": 1, "metrics": {}}
    assert MetricsFile.read(tmp_path) == MetricsFile()
    file = MetricsFile(training=TrainingFacts(seed=0, epochs=0.5))
    assert file.to_dict() == {"schema": 1, "training": {"seed": 0, "epochs": 0.5}, "metrics": {}}


def test_a_file_of_version_0_1_0_is_read_whole():
    content = json.loads(VERSION_0_1_0)
    file = MetricsFile.from_dict(content)
    assert file.unknown == {}
    assert file.training.before == {"t2v R@1": 7.1, "v2t mean rank": 7.0}
    assert (file.training.weight_decay, file.training.captions) == (0.2, "all")
    del content["base_model"]["revision"], content["protocol"]["post_processing"]
    assert file.to_dict() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "has schema 2, known is 1. Update mv_peft"),
        ({"schema": None}, "has schema None"),
        ({"data": []}, None),
        ({"data": [1]}, "`data` in metrics.json must be an object"),
        ({"data": {"videos": "9"}}, "`data.videos` in metrics.json must be an integer, got '9'"),
        ({"data": {"videos": True}}, "`data.videos` .* must be an integer, got True"),
        ({"data": {"videos": 2**64}}, "`data.videos` .* must be an integer"),
        ({"data": {"synthetic": 1}}, "`data.synthetic` .* must be true or false, got 1"),
        ({"data": {"dataset": 7}}, "`data.dataset` .* must be a string, got 7"),
        ({"training": {"learning_rate": float("nan")}}, "`training.learning_rate` .* must be a finite number"),
        ({"training": {"seconds": 10**400}}, "`training.seconds` .* must be a finite number"),
        ({"training": {"before": [1]}}, "`training.before` .* must be an object"),
        ({"training": {"before": {"x": "high"}}}, "`training.before.x` .* must be a finite number, got 'high'"),
        ({"metrics": {"x": float("inf")}}, "`metrics.x` .* must be a finite number"),
        ({"metrics": {"x": True}}, "`metrics.x` .* must be a finite number"),
        ({"metrics": {str(n): 1 for n in range(201)}}, "`metrics` .* has 201 figures, at most 200"),
        ({"newer": "x" * 70_000}, "bytes of fields that are unknown here, at most 65536 are kept"),
        ({"training": {"newer": "x" * 70_000}}, "bytes of fields that are unknown here"),
        ({"newer": float("nan")}, "holds an unknown field that is no JSON"),
    ],
)
def test_a_strangers_values_are_checked(change, message):
    content = {"schema": 1, "metrics": {}, **change}
    if message is None:
        assert MetricsFile.from_dict(content) == MetricsFile()
        return
    with pytest.raises(CheckpointError, match=message):
        MetricsFile.from_dict(content)


def test_text_is_one_line_of_bounded_length():
    file = MetricsFile.from_dict({"schema": 1, "data": {"dataset": "a\n# b\t" + "c" * 3000}, "metrics": {"x\ny": 1}})
    assert file.data.dataset.startswith("a # b c")
    assert len(file.data.dataset) == 2000
    assert file.metrics == {"x y": 1}


def test_a_large_or_damaged_file_is_refused(tmp_path):
    for text, message in (
        ("{", "'metrics.json' is not JSON"),
        ("[" * 100_000, "'metrics.json' is not JSON"),
        ("[1]", "holds no JSON object but list"),
        (json.dumps({"schema": 1, "x": "x" * 2**20}), "bytes; no such file needs more"),
    ):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(CheckpointError, match=message):
            MetricsFile.read(tmp_path)


def test_a_part_can_be_replaced():
    file = replace(filled(), training=TrainingFacts())
    assert file.to_dict()["training"] == {"newer": "of training"}
    assert MetricsFile.from_dict(file.to_dict()) == file
