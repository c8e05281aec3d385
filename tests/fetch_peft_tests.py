"""Fetches PEFT's own tests, which its wheel leaves out: the source distribution of the installed version, unpacked.

    python tests/fetch_peft_tests.py [FOLDER]

FOLDER is `.venv/peft-sdist` unless given; tests/tuner/test_peft_common.py looks there. Does nothing if it holds them.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

DEFAULT_FOLDER = Path(__file__).resolve().parent.parent / ".venv" / "peft-sdist"


def peft_tests(folder: Path) -> Path:
    """Where in `folder` the tests of the installed version of PEFT lie, or would lie."""
    return folder / f"peft-{version('peft')}" / "tests"


def fetch(folder: Path) -> Path:
    """Downloads and unpacks PEFT's source distribution into `folder`, unless it is there; returns its tests."""
    tests = peft_tests(folder)
    if not tests.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "peft"]
            subprocess.run([*pip, "--dest", scratch, f"peft=={version('peft')}"], check=True)
            (archive,) = Path(scratch).glob("peft-*.tar.gz")
            with tarfile.open(archive) as tar:
                tar.extractall(Path(scratch) / "unpacked", filter="data")
            # Moved in one step, so that an interrupted run leaves nothing that looks complete.
            (Path(scratch) / "unpacked" / tests.parent.name).rename(tests.parent)
    return tests


if __name__ == "__main__":
    fetch(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER)
