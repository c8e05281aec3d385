"""The tables and plots are in step with the results, show comparable runs only, and are made without torch."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.compare import report
from benchmarks.compare.plots import _is_alone, digest, draw, drawn_from, figures_of
from benchmarks.compare.report import FRONT_PAGE, PLOTS, RESULT_PAGES, filled, pages, shown_groups, stale
from benchmarks.compare.rows import families, galleries, read_group
from benchmarks.compare.settings import RESULTS
from benchmarks.compare.tables import mean_and_deviation

ROOT = Path(__file__).parent.parent.parent
METHODS = {
    "zero-shot": {"label": "zero-shot", "order": 1, "summary": True},
    "full": {"label": "full fine-tuning", "order": 2},
    "lora": {"label": "LoRA", "order": 3, "summary": True},
    "a_new_rival": {"label": "new"},
    "mv_adapter": {
        "label": "MV-Adapter",
        "group": "mv_adapter",
        "order": 4,
        "learning_rates": [1e-3, 3e-3],
        "summary": True,
    },
    "mv_adapter_no_tying": {"label": "- without tying", "group": "mv_adapter", "learning_rate_of": "mv_adapter"},
    "lora+head": {"label": "LoRA + head", "group": "head"},
}
KINDS = {"move": 10.0, "turn": 20.0, "order": 30.0, "still": 90.0}


@pytest.fixture(autouse=True)
def methods(request, tmp_path, monkeypatch):
    """Methods that the test writes, except in tests of what is committed."""
    if "committed" in request.node.name:
        return
    folder = tmp_path / "methods"
    for name, entries in METHODS.items():
        write(folder, name, {"method": name, "overrides": {}, **entries})
    monkeypatch.setattr("benchmarks.compare.method.METHODS", folder)


def result(method="lora", recall=20.0, kinds=KINDS, **config):
    gallery = {f"{way} R@{k}": recall + k for way in ("t2v", "v2t") for k in (1, 5, 10)}
    gallery |= {f"t2v R@1 {kind}": recall + figure / 10 for kind, figure in kinds.items()}
    order = {f"{way} order accuracy": recall + 30 for way in ("t2v", "v2t")}
    order |= {f"t2v order accuracy {kind}": recall + figure for kind, figure in kinds.items() if kind != "still"}
    sizes = {"data_seed": 0, "batch_size": 8, "precision": "bf16", "num_gallery_clips": 8, "num_frames": 4}
    sizes |= {"data": "shapes", "size": "full", "split": "test", "seed": 0, "recipe": "modern", "peft": None}
    sizes |= {"steps": 2, "num_train_clips": 16, "overrides": {}, "batches": "paired", "learning_rate": 1e-3}
    return {
        "run_info": {
            "command": f"python -m benchmarks.run --method {method} --data shapes --seed {config.get('seed', 0)}",
            "commit": "abc1234",
        },
        "config": {"method": method, "label": "an old label", **sizes, **config},
        "train_info": {
            "seconds": 3.0,
            "peak_memory_mib": 100.0,
            "trainable_parameters": 0 if method == "zero-shot" else 1234,
            "adapter_bytes": 5678,
            "curve": [[1, 2.0], [2, 1.0]],
        },
        "metrics": {
            "natural": gallery | {"order-blind ceiling": 87.5},
            "twin": gallery | {"order-blind ceiling": 52.5},
            "order": order,
        },
    }


def on_disk(method="lora", recall=40.0):
    """A result of real videos: one gallery, no twins, no kinds, and a configuration that counts no clips."""
    given = result(method, recall, kinds={})
    for name in ("size", "data_seed", "num_train_clips", "num_gallery_clips", "num_frames", "batches"):
        del given["config"][name]
    given["config"] |= {"data": "msrvtt", "model": "openai/clip-vit-base-patch16"}
    retrieval = {name: figure for name, figure in given["metrics"]["natural"].items() if "R@" in name}
    return given | {"metrics": {"retrieval": retrieval}}


def write(folder, name, content):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(content))


def block(group, what=""):
    return f"<!-- results: {group}{what} -->\n<!-- end of results -->"


@pytest.fixture
def world(tmp_path):
    """A group of every section, some with three seeds."""
    folder = tmp_path / "results" / "shapes"
    for name in METHODS:
        for seed, recall in enumerate((20.0, 22.0, 24.0) if name == "lora" else (30.0,)):
            rate = None if name == "zero-shot" else 1e-3
            write(folder, f"{name}-seed{seed}", result(name, recall, seed=seed, learning_rate=rate))
    return folder


def table(text, title=None):
    """The cells of the table below a title, by the first of each row; the first table without one."""
    part = text if title is None else text.partition(f"<summary>{title}</summary>")[2]
    assert part, title
    lines = re.search(r"(?:^\|.*\n)+", part, flags=re.MULTILINE)[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert {len(row) for row in rows} == {len(rows[0])}
    return {row[0]: row[1:] for row in rows}


def fill(text, results):
    """The text of a page of the repository's root with its tables."""
    return filled(text, ROOT, results)


def test_what_is_committed_is_in_step():
    assert stale() == [], "run `python -m benchmarks.compare.report`"
    assert FRONT_PAGE in pages()
    assert {page.parent for page in pages()} == {FRONT_PAGE.parent, RESULT_PAGES}
    assert "<!-- results: shapes summary -->" in FRONT_PAGE.read_text(encoding="utf-8")
    for group in shown_groups():
        assert read_group(RESULTS / group)
        assert (PLOTS / f"{group}.svg").stat().st_size < 100_000


def test_every_committed_result_is_reported_on_one_page():
    committed = {path.parent.name for path in RESULTS.glob("*/*-seed*.json")}
    assert sorted(shown_groups()) == sorted(committed)
    assert {path.stem for path in PLOTS.iterdir()} == committed, "one plot a group"


def test_committed_pages_link_to_files_that_are_there():
    for page in pages():
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page}: {target}"


def test_it_needs_neither_torch_nor_matplotlib_for_what_is_committed():
    code = "import sys, benchmarks.compare.report as r; r.stale()\n"
    code += "assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_seeds_become_mean_and_deviation(world):
    text = fill(f"before\n{block('shapes')}\nafter\n", world.parent)
    assert table(text)["LoRA"] == ["1,234", *["23.0 ± 2.0"] * 4, *["52.0 ± 2.0"] * 2, "3"]
    assert table(text)["zero-shot"] == ["-", *["31.0"] * 4, *["60.0"] * 2, "1"]
    assert table(text, "R@1, R@5 and R@10, twin gallery")["LoRA"] == [
        *["23.0 ± 2.0", "27.0 ± 2.0", "32.0 ± 2.0"] * 2,
    ]
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert fill(text, world.parent) == text
    assert fill(text.replace("23.0 ± 2.0", "99.9"), world.parent) == text
    assert [mean_and_deviation(figures) for figures in ([], [1.0], [1.0, 2.0])] == ["-", "1.0", "1.5 ± 0.7"]


def test_sections_and_their_order(world):
    assert [row.method.name for row in read_group(world)] == list(METHODS)
    rows = list(table(fill(block("shapes"), world.parent)))
    assert rows == [
        *["method", "---"],
        *["**Rivals**", "zero-shot", "full fine-tuning", "LoRA", "new"],
        *["**MV-Adapter**", "MV-Adapter", "- without tying"],
        *["**With the temporal head**", "LoRA + head"],
        "*blind to the order of frames, at best*",
    ]
    for file in world.glob("*.json"):
        if not file.name.startswith(("lora-", "full-")):
            file.unlink()
    assert not [name for name in table(fill(block("shapes"), world.parent)) if name.startswith("**")], "one section"


def test_the_limit_of_methods_that_are_blind_to_order_is_a_row(world):
    text = fill(block("shapes"), world.parent)
    limit = "*blind to the order of frames, at best*"
    assert table(text)[limit] == ["-", "87.5", "87.5", "52.5", "52.5", "50.0", "50.0", "-"]
    for file in world.glob("*.json"):
        given = json.loads(file.read_text())
        for gallery in ("natural", "twin"):
            given["metrics"][gallery]["order-blind ceiling"] = 100.0
        file.write_text(json.dumps(given))
    text = fill(block("shapes"), world.parent)
    assert limit not in table(text), "a limit of 100 is not shown"
    assert table(text)["zero-shot"]


def test_kinds_come_in_families(world):
    text = fill(block("shapes"), world.parent)
    natural = table(text, "By kind of clip: R@1 from text to video, natural gallery")
    assert natural["method"] == ["static (still)", "motion (move)", "order/change (mean)", "turn", "order"]
    assert natural["LoRA"] == [f"{mean:.1f} ± 2.0" for mean in (31, 23, 24.5, 24, 25)]
    order = table(text, "By kind of clip: order accuracy from text to video")
    assert order["method"] == ["motion (move)", "order/change (mean)", "turn", "order"]
    assert order["full fine-tuning"] == ["40.0", "55.0", "50.0", "60.0"]


def test_a_single_family_is_not_named(tmp_path):
    write(tmp_path / "babyai", "lora-seed0", result(data="babyai", kinds={"put": 10.0, "order": 30.0}))
    rows = read_group(tmp_path / "babyai")
    assert families(rows, "twin", "t2v R@1") == {"order/change": ["put", "order"]}
    kinds = table(fill(block("babyai"), tmp_path), "By kind of clip: R@1 from text to video, twin gallery")
    assert kinds["method"] == ["put", "order"]
    assert set(figures_of(rows)["bars"]) == {"text to video", "video to text"}


def test_groups_without_twins(tmp_path):
    write(tmp_path / "msrvtt", "lora-seed0", on_disk())
    write(tmp_path / "msrvtt", "zero-shot-seed0", on_disk("zero-shot", 30.0))
    rows = read_group(tmp_path / "msrvtt")
    assert galleries(rows) == ["retrieval"]
    text = fill(block("msrvtt"), tmp_path)
    assert table(text) == {
        "method": ["trained parameters", "t2v R@1", "v2t R@1", "seeds"],
        "---": ["---:"] * 4,
        "zero-shot": ["-", "31.0", "31.0", "1"],
        "LoRA": ["1,234", "41.0", "41.0", "1"],
    }
    assert table(text, "R@1, R@5 and R@10")["LoRA"] == ["41.0", "45.0", "50.0"] * 2
    assert "Real videos, `msrvtt`, CLIP `openai/clip-vit-base-patch16`: 2 steps of 8 clips, test split." in text
    assert not re.search("ynthetic|twin|order", text)
    drawn = figures_of(rows)
    assert drawn["points"] == []
    assert [bar["x"] for bar in drawn["bars"]["video to text"]] == [[31.0, 0.0], [41.0, 0.0]]


def test_the_table_says_how_learning_rates_were_chosen(world):
    costs = "Costs and learning rates"
    text = fill(block("shapes"), world.parent)
    assert table(text, costs)["- without tying"][2:4] == ["0.001", "given"]
    candidates = [{"learning_rate": 1e-3}, {"learning_rate": 3e-3}]
    write(world / "tuning", "mv_adapter", {"chosen": 1e-3, "at_edge": True, "candidates": candidates})
    text = fill(block("shapes"), world.parent)
    assert table(text, costs)["MV-Adapter"] == ["1,234", "5,678", "0.001*", "0.001, 0.003", "3", "100"]
    assert table(text, costs)["- without tying"] == ["1,234", "5,678", "0.001*", "MV-Adapter's", "3", "100"]
    assert table(text, costs)["LoRA"][3] == "given"
    assert table(text, costs)["zero-shot"] == ["-"] * 6
    write(world / "tuning", "mv_adapter", {"chosen": 3e-3, "at_edge": False, "candidates": candidates})
    message = r"'mv_adapter' in '.*' ran at a learning rate of 0.001, but 'tuning/mv_adapter.json' chose 0.003"
    with pytest.raises(ValueError, match=message):
        read_group(world)
    (world / "mv_adapter-seed0.json").unlink()
    with pytest.raises(
        ValueError, match=r"'mv_adapter_no_tying' in '.*' ran at .* 'tuning/mv_adapter.json' chose 0.003"
    ):
        read_group(world)


def test_the_summary_has_the_chosen_rows_and_their_commands(world):
    text = fill(block("shapes", " summary"), world.parent)
    main = table(fill(block("shapes"), world.parent))
    chosen = ["method", "---", "zero-shot", "LoRA", "MV-Adapter", "*blind to the order of frames, at best*"]
    assert table(text) == {name: main[name] for name in chosen}
    caption = text.splitlines()[2]
    assert caption.startswith(
        "Synthetic clips, `shapes`, full size: 2 steps of 8 clips of 4 frames out of 16, galleries of 8"
    )
    assert caption.endswith(
        "Seeds 0, 1, 2; commit abc1234; `python -m benchmarks.compare.run --method METHOD --data shapes --seed SEED`."
    )
    assert text.startswith("<!-- results: shapes summary -->\n")
    assert fill(text, world.parent) == text
    assert "details" not in text
    assert text.count("(benchmarks/plots/shapes.svg)") == 1


def test_a_summary_of_missing_results_is_an_error(world, tmp_path):
    write(world, "mv_adapter,scaling=2-seed0", result("mv_adapter", overrides={"scaling": 2}, peft={"scaling": 2}))
    assert "MV-Adapter, scaling=2" in table(fill(block("shapes"), world.parent))
    (world / "mv_adapter-seed0.json").unlink()
    with pytest.raises(ValueError, match="The summary of shapes needs results of: mv_adapter. Run them"):
        fill(block("shapes", " summary"), world.parent)
    assert fill(block("shapes"), world.parent)
    for name in METHODS:
        write(tmp_path / "methods", name, {"method": name, "label": name})
    with pytest.raises(ValueError, match="The summary of shapes needs results of: no method"):
        fill(block("shapes", " summary"), world.parent)


@pytest.mark.parametrize("what", ["", " summary"])
def test_a_group_without_results_is_an_error(tmp_path, what):
    with pytest.raises(ValueError, match=r"'.*digits' holds no result on the test split. Run"):
        fill(block("digits", what), tmp_path)


@pytest.mark.parametrize(
    "text", ["<!-- results: digits -->\n", "<!-- results: shapes sumary -->\n<!-- end of results -->"]
)
def test_a_marker_without_an_end_is_an_error(world, text):
    assert "| LoRA |" in fill(block("shapes"), world.parent)
    with pytest.raises(ValueError, match=f"'{text.splitlines()[0]}' starts no block"):
        fill(f"{text}\nprose\n{block('shapes')}", world.parent)


def test_runs_that_are_not_comparable_are_an_error(world):
    write(world, "lora-validation-seed0", result(split="validation", steps=7))
    assert len(read_group(world)) == len(METHODS)
    write(world, "lora-seed3", result(steps=3))
    with pytest.raises(ValueError, match=r"lora-seed3.json' is not comparable with the others \(steps: 2, 3\)"):
        read_group(world)
    write(world, "lora-seed3", result() | {"metrics": {"natural": {}}})
    with pytest.raises(ValueError, match=r"the others \(galleries: \['natural', 'order', 'twin'\], \['natural'\]\)"):
        read_group(world)
    write(world, "lora-seed3", result(learning_rate=3e-3, peft={"r": 4}))
    with pytest.raises(ValueError, match=r"with the first seed \(learning_rate: 0.001, 0.003; r: None, 4\)"):
        read_group(world)


def test_results_that_do_not_fit_the_method_s_file_are_an_error(world, tmp_path):
    write(world, "lora-seed4", result(seed=4))
    assert read_group(world)
    write(tmp_path / "methods", "full", {"method": "full", "label": "full", "overrides": {"scaling": 1.0}})
    write(world, "full-seed0", result("full", peft={"scaling": 0.1}))
    with pytest.raises(ValueError, match=r"'full' in .* is not comparable with 'full.json' \(scaling: 1.0, 0.1\)"):
        read_group(world)
    write(world, "full-seed0", result("full", peft={"scaling": 1.0}, recipe="paper"))
    with pytest.raises(ValueError, match=r"'full.json' \(recipe: 'modern', 'paper'\)"):
        read_group(world)
    write(world, "full-seed0", result("full", peft={"scaling": 1.0}))
    assert read_group(world)
    write(world, "gone-seed0", result("gone"))
    with pytest.raises(ValueError, match="Unknown method 'gone'"):
        read_group(world)


def test_results_with_a_head_that_do_not_fit_the_method_s_file_are_an_error(world, tmp_path):
    fields = {"overrides": {"r": 8}, "head": {"num_layers": 4, "num_heads": 2}}
    write(tmp_path / "methods", "lora+head", {**METHODS["lora+head"], "method": "lora", **fields})
    had = {"num_layers": 4, "num_heads": 2, "init": "identity", "method": {"r": 8, "lora_alpha": 16}}
    write(world, "lora+head-seed0", result("lora+head", peft=had))
    assert read_group(world)
    write(world, "lora+head-seed0", result("lora+head", peft={**had, "method": {"r": 4}}))
    with pytest.raises(ValueError, match=r"'lora\+head' in .* is not comparable with 'lora\+head.json' \(r: 8, 4\)"):
        read_group(world)
    write(world, "lora+head-seed0", result("lora+head", peft={**had, "num_heads": 4}))
    with pytest.raises(ValueError, match=r"\(head: {.*'num_heads': 2}, {'num_layers': 4, 'num_heads': 4}\)"):
        read_group(world)
    write(world, "lora+head-seed0", result("lora+head", peft={**had, "method": {"r": 2}}, overrides={"r": 2}))
    assert read_group(world)
    write(tmp_path / "methods", "lora+head", {"method": "head", "label": "head", "overrides": {"num_layers": 4}})
    write(world, "lora+head-seed0", result("lora+head", peft={"num_layers": 1, "method": None}))
    with pytest.raises(ValueError, match=r"\(num_layers: 4, 1\)"):
        read_group(world)


def test_plots_carry_a_digest_of_what_they_show(world, tmp_path):
    pytest.importorskip("matplotlib")
    one, other = tmp_path / "one.svg", tmp_path / "other.svg"
    assert drawn_from(one) is None
    rows = read_group(world)
    draw(rows, one)
    draw(rows, other)
    assert one.read_bytes() == other.read_bytes()
    text = one.read_text()
    assert "dc:date" not in text
    for row in rows:
        assert (f">{row.label.removeprefix('- ')}<" in text) != row.is_ablation  # it stands beside its method here
    assert drawn_from(one) == digest(rows)
    write(world, "full-seed1", result("full", 31.0, seed=1))
    assert digest(read_group(world)) != digest(rows)
    draw(read_group(world), other)
    assert one.read_text() != other.read_text()


def test_plots_without_twins(tmp_path):
    pytest.importorskip("matplotlib")
    write(tmp_path / "msrvtt", "lora-seed0", on_disk())
    file = tmp_path / "msrvtt.svg"
    draw(read_group(tmp_path / "msrvtt"), file)
    assert ">LoRA<" in file.read_text()
    assert "order accuracy" not in file.read_text()


def test_the_bars_are_of_the_main_methods_by_family(world):
    drawn = figures_of(read_group(world))
    assert set(drawn["bars"]) == {"static: still", "motion: move", "order/change: turn, order"}
    changes = {bar["label"]: bar["x"] for bar in drawn["bars"]["order/change: turn, order"]}
    assert changes == {"zero-shot": [32.5, 0.0], "LoRA": [24.5, 2.0], "MV-Adapter": [32.5, 0.0]}
    points = {point["label"]: (point["x"], point["y"], point["is_ablation"]) for point in drawn["points"]}
    assert points["LoRA"] == ([52.0, 2.0], [23.0, 2.0], False)
    assert points["without tying"] == ([60.0, 0.0], [31.0, 0.0], True)
    assert len(points) == len(METHODS)


def test_ablations_are_named_where_they_stand_alone():
    near = {"section": "mv_adapter", "x": [98.0, 0.1], "y": [58.0, 1.0]}
    far = {"section": "mv_adapter", "x": [50.0, 0.1], "y": [58.0, 1.0]}
    rival = {"section": "rivals", "x": [50.0, 0.1], "y": [58.0, 1.0]}
    whole = {"section": "mv_adapter", "x": [98.5, 0.1], "y": [62.0, 1.0]}
    points = [near, far, rival, whole]
    assert [_is_alone(point, points) for point in points] == [False, True, True, False]


@pytest.fixture
def command(world, tmp_path, monkeypatch):
    """The command on pages of the test; gives the command, the two pages and the plot."""
    front, page, plots = tmp_path / "README.md", tmp_path / "docs" / "results" / "shapes.md", tmp_path / "plots"
    page.parent.mkdir(parents=True)
    front.write_text(block("shapes", " summary"))
    page.write_text(block("shapes"))
    monkeypatch.setattr(report, "FRONT_PAGE", front)
    monkeypatch.setattr(report, "RESULT_PAGES", page.parent)
    monkeypatch.setattr(report, "PLOTS", plots)
    monkeypatch.setattr(report, "RESULTS", world.parent)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["report", *arguments])
        report.main()

    return run, front, page, plots / "shapes.svg"


def test_the_command_fills_and_draws_and_check_changes_nothing(command, world):
    pytest.importorskip("matplotlib")
    run, front, page, plot = command
    with pytest.raises(SystemExit, match=f"Not in step with the results: '{front}', '{page}', '{plot}'. Run"):
        run("--check")
    assert page.read_text() == block("shapes")
    assert not plot.exists()
    run()
    assert "| LoRA |" in page.read_text()
    assert "| LoRA |" in front.read_text()
    assert f"](../../plots/{plot.name})" in page.read_text()
    assert f"](plots/{plot.name})" in front.read_text()
    with pytest.raises(SystemExit) as status:
        run("--check")
    assert status.value.code is None
    write(world, "full-seed0", result("full", 99.0))
    with pytest.raises(SystemExit, match=f": '{page}', '{plot}'. Run"):
        run("--check")


def test_a_figure_that_was_changed_by_hand_is_out_of_step(command):
    run, front, _, _ = command
    run()
    assert "| 23.0 ± 2.0 |" in front.read_text()
    front.write_text(front.read_text().replace("23.0 ± 2.0", "33.0 ± 2.0", 1))
    with pytest.raises(SystemExit, match=f"Not in step with the results: '{front}'"):
        run("--check")


def test_without_matplotlib_tables_are_filled_and_the_command_says_that_plots_are_not(command, monkeypatch, capsys):
    run, _, page, plot = command
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    run()
    assert "matplotlib is not installed: the tables are new, the plots were not drawn" in capsys.readouterr().out
    assert "| LoRA |" in page.read_text()
    with pytest.raises(SystemExit, match=f": '{plot}'. Run"):
        run("--check")


def test_if_one_page_cannot_be_filled_none_is_written(command, world):
    run, _, page, _ = command
    (world / "mv_adapter-seed0.json").unlink()
    with pytest.raises(ValueError, match="needs results of: mv_adapter"):
        run()
    assert page.read_text() == block("shapes")
