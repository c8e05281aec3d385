"""`mv-peft data check`: the table, the remarks below it, and the exit code."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from mv_peft.cli.main import main
from mv_peft.video import write_video


@pytest.fixture
def msvd(tmp_path):
    """Two clips of a second, one file that is no video, and one video that is not there."""
    for name in ("a_0_1", "b_0_1"):
        write_video(tmp_path / f"{name}.mp4", np.zeros((13, 16, 16, 3), dtype=np.uint8))
    (tmp_path / "bad_0_1.avi").write_text("text")
    captions = {"a_0_1": ["short", "word " * 31], "b_0_1": ["x"] * 3, "bad_0_1": ["x"], "gone_0_1": ["x"]}
    (tmp_path / "captions_msvd.json").write_text(json.dumps(captions))
    (tmp_path / "train_list.txt").write_text("a_0_1\nbad_0_1\ngone_0_1\n")
    (tmp_path / "test_list.txt").write_text("b_0_1\n")
    return tmp_path


def test_the_table(msvd, capsys):
    assert main(["data", "check", "--dataset", "msvd", "--root", str(msvd)]) == 1
    lines = capsys.readouterr().out.splitlines()
    cells = [line.split() for line in lines[:3]]
    assert cells[0][:7] == ["split", "pairs", "videos", "found", "missing", "unreadable", "seconds"]
    assert cells[1] == ["train", "4", "3", "2", "1", "1", "1.0", "1", "of", "over", "30", "words"]
    assert cells[2] == ["test", "3", "1", "1", "0", "0", "1.0", "0", "of", "over", "30", "words"]
    below = "\n".join(lines[3:])
    assert "val: No annotation file" in below
    assert "train has 3 videos in these files, 1,200 are published." in below
    assert "train: 1 videos are missing: 'gone_0_1'." in below
    assert f"train: Cannot decode '{msvd / 'bad_0_1.avi'}'" in below


def test_one_split_without_reading(msvd, capsys):
    arguments = ["data", "check", "--dataset", "msvd", "--root", str(msvd), "--split", "test", "--no-read"]
    assert main([*arguments, "--max-text-tokens", "3"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[1].split() == ["test", "3", "1", "1", "0", "-", "-", "0", "of", "over", "1", "words"]


def test_custom_data_and_threads(msvd, capsys):
    (msvd / "own.csv").write_text("video,caption\na_0_1,one\nb_0_1,two\n")
    assert main(["data", "check", "--dataset", "custom", "--root", str(msvd / "own.csv"), "--threads", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[1].split()[:7] == ["custom", "2", "2", "2", "0", "0", "2.0"]
    (msvd / "a_0_1.txt").write_text("one\n")
    assert main(["data", "check", "--dataset", "custom", "--root", str(msvd)]) == 0
    assert "'b_0_1.mp4' has no captions in a .txt file beside it." in capsys.readouterr().out


def test_annotations_and_videos_in_two_folders(msvd, tmp_path_factory, capsys):
    elsewhere = tmp_path_factory.mktemp("videos")
    assert main(["data", "check", "--dataset", "msvd", "--root", str(msvd), "--videos", str(elsewhere)]) == 1
    assert "train: 3 videos are missing: 'a_0_1', 'bad_0_1', 'gone_0_1'." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "msvd"], "No annotation file in"),
        (["--dataset", "msvd", "--split", "train"], "No annotation file in .*train_list.txt"),
        (["--dataset", "msvd", "--split", "dev"], "Unknown split 'dev' of msvd"),
        (["--dataset", "msvd", "--videos", "nowhere"], "'nowhere' is not a folder"),
    ],
)
def test_errors_in_files_exit_1(tmp_path, capsys, arguments, message):
    assert main(["data", "check", "--root", str(tmp_path), *arguments]) == 1
    error = capsys.readouterr().err
    assert error.startswith("mv-peft: error: ")
    assert re.search(message, error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "msrvt"], "invalid choice: 'msrvt'"),
        (["--dataset", "custom", "--split", "train"], "`--split` has no effect with `--dataset custom`"),
        (["--dataset", "msvd", "--no-read", "--threads", "2"], "`--threads` has no effect with `--no-read`"),
        (["--dataset", "msvd", "--threads", "0"], "`--threads` must be at least 1, got 0"),
        (["--dataset", "msvd", "--max-text-tokens", "2"], "`--max-text-tokens` must be at least 3, got 2"),
    ],
)
def test_mistakes_in_the_arguments(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_of:
        main(["data", "check", "--root", str(tmp_path), *arguments])
    assert exit_of.value.code == 2
    assert message in capsys.readouterr().err
