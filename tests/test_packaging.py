"""Each fact about the package has one owner, and the wheel holds all that it needs and nothing else."""

from __future__ import annotations

import ast
import configparser
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import mv_peft

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]

# Needed by what we call, though no file of ours imports them.
NEEDED_BY_OTHERS = {
    "accelerate": "transformers.Trainer",
    "Jinja2": "huggingface_hub.ModelCard",
    "pillow": "transformers' CLIP image processor",
}
# Where the name to import is not the name to install.
IMPORT_NAMES = {"pillow": "PIL", "decord2": "decord"}


def names(requirements: list[str]) -> set[str]:
    return {re.match(r"[A-Za-z0-9_.-]+", requirement).group() for requirement in requirements}


def imported_by(folder: Path) -> set[str]:
    """Top-level modules that the files under `folder` import, standard library and relative imports left out."""
    found = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"mv_peft"}


def test_setup_cfg_holds_the_checks_and_pyproject_the_package():
    checks = configparser.ConfigParser()
    checks.read(ROOT / "setup.cfg", encoding="utf-8")
    sections = {section.split("-")[0] for section in checks.sections()}
    assert sections == {"tool:pytest", "mypy", "coverage:run"}
    assert set(PYPROJECT["tool"]) == {"setuptools", "ruff", "importlinter"}
    assert not (ROOT / "setup.py").exists()


def test_the_version_has_one_owner():
    """It is a plain string, which setuptools reads without importing the package."""
    assert "version" not in PROJECT
    assert PYPROJECT["tool"]["setuptools"]["dynamic"] == {"version": {"attr": "mv_peft.__version__"}}
    tree = ast.parse((ROOT / "mv_peft" / "__init__.py").read_text(encoding="utf-8"))
    (value,) = (
        node.value for node in tree.body if isinstance(node, ast.Assign) and node.targets[0].id == "__version__"
    )
    assert ast.literal_eval(value) == mv_peft.__version__
    assert f"## [{mv_peft.__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_dependencies_are_what_the_package_imports():
    imported = imported_by(ROOT / "mv_peft")
    assert {"torch", "peft", "transformers"} <= imported
    core = names(PROJECT["dependencies"])
    optional = names(
        [line for extra in ("decord", "data", "plots") for line in PROJECT["optional-dependencies"][extra]]
    )
    modules = {name: IMPORT_NAMES.get(name, name) for name in core | optional}
    assert imported <= set(modules.values()), "imported, but not declared"
    assert {name for name in core if modules[name] not in imported} <= set(NEEDED_BY_OTHERS), (
        "declared, but not imported"
    )


def test_pins_are_exact_and_torch_comes_first():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition(";")[0].strip() for line in lines if line and not line.startswith("#")]
    assert pins[0].startswith("torch==")
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    assert names(PROJECT["dependencies"]) <= names(pins)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> dict[str, set[str]]:
    """Files in the source distribution and in the wheel made from it, from a copy that the build may write into."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("mv_peft", "benchmarks", "tests"):
        ignored = shutil.ignore_patterns("__pycache__", "golden")
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    assert wheel.name == f"mv_peft-{mv_peft.__version__}-py3-none-any.whl"
    with tarfile.open(archive) as tar, zipfile.ZipFile(wheel) as zipped:
        return {
            "sdist": {member.name.partition("/")[2] for member in tar if member.isfile()},
            "wheel": set(zipped.namelist()),
            "metadata": set(zipped.read(f"mv_peft-{mv_peft.__version__}.dist-info/METADATA").decode().splitlines()),
        }


@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_distributions_hold_the_whole_package_and_nothing_else(distributions, kind):
    package = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "mv_peft").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"mv_peft/py.typed", "mv_peft/hub/__init__.pyi", "mv_peft/demo/tiny_clip/model.safetensors"} <= package
    files = distributions[kind]
    assert {path for path in files if path.startswith("mv_peft/")} == package
    assert not {path for path in files if path.startswith(("tests", "benchmarks", "notebooks"))}


def test_distributions_hold_the_licence(distributions):
    assert f"mv_peft-{mv_peft.__version__}.dist-info/licenses/LICENSE" in distributions["wheel"]
    assert {"LICENSE", "CHANGELOG.md", "CITATION.cff", "pyproject.toml"} <= distributions["sdist"]
    assert "License-Expression: Apache-2.0" in distributions["metadata"]
