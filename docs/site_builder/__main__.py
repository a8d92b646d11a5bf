"""Builds the documentation: `python -m site_builder --reference FOLDER --out FOLDER`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from site_builder.building import Given, build_pages, lay_out
from site_builder.layout import LinkError

# Not resolved: in a build the files around are links.
ROOT = Path(__file__).absolute().parents[2]
# Without npm there is no such file, and diagrams stay text.
_DIAGRAMS = "@mermaid-js/tiny/dist/mermaid.tiny.js"


def main() -> int:
    """Builds it; exit status 1 where a page has a mistake."""
    parser = argparse.ArgumentParser(description="Builds the documentation.", allow_abbrev=False)
    parser.add_argument("--reference", type=Path, required=True, help="Folder of the reference's pages.")
    parser.add_argument("--notebooks", default="", help="Notebooks that become pages, with spaces between them.")
    parser.add_argument("--npm", type=Path, help="A file of the node_modules that may hold the script for diagrams.")
    parser.add_argument("--out", type=Path, required=True, help="Where HTML goes.")
    flags = parser.parse_args()
    script = flags.npm.resolve().parent / _DIAGRAMS if flags.npm else None
    mermaid = script if script and script.is_file() else None
    given = Given(ROOT, flags.reference, tuple(map(Path, flags.notebooks.split())), mermaid)
    with tempfile.TemporaryDirectory() as pages:
        try:
            lay_out(given, Path(pages))
            problems = build_pages(given, Path(pages), flags.out.absolute())
        except LinkError as error:
            problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
