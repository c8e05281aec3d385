"""`python -m benchmarks.report` puts the results into `benchmarks/README.md`, between its markers; it needs no torch.

`--check` exits with 1 if the README is not in step with the results; `--plots DIR` also draws them, if matplotlib is
there.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
from pathlib import Path

from .settings import RESULTS
from .tables import Row, read_group, render_group

README = Path(__file__).parent / "README.md"
_BLOCK = re.compile(r"<!-- results: (?P<group>\S+) -->\n.*?<!-- end of results -->", flags=re.DOTALL)


def filled(text: str, results: Path = RESULTS) -> str:
    """A text with the tables of each group between its markers.

    Args:
        text: Holds `<!-- results: GROUP -->` and `<!-- end of results -->`, each on a line of its own.
        results: Folder of the groups.

    Raises:
        ValueError: If a group has no results, or results that are not comparable.
    """

    def tables(block: re.Match[str]) -> str:
        group = block["group"]
        return f"<!-- results: {group} -->\n\n{render_group(read_group(results / group))}\n<!-- end of results -->"

    return _BLOCK.sub(tables, text)


def groups(text: str) -> list[str]:
    """The groups that a text has markers for."""
    return [block["group"] for block in _BLOCK.finditer(text)]


def plot(rows: list[Row], file: Path) -> None:
    """Draws what each method finds against what it knows of order, and how training went."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 5), layout="constrained")
    found, courses = figure.subplots(1, 2)
    for row in rows:
        x = statistics.mean(row.figures("order", "t2v order accuracy"))
        y = statistics.mean(row.figures("natural", "t2v R@1"))
        (points,) = found.plot(x, y, "o")
        found.annotate(row.label, (x, y), textcoords="offset points", xytext=(5, 3), fontsize=7)
        curve = row.results[0]["train_info"]["curve"]
        if curve:
            courses.plot(*zip(*curve, strict=True), color=points.get_color(), label=row.label)
    found.set(xlabel="order accuracy, text to video (%)", ylabel="R@1, text to video, natural gallery (%)")
    found.axvline(50, color="tab:gray", linestyle=":")
    courses.set(xlabel="step", ylabel="loss")
    courses.legend(fontsize=7)
    figure.savefig(file, format=file.suffix[1:], dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--plots", type=Path, metavar="DIR")
    args = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    after = filled(before)
    if args.check:
        sys.exit(None if before == after else f"'{README}' is not in step: run `python -m benchmarks.report`.")
    README.write_text(after, encoding="utf-8")
    if args.plots is not None:
        args.plots.mkdir(parents=True, exist_ok=True)
        for group in groups(after):
            plot(read_group(RESULTS / group), args.plots / f"{group}.png")


if __name__ == "__main__":
    main()
