"""`mv-peft train` on rendered clips: what it prints, what it writes, and that a killed training loses nothing."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

import mv_peft
import mv_peft.demo
from mv_peft.cli.main import main
from mv_peft.data import CaptionedVideos
from mv_peft.demo.clips import write_clips
from mv_peft.demo.pretrained import load_tiny_clip
from mv_peft.demo.world import sample_pairs
from mv_peft.encoders import MVProcessor
from mv_peft.retrieval import evaluate_retrieval

TINY_CLIP = Path(mv_peft.demo.__file__).parent / "tiny_clip"
ROOT = Path(__file__).parent.parent.parent
NUM_CLIPS = 36


@pytest.fixture(autouse=True)
def restored_algorithms_and_log():
    logger = logging.getLogger("mv_peft")
    yield
    torch.use_deterministic_algorithms(False)
    logger.handlers, logger.propagate, logger.level = [], True, logging.NOTSET


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    write_clips([clip for pair in sample_pairs("train", NUM_CLIPS // 2, 0) for clip in pair], folder)
    return folder / "captions.csv"


def command(clips, output, *options):
    named = {"--model": TINY_CLIP, "--dataset": "custom", "--root": clips, "--output": output, "--max-text-tokens": 16}
    named |= {"--batch-size": 8, "--max-steps": 5, "--eval-steps": 2, "--save-steps": 2, "--learning-rate": 1e-2}
    named |= {"--validation-fraction": 0.3, "--set": "bottleneck_dim=8", "--frame-sampling": "clip4clip"}
    return ["train", *(str(word) for pair in named.items() for word in pair), *options]


def start(arguments, *launcher):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    words = [sys.executable, *launcher, "-m", "mv_peft", *arguments]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def adapter(folder):
    return load_file(folder / "adapter_model.safetensors")


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """A training from the command line, in a process of its own, and what that printed."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    process = start(command(clips, folder, "--synthetic", "--chunk-size", "3"))
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return folder, out, err


def test_prints_the_plan_and_the_outcome(finished):
    folder, out, err = finished
    for said in (
        "mv_adapter on tiny_clip: 27,672 of 624,889 parameters (4.43%)",
        "22 in an epoch (all)",
        "5, 2 in an epoch; 8 pairs each, shared by 1 process, 3 at a time",
        "modern: AdamW, learning rate 0.01, weight decay 0.01, gradients clipped to 1, fp32",
        "8 pairs 1 MiB, activations of 3 ",
        "t2v R@1",
        "The videos are rendered.",
        str(folder),
    ):
        assert said in out
    assert err.splitlines()[0].startswith("Before training: t2v R@1 ")
    assert [line.split(":")[0] for line in err.splitlines()[1:]] == ["Step 2 of 5", "Step 4 of 5", "Step 5 of 5"]


def test_writes_adapter_processor_metrics_curve_and_record(finished, clips):
    folder, *_ = finished
    record = json.loads((folder / "metrics.json").read_text())
    assert record["schema"] == 1
    assert record["base_model"]["name"] == "tiny_clip"
    assert record["data"]["synthetic"] is True
    assert (record["data"]["split"], record["data"]["videos"]) == ("validation", 14)
    training = record["training"]
    assert (training["steps"], training["batch_size"], training["selected_on"]) == (5, 8, "validation")
    assert record["adapter"]["bytes"] == (folder / "adapter_model.safetensors").stat().st_size
    assert str(folder.parent) not in (folder / "metrics.json").read_text()

    run = json.loads((folder / "run.json").read_text())
    assert run["commands"][0].startswith("mv-peft train --model ")
    assert run["settings"]["chunk_size"] == 3
    assert {"torch", "transformers", "peft", "mv_peft"} <= run["versions"].keys()
    assert [entry["step"] for entry in run["history"] if "eval_t2v R@1" in entry] == [0, 2, 4, 5]
    assert sum("loss" in entry for entry in run["history"]) == 5
    assert (folder / "curve.png").read_bytes().startswith(b"\x89PNG")

    # The files alone give the figures again.
    model = PeftModel.from_pretrained(load_tiny_clip(), folder)
    processor = MVProcessor.from_pretrained(folder)
    _, validation = CaptionedVideos.load(clips).carve_validation(0.3)
    result = evaluate_retrieval(model, processor, validation, frame_sampling="clip4clip", progress=False)
    assert result.metrics == record["metrics"]
    best = max(entry["eval_t2v R@1"] for entry in run["history"] if entry["step"] and "eval_t2v R@1" in entry)
    assert result.metrics["t2v R@1"] == best


def test_the_same_command_gives_the_same_adapter(finished, clips, tmp_path, capsys):
    assert main(command(clips, tmp_path / "run", "--synthetic", "--chunk-size", "3")) == 0
    assert (tmp_path / "run/adapter_model.safetensors").read_bytes() == (
        finished[0] / "adapter_model.safetensors"
    ).read_bytes()
    other = tmp_path / "other"
    assert main(command(clips, other, "--synthetic", "--chunk-size", "3", "--seed", "1")) == 0
    assert not all(torch.equal(value, adapter(finished[0])[name]) for name, value in adapter(other).items())
    capsys.readouterr()


def test_a_killed_and_resumed_training_is_the_same_to_the_bit(finished, clips, tmp_path):
    arguments = command(clips, tmp_path / "run", "--synthetic", "--chunk-size", "3", "--resume")
    process = start(arguments)
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("run/training/checkpoint-*/complete")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert "27,672 of 624,889 parameters" in out
    assert not (tmp_path / "run/metrics.json").exists()
    process = start(arguments)
    _, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    assert "Resumed after step " in err
    assert (tmp_path / "run/adapter_model.safetensors").read_bytes() == (
        finished[0] / "adapter_model.safetensors"
    ).read_bytes()


def test_torchrun_gives_what_one_process_gives(finished, clips, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
    process = start(command(clips, tmp_path / "run", "--synthetic"), *launcher, "--rdzv-endpoint", "127.0.0.1:0")
    out, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    assert out.count("shared by 2 processes") == 1
    assert err.count("Before training") == 1
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    assert record["training"]["num_processes"] == 2
    expected = adapter(finished[0])
    for name, value in adapter(tmp_path / "run").items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-3, msg=name)
    assert record["metrics"]["t2v mean rank"] == pytest.approx(
        json.loads((finished[0] / "metrics.json").read_text())["metrics"]["t2v mean rank"], rel=0.1
    )


def test_train_then_evaluate_then_load(finished, clips, tmp_path, capsys):
    folder, *_ = finished
    adapter_folder = tmp_path / "run"
    shutil.copytree(folder, adapter_folder)
    data = ["--dataset", "custom", "--root", str(clips)]
    words = ["evaluate", "--model", str(TINY_CLIP), "--adapter", str(adapter_folder), *data]
    assert main([*words, "--output", str(adapter_folder / "metrics.json")]) == 0
    assert "MV_ADAPTER, this run" in capsys.readouterr().out
    record, trained = (json.loads((path / "metrics.json").read_text()) for path in (adapter_folder, folder))
    assert record["data"]["videos"] == NUM_CLIPS
    assert record["data"]["synthetic"] is True
    assert record["training"] == trained["training"]
    assert record["data"].keys() == trained["data"].keys() - {"split"}
    assert record["base_model"]["fingerprint"] == trained["base_model"]["fingerprint"]
    assert main(command(clips, adapter_folder, "--synthetic", "--chunk-size", "3", "--resume")) == 0
    assert "has been trained to its end" in capsys.readouterr().err
    assert json.loads((adapter_folder / "metrics.json").read_text()) == record
    loaded = mv_peft.load(adapter_folder, base_model=str(TINY_CLIP))
    result = evaluate_retrieval(loaded.model, loaded.processor, CaptionedVideos.load(clips), progress=False)
    assert result.metrics == record["metrics"]


@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("lora", ["--set", "r=4", "--gradient-checkpointing", "--recipe", "paper"]),
        ("full", ["--precision", "bf16", "--captions", "one_per_video"]),
        ("lora+head", ["--set", "r=4"]),
        ("prompts", ["--chunk-size", "2"]),
    ],
)
def test_other_methods_train_by_the_same_command(clips, tmp_path, capsys, method, options):
    words = command(clips, tmp_path / "run", "--method", method)
    at = words.index("--set")
    assert main([*words[:at], *words[at + 2 :], *options]) == 0
    assert f"{method} on tiny_clip: " in capsys.readouterr().out
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    assert record["adapter"]["method"] == method
    loaded = mv_peft.load(tmp_path / "run", base_model=str(TINY_CLIP))
    _, validation = CaptionedVideos.load(clips).carve_validation(0.3)
    result = evaluate_retrieval(loaded.model, loaded.processor, validation, progress=False)
    if "bf16" not in options:  # which also measured in bf16
        assert result.metrics["t2v mean rank"] == pytest.approx(record["metrics"]["t2v mean rank"])


@pytest.fixture(scope="module")
def msvd(clips, tmp_path_factory):
    """The clips in the form of MSVD, 24 to train on and 12 to test."""
    folder = tmp_path_factory.mktemp("msvd")
    shutil.copytree(clips.parent, folder / "videos")
    records = list(CaptionedVideos.load(clips))
    (folder / "captions_msvd.json").write_text(
        json.dumps({record.video_id: list(record.captions) for record in records})
    )
    names = [record.video_id for record in records]
    (folder / "train_list.txt").write_text("\n".join(names[:24]))
    (folder / "test_list.txt").write_text("\n".join(names[24:]))
    return folder


def test_all_results_say_that_the_adapter_was_selected_on_test(msvd, tmp_path, capsys):
    words = command(msvd, tmp_path / "run", "--select-on-test")
    at = words.index("--validation-fraction")
    words = [*words[:at], *words[at + 2 :]]
    words[words.index("custom")] = "msvd"
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "The adapter is chosen on the TEST split" in out
    assert "CHOSEN ON THE TEST SPLIT, msvd/test: 12 videos" in out
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    assert (record["training"]["selected_on"], record["data"]["split"]) == ("test", "test")
    run = json.loads((tmp_path / "run/run.json").read_text())
    assert run["facts"]["selected_on"] == "test"
    assert "--select-on-test" in run["commands"][0]
    words = ["evaluate", "--model", str(TINY_CLIP), "--adapter", str(tmp_path / "run"), "--dataset", "msvd"]
    assert main([*words, "--root", str(msvd), "--output", str(tmp_path / "test.json")]) == 0
    assert "The adapter was chosen on the TEST split" in capsys.readouterr().out
    assert json.loads((tmp_path / "test.json").read_text())["training"] == record["training"]


def test_videos_of_either_split_can_be_skipped(msvd, tmp_path, capsys):
    words = command(msvd, tmp_path / "run", "--select-on-test", "--dry-run")
    at = words.index("--validation-fraction")
    words = [*words[:at], *words[at + 2 :]]
    words[words.index("custom")] = "msvd"
    train, test = ((msvd / f"{name}_list.txt").read_text().split()[0] for name in ("train", "test"))
    assert main([*words, "--skip-videos", train, test]) == 0
    out = capsys.readouterr().out
    assert "msvd/train: 23 videos" in out
    assert "msvd/test: 11 videos" in out
    assert main([*words, "--skip-videos", train, "nobody"]) == 1
    assert "`--skip-videos` names 'nobody', which is in neither msvd/train nor msvd/test." in capsys.readouterr().err


def test_a_benchmark_trains_by_its_preset_and_never_sees_its_test_split(msvd, tmp_path, capsys):
    words = command(msvd, tmp_path / "run")
    words[words.index("custom")] = "msvd"
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "msvd/train, training: " in out
    assert "msvd/test" not in out
    assert f"mv-peft evaluate --model {TINY_CLIP} --adapter {tmp_path / 'run'} --dataset msvd --root" in out
    record = json.loads((tmp_path / "run/metrics.json").read_text())
    assert 0 < record["data"]["videos"] < 24


def test_a_dry_run_trains_nothing(clips, tmp_path, capsys):
    assert main(command(clips, tmp_path / "runs/of/today", "--dry-run")) == 0
    assert "27,672 of 624,889 parameters" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "runs").mkdir()
    assert main(command(clips, tmp_path / "runs/of/today", "--dry-run")) == 0
    assert [path.name for path in tmp_path.rglob("*")] == ["runs"]  # which was there


def test_a_training_is_not_overwritten(finished, clips, capsys):
    folder, *_ = finished
    before = (folder / "adapter_model.safetensors").read_bytes()
    assert main(command(clips, folder, "--synthetic", "--chunk-size", "3")) == 1
    assert f"'{folder}' holds a training. Resume it" in capsys.readouterr().err
    assert main(command(clips, folder, "--synthetic", "--chunk-size", "3", "--resume", "--seed", "7")) == 1
    assert "holds another training (seed: 0, now 7)" in capsys.readouterr().err
    assert main(command(clips, folder, "--synthetic", "--chunk-size", "2", "--resume")) == 1
    assert "holds another training (chunk_size: 3, now 2)" in capsys.readouterr().err
    words = command(clips, folder, "--synthetic", "--chunk-size", "3", "--resume", "--max-frames", "6")
    words[words.index("bottleneck_dim=8")] = "scaling=0.5"
    assert main(words) == 1
    said = "(bottleneck_dim: 8, now 64; max_frames: 12, now 6; scaling: 0.1, now 0.5)"
    assert f"holds another training {said}" in capsys.readouterr().err
    assert (folder / "adapter_model.safetensors").read_bytes() == before


def test_an_adapter_from_elsewhere_is_not_overwritten(clips, tmp_path, capsys):
    (tmp_path / "adapter_config.json").write_text("{}")
    for options in ([], ["--resume"]):
        assert main(command(clips, tmp_path, *options)) == 1
        assert f"'{tmp_path}' holds an adapter, and nothing of its training." in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["adapter_config.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--epochs", "3"], "`--epochs` has no effect with `--max-steps`"),
        (["--select-on-test"], "`--select-on-test` needs a test split, which `--dataset custom` does not have"),
        (["--precision", "fp8"], "argument --precision: invalid choice: 'fp8'"),
        (["--batch-size", "0"], "`batch_size` must be positive, got 0."),
        (["--set", "bottleneck_dim=-8"], "`--set` names 'bottleneck_dim' twice"),
        (["--set", "bottle=3"], "Unknown field 'bottle' in `--set`"),
        (["--max-text-tokens", "32"], "takes captions of at most 16 tokens, got 32. Give `--max-text-tokens 16`."),
        (["--recipe", "papper"], "argument --recipe: invalid choice: 'papper'"),
        (["--captions", "some"], "argument --captions: invalid choice: 'some'"),
        (["--frame-sampling", "random"], "argument --frame-sampling: invalid choice: 'random'"),
        (["--select-by", "R1"], "argument --select-by: invalid choice: 'R1'"),
        (["--num-workers", "-1"], "`num_workers` must not be negative, got -1."),
        (["--chunk-size", "few"], "must be a number or auto, got 'few'."),
        (["--report-to", "nowhere"], "`--report-to` names 'nowhere', which is not installed. Installed: "),
    ],
)
def test_mistakes_in_the_arguments(clips, tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as error:
        main(command(clips, tmp_path / "run", *options))
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_field_that_the_method_does_not_have(clips, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(command(clips, tmp_path / "run", "--method", "lora"))
    assert "'lora' cannot be set up so: " in capsys.readouterr().err


def test_the_memory_estimate_allows_for_gradient_checkpointing(clips, tmp_path, capsys):
    sizes = []
    for options in ([], ["--gradient-checkpointing"]):
        assert main(command(clips, tmp_path / "run", "--dry-run", *options)) == 0
        sizes.append(int(re.search(r"activations of 8 (\d+) MiB", capsys.readouterr().out)[1]))
    assert 0 < sizes[1] < sizes[0] / 2


def test_full_fine_tuning_requires_a_learning_rate(clips, tmp_path, capsys):
    words = command(clips, tmp_path / "run", "--method", "full")
    at = words.index("--learning-rate")
    with pytest.raises(SystemExit):
        main([*words[:at], *words[at + 2 :]])
    assert "'full' trains CLIP itself. Give a `--learning-rate`" in capsys.readouterr().err


def test_a_batch_that_cannot_be_filled(clips, tmp_path, capsys):
    assert main(command(clips, tmp_path / "run", "--batch-size", "23")) == 1
    assert "22 pairs do not fill a batch of 23." in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_video_ends_the_training_with_a_hint(clips, tmp_path, capsys, num_workers):
    folder = tmp_path / "clips"
    shutil.copytree(clips.parent, folder)
    train, _ = CaptionedVideos.load(clips).carve_validation(0.3)
    bad = folder / train[0].path.name
    bad.write_bytes(b"no video")
    words = command(folder / "captions.csv", tmp_path / "run", "--num-workers", num_workers)
    words = [str(word) for word in words]
    assert main(words) == 1
    err = capsys.readouterr().err.splitlines()
    assert "`--skip-videos` leaves them out" in err[-2]
    assert err[-1].startswith(f"mv-peft: error: Cannot decode '{bad}': ")
    # What ended before its first checkpoint is no training: the same folder will do.
    assert main([*words, "--skip-videos", bad.stem]) == 0


def test_videos_of_a_bad_batch_are_named(clips, tmp_path, capsys):
    assert main(command(clips, tmp_path / "run", "--learning-rate", "1e30")) == 1
    assert "at step " in capsys.readouterr().err
