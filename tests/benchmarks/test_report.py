"""The tables: in step with the results, of comparable runs only, and made without torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report import README, filled, groups, plot
from benchmarks.settings import RESULTS
from benchmarks.tables import mean_and_deviation, read_group

ROOT = Path(__file__).parent.parent.parent


def result(method="lora", label="LoRA", recall=20.0, **config):
    gallery = {f"{way} R@{k}": recall + k for way in ("t2v", "v2t") for k in (1, 5, 10)}
    gallery |= {"t2v R@1 move": recall, "order-blind ceiling": 60.0}
    sizes = {"data_seed": 0, "batch_size": 8, "precision": "bf16", "num_gallery_clips": 8, "num_frames": 4}
    sizes |= {"data": "shapes", "size": "full", "split": "test"}
    sizes |= {"steps": 2, "num_train_clips": 16, "overrides": {}, "batches": "paired", "learning_rate": 1e-3}
    return {
        "config": {"method": method, "label": label, **sizes, **config},
        "train_info": {
            "seconds": 3.0,
            "peak_memory_mib": 100.0,
            "trainable_parameters": 1234,
            "adapter_bytes": 5678,
            "curve": [[1, 2.0], [2, 1.0]],
        },
        "metrics": {
            "natural": gallery,
            "twin": gallery,
            "order": {"t2v order accuracy": 50.0, "v2t order accuracy": 51.0, "t2v order accuracy move": 49.0},
        },
    }


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content))


def test_the_readme_is_in_step_with_the_results():
    text = README.read_text(encoding="utf-8")
    assert groups(text)
    assert filled(text) == text, "run `python -m benchmarks.report`"
    for group in groups(text):
        assert read_group(RESULTS / group)


def test_every_result_is_reported():
    committed = {path.parent.name for path in RESULTS.glob("*/*-seed*.json")}
    assert committed == set(groups(README.read_text(encoding="utf-8")))


def test_it_needs_no_torch():
    code = "import sys, benchmarks.report as r; r.filled(r.README.read_text()); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_seeds_become_mean_and_deviation(tmp_path):
    for seed, recall in enumerate((20.0, 22.0, 24.0)):
        write(tmp_path / "shapes", f"lora-seed{seed}", result(recall=recall))
    write(tmp_path / "shapes", "zero-shot-seed0", result("zero-shot", "zero-shot", recall=7.25))
    text = filled("before\n<!-- results: shapes -->\nold\n<!-- end of results -->\nafter\n", tmp_path)
    assert "| LoRA | 3 | 23.0 ± 2.0 | 27.0 ± 2.0 | 32.0 ± 2.0 |" in text
    assert "| zero-shot | 1 | 8.2 |" in text
    assert text.index("| zero-shot") < text.index("| LoRA")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert filled(text, tmp_path) == text
    assert [mean_and_deviation(figures) for figures in ([], [1.0], [1.0, 2.0])] == ["-", "1.0", "1.5 ± 0.7"]


def test_a_rate_at_the_edge_is_marked(tmp_path):
    write(tmp_path, "lora-seed0", result())
    candidates = [{"learning_rate": 1e-3}, {"learning_rate": 3e-3}]
    write(tmp_path / "tuning", "lora", {"chosen": 1e-3, "at_edge": True, "candidates": candidates})
    text = filled("<!-- results: . -->\n<!-- end of results -->", tmp_path)
    assert "| LoRA | 1,234 | 5,678 | 0.001* | 0.001, 0.003 | 3 | 100 |" in text


def test_runs_that_are_not_comparable_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="holds no result on the test split"):
        read_group(tmp_path)
    write(tmp_path, "lora-seed0", result())
    write(tmp_path, "lora-validation-seed0", result(split="validation", steps=7))
    assert len(read_group(tmp_path)) == 1
    write(tmp_path, "mv_adapter-seed0", result("mv_adapter", steps=3))
    with pytest.raises(ValueError, match=r"mv_adapter-seed0.json' is not comparable with the others \(steps: 2, 3\)"):
        read_group(tmp_path)


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path, "lora-seed0", result())
    plot(read_group(tmp_path), tmp_path / "shapes.png")
    assert (tmp_path / "shapes.png").read_bytes().startswith(b"\x89PNG")
