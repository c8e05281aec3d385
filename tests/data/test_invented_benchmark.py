"""A new benchmark is one object and one line: after that every command, table and model card knows it."""

import json
import logging
import re

import numpy as np
import pytest
import torch

from mv_peft.cli.main import main
from mv_peft.data import BENCHMARKS, Benchmark, PublishedRow, Split, register_benchmark
from mv_peft.data.annotations.rows import read_rows
from mv_peft.demo.pretrained import TINY_CLIP
from mv_peft.video import write_video

SHAPES = Benchmark(
    name="shapes-in-motion",
    title="Shapes in Motion",
    splits={"train": Split(6, 12), "test": Split(2, 4)},
    protocol="multi-caption",
    read=lambda files, split: read_rows(files.require(f"shapes_{split}.json")),
    max_frames=3,
    max_text_tokens=9,
    epochs=1,
    batch_size=4,
    published=(PublishedRow("Shape Finder", (12.3, 45.6, 78.9), (11.1, 44.4, 77.7), "Euclid, Elements"),),
    other_names=lambda video_id: (f"clip_{video_id}",),
)
COLOURS = {"a": "red", "b": "green", "c": "blue", "d": "white", "e": "yellow", "f": "purple", "y": "red", "z": "blue"}


@pytest.fixture
def root(write, tmp_path):
    """Annotations of eight videos, of which the files have other names than the annotations."""
    captions = {video: [f"a {colour} circle", f"a large {colour} star"] for video, colour in COLOURS.items()}
    write("shapes_train.json", {video: captions[video] for video in "abcdef"})
    write("shapes_test.json", {video: captions[video] for video in "yz"})
    for number, video in enumerate(captions):
        frames = np.full((12, 32, 32, 3), 30 * number, dtype=np.uint8)
        write_video(tmp_path / f"clip_{video}.mp4", frames, fps=4)
    return tmp_path


@pytest.fixture(autouse=True)
def restored():
    """Undo the registration, and what a training sets for the whole process."""
    before, logger = dict(BENCHMARKS), logging.getLogger("mv_peft")
    yield
    BENCHMARKS.clear()
    BENCHMARKS.update(before)
    torch.use_deterministic_algorithms(False)
    logger.handlers, logger.propagate, logger.level = [], True, logging.NOTSET


def test_one_line_makes_a_benchmark_known_to_every_command(root, tmp_path_factory, capsys):
    register_benchmark(SHAPES)
    data = ["--dataset", "shapes-in-motion", "--root", str(root)]
    run = tmp_path_factory.mktemp("runs") / "run"

    assert main(["data", "check", *data]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["train", "12", "6", "6", "0", "0", "16.5", "0", "of", "over", "7", "words"],
        ["test", "4", "2", "2", "0", "0", "5.5", "0", "of", "over", "7", "words"],
    ]

    options = ["--output", str(run), "--validation-fraction", "0.17", "--set", "bottleneck_dim=8", "--synthetic"]
    assert main(["train", "--model", str(TINY_CLIP), *data, *options]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"steps +2, 2 in an epoch; 4 pairs each", printed)
    assert "mv-peft evaluate --model" in printed
    trained = json.loads((run / "metrics.json").read_text())
    assert (trained["data"]["dataset"], trained["data"]["split"]) == ("shapes-in-motion", "validation")
    assert (trained["training"]["epochs"], trained["training"]["batch_size"]) == (1, 4)
    assert (trained["data"]["max_frames"], trained["data"]["max_text_tokens"]) == (3, 9)

    measured = str(run / "metrics.json")
    assert main(["evaluate", "--model", str(TINY_CLIP), "--adapter", str(run), *data, "--output", measured]) == 0
    printed = capsys.readouterr().out
    assert "Shape Finder [quoted]    12.3    45.6    78.9" in printed
    assert "[quoted] was not measured here: Euclid, Elements." in printed
    assert "4 captions of 2 videos; protocol: multi-caption;" in printed

    assert main(["push", str(run), "--repo", "org/shapes", "--dry-run"]) == 0
    card = capsys.readouterr().out
    assert "- **Data:** Shapes in Motion, split test (2 videos, 4 captions), synthetic\n" in card
    assert "at most 3 frames a video" in card
    assert "- shapes-in-motion\n" in card


def test_without_that_line_no_command_knows_it(root, capsys):
    with pytest.raises(SystemExit, match="^2$"):
        main(["data", "check", "--dataset", "shapes-in-motion", "--root", str(root)])
    assert "invalid choice: 'shapes-in-motion'" in capsys.readouterr().err
