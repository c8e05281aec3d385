"""The comparison in a rendered world: every method, results, reproducibility, and the choice of the learning rate."""

import ast
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
import torch

from benchmarks.compare import run as run_module
from benchmarks.compare import suite
from benchmarks.compare.build import build, name_and_fields
from benchmarks.compare.in_memory import ClipCollator
from benchmarks.compare.method import Group, load_method, method_names
from benchmarks.compare.options import field_and_value
from benchmarks.compare.rows import read_group
from benchmarks.compare.run import resolve, run, write_result
from benchmarks.compare.settings import SIZES, WorldSettings
from benchmarks.compare.tune import TUNING_SEED, tune
from benchmarks.pretrain.clip import load_clip
from benchmarks.worlds import draw

TINY = {"steps": 2, "batch_size": 8, "num_train_clips": 16, "num_gallery_clips": 8, "num_frames": 4}
TRAINED = [name for name in method_names() if load_method(name).trains]


def settings(method="lora", **more):
    return WorldSettings(method=method, **{"learning_rate": 1e-3, **TINY, **more})


@pytest.fixture(scope="module")
def mv_adapter_result():
    return run(settings("mv_adapter"), command="a command")


def test_a_result_is_complete(mv_adapter_result):
    result = mv_adapter_result
    assert set(result) == {"run_info", "config", "train_info", "metrics"}
    assert result["run_info"]["command"] == "a command"
    assert {"torch", "transformers", "peft", "mv_peft"} <= set(result["run_info"]["versions"])
    config = result["config"]
    assert config["peft"]["scaling"] == 1.0
    assert config["peft"]["max_frames"] == TINY["num_frames"]
    assert config["peft"]["target_modules"] is None  # where the table of encoders says
    assert (config["steps"], config["learning_rate"], config["recipe"]) == (2, 1e-3, "modern")
    info = result["train_info"]
    assert info["steps"] == 2
    assert info["seconds"] > 0
    assert info["adapter_bytes"] > 4 * info["trainable_parameters"] > 0
    assert info["total_parameters"] == info["trainable_parameters"] + info["clip_parameters"]
    assert [step for step, _ in info["curve"]] == [1, 2]
    assert {f"{way} R@{k}" for way in ("t2v", "v2t") for k in (1, 5, 10)} <= set(result["metrics"]["natural"])
    assert {"t2v order accuracy", "v2t order accuracy"} <= set(result["metrics"]["order"])


def test_a_result_with_a_head_has_both_configurations(mv_adapter_result):
    config = run(settings("mv_adapter+head", steps=1))["config"]["peft"]
    beside, alone = config.pop("method"), mv_adapter_result["config"]["peft"]
    assert (config["num_layers"], config["max_frames"]) == (4, TINY["num_frames"])
    assert beside.pop("base_model_name_or_path") is None
    assert beside.keys() == alone.keys()
    assert beside == alone


def test_the_same_run_gives_the_same_numbers_and_another_seed_others(mv_adapter_result):
    again, other = run(settings("mv_adapter")), run(settings("mv_adapter", seed=1))
    assert again["metrics"] == mv_adapter_result["metrics"]
    assert again["train_info"]["curve"] == mv_adapter_result["train_info"]["curve"]
    assert other["train_info"]["curve"] != mv_adapter_result["train_info"]["curve"]


def test_zero_shot_trains_nothing():
    result = run(settings("zero-shot", learning_rate=None))
    assert result["train_info"]["trainable_parameters"] == result["train_info"]["steps"] == 0
    assert result["config"]["peft"] is None
    assert resolve(settings("zero-shot", learning_rate=None)).learning_rate is None
    with pytest.raises(ValueError, match="'zero-shot' trains nothing, got the learning rate 0.001"):
        resolve(settings("zero-shot"))


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_is_built_from_its_file(name):
    clip, processor = load_clip("shapes")
    method = load_method(name)
    model = build(clip, processor, method, settings(name))
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    assert trainable > 0
    if name == "mv_adapter_no_temporal":
        assert not model.peft_config["default"].temporal_adaptation
    if method.match is not None:
        clip, _ = load_clip("shapes")
        other = build(clip, processor, load_method(method.match), settings(method.match))
        wanted = sum(parameter.numel() for parameter in other.parameters() if parameter.requires_grad)
        assert trainable == pytest.approx(wanted, rel=0.03)


def test_lengths_go_to_the_configurations_that_have_fields_for_them():
    clip, processor = load_clip("shapes")
    frames, both = {"max_frames": 4}, {"max_frames": 4, "max_text_tokens": 16}
    expected = {
        "zero-shot": ("zero-shot", {}, None),
        "lora": ("lora", {}, None),
        "mv_adapter": ("mv_adapter", both, None),
        "head": ("head", frames, None),
        "lora+head": ("lora+head", {}, frames),
        "mv_adapter+head": ("mv_adapter+head", both, frames),
    }
    for name, (method, lengths, head_lengths) in expected.items():
        found, fields = name_and_fields(clip, processor, load_method(name), settings(name))
        head = fields.pop("head", None)
        assert found == method
        assert {field: fields[field] for field in fields if field in both} == lengths
        assert (head and {field: head[field] for field in head if field in both}) == head_lengths
    given = settings("mv_adapter", overrides={"max_frames": 8})
    assert name_and_fields(clip, processor, load_method("mv_adapter"), given)[1]["max_frames"] == 8


def test_a_rival_is_added_by_one_file(tmp_path, monkeypatch):
    entries = {
        "label": "a rival",
        "method": "rslora",
        "overrides": {"r": 4},
        "head": {"num_layers": 2},
        "learning_rates": [1e-4, 1e-3],
        "tiny": {"head": {"num_heads": 4}, "learning_rates": [1e-3, 1e-2]},
    }
    write_result(entries, tmp_path / "rival.json")
    monkeypatch.setattr("benchmarks.compare.method.METHODS", tmp_path)
    assert method_names() == method_names(tiny=False) == ["rival"]
    assert load_method("rival", tiny=False).learning_rates == (1e-4, 1e-3)
    name, fields = name_and_fields(*load_clip("shapes"), load_method("rival"), settings("rival"))
    head = {"num_layers": 2, "num_heads": 4, "max_frames": 4}
    assert (name, fields) == ("rslora+head", {"r": 4, "head": head})
    result = run(settings("rival", steps=1))
    assert result["train_info"]["trainable_parameters"] > 0
    write_result(result, tmp_path / "results" / "rival-seed0.json")
    (row,) = read_group(tmp_path / "results")
    assert row.label == "a rival"


def test_no_code_of_the_comparison_knows_a_method_by_its_name():
    methods = [load_method(name) for name in method_names()]
    names = {name for method in methods for name in (method.name, method.method)}
    names -= {*get_args(Group), *SIZES}  # these words have another meaning there
    assert {"lora", "st_adapter", "zero-shot"} <= names
    for file in Path(run_module.__file__).parent.glob("*.py"):
        literals = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        assert not names & literals, file


def test_all_methods_have_the_same_tuning_budget():
    tuned = [load_method(name) for name in TRAINED if load_method(name).learning_rate_of is None]
    assert len({len(method.learning_rates) for method in tuned}) == 1
    for method in tuned:
        rates = method.learning_rates
        assert list(rates) == sorted(set(rates))


def test_a_batch_is_what_the_processor_gives():
    _, processor = load_clip("shapes")
    clips = draw("shapes", "train", 16, paired=True, num_frames=4, seed=0)
    batch = ClipCollator.of(clips, processor)([torch.tensor([2, 3]), torch.tensor([10, 11])])
    rows = [2, 3, 10, 11]
    expected = processor(text=[clips.captions[row] for row in rows], videos=[clips.frames[row] for row in rows])
    torch.testing.assert_close(batch["pixel_values"], expected["pixel_values"])
    width = expected["input_ids"].shape[1]
    assert torch.equal(batch["input_ids"][:, :width], expected["input_ids"])
    assert expected["pixel_values"].std() > 0.1


def test_the_learning_rate_is_chosen_on_validation_and_written(tmp_path, monkeypatch):
    seen = []
    rates = load_method("lora").learning_rates

    def fake_run(trial):
        seen.append(trial)
        figure = {rates[1]: 30.0, rates[2]: 20.0}.get(trial.learning_rate, 10.0)
        gallery = {f"{way} R@1": figure for way in ("t2v", "v2t")}
        return {"metrics": {"natural": gallery, "twin": gallery, "order": {"t2v order accuracy": 50.0}}}

    monkeypatch.setattr("benchmarks.compare.tune.run", fake_run)
    untuned = settings(learning_rate=None)
    with pytest.raises(ValueError, match="No learning rate was chosen for 'lora' on shapes"):
        resolve(untuned, tmp_path)
    chosen = tune(untuned)
    assert {trial.split for trial in seen} == {"validation"}
    assert {trial.seed for trial in seen} == {TUNING_SEED}
    assert (chosen["chosen"], chosen["at_edge"]) == (rates[1], False)
    assert [candidate["score"] for candidate in chosen["candidates"]] == [10.0, 30.0, 20.0, 10.0]
    num_runs = len(seen)
    less = {"candidates": chosen["candidates"][:-1]}
    assert tune(untuned, less) == chosen
    assert [trial.learning_rate for trial in seen[num_runs:]] == [rates[-1]], "what was tried is not run again"
    write_result(chosen, untuned.tuning_file(tmp_path))
    assert resolve(untuned, tmp_path).learning_rate == rates[1]
    with pytest.raises(ValueError, match="'zero-shot' trains nothing"):
        tune(settings("zero-shot", learning_rate=None))


@pytest.fixture
def two_methods(tmp_path, monkeypatch):
    """A method that chooses its learning rate, and one that uses the same."""
    folder = tmp_path / "methods"
    lora = {"label": "LoRA", "method": "lora"}
    write_result(lora | {"learning_rates": [1e-3, 3e-3]}, folder / "lora.json")
    write_result(lora | {"overrides": {"r": 2}, "learning_rate_of": "lora"}, folder / "a_small_one.json")
    monkeypatch.setattr("benchmarks.compare.method.METHODS", folder)
    return folder


def test_a_method_may_use_the_learning_rate_of_another(two_methods, tmp_path):
    untuned = settings("a_small_one", learning_rate=None, overrides={"r": 3})
    with pytest.raises(ValueError, match="No learning rate was chosen for 'lora' on shapes"):
        resolve(untuned, tmp_path)
    write_result({"chosen": 0.25}, tmp_path / "shapes" / "tuning" / "lora.json")
    write_result({"chosen": 0.125}, tmp_path / "shapes" / "tuning" / "lora,random.json")
    write_result({"chosen": 0.5}, tmp_path / "shapes" / "tuning" / "a_small_one.json")
    assert resolve(untuned, tmp_path) == replace(untuned, learning_rate=0.25)
    assert resolve(replace(untuned, batches="random"), tmp_path).learning_rate == 0.125
    assert resolve(replace(untuned, learning_rate=0.1), tmp_path).learning_rate == 0.1
    with pytest.raises(ValueError, match="'a_small_one' uses the learning rate of 'lora'. Tune that method instead."):
        tune(untuned)


def test_the_suite_tunes_only_the_method_whose_learning_rate_is_used(two_methods, tmp_path, monkeypatch):
    tuned, ran = [], []

    def fake_tune(trial, before):
        tuned.append(trial.method)
        rates = load_method(trial.method).learning_rates
        return {"chosen": rates[-1], "candidates": [{"learning_rate": rate} for rate in rates]}

    def fake_run(trial, command):
        ran.append((trial.method, trial.learning_rate))
        gallery = {"t2v R@1": 10.0}
        metrics = {"natural": gallery, "twin": gallery, "order": {"t2v order accuracy": 50.0}}
        return {"config": {"learning_rate": trial.learning_rate}, "metrics": metrics}

    monkeypatch.setattr(suite, "tune", fake_tune)
    monkeypatch.setattr(suite, "run", fake_run)
    arguments = ["--methods", "a_small_one,lora", "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["suite", *arguments])
    old = {"chosen": 0.5, "candidates": [{"learning_rate": 0.5}]}
    write_result(old, tmp_path / "shapes" / "tuning" / "a_small_one.json")
    suite.main()
    assert tuned == ["lora"], "once, and before the one that takes it"
    assert ran == [("a_small_one", 3e-3), ("lora", 3e-3)]
    suite.main()
    assert (len(tuned), len(ran)) == (1, 2)


def test_a_learning_rate_is_either_chosen_or_that_of_another_method(two_methods):
    lora, small = load_method("lora"), load_method("a_small_one")
    assert (lora.trains, small.trains, replace(lora, learning_rates=()).trains) == (True, True, False)
    with pytest.raises(
        ValueError, match="'lora' has learning rates of its own and also uses that of 'full'. Leave out"
    ):
        replace(lora, learning_rate_of="full")
    for other in ("a_small_one", "chained"):
        write_result({"label": "", "method": "lora", "learning_rate_of": "a_small_one"}, two_methods / f"{other}.json")
        with pytest.raises(ValueError, match=f"'{other}' uses the learning rate of 'a_small_one', which chooses none"):
            load_method(other)
    write_result({"label": "", "method": "lora", "learning_rate_of": "lorra"}, two_methods / "chained.json")
    with pytest.raises(ValueError, match="Unknown method 'lorra'"):
        load_method("chained")
    with pytest.raises(ValueError, match="Unknown group 'rival' of 'lora'. Choose from: rivals, mv_adapter, head"):
        replace(lora, group="rival")


def test_command_line(tmp_path, monkeypatch, capsys):
    sizes = ["--steps", "2", "--num-train-clips", "32", "--num-gallery-clips", "8", "--num-frames", "4"]
    arguments = ["--method", "lora", "--fast", "--set", "r=2", "--learning-rate", "1e-3", "--batches", "random", *sizes]
    monkeypatch.setattr(sys, "argv", ["run", *arguments, "--results", str(tmp_path)])
    run_module.main()
    file = tmp_path / "shapes-fast" / "lora,r=2,random-seed0.json"
    result = json.loads(file.read_text())
    assert result["config"]["peft"]["r"] == 2
    assert result["config"]["batches"] == "random"
    assert str(file) in capsys.readouterr().out


def test_the_suite_runs_what_is_missing_and_records_a_command_for_each_run(tmp_path, monkeypatch):
    sizes = ["--steps", "2", "--num-train-clips", "32", "--num-gallery-clips", "8", "--num-frames", "4"]
    arguments = ["--methods", "zero-shot,lora", "--seeds", "0,3", "--fast", *sizes, "--results", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["suite", *arguments])
    suite.main()
    group = tmp_path / "shapes-fast"
    names = {path.name for path in group.rglob("*.json")}
    assert names == {"lora.json", *(f"{method}-seed{seed}.json" for method in ("lora", "zero-shot") for seed in (0, 3))}
    result = json.loads((group / "lora-seed3.json").read_text())
    tuning = json.loads((group / "tuning" / "lora.json").read_text())
    assert result["config"]["learning_rate"] == tuning["chosen"]
    assert result["run_info"]["command"].endswith("--num-frames 4 --seed 3")
    before = {path: path.stat().st_mtime_ns for path in group.rglob("*.json")}
    suite.main()
    assert {path: path.stat().st_mtime_ns for path in group.rglob("*.json")} == before


def test_wrong_settings_are_errors():
    with pytest.raises(ValueError, match="Unknown split 'train'"):
        settings(split="train")
    with pytest.raises(ValueError, match="Unknown batches 'twins'"):
        settings(batches="twins")
    with pytest.raises(ValueError, match="`num_gallery_clips` must be positive and even.*got 7"):
        settings(num_gallery_clips=7)
    with pytest.raises(ValueError, match="`num_train_clips` must fill a batch of 8, got 4"):
        settings(num_train_clips=4)
    with pytest.raises(ValueError, match="Unknown method 'lorra'"):
        load_method("lorra")
    with pytest.raises(ValueError, match="`--set` takes field=value, got 'r'"):
        field_and_value("r")
    assert field_and_value("init=identity") == ("init", "identity")


def test_sizes_are_the_defaults_of_the_settings():
    assert WorldSettings(method="lora", size="fast").steps < WorldSettings(method="lora").steps
    assert replace(WorldSettings(method="lora"), steps=5).steps == 5
