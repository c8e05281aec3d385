"""Entry point of `python -m mv_peft`, which is the same as `mv-peft`."""

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
