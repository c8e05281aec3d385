"""The command line on a tiny model of every family: train, evaluate, what a push would say, and load."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch

import mv_peft
from mv_peft.cli.main import main
from mv_peft.encoders.families import FAMILIES as TABLE
from mv_peft.video import write_video
from tests.families import CLASS_NAMES, FAMILIES, TEXT_LENGTH, tiny_image_processor, tiny_model, tiny_tokenizer

WORDS = ("abc", "bd", "cab", "dad", "fed", "bead", "cafe", "gab", "had", "ice", "jab", "lid")


@pytest.fixture(scope="module")
def captions(tmp_path_factory):
    """Twelve clips with a caption each."""
    folder = tmp_path_factory.mktemp("clips")
    rows = ["video,caption"]
    for number, word in enumerate(WORDS):
        frames = np.random.default_rng(number).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
        write_video(folder / f"{number}.mp4", frames, fps=2)
        rows.append(f"{number}.mp4,{word} {WORDS[-number]}")
    (folder / "captions.csv").write_text("\n".join(rows))
    return folder / "captions.csv"


@pytest.fixture(autouse=True)
def restored():
    logger = logging.getLogger("mv_peft")
    yield
    torch.use_deterministic_algorithms(False)
    logger.handlers, logger.propagate, logger.level = [], True, logging.NOTSET


@pytest.mark.parametrize("family", FAMILIES)
def test_from_training_to_loading(family, captions, tmp_path, capsys):
    model, run = tmp_path / "model", tmp_path / "run"
    for part in (tiny_model(family), tiny_image_processor(family), tiny_tokenizer(family)):
        part.save_pretrained(model)
    data = ["--model", str(model), "--dataset", "custom", "--root", str(captions)]
    limits = ["--max-frames", "4", "--max-text-tokens", "12"]

    fields = ["--set", "bottleneck_dim=4", "--set", "factor_dim=3"]
    how = ["--batch-size", "4", "--max-steps", "2", "--validation-fraction", "0.4", "--learning-rate", "0.01"]
    assert main(["train", *data, *limits, *fields, *how, "--synthetic", "--output", str(run)]) == 0
    assert "Best after step" in capsys.readouterr().out
    noted = json.loads((run / "metrics.json").read_text())
    assert noted["base_model"]["architecture"] == f"{CLASS_NAMES[family]}Model"
    assert noted["data"]["max_text_tokens"] == 12

    output = tmp_path / "test.json"
    assert main(["evaluate", *data, "--adapter", str(run), "--output", str(output)]) == 0
    assert main(["evaluate", *data]) == 0
    assert "zero-shot, this run" in capsys.readouterr().out
    measured = json.loads(output.read_text())
    assert measured["data"]["videos"] == len(WORDS)
    assert measured["base_model"]["fingerprint"] == noted["base_model"]["fingerprint"]
    assert measured["data"]["max_text_tokens"] == noted["data"]["max_text_tokens"]

    loaded, processor = mv_peft.load(run, base_model=model)
    batch = processor(text=["abc bd", "cab"], videos=[str(captions.parent / "0.mp4"), str(captions.parent / "1.mp4")])
    with torch.no_grad():
        assert torch.isfinite(loaded(**batch).logits_per_text).all()
    assert batch["pixel_values"].shape == (2, 4, 3, 8, 8)
    if TABLE[family].padding == "max_length":
        assert batch["input_ids"].shape == (2, TEXT_LENGTH)
        assert "attention_mask" not in batch
    other = tmp_path / "other"
    tiny_model(family, seed=5).save_pretrained(other)
    with pytest.raises(mv_peft.errors.CheckpointError, match="is not the"):
        mv_peft.load(run, base_model=other)
