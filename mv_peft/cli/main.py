"""Entry point of `mv-peft` and `python -m mv_peft`: finds the subcommand and turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import os
import select
import shlex
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .. import __version__
from ..errors import MVPeftError
from .processes import another_has_spoken

# The module of this package for each subcommand. It defines HELP, EXAMPLES, add_arguments(parser) and run(args), which
# returns the exit code; its docstring is the description. What is heavy it imports in run(): `--help` imports them all.
SUBCOMMANDS = {
    "demo": "demo",
    "train": "train",
    "evaluate": "evaluate",
    "convert": "convert",
    "data": "data",
    "cache": "cache",
    "push": "push",
    "pull": "pull",
    "list": "list",
}

BROKEN_PIPE = 128 + 13  # what a shell reports of a program that SIGPIPE ended
INTERRUPTED = 128 + 2


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand's arguments and examples."""
    parser = argparse.ArgumentParser(prog="mv-peft", description="MV-Adapter for CLIP: video-text retrieval.")
    parser.add_argument("--version", action="version", version=f"mv-peft {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from, not only its message")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_name in SUBCOMMANDS.items():
        module = importlib.import_module(f"{__package__}.{module_name}")
        subparser = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; 0 for success, 1 for an error about the world, 2 for a mistake in the arguments.

    Errors about files, data and values become one line. Any other exception is our mistake and keeps its traceback. Of
    several processes that torchrun started, the first that fails speaks.
    """
    try:
        try:
            return _run(argv)
        finally:
            # Here, not at the interpreter's exit, where a reader that has gone away could no longer be handled.
            sys.stdout.flush()
    except BrokenPipeError:
        if not _reader_has_gone():
            raise
        # What is still buffered must go somewhere when the interpreter flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE


def _run(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    args = build_parser().parse_args(words, argparse.Namespace(command_line=shlex.join(["mv-peft", *words])))
    try:
        with _quiet_libraries():
            return args.run(args)
    except KeyboardInterrupt:
        print("mv-peft: interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if args.traceback or (isinstance(error, BrokenPipeError) and _reader_has_gone()):
            raise
        if another_has_spoken():
            return 1
        if not isinstance(error, (MVPeftError, OSError, ValueError)):
            raise
        print(f"mv-peft: error: {_message(error)}", file=sys.stderr)
        return 1


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Keeps what a user cannot act on out of a subcommand's output."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # torchvision, which nothing here needs, is said to be missing
    logging.disable_progress_bar()  # of every file that is loaded
    try:
        with warnings.catch_warnings():
            # PEFT asks Transformers for an attribute that is being renamed.
            warnings.filterwarnings(
                "ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning
            )
            yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def _reader_has_gone() -> bool:
    """Whether it is the pipe of our standard output that is broken, not another pipe or a connection."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), 0)
    except (AttributeError, OSError):  # Windows has no poll; a stand-in for stdout has no file
        return False
    return bool(poll.poll(0))


def _message(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.strerror}: '{error.filename}'"
    text = str(error)
    if text.startswith("Caught ") and "in DataLoader worker process" in text:
        text = text.rstrip().rsplit("\n", 1)[-1].partition(": ")[2]  # behind the worker's traceback
    return text or type(error).__name__


if __name__ == "__main__":
    raise SystemExit(main())
