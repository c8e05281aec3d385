"""README's Python is run as it stands, over a demo cut short; its first block prints what its comments say."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from mv_peft.cli.main import build_parser, main

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--train-clips", "32", "--steps", "2"]) == 0
    namespace: dict[str, object] = {}
    printed = []
    for block in BLOCKS:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(block, "README.md", "exec"), namespace)
        printed.append(out.getvalue())
    comments = [line.removeprefix("# ") for line in BLOCKS[0].splitlines() if line.startswith("# ")]
    assert comments == printed[0].splitlines()
    assert len(comments) == 3
    assert (tmp_path / "my-adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.parametrize("command", re.findall(r"`(mv-peft [^`]+)`", README))
def test_commands_are_understood(command):
    words = shlex.split(command.replace("\n", " "))[1:]
    build_parser(words).parse_args(words)


def test_targets_exist():
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"make (\w+)", README))
    assert targets >= {"demo", "test", "check", "help"}
    assert targets <= set(re.findall(r"^(\w+):", makefile, flags=re.MULTILINE))
