"""`python -m benchmarks.compare.report` puts the results into the READMEs, between their markers, and draws them.

It needs no torch; without matplotlib it leaves the plots as they are, and says so. `--check` changes nothing, and exits
with 1 if a README or a plot is not in step with the results.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path

from .method import load_method, method_names
from .plots import digest, draw, drawn_from
from .rows import read_group
from .settings import RESULTS
from .tables import render_group, render_summary

README = Path(__file__).parent.parent / "README.md"
READMES = (README, Path(__file__).parent.parent.parent / "README.md")
PLOTS = Path(__file__).parent.parent / "plots"
_MARKER = "<!-- results: "
_BLOCK = re.compile(
    rf"{_MARKER}(?P<group>\S+)(?P<summary> summary)? -->\n(?:(?!{_MARKER}).)*?<!-- end of results -->", flags=re.DOTALL
)


def filled(text: str, results: Path) -> str:
    """A text with the tables of each group between its markers.

    Args:
        text: Holds `<!-- results: GROUP -->`, or `<!-- results: GROUP summary -->` for a short table, and
            `<!-- end of results -->`, each on a line of its own.
        results: Folder of the groups.

    Raises:
        ValueError: If a marker has no end, or a group no results, or results that are not comparable.
    """

    def tables(block: re.Match[str]) -> str:
        rows = read_group(results / block["group"])
        plot = f"{PLOTS.name}/{block['group']}.svg"
        if block["summary"]:  # of the README one folder up
            chosen = [name for name in method_names() if load_method(name).summary]
            body = render_summary(rows, chosen, f"{RESULTS.parent.name}/{plot}")
        else:
            body = render_group(rows, plot)
        return f"{_MARKER}{block['group']}{block['summary'] or ''} -->\n\n{body}\n<!-- end of results -->"

    _check_markers(text)
    return _BLOCK.sub(tables, text)


def groups(text: str) -> list[str]:
    """The groups that a text has markers for, short tables left out."""
    return [block["group"] for block in _BLOCK.finditer(text) if not block["summary"]]


def stale() -> list[Path]:
    """The READMEs and plots that are not in step with the results."""
    texts = {file: file.read_text(encoding="utf-8") for file in READMES}
    behind = [file for file, text in texts.items() if filled(text, RESULTS) != text]
    plots = {PLOTS / f"{group}.svg": group for group in groups(texts[README])}
    return behind + [file for file, group in plots.items() if drawn_from(file) != digest(read_group(RESULTS / group))]


def _check_markers(text: str) -> None:
    whole = [block.start() for block in _BLOCK.finditer(text)]
    for marker in re.finditer(f"{_MARKER}.*", text):
        if marker.start() not in whole:
            raise ValueError(
                f"'{marker[0]}' starts no block. Write `{_MARKER}GROUP -->` or `{_MARKER}GROUP summary -->`, and "
                "`<!-- end of results -->` below it."
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        behind = ", ".join(f"'{file}'" for file in stale())
        sys.exit(
            f"Not in step with the results: {behind}. Run `python -m benchmarks.compare.report`." if behind else None
        )
    texts = {file: filled(file.read_text(encoding="utf-8"), RESULTS) for file in READMES}
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        print(
            "matplotlib is not installed: the tables are new, the plots were not drawn. "
            "`pip install -c constraints.txt matplotlib` brings it; `--check` says whether they are in step."
        )
        return
    PLOTS.mkdir(exist_ok=True)
    for group in groups(texts[README]):
        draw(read_group(RESULTS / group), PLOTS / f"{group}.svg")


if __name__ == "__main__":
    main()
