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

# Each subcommand and its line of `mv-peft --help`. `train_options.py` defines the options of `train`: EXAMPLES and
# add_arguments(parser), with the description as its docstring; it imports nothing heavy. `train.py` does the work:
# run(args) returns the exit code. Only the files of the subcommand that was given are imported.
SUBCOMMANDS = {
    "demo": "train MV-Adapter on rendered clips in minutes, or search your own videos",
    "data": "check a data set before anything is trained on it",
    "cache": "decode videos once, into a cache of frames",
    "train": "train an adapter on captioned videos",
    "evaluate": "measure text-video retrieval on a benchmark or on your own videos",
    "push": "upload an adapter to the Hub, with a model card",
    "pull": "download an adapter from the Hub into a folder",
    "list": "list the adapters in a repository on the Hub",
    "convert": "convert an official checkpoint into an adapter folder, or back",
}

BROKEN_PIPE = 128 + 13  # what a shell reports of a program that SIGPIPE ended
INTERRUPTED = 128 + 2


def build_parser(words: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser of a command line: every subcommand, but only the options of the one that is given.

    Args:
        words: The command line, without the program's name.
    """
    parser = argparse.ArgumentParser(prog="mv-peft", description="MV-Adapter for CLIP: video-text retrieval.")
    parser.add_argument("--version", action="version", version=f"mv-peft {__version__}")
    parser.add_argument("--traceback", action="store_true", help="show where an error comes from, not only its message")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    given = next((word for word in words if not word.startswith("-")), None)
    for name, help_text in SUBCOMMANDS.items():
        if name != given:
            commands.add_parser(name, help=help_text)
            continue
        options = importlib.import_module(f"{__package__}.{name}_options")
        subparser = commands.add_parser(
            name,
            help=help_text,
            description=options.__doc__,
            epilog=options.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        options.add_arguments(subparser)
        subparser.set_defaults(refuse=subparser.error)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0 for success, 1 for an error, 2 for a mistake in the arguments.

    Errors about files, data and values become one line. Any other exception is our mistake and keeps its traceback. Of
    several processes that torchrun started, only the first that fails reports its error.
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
    args = build_parser(words).parse_args(words, argparse.Namespace(command_line=shlex.join(["mv-peft", *words])))
    try:
        command = importlib.import_module(f"{__package__}.{args.command}")
        with _quiet_libraries():
            return command.run(args)
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
    """Keep what a user cannot act on out of a subcommand's output."""
    with warnings.catch_warnings(), _quiet_transformers():
        # PEFT asks Transformers for an attribute that is being renamed.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
        yield


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    if "transformers" not in sys.modules:  # checking a data set or decoding videos does not need it
        yield
        return
    logging = importlib.import_module("transformers.utils.logging")
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # it says that torchvision is missing, which nothing here needs
    logging.disable_progress_bar()  # of every file that is loaded
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar()


def _reader_has_gone() -> bool:
    """Tell whether the pipe of our standard output is broken, and not another pipe or a connection."""
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
