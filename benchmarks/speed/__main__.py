"""`python -m benchmarks.speed` is short for `python -m benchmarks.speed.step`."""

from .step import main

if __name__ == "__main__":
    main()
