"""The whole round in processes of their own, which read HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE as a user's do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.server import TOKEN, serve

ROOT = Path(__file__).parents[2]
REAL_HUB = os.environ.get("MV_PEFT_TEST_HUB")  # a namespace that HF_TOKEN may write to


def scenario(step: str, namespace: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    return subprocess.run(
        [sys.executable, "-m", "tests.hub.scenario", step, namespace, str(folder)],
        env={**inherited, "PYTHONPATH": str(ROOT), "HF_HOME": str(folder / "home"), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )


def check_use(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["ours: (2, 1)", "sets/lora: (2, 1)"]


def test_on_the_loopback_interface(tmp_path):
    """Push and list by the command line, the card's Python, and the same offline when the hub is gone."""
    with serve() as hub:
        at = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": TOKEN}
        pushed = scenario("push", "org", tmp_path, **at)
        assert pushed.returncode == 0, pushed.stderr
        check_use(scenario("use", "org", tmp_path, **at))
        assert hub.repos["org/mv-peft-test-adapters"].private
    offline = scenario("use", "org", tmp_path, HF_HUB_OFFLINE="1")
    check_use(offline)
    lines = [line.split() for line in pushed.stdout.splitlines()]
    assert ["subfolder", "method", "bytes", "data", "t2v", "R@1", "v2t", "R@1", "base", "model"] in lines
    assert ["sets/lora", "LORA"] in [line[:2] for line in lines]
    assert [line[-1] for line in lines[-2:]] == 2 * ["org/mv-peft-test-clip"]
    for done in (pushed, offline):
        assert TOKEN not in done.stdout + done.stderr
    stored = [path for path in tmp_path.rglob("*") if path.is_file() and TOKEN.encode() in path.read_bytes()]
    assert stored == []


@pytest.mark.skipif(REAL_HUB is None, reason="MV_PEFT_TEST_HUB names no namespace on the real Hub")
def test_on_the_real_hub(tmp_path):
    try:
        pushed = scenario("push", REAL_HUB, tmp_path)
        assert pushed.returncode == 0, pushed.stderr
        check_use(scenario("use", REAL_HUB, tmp_path))
        check_use(scenario("use", REAL_HUB, tmp_path, HF_HUB_OFFLINE="1"))
    finally:
        assert scenario("delete", REAL_HUB, tmp_path).returncode == 0
