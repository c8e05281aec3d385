"""The notebooks run from the first cell to the last, cut short; as committed they hold what a full run showed."""

from __future__ import annotations

import ast
import base64
import copy
import importlib
import os
import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_BYTES = 400_000
ABSOLUTE_PATH = re.compile(r"(?<![\w.:/<])(/(home|root|tmp|usr|opt|var|work|Users)/|[A-Z]:\\)|site-packages")

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook) -> list[bytes]:
    """The PNGs of all outputs."""
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return [base64.b64decode(output.data["image/png"]) for output in outputs if "image/png" in output.get("data", {})]


def names_of_ours(source: str) -> list[tuple[str, str]]:
    """Module and name of everything that a cell imports from mv_peft; a module itself has the name ""."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "mv_peft":
            found += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [(alias.name, "") for alias in node.names if alias.name.split(".")[0] == "mv_peft"]
    return found


def test_there_are_three():
    assert [path.name[:2] for path in NOTEBOOKS] == ["1-", "2-", "3-"]


@each_notebook
def test_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("MV_PEFT_FAST", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    (tmp_path / "work").mkdir()
    committed = nbformat.read(path, as_version=4)
    notebook = copy.deepcopy(committed)
    resources = {"metadata": {"path": str(tmp_path / "work")}}
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    assert len(pictures(notebook)) == len(pictures(committed))
    assert pictures(notebook) != pictures(committed), "the committed pictures are those of a run that was cut short"
    assert {folder.name for folder in (tmp_path / "work").iterdir()} == {"runs"}


@each_notebook
def test_committed_as_executed(path):
    nbformat.validate(notebook := nbformat.read(path, as_version=4))
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert len(pictures(notebook)) >= 3
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(notebook))
    assert any(output.output_type == "stream" for cell in cells for output in cell.outputs)


@each_notebook
def test_small_and_the_same_everywhere(path):
    assert path.stat().st_size < MAX_BYTES
    notebook = nbformat.read(path, as_version=4)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}  # no version: it would change with every Python
    assert not [cell.id for cell in notebook.cells if cell.metadata]
    without_pictures = re.sub(r'"image/png": "[^"]*"', "", path.read_text(encoding="utf-8"))
    assert not ABSOLUTE_PATH.search(without_pictures)


@each_notebook
def test_says_what_is_synthetic_and_how_to_change_it(path):
    notebook = nbformat.read(path, as_version=4)
    first = notebook.cells[0].source
    assert first.startswith(f"# {path.name[0]}. ")
    assert "**Synthetic:**" in first
    assert "two lines" in first
    lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    assert sum("# real:" in line for line in lines) == 2


@each_notebook
def test_public_names_only(path):
    sources = [cell.source for cell in code_cells(nbformat.read(path, as_version=4))]
    imported = [name for source in sources for name in names_of_ours(source)]
    assert len(imported) > 5
    for module, name in imported:
        assert not any(part.startswith("_") for part in [*module.split("."), name]), f"{module}.{name} is private"
        public = getattr(importlib.import_module(module), "__all__", None)
        assert not name or public is None or name in public, f"{module} does not export {name}"
    nodes = [node for source in sources for node in ast.walk(ast.parse(source))]
    assert not [node.attr for node in nodes if isinstance(node, ast.Attribute) and node.attr.startswith("_")]


def test_absolute_paths_are_seen():
    assert all(ABSOLUTE_PATH.search(text) for text in ("'/home/me/clips'", "in /tmp/x", "lib/site-packages", "C:\\x"))
    assert not ABSOLUTE_PATH.search("runs/1-adapt-clip/adapter, org/usr/name")
