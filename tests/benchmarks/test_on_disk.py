"""The comparison on videos on disk, in MSR-VTT's files: what run, tune and suite write, and what they read."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.compare import on_disk, suite
from benchmarks.compare import run as run_module
from benchmarks.compare import tune as tune_module
from benchmarks.compare.build import build, name_and_fields
from benchmarks.compare.method import load_method, method_names
from benchmarks.compare.on_disk import OWN_HELD_OUT, OWN_VALIDATION, VALIDATION_SHARE, VideosOnDisk, _curve
from benchmarks.compare.options import ON_DISK, command_of
from benchmarks.compare.rows import read_group
from benchmarks.compare.run import run
from benchmarks.compare.settings import VideoSettings, WorldSettings
from benchmarks.compare.tables import render_group
from benchmarks.compare.tune import TUNING_SEED, tune
from mv_peft import enable_video
from mv_peft.cli.shared_options import dataset_names
from mv_peft.data import BENCHMARKS, MSRVTT
from mv_peft.data.custom import stable_hash
from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip
from mv_peft.encoders import MVProcessor
from mv_peft.errors import AnnotationError, CacheError
from mv_peft.retrieval import evaluate_retrieval
from mv_peft.tuners.methods import count_parameters, method_config
from mv_peft.video import CacheSettings, VideoCache, build_cache, read_frames, write_video
from tests.retrieval.clips import CAPTIONS

GROUP = "msrvtt-tiny_clip"
LORA_RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)


@pytest.fixture(autouse=True)
def other_algorithms_again():
    yield
    torch.use_deterministic_algorithms(False)


def place(video_id):
    return stable_hash(video_id) / 2**64


def ids(number, first, last):
    """Ids of MSR-VTT whose place lies between two bounds."""
    found = (f"video{n}" for n in range(10_000))
    return [video_id for video_id in found if first <= place(video_id) < last][:number]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Eight videos for training and three for validation, with two captions each, and five for testing."""
    folder = tmp_path_factory.mktemp("msrvtt")
    train = ids(8, VALIDATION_SHARE, 0.5) + ids(3, 0, VALIDATION_SHARE)
    test = ids(5, 0.5, 1)
    generator = np.random.default_rng(0)
    (folder / "all").mkdir()
    for name in train + test:
        colours = generator.integers(0, 255, (12, 1, 1, 3), dtype=np.uint8)
        write_video(folder / "all" / f"{name}.mp4", np.broadcast_to(colours, (12, 32, 32, 3)).copy(), fps=6)
    captions = [(name, f"{CAPTIONS[(n + more) % 5]} {n}") for n, name in enumerate(train) for more in range(2)]
    sentences = [{"video_id": name, "caption": caption} for name, caption in captions]
    (folder / "MSRVTT_data.json").write_text(json.dumps({"sentences": sentences}))
    (folder / "MSRVTT_train.9k.csv").write_text("\n".join(["video_id", *train]))
    rows = [f"ret{n},msr{n},{name},{CAPTIONS[n]}" for n, name in enumerate(test)]
    (folder / "MSRVTT_JSFUSION_test.csv").write_text("\n".join(["key,vid_key,video_id,sentence", *rows]))
    return folder


@pytest.fixture(scope="module")
def own(root):
    """The same videos as own data, a caption each."""
    names = sorted(path.name for path in (root / "all").iterdir())
    rows = [f"{name},{CAPTIONS[n % 5]}" for n, name in enumerate(names)]
    (root / "holiday.csv").write_text("\n".join(["video,caption", *rows]))
    return root / "holiday.csv"


@pytest.fixture
def read(monkeypatch):
    """The name of a video for each time that it is read."""
    names = []

    def spy(path, *args, **kwargs):
        names.append(path.stem)
        return read_frames(path, *args, **kwargs)

    monkeypatch.setattr(on_disk, "read_frames", spy)
    return names


def settings(root, method="lora", **more):
    fields = {"data": "msrvtt", "model": str(TINY_CLIP), "learning_rate": 1e-3, "batch_size": 4, "steps": 3}
    return VideoSettings(method=method, root=root, **{**fields, **more})


def main(module, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    module.main()


def names_of(videos):
    return {record.video_id for record in videos}


def test_a_result_has_the_same_entries_as_in_a_rendered_world(root, tmp_path, monkeypatch, capsys):
    arguments = ["--method", "mv_adapter", "--data", "msrvtt", "--model", TINY_CLIP, "--root", root, "--seed", 2]
    main(
        run_module,
        monkeypatch,
        *arguments,
        "--steps",
        9,
        "--batch-size",
        4,
        "--learning-rate",
        "1e-2",
        "--set",
        "scaling=0.5",
        "--results",
        tmp_path,
    )
    file = tmp_path / GROUP / "mv_adapter,scaling=0.5-seed2.json"
    assert str(file) in capsys.readouterr().out
    text = file.read_text()
    assert str(root) not in text
    assert str(TINY_CLIP) not in text
    result = json.loads(text)
    world = run(WorldSettings(method="zero-shot", num_gallery_clips=8, num_frames=4))
    assert set(result) == set(world)
    assert set(result["train_info"]) == {*world["train_info"], "best_step"}
    assert set(world["config"]) <= set(result["config"])
    config, info = result["config"], result["train_info"]
    assert result["run_info"]["command"] == (
        "python -m benchmarks.compare.run --method mv_adapter --data msrvtt --model tiny_clip --root ... --steps 9 "
        "--batch-size 4 --learning-rate 0.01 --set scaling=0.5 --seed 2"
    )
    assert config["base_model"]["name"] == config["model"] == "tiny_clip"
    assert config["base_model"]["fingerprint"]
    numbers = ("steps", "batch_size", "num_train_clips", "num_train_captions", "num_validation_clips")
    assert [config[name] for name in numbers] == [9, 4, 8, 16, 3]
    assert [config[name] for name in ("num_gallery_clips", "num_gallery_captions", "num_frames")] == [5, 5, 12]
    assert (config["max_text_tokens"], config["protocol"], config["recipe"]) == (16, "pairs", "modern")
    assert config["peft"]["scaling"] == 0.5
    assert info["steps"] == 9
    assert info["best_step"] in (4, 8, 9), "an epoch is four steps"
    assert info["seconds"] > 0
    assert info["cpu_seconds"] > 0
    assert info["adapter_bytes"] > 4 * info["trainable_parameters"] > 0
    assert info["total_parameters"] == info["trainable_parameters"] + info["clip_parameters"]
    assert [step for step, _ in info["curve"]] == list(range(1, 10))
    assert set(result["metrics"]) == {"retrieval"}
    assert {f"{way} R@{k}" for way in ("t2v", "v2t") for k in (1, 5, 10)} <= set(result["metrics"]["retrieval"])
    (row,) = read_group(tmp_path / GROUP)
    assert row.figures("retrieval", "t2v R@5") == [100.0]


def test_zero_shot_figures_equal_those_of_the_library(root, read):
    result = run(settings(root, "zero-shot", learning_rate=None))
    processor = MVProcessor.from_pretrained(TINY_CLIP, max_text_tokens=16, frame_sampling="fps_uniform")
    test = MSRVTT.load(root, "test")
    expected = evaluate_retrieval(enable_video(load_tiny_clip()), processor, test, progress=False).metrics
    assert result["metrics"]["retrieval"] == expected
    assert 1 < expected["t2v mean rank"] < 5
    assert sorted(read) == sorted(names_of(test)), "nothing else is read, and each once"
    assert result["train_info"]["trainable_parameters"] == result["train_info"]["steps"] == 0
    assert (result["config"]["steps"], result["config"]["peft"]) == (3, None)


def test_the_same_run_gives_the_same_numbers_and_another_seed_others(root):
    first, again, other = (run(settings(root, seed=seed)) for seed in (0, 0, 1))
    assert again["metrics"] == first["metrics"]
    assert again["train_info"]["curve"] == first["train_info"]["curve"]
    assert other["train_info"]["curve"] != first["train_info"]["curve"]


def test_the_checkpoint_that_is_best_on_validation_is_measured(root, monkeypatch):
    """At a learning rate that does not change the figures, the first checkpoint stays the best."""
    measured = []
    evaluate = on_disk.evaluate_retrieval

    def spy(model, *args, **kwargs):
        measured.append({name: p.clone() for name, p in model.named_parameters() if "lora" in name})
        return evaluate(model, *args, **kwargs)

    monkeypatch.setattr(on_disk, "evaluate_retrieval", spy)
    states = {}
    keep = on_disk.TrainingRun.execute

    def execute(training):
        outcome = keep(training)
        states["last"] = {n: p.detach().clone() for n, p in training.trainer.model.named_parameters() if "lora" in n}
        states["outcome"] = outcome
        return outcome

    monkeypatch.setattr(on_disk.TrainingRun, "execute", execute)
    result = run(settings(root, learning_rate=1e-7, steps=12, precision="fp32", split="validation", seed=5))
    how = states["outcome"].metrics_file.to_dict()["training"]
    assert (how["learning_rate"], how["recipe"], how["seed"], how["precision"]) == (1e-7, "modern", 5, "fp32")
    assert (how["captions"], how["selected_on"]) == ("all", "validation")
    assert result["train_info"]["best_step"] == states["outcome"].best_step == 4
    assert result["metrics"]["retrieval"] == states["outcome"].metrics
    (best,) = measured
    assert best.keys() == states["last"].keys()
    assert not any(torch.equal(best[name], states["last"][name]) for name in best)


def test_the_test_split_is_not_read_before_the_end(root, read, monkeypatch):
    test, everything = names_of(MSRVTT.load(root, "test")), []
    train = VideosOnDisk(settings(root))

    def execute(training):
        outcome = keep(training)
        everything.append(set(read))
        return outcome

    keep = on_disk.TrainingRun.execute
    monkeypatch.setattr(on_disk.TrainingRun, "execute", execute)
    run(settings(root, steps=4))
    (before,) = everything
    assert before == names_of(train.train_videos) | names_of(train.validation)
    assert set(read) - before == test
    assert all(read.count(name) == 1 for name in test)


def test_tuning_never_reads_the_test_split(root, read, tmp_path, monkeypatch):
    (tmp_path / "root").mkdir()
    for name in ("MSRVTT_data.json", "MSRVTT_train.9k.csv"):  # no annotations of the test split at all
        (tmp_path / "root" / name).write_bytes((root / name).read_bytes())
    results = tmp_path / "results"
    arguments = ["--method", "lora", "--data", "msrvtt", "--model", TINY_CLIP, "--root", tmp_path / "root"]
    arguments += ["--videos", root / "all", "--steps", 4, "--batch-size", 4, "--results", results]
    main(tune_module, monkeypatch, *arguments)
    assert [path.relative_to(results).as_posix() for path in results.rglob("*.json")] == [f"{GROUP}/tuning/lora.json"]
    tuning = json.loads((results / GROUP / "tuning" / "lora.json").read_text())
    assert [candidate["learning_rate"] for candidate in tuning["candidates"]] == list(LORA_RATES)
    for candidate in tuning["candidates"]:
        both = [candidate[f"retrieval {way} R@1"] for way in ("t2v", "v2t")]
        assert candidate["score"] == sum(both) / 2
    assert tuning["chosen"] in LORA_RATES
    assert tuning["rule"].startswith("highest mean of R@1, retrieval gallery, both directions, on the validation split")
    assert (tuning["seed"], tuning["steps"]) == (TUNING_SEED, 2), "half of the steps"
    tuned = VideosOnDisk(settings(root, split="validation"))
    assert names_of(tuned.validation) < set(read) <= names_of(tuned.validation) | names_of(tuned.train_videos)
    with pytest.raises(AnnotationError, match="MSRVTT_JSFUSION_test.csv"):
        run(settings(tmp_path / "root", videos=root / "all"))


def test_the_suite_tunes_and_runs_what_is_missing(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "methods").mkdir()
    lora = {"label": "LoRA r=8 (q, v)", "method": "lora", "learning_rates": [1e-4, 1e-3]}
    for name, entries in (("lora", lora), ("zero-shot", {"label": "zero-shot", "method": "zero-shot"})):
        (tmp_path / "methods" / f"{name}.json").write_text(json.dumps(entries))
    monkeypatch.setattr("benchmarks.compare.method.METHODS", tmp_path / "methods")
    tmp_path = tmp_path / "results"
    arguments = ["--methods", "zero-shot,lora", "--seeds", "0,3", "--data", "msrvtt", "--model", TINY_CLIP]
    arguments += ["--root", root, "--steps", 2, "--batch-size", 4, "--results", tmp_path]
    main(suite, monkeypatch, *arguments)
    names = {path.relative_to(tmp_path / GROUP).as_posix() for path in tmp_path.rglob("*.json")}
    assert names == {"tuning/lora.json", *(f"{m}-seed{seed}.json" for m in ("lora", "zero-shot") for seed in (0, 3))}
    tuning = json.loads((tmp_path / GROUP / "tuning" / "lora.json").read_text())
    result = json.loads((tmp_path / GROUP / "lora-seed3.json").read_text())
    assert result["config"]["learning_rate"] == tuning["chosen"] in (1e-4, 1e-3)
    assert result["run_info"]["command"].endswith("--model tiny_clip --root ... --steps 2 --batch-size 4 --seed 3")
    out = capsys.readouterr().out
    assert f"lora seed 3: t2v R@1 {result['metrics']['retrieval']['t2v R@1']:.1f}\n" in out
    assert "order" not in out
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")}
    main(suite, monkeypatch, *arguments)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.json")} == before
    rows = read_group(tmp_path / GROUP)
    assert [row.label for row in rows] == ["LoRA r=8 (q, v)", "zero-shot"]
    text = render_group(rows, "plot.svg")
    assert text.startswith(
        "Real videos, `msrvtt`, CLIP `tiny_clip`: 2 steps of 4 clips of 12 frames out of 8, galleries of 5 clips, test"
    )
    assert "| LoRA r=8 (q, v) | 15,360 | " in text
    assert "order" not in text


def test_splits_have_no_video_in_common(root, own):
    for chosen in (settings(root), settings(own, data="custom", videos=root / "all")):
        test, tuned = VideosOnDisk(chosen), VideosOnDisk(replace(chosen, split="validation"))
        splits = [names_of(videos) for videos in (test.train_videos, test.validation, test.gallery)]
        assert sum(map(len, splits)) == len(set.union(*splits))
        assert all(splits)
        assert [names_of(videos) for videos in (tuned.train_videos, tuned.validation)] == splits[:2]
        assert tuned.gallery is tuned.validation
        assert test.gallery is not test.validation
    # Of own videos these are all; where each goes is a matter of its id.
    assert splits[1] == {name for name in set.union(*splits) if place(name) < OWN_VALIDATION}
    assert splits[2] == {name for name in set.union(*splits) if OWN_VALIDATION <= place(name) < OWN_HELD_OUT}
    assert len(set.union(*splits)) == 16


def test_own_videos(root, own):
    chosen = settings(own, "mv_adapter+head", data="custom", videos=root / "all", steps=1)
    result = run(chosen)
    assert chosen.group == "custom-holiday-tiny_clip"
    assert result["config"]["protocol"] == "pairs"
    assert result["config"]["num_gallery_clips"] == len(VideosOnDisk(chosen).gallery) >= 2
    assert result["metrics"]["retrieval"]["v2t R@50"] == 100.0


@pytest.mark.parametrize("name", ["full", "full+head", "lora_matched", "adapter_sequential", "prompts"])
def test_other_methods(root, name):
    result = run(settings(root, name, learning_rate=1e-4, steps=1))
    zero_shot = sum(parameter.numel() for parameter in load_tiny_clip().parameters())
    info = result["train_info"]
    assert info["clip_parameters"] == zero_shot
    assert info["adapter_bytes"] > 4 * info["trainable_parameters"] > 0
    assert result["config"]["label"] == load_method(name).label
    assert result["metrics"]["retrieval"]["v2t R@50"] == 100.0


def test_frames_come_out_of_a_cache(root, tmp_path, read, monkeypatch):
    videos = sorted((root / "all").iterdir())
    build_cache(tmp_path / "cache", root, videos, CacheSettings(short_side=32))
    decoded = []
    monkeypatch.setattr("mv_peft.video.cache.read.read_frames", lambda path, *a, **k: decoded.append(path))
    assert run(settings(root, cache=tmp_path / "cache", steps=2))["metrics"]
    assert (decoded, read) == ([], [])
    read_from = VideosOnDisk(settings(root, cache=tmp_path / "cache"))._read
    assert isinstance(read_from.__self__, VideoCache)
    build_cache(tmp_path / "other", tmp_path, [], CacheSettings(short_side=32))
    with pytest.raises(CacheError, match="other' holds none of these 16 videos"):
        VideosOnDisk(settings(root, cache=tmp_path / "other"))
    assert command_of(settings(root, cache=tmp_path)).endswith(
        "--root ... --cache ... --steps 3 --batch-size 4 --seed 0"
    )


def test_every_data_set_that_can_be_trained_on_has_its_own_results(root, own):
    assert set(ON_DISK) == set(dataset_names())
    of_hub = settings(root, model="openai/clip-vit-base-patch16")
    assert of_hub.group == "msrvtt-clip-vit-base-patch16"
    assert "--model openai/clip-vit-base-patch16 --root ..." in command_of(of_hub)
    assert settings(root).group == GROUP
    assert settings(own, data="custom").group == "custom-holiday-tiny_clip"
    assert WorldSettings(method="lora", size="fast").group == "shapes-fast"


def test_default_lengths_are_the_published_ones(root):
    source = VideosOnDisk(settings(root, steps=0))
    assert source.steps == 5 * (16 // 4)
    assert source.batch_size == 4
    assert VideosOnDisk(settings(root, steps=0).halved()).steps == 10
    assert VideosOnDisk(settings(root, steps=0).halved().halved()).steps == 5
    assert [VideosOnDisk(settings(root, steps=steps).halved()).steps for steps in (7, 1)] == [3, 1]
    assert settings(root, data="didemo").published_lengths == (15, 64)
    assert settings(root, data="custom").published_lengths == (5, 128)
    assert settings(root, data="activitynet").num_frames == BENCHMARKS["activitynet"].max_frames == 32
    assert (settings(root, data="custom").num_frames, settings(root, data="custom").max_text_tokens) == (12, 32)
    with pytest.raises(ValueError, match="16 pairs of a video and a caption do not fill a batch of 128"):
        VideosOnDisk(settings(root, batch_size=0))


def test_fields_for_the_tiny_clip_are_not_used_in_a_usual_clip(root):
    _, processor = VideosOnDisk(settings(root)).load_clip()
    assert (processor.max_frames, processor.max_text_tokens, processor.frame_sampling) == (12, 16, "fps_uniform")
    for tiny, width in ((True, 32), (False, 64)):
        chosen = WorldSettings(method="mv_adapter") if tiny else settings(root, "mv_adapter")
        model = build(load_tiny_clip(), processor, load_method("mv_adapter", tiny=tiny), chosen)
        assert model.peft_config["default"].bottleneck_dim == width
        matched = build(load_tiny_clip(), processor, load_method("lora_matched", tiny=tiny), chosen)
        trained = [sum(p.numel() for p in each.parameters() if p.requires_grad) for each in (model, matched)]
        assert trained[1] == pytest.approx(trained[0], rel=0.03)


def test_methods_for_tiny_clips_only_are_refused_in_a_usual_clip(tmp_path, root, monkeypatch, capsys):
    usual = method_names(tiny=False)
    assert {"mv_adapter", "mv_adapter_paper", "mv_adapter_tied_1", "full+head"} <= set(usual)
    assert set(method_names()) - set(usual) == {
        "mv_adapter_last_layer",
        *(f"mv_adapter_width_{width}" for width in (8, 16, 64)),
    }
    for name in usual:
        assert not {"bottleneck_dim", "layers_to_transform", "num_heads"} & set(load_method(name, tiny=False).overrides)
    heads = [load_method("mv_adapter+head", tiny=tiny).head for tiny in (True, False)]
    assert [head.get("num_heads") for head in heads] == [4, None]
    assert {head["num_layers"] for head in heads} == {4}
    with pytest.raises(SystemExit):
        main(
            run_module,
            monkeypatch,
            "--method",
            "mv_adapter_width_8",
            "--data",
            "msrvtt",
            "--model",
            "m",
            "--root",
            root,
        )
    assert "'mv_adapter_width_8' is for tiny CLIPs only. Choose from: adapter_" in capsys.readouterr().err


def test_every_method_fits_into_vit_b_16():
    vision = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "patch_size": 16}
    with torch.device("meta"):
        clip = CLIPModel(CLIPConfig(vision_config=vision, projection_dim=512))
    processor = MVProcessor.from_pretrained(TINY_CLIP, max_text_tokens=32)
    sizes = {}
    for name in method_names(tiny=False):
        method = load_method(name, tiny=False)
        method_name, fields = name_and_fields(clip, processor, method, settings(None, name, model="vit"))
        config = method_config(clip, method_name, **fields)
        sizes[name] = 0 if config is None else count_parameters(clip, config)
    assert [name for name, size in sizes.items() if not size] == ["zero-shot"]
    assert (sizes["mv_adapter"], sizes["lora"]) == (3_401_728, 491_520)
    assert sizes["lora_matched"] == pytest.approx(sizes["mv_adapter"], rel=0.01)


def test_the_suite_runs_every_method_that_there_is_for_the_data(root, tmp_path, monkeypatch):
    ran = []
    monkeypatch.setattr(suite, "_tune_if_needed", lambda *args: None)
    monkeypatch.setattr(suite, "_is_current", lambda file, *args: ran.append(file.name) or True)
    arguments = ["--data", "msrvtt", "--model", TINY_CLIP, "--root", root, "--results", tmp_path]
    main(suite, monkeypatch, *arguments)
    assert ran == [f"{name}-seed0.json" for name in method_names(tiny=False)]
    ran.clear()
    main(suite, monkeypatch, "--results", tmp_path)
    assert ran == [f"{name}-seed0.json" for name in method_names()]


def test_all_methods_have_the_same_tuning_budget_for_a_usual_clip():
    tuned = {name: load_method(name, tiny=False).learning_rates for name in method_names(tiny=False)}
    assert {len(rates) for rates in tuned.values() if rates} == {5}
    assert tuned["lora"] == tuned["mv_adapter"] == LORA_RATES
    assert tuned["full+head"] == tuned["full"]
    assert max(tuned["full"]) <= min(LORA_RATES) < min(tuned["ia3"]), "what has fewer parameters takes larger steps"
    for name in method_names(tiny=False):
        tiny, usual = load_method(name), load_method(name, tiny=False)
        assert bool(usual.learning_rates) == bool(tiny.learning_rates)
        assert (usual.label, usual.recipe, usual.learning_rate_of) == (tiny.label, tiny.recipe, tiny.learning_rate_of)
        assert list(usual.learning_rates) == sorted(set(usual.learning_rates))


def test_a_curve_has_about_twenty_points():
    history = [{"step": step, "loss": float(step)} for step in range(10, 610, 10)] + [{"step": 600, "eval_x": 1.0}]
    curve = _curve(history)
    assert len(curve) == 20
    assert curve[0] == [30, 20.0]
    assert curve[-1] == [600, 590.0]
    assert _curve([]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "shapes", "--root", "msrvtt"], "`--root` has no effect with `--data shapes`. Leave it out"),
        (["--num-workers", "2"], "`--num-workers` has no effect with `--data shapes`."),
        (
            ["--data", "msrvtt", "--model", "clip"],
            "`--data msrvtt` needs `--root`. Give the folder of the annotations.",
        ),
        (
            ["--data", "custom", "--root", "x.csv"],
            "`--data custom` needs `--model`. Give the name or folder of a CLIP.",
        ),
        (["--data", "msvd", "--fast"], "`--fast` has no effect with `--data msvd`. Leave it out; it is for rendered"),
        (["--data", "msvd", "--batches", "random"], "`--batches` has no effect with `--data msvd`."),
        (["--data", "msvd", "--num-frames", "4"], "`--num-frames` has no effect with `--data msvd`."),
        (["--data", "msvd", "--model", "m", "--root", "r", "--steps", "-1"], "`steps` must not be negative, got -1."),
        (["--data", "msrvt"], "invalid choice: 'msrvt'"),
    ],
)
def test_mistakes_in_the_arguments(tmp_path, monkeypatch, capsys, arguments, message):
    for module, method in ((run_module, "--method"), (tune_module, "--method"), (suite, "--methods")):
        with pytest.raises(SystemExit, match="^2$"):
            main(module, monkeypatch, method, "lora", *arguments, "--results", tmp_path)
        assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_too_few_videos(root, tmp_path):
    (tmp_path / "own.csv").write_text("video,caption\na.mp4,one\nb.mp4,two\n")
    for name in ("a", "b"):
        (tmp_path / f"{name}.mp4").touch()
    with pytest.raises(ValueError, match="The 2 videos of own.csv are too few to set 10% of them aside. Give more."):
        VideosOnDisk(settings(tmp_path / "own.csv", data="custom"))
    with pytest.raises(ValueError, match="'zero-shot' trains nothing"):
        tune(settings(root, "zero-shot", learning_rate=None))
