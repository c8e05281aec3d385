"""`python -m mv_peft` is `mv-peft`."""

from .cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
