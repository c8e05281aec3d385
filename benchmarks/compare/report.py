"""Write the tables of the results into the pages that show them, and draw the plots.

    python -m benchmarks.compare.report
    python -m benchmarks.compare.report --check

The pages are the top-level README and `docs/results/*.md`. Tables go between `<!-- results: GROUP -->` (or
`<!-- results: GROUP summary -->` for the short table) and `<!-- end of results -->`; the text around them is written
by hand. The command needs no torch. Without matplotlib it leaves the plots as they are and says so. `--check` changes
nothing and exits with 1 if a page or a plot is not in step with the results.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import sys
from pathlib import Path

from .method import load_method, method_names
from .plots import digest, draw, drawn_from
from .rows import read_group
from .settings import RESULTS
from .tables import render_group, render_summary

ROOT = Path(__file__).parents[2]
FRONT_PAGE = ROOT / "README.md"
RESULT_PAGES = ROOT / "docs" / "results"
PLOTS = ROOT / "benchmarks" / "plots"
_MARKER = "<!-- results: "
_BLOCK = re.compile(
    rf"{_MARKER}(?P<group>\S+)(?P<summary> summary)? -->\n(?:(?!{_MARKER}).)*?<!-- end of results -->", flags=re.DOTALL
)


def pages() -> list[Path]:
    """The top-level README and all pages of results."""
    return [FRONT_PAGE, *sorted(RESULT_PAGES.glob("*.md"))]


def shown_groups() -> list[str]:
    """The groups of which some page shows the full tables."""
    texts = [page.read_text(encoding="utf-8") for page in pages()]
    return [block["group"] for text in texts for block in _BLOCK.finditer(text) if not block["summary"]]


def filled(text: str, folder: Path, results: Path) -> str:
    """The text of a page with the tables of each group between its markers.

    Args:
        text: The text of the page.
        folder: Folder of the page, for the paths of the plots.
        results: Folder of the groups.

    Raises:
        ValueError: If a marker has no end, or if a group has no results or results that are not comparable.
    """
    _check_markers(text)

    def tables(block: re.Match[str]) -> str:
        rows = read_group(results / block["group"])
        plot = Path(os.path.relpath(PLOTS / f"{block['group']}.svg", folder)).as_posix()
        if block["summary"]:
            chosen = [name for name in method_names() if load_method(name).summary]
            body = render_summary(rows, chosen, plot)
        else:
            body = render_group(rows, plot)
        return f"{_MARKER}{block['group']}{block['summary'] or ''} -->\n\n{body}\n<!-- end of results -->"

    return _BLOCK.sub(tables, text)


def stale() -> list[Path]:
    """The pages and plots that are not in step with the results."""
    behind = [page for page, (text, new) in _texts().items() if new != text]
    plots = {PLOTS / f"{group}.svg": group for group in shown_groups()}
    return behind + [file for file, group in plots.items() if drawn_from(file) != digest(read_group(RESULTS / group))]


def _texts() -> dict[Path, tuple[str, str]]:
    """The text of each page as it is, and as it should be."""
    texts = {page: page.read_text(encoding="utf-8") for page in pages()}
    return {page: (text, filled(text, page.parent, RESULTS)) for page, text in texts.items()}


def _check_markers(text: str) -> None:
    whole = [block.start() for block in _BLOCK.finditer(text)]
    for marker in re.finditer(f"{_MARKER}.*", text):
        if marker.start() not in whole:
            raise ValueError(
                f"'{marker[0]}' starts no block. Write `{_MARKER}GROUP -->` or "
                f"`{_MARKER}GROUP summary -->`, and `<!-- end of results -->` below it."
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if anything is out of step")
    args = parser.parse_args()
    if args.check:
        behind = ", ".join(f"'{file}'" for file in stale())
        sys.exit(
            f"Not in step with the results: {behind}. Run `python -m benchmarks.compare.report`." if behind else None
        )
    for page, (_, new) in _texts().items():
        page.write_text(new, encoding="utf-8")
    if importlib.util.find_spec("matplotlib") is None:
        print(
            "matplotlib is not installed: the tables are new, the plots were not drawn. "
            "`pip install -c constraints.txt matplotlib` brings it; `--check` says whether they are in step."
        )
        return
    PLOTS.mkdir(exist_ok=True)
    for group in shown_groups():
        draw(read_group(RESULTS / group), PLOTS / f"{group}.svg")


if __name__ == "__main__":
    main()
