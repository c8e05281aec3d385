"""`mv-peft evaluate` on clips of seconds: table, JSON, embeddings, adapters of several methods, two processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model

import mv_peft
from mv_peft.cli.main import main
from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip
from mv_peft.encoders import MVProcessor
from mv_peft.retrieval import RetrievalEmbeddings, evaluate_embeddings
from mv_peft.video import CacheSettings, build_cache
from tests.models import adapter_config
from tests.retrieval.clips import write_records

CLIP = ["evaluate", "--model", str(TINY_CLIP)]


@pytest.fixture(scope="module")
def msvd(tmp_path_factory):
    """Six videos in the form of MSVD, two captions each: four to test, two to train; and own data of one each."""
    folder = tmp_path_factory.mktemp("msvd")
    records = write_records(folder, num_videos=6, captions_each=2)
    captions = {record.video_id: list(record.captions) for record in records}
    (folder / "captions_msvd.json").write_text(json.dumps(captions))
    (folder / "test_list.txt").write_text("\n".join("0123"))
    (folder / "train_list.txt").write_text("4\n5\n")
    rows = [f"{record.path.name},{record.captions[0]}" for record in records]
    (folder / "own.csv").write_text("\n".join(["video,caption", *rows]))
    return folder


@pytest.fixture
def command(msvd):
    return [*CLIP, "--dataset", "msvd", "--root", str(msvd)]


def adapter(folder, kind):
    """An adapter folder with an effect; an MV-Adapter of eight frames and ten tokens."""
    torch.manual_seed(0)
    config = (
        LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
        if kind == "lora"
        else adapter_config(max_frames=8, max_text_tokens=10)
    )
    get_peft_model(load_tiny_clip(), config).save_pretrained(folder)
    return str(folder)


def written(path):
    return json.loads(Path(path).read_text())


def test_zero_shot_table_json_and_embeddings(command, tmp_path, capsys):
    output, kept = tmp_path / "new" / "metrics.json", tmp_path / "embeddings"
    assert main([*command, "--output", str(output), "--embeddings", str(kept)]) == 0
    table = capsys.readouterr().out
    assert "zero-shot, this run" in table
    assert "MV-Adapter [quoted]" in table
    assert "8 captions of 4 videos; protocol: multi-caption;" in table
    content = written(output)
    assert content["schema"] == 1
    assert content["base_model"]["name"] == "tiny_clip"
    assert content["data"] == {
        "dataset": "msvd",
        "split": "test",
        "videos": 4,
        "captions": 8,
        "max_frames": 12,
        "max_text_tokens": 16,
        "frame_sampling": "fps_uniform",
    }
    assert (content["protocol"]["name"], content["protocol"]["ties"]) == ("multi-caption", "strict")
    assert content["metrics"] == evaluate_embeddings(RetrievalEmbeddings.load(kept)).metrics
    assert content["metrics"]["t2v mean rank"] > 1
    assert str(tmp_path) not in output.read_text()


@pytest.mark.parametrize(("kind", "limits"), [("mv_adapter", (8, 10)), ("lora", (12, 16))])
def test_any_adapter(command, tmp_path, capsys, kind, limits):
    figures = {}
    for name, more in {"zero-shot": [], "adapted": ["--adapter", adapter(tmp_path / "adapter", kind)]}.items():
        assert main([*command, *more, "--output", str(tmp_path / name), "--embeddings", str(tmp_path / "e")]) == 0
        figures[name] = RetrievalEmbeddings.load(tmp_path / "e").video_embeds
    assert not torch.equal(figures["zero-shot"], figures["adapted"])
    content = written(tmp_path / "adapted")
    assert (content["data"]["max_frames"], content["data"]["max_text_tokens"]) == limits
    assert content["data"]["frame_sampling"] == "fps_uniform"
    assert content["adapter"]["method"].lower() == kind
    assert content["adapter"]["bytes"] > 0
    assert f"{kind.upper()}, this run" in capsys.readouterr().out


def test_the_processor_saved_with_an_adapter_is_used(command, tmp_path):
    folder = adapter(tmp_path / "adapter", "lora")
    saved = MVProcessor.from_pretrained(TINY_CLIP, max_frames=3, max_text_tokens=7, frame_sampling="fps_head")
    saved.save_pretrained(folder)
    assert main([*command, "--adapter", folder, "--output", str(tmp_path / "m.json")]) == 0
    data = written(tmp_path / "m.json")["data"]
    assert (data["max_frames"], data["max_text_tokens"], data["frame_sampling"]) == (3, 7, "fps_head")
    assert main([*command, "--adapter", folder, "--frame-sampling", "tail", "--output", str(tmp_path / "m.json")]) == 0
    assert written(tmp_path / "m.json")["data"]["frame_sampling"] == "tail"


def test_the_record_of_a_training_stays_with_its_adapter(command, tmp_path):
    zero_shot, output = command, tmp_path / "adapter" / "metrics.json"
    command = [*command, "--adapter", adapter(tmp_path / "adapter", "mv_adapter")]
    assert main([*command, "--output", str(output)]) == 0
    content = written(output)
    output.write_text(json.dumps({**content, "training": {"seed": 3}, "metrics": {"t2v R@1": -1}}))
    for file in (tmp_path / "elsewhere.json", output):
        assert main([*command, "--output", str(file)]) == 0
        assert written(file) == {**content, "training": {"seed": 3}}
    assert main([*zero_shot, "--output", str(tmp_path / "elsewhere.json")]) == 0
    assert not {"training", "adapter"} & written(tmp_path / "elsewhere.json").keys()
    output.write_text(json.dumps({"schema": 1, "training": {"seed": 3}}))  # of who knows what CLIP
    assert main([*command, "--output", str(output)]) == 0
    assert written(output) == content
    output.write_text("notes")
    assert main([*command, "--output", str(output)]) == 1
    assert output.read_text() == "notes"


def test_results_on_rendered_videos_say_so(command, tmp_path, capsys):
    said = {}
    for more in ([], ["--synthetic"]):
        assert main([*command, *more, "--output", str(tmp_path / "m.json")]) == 0
        said[bool(more)] = written(tmp_path / "m.json"), capsys.readouterr().out
    (plain, plain_table), (rendered, rendered_table) = said[False], said[True]
    assert rendered_table == f"{plain_table}The videos are rendered.\n"
    assert rendered == {**plain, "data": {**plain["data"], "synthetic": True}}
    assert "synthetic" not in plain["data"]


def test_custom_data_from_a_cache(msvd, tmp_path, capsys):
    build_cache(tmp_path / "cache", msvd, sorted(msvd.glob("*.mp4")), CacheSettings(short_side=32))
    own = [*CLIP, "--dataset", "custom", "--root", str(msvd / "own.csv")]
    tables = []
    for more in ([], ["--cache", str(tmp_path / "cache")]):
        assert main([*own, *more]) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1]
    assert "6 captions of 6 videos; protocol: pairs;" in tables[0]
    assert "quoted" not in tables[0]


def test_post_processing_is_labelled(command, msvd, tmp_path, capsys):
    assert main([*command, "--post-processing", "dual-softmax"]) == 0
    assert "protocol: multi-caption + dual-softmax;" in capsys.readouterr().out
    assert main([*command, "--post-processing", "qb-norm", "--output", str(tmp_path / "m.json")]) == 0
    shown = capsys.readouterr().out
    assert "protocol: multi-caption + qb-norm;" in shown
    assert "The quoted figures are without post-processing." in shown
    assert written(tmp_path / "m.json")["protocol"]["post_processing"] == "qb-norm"
    own = [*CLIP, "--dataset", "custom", "--root", str(msvd / "own.csv"), "--post-processing", "qb-norm"]
    assert main([*own, "--query-bank", str(msvd / "own.csv"), "--ties", "optimistic"]) == 0
    assert "pairs + qb-norm, optimistic ties" in capsys.readouterr().out


def test_an_unreadable_video_is_an_error_unless_it_is_skipped(msvd, tmp_path, capsys):
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    (tmp_path / "0.mp4").write_bytes((msvd / "0.mp4").read_bytes())
    (tmp_path / "own.csv").write_text("video,caption\nbroken,a\n0,b\n")
    own = [*CLIP, "--dataset", "custom", "--root", str(tmp_path / "own.csv")]
    assert main(own) == 1
    assert "mv-peft: error: Cannot decode" in capsys.readouterr().err
    assert main([*own, "--skip-unreadable", "--output", str(tmp_path / "m.json")]) == 0
    assert "1 videos could not be read and are not part of these figures." in capsys.readouterr().out
    assert written(tmp_path / "m.json")["data"]["skipped_videos"] == 1


def test_two_processes_write_the_same_as_one(command, msvd, tmp_path):
    assert main([*command, "--batch-size", "1", "--output", str(tmp_path / "one.json")]) == 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(mv_peft.__file__).parent.parent)}
    arguments = [*command, "--batch-size", "1", "--output", str(tmp_path / "two.json")]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mv_peft"]
    done = subprocess.run([*run, *arguments], capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("zero-shot, this run") == 2, "one table, of two directions"
    assert written(tmp_path / "two.json") == written(tmp_path / "one.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "custom", "--split", "test"], "`--split` has no effect with `--dataset custom`"),
        (["--dataset", "msvd", "--batch-size", "0"], "`--batch-size` must be positive, got 0"),
        (["--dataset", "msvd", "--query-bank", "train"], "`--query-bank` has no effect without"),
        (["--dataset", "custom", "--post-processing", "qb-norm"], "needs `--query-bank` with `--dataset custom`"),
        (["--dataset", "msvd", "--ties", "lenient"], "invalid choice: 'lenient'"),
        (["--dataset", "msvd", "--precision", "int8"], "invalid choice: 'int8'"),
        (["--dataset", "msvd", "--frame-sampling", "random"], "invalid choice: 'random'"),
        (["--dataset", "msvd", "--num-workers", "-1"], "`--num-workers` must not be negative, got -1"),
    ],
)
def test_mistakes_in_the_arguments(msvd, capsys, arguments, message):
    with pytest.raises(SystemExit, match=r"^2$"):
        main([*CLIP, "--root", str(msvd), *arguments])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "dev"], "Unknown split 'dev' of msvd"),
        (["--device", "abacus"], "Unknown `--device` 'abacus'"),
        (["--adapter", "."], "adapter_config.json"),
    ],
)
def test_errors_in_files_and_devices_exit_1(command, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main([*command, *arguments]) == 1
    assert message in capsys.readouterr().err


def test_a_model_other_than_clip_is_refused(msvd, tmp_path, capsys):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert main(["evaluate", "--model", str(tmp_path), "--dataset", "msvd", "--root", str(msvd)]) == 1
    assert "cannot be adapted: a model of the type 'bert' is not among" in capsys.readouterr().err
