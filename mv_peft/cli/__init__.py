"""The `mv-peft` command: one subcommand a file."""
