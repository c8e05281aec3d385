"""`mv-peft demo` from rendering to the reloaded adapter, and over a user's own files."""

import csv
import re

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from mv_peft import enable_video
from mv_peft.cli.main import main
from mv_peft.demo.clips import concatenate, write_clips
from mv_peft.demo.evaluation import twin_accuracy
from mv_peft.demo.pipeline import run_demo
from mv_peft.demo.pretrained import TINY_CLIP, load_tiny_clip, load_tiny_processor
from mv_peft.demo.search import search_videos
from mv_peft.demo.settings import DemoSettings
from mv_peft.demo.training import TwinPairs
from mv_peft.demo.world import sample_pairs
from mv_peft.video import find_videos


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A run of a few seconds, enough to learn something about the order of frames."""
    settings = DemoSettings(
        output=tmp_path_factory.mktemp("demo"), num_train_clips=160, num_test_clips=60, num_steps=40, clips_per_batch=16
    )
    return run_demo(settings)


@pytest.fixture
def two_clips(tmp_path):
    """A folder with two readable videos, one of them in a subfolder, and a broken one."""
    (movement, reversal), *_ = sample_pairs("test", 1, seed=0)
    (path,) = write_clips([movement], tmp_path)
    write_clips([reversal], tmp_path / "deeper")
    (tmp_path / "broken.mp4").write_bytes(path.read_bytes()[:300])
    (tmp_path / "notes.txt").write_text("not a video")
    return tmp_path


def test_training_improves_retrieval_of_held_out_clips_and_teaches_order(demo):
    assert demo.after["t2v R@1"] > demo.before["t2v R@1"] + 10
    assert demo.after["order accuracy"] > 75
    assert demo.before["order accuracy"] < 65, "without an adapter a video is a set of frames"


def test_clips_and_captions_are_on_disk(demo):
    for split, count in (("train", 160), ("test", 60)):
        folder = demo.settings.output / "clips" / split
        with open(folder / "captions.csv", newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == count
        assert all((folder / row["video"]).stat().st_size > 1000 for row in rows)
    assert [row["caption"] for row in rows] == list(demo.captions.values())


def test_the_adapter_is_what_was_trained(demo):
    assert (demo.adapter_folder / "adapter_config.json").is_file()
    base = sum(parameter.numel() for parameter in load_tiny_clip().parameters())
    assert demo.num_parameters == base + demo.num_trainable
    assert 4 * demo.num_trainable < demo.adapter_bytes < 4 * demo.num_trainable + 50_000


def test_each_question_has_three_answers_best_first(demo):
    assert len(demo.answers) == 3
    for hits in demo.answers.values():
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert all(hit.path in demo.captions for hit in hits)


def test_the_command_prints_figures_that_depend_on_the_seed_only(tmp_path, capsys):
    command = ["demo", "--train-clips", "32", "--test-clips", "10", "--steps", "2", "--seed", "1"]
    printed = []
    for name in ("first", "second"):
        assert main([*command, "--output", str(tmp_path / name)]) == 0
        output = capsys.readouterr().out
        assert "Synthetic data" in output
        assert re.search(r"text to video +R@1 +\d+\.\d +\d+\.\d\n", output)
        assert "seed 1" in output
        output = output.replace(str(tmp_path / name), "OUTPUT")
        printed.append([line for line in output.splitlines() if "seconds" not in line])
    assert printed[0] == printed[1]


def test_search_answers_over_a_folder_and_reports_what_it_cannot_read(demo, two_clips, capsys):
    caption = sample_pairs("test", 1, seed=0)[0][0].caption
    command = ["demo", "--videos", str(two_clips), "--query", caption, "--adapter", str(demo.adapter_folder)]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "coloured shapes only" in output
    assert "2 videos read" in output
    assert f"  {caption}\n" in output
    assert re.search(r"-?\d\.\d{3}  \S+/deeper/0000\.mp4", output)
    assert "1 file could not be read" in output
    assert re.search(r"Cannot decode '\S+/broken\.mp4': \w+", output)
    assert "notes.txt" not in output


def test_search_runs_the_text_tower_once(two_clips):
    model, calls = enable_video(load_tiny_clip()), []
    model.text_model.register_forward_hook(lambda *_: calls.append("text"))
    model.vision_model.register_forward_hook(lambda *_: calls.append("videos"))
    result = search_videos(model, load_tiny_processor(), find_videos(two_clips), ["a star", "a red circle"])
    assert result.num_videos == 2
    assert [path.name for path in result.unreadable] == ["broken.mp4"]
    assert sorted(calls) == ["text", "videos"]


def test_search_with_another_model_does_not_mention_the_tiny_one(two_clips, capsys):
    assert main(["demo", "--videos", str(two_clips), "--model", str(TINY_CLIP)]) == 0
    output = capsys.readouterr().out
    assert "coloured shapes only" not in output
    assert "moves from left to right" in output, "without --query it has queries of its own"


def test_search_without_videos_is_an_error(tmp_path, capsys):
    assert main(["demo", "--videos", str(tmp_path / "missing")]) == 1
    assert "missing' is not a folder" in capsys.readouterr().err
    assert main(["demo", "--videos", str(tmp_path)]) == 1
    assert "holds no video" in capsys.readouterr().err
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    assert main(["demo", "--videos", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "None of the 1 videos can be read" in error
    assert "broken.mp4" in error


def test_an_adapter_of_another_clip_is_an_error(demo, two_clips, tmp_path_factory, capsys):
    folder = tmp_path_factory.mktemp("other")
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = {**tower, "vocab_size": 64, "max_position_embeddings": 16, "num_hidden_layers": 2}
    vision = {**tower, "image_size": 32, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)).save_pretrained(folder)
    load_tiny_processor().save_pretrained(folder)
    command = ["demo", "--videos", str(two_clips), "--model", str(folder), "--adapter", str(demo.adapter_folder)]
    assert main(command) == 1
    assert "does not fit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--query", "a star"], "Give their folder as `--videos`."),
        (["--videos", ".", "--steps", "3"], "no effect with `--videos`, which trains nothing"),
        (["--steps", "many"], "--steps"),
        (["--split", "train"], "argument --split: invalid choice: 'train'"),
    ],
)
def test_options_without_effect_are_errors(command, message, capsys):
    with pytest.raises(SystemExit) as exit_info:
        main(["demo", *command])
    assert exit_info.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_train_clips": 33}, "`num_train_clips` must be positive and even.*33"),
        ({"num_test_clips": 0}, "`num_test_clips` must be positive and even.*0"),
        ({"num_test_clips": 1000}, "`num_test_clips` must be at most 264.*1000"),
        ({"num_train_clips": 30}, "`num_train_clips` must fill a batch of 32, got 30"),
        ({"num_steps": 0}, "`num_steps` must be positive, got 0"),
        ({"split": "train"}, "Unknown `split` 'train'. Choose from: test, validation."),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message):
        DemoSettings(**settings)


def test_twins_share_a_batch():
    rows = {"pixel_values": torch.arange(8), "input_ids": torch.arange(8) + 10}
    pairs = TwinPairs(rows)
    assert len(pairs) == 4
    batch = concatenate([pairs[3], pairs[1]])
    assert batch["pixel_values"].tolist() == [6, 7, 2, 3]
    assert batch["input_ids"].tolist() == [16, 17, 12, 13]


def test_twin_accuracy_counts_events_only_and_a_tie_as_wrong():
    similarity = torch.zeros(6, 6)
    similarity[0, 0] = similarity[1, 1] = similarity[3, 3] = 1.0
    similarity[2, 3] = 2.0
    assert twin_accuracy(similarity, torch.tensor([True] * 4 + [False] * 2)) == 75
    assert twin_accuracy(similarity, torch.ones(6, dtype=torch.bool)) == 50
