"""Entry point of `mv-peft` and `python -m mv_peft`: finds the subcommand and turns errors into one line."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from ..errors import MVPeftError

# Each module defines HELP, add_arguments(parser) and run(args) -> int. They are imported by name, so that
# `mv-peft --help` answers without importing torch.
SUBCOMMANDS = {"demo": "demo", "convert": "convert"}


def build_parser() -> argparse.ArgumentParser:
    """The parser with every subcommand's arguments and examples."""
    parser = argparse.ArgumentParser(prog="mv-peft", description="MV-Adapter for CLIP: video-text retrieval.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module_name in SUBCOMMANDS.items():
        module = importlib.import_module(f"{__package__}.{module_name}")
        subparser = commands.add_parser(
            name,
            help=module.HELP,
            description=module.__doc__,
            epilog=getattr(module, "EXAMPLES", None),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(subparser)
        subparser.set_defaults(run=module.run)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line; 0 for success, 1 for an error about the world, 2 for a mistake in the arguments."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run(args) or 0)
    except (MVPeftError, OSError, ValueError) as error:
        print(f"mv-peft: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mv-peft: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
