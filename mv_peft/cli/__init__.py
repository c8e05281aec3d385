"""The `mv-peft` command: of each subcommand one file with its options and one with its work."""

from ..imports import load_lazily

load_lazily(__name__)
