"""The command line as a whole: help, version, the form of errors, and exit codes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import types
from datetime import timedelta
from pathlib import Path

import pytest
from torch import distributed

import mv_peft
from mv_peft.cli import main as command_line
from mv_peft.cli import processes
from mv_peft.errors import VideoDecodeError

ROOT = Path(mv_peft.__file__).parent.parent


@pytest.fixture
def subcommand(monkeypatch):
    """Makes a function the only subcommand, `play`, with one whole number as its argument."""

    def install(run):
        options, work = types.ModuleType("mv_peft.cli.play_options"), types.ModuleType("mv_peft.cli.play")
        options.__doc__ = "Play, for the tests."
        options.EXAMPLES = "examples:\n  mv-peft play 3"
        options.add_arguments = lambda parser: parser.add_argument("count", type=int)
        work.run = run
        for module in (options, work):
            monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(command_line, "SUBCOMMANDS", {"play": "play for the tests"})

    return install


def test_help_lists_every_subcommand_in_the_order_of_use(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        command_line.main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    listed = [line.split()[0] for line in lines if line.startswith("    ") and line[4] != " "]
    assert listed == list(command_line.SUBCOMMANDS)
    assert listed.index("data") < listed.index("train") < listed.index("evaluate") < listed.index("push")


@pytest.mark.parametrize("name", command_line.SUBCOMMANDS)
def test_help_of_a_subcommand_shows_examples(capsys, name):
    with pytest.raises(SystemExit, match=r"^0$"):
        command_line.main([name, "--help"])
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: mv-peft {name} ")
    assert f"\n  mv-peft {name}" in shown[shown.index("examples:") :]


def test_version(capsys):
    with pytest.raises(SystemExit, match=r"^0$"):
        command_line.main(["--version"])
    assert capsys.readouterr().out == f"mv-peft {mv_peft.__version__}\n"


def test_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mv_peft", "--version"], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == f"mv-peft {mv_peft.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["sing"], "invalid choice: 'sing'"),
        (["play", "many"], "argument count: invalid int value: 'many'"),
        (["play", "3", "--loud"], "unrecognized arguments: --loud"),
    ],
)
def test_mistakes_in_arguments_exit_2(capsys, subcommand, arguments, message):
    subcommand(lambda args: pytest.fail("it ran"))
    with pytest.raises(SystemExit, match=r"^2$"):
        command_line.main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("code", [0, 1])
def test_the_subcommand_decides_the_exit_code(capsys, subcommand, code):
    seen = []
    subcommand(lambda args: seen.append(args.count) or code)
    assert command_line.main(["play", "3"]) == code
    assert seen == [3]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (VideoDecodeError("Cannot decode 'a.mp4': no video stream."), "Cannot decode 'a.mp4': no video stream."),
        (ValueError("`max_frames` must be positive, got -3."), "`max_frames` must be positive, got -3."),
        (FileExistsError("'out' exists. Choose another output."), "'out' exists. Choose another output."),
        (FileNotFoundError(2, "No such file or directory", "a.pth"), "No such file or directory: 'a.pth'"),
        (OSError(), "OSError"),
        (BrokenPipeError(32, "Broken pipe of a connection"), "[Errno 32] Broken pipe of a connection"),
    ],
)
def test_errors_in_files_and_values_are_one_line_and_exit_1(capsys, subcommand, error, message):
    def run(args):
        raise error

    subcommand(run)
    assert command_line.main(["play", "3"]) == 1
    assert capsys.readouterr().err == f"mv-peft: error: {message}\n"
    with pytest.raises(type(error)):
        command_line.main(["--traceback", "play", "3"])


@pytest.mark.parametrize("error", [TypeError, KeyError, AttributeError, AssertionError, RuntimeError])
def test_bugs_keep_their_traceback(subcommand, error):
    def run(args):
        raise error("ours")

    subcommand(run)
    with pytest.raises(error, match="ours"):
        command_line.main(["play", "3"])


@pytest.fixture
def torchrun(monkeypatch):
    """What torchrun tells its processes, and the store that it holds for them."""
    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    for name, value in {**told, "TORCHELASTIC_RESTART_COUNT": "0"}.items():
        monkeypatch.setenv(name, value)
    return store


@pytest.mark.parametrize("error", [ValueError("`count` is 3."), RuntimeError("Connection closed by peer.")])
def test_only_the_first_process_that_fails_reports_its_error(capsys, monkeypatch, subcommand, torchrun, error):
    def run(args):
        raise ValueError("`count` is 3.") if args.count == 3 else error

    subcommand(run)
    assert [command_line.main(["play", count]) for count in ("3", "4", "4")] == [1, 1, 1]
    assert capsys.readouterr().err == "mv-peft: error: `count` is 3.\n"
    with pytest.raises(type(error)):
        command_line.main(["--traceback", "play", "4"])
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert command_line.main(["play", "3"]) == 1
    assert capsys.readouterr().err == "mv-peft: error: `count` is 3.\n"


def test_a_bug_in_the_first_process_keeps_its_traceback(capsys, subcommand, torchrun):
    def run(args):
        raise TypeError("ours") if args.count == 3 else ValueError("`count` is 4.")

    subcommand(run)
    with pytest.raises(TypeError, match="ours"):
        command_line.main(["play", "3"])
    assert command_line.main(["play", "4"]) == 1
    assert capsys.readouterr().err == ""


def test_an_error_is_reported_after_torchrun_has_gone(capsys, monkeypatch, subcommand, torchrun):
    def run(args):
        raise ValueError("`count` is 3.")

    subcommand(run)
    monkeypatch.setattr(processes, "_PATIENCE", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
    assert command_line.main(["play", "3"]) == 1
    assert "mv-peft: error: `count` is 3.\n" in capsys.readouterr().err


def test_of_two_processes_only_the_one_that_fails_reports(tmp_path):
    (tmp_path / "play.py").write_text(
        """
import argparse, sys, types
from torch import distributed
import mv_peft.cli.main as command_line
from mv_peft.cli.evaluate import _processes

def run(args):
    with _processes(argparse.Namespace(device="cpu")) as (rank, _):
        if rank == 1:
            raise ValueError("Rank 1 does not play.")
        distributed.barrier()

sys.modules["mv_peft.cli.play_options"] = types.SimpleNamespace(EXAMPLES="play", add_arguments=lambda parser: None)
sys.modules["mv_peft.cli.play"] = types.SimpleNamespace(run=run)
command_line.SUBCOMMANDS = {"play": "play"}
sys.exit(command_line.main(["play"]))
"""
    )
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "play.py")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *launcher], capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 1
    assert done.stderr.count("mv-peft: error: Rank 1 does not play.") == 1
    assert "mv_peft/cli/main.py" not in done.stderr, "a traceback of the other one"


def test_an_import_that_fails_is_not_hidden(monkeypatch):
    monkeypatch.setattr(command_line, "SUBCOMMANDS", {"play": "play for the tests"})
    with pytest.raises(ModuleNotFoundError, match=r"mv_peft\.cli\.play_options"):
        command_line.main(["play"])


def test_interruption(capsys, subcommand):
    def run(args):
        raise KeyboardInterrupt

    subcommand(run)
    assert command_line.main(["play", "3"]) == 130
    assert capsys.readouterr().err == "mv-peft: interrupted\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize(("arguments", "unbuffered"), [(["--help"], ""), (["play"], ""), (["play"], "1")])
def test_a_closed_pipe_is_not_an_error(arguments, unbuffered):
    code = f"""
import sys, types
import mv_peft.cli.main as command_line
run = lambda args: [print("a line of output") for _ in range(100_000)] and 0
sys.modules["mv_peft.cli.play_options"] = types.SimpleNamespace(EXAMPLES="play", add_arguments=lambda parser: None)
sys.modules["mv_peft.cli.play"] = types.SimpleNamespace(run=run)
command_line.SUBCOMMANDS = {{"play": "play"}}
sys.exit(command_line.main({arguments}))
"""
    read, write = os.pipe()
    os.close(read)
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=write, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment
    )
    os.close(write)
    assert done.stderr == ""
    assert done.returncode == 141
