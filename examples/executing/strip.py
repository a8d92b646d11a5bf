"""Takes outputs, and what Jupyter adds of a machine, out of notebooks in place: `./bazelw run //examples:strip`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# Of a cell's metadata what its meaning depends on: a cell that shows an error has a tag.
_KEPT = ("tags",)
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def stripped(text: str) -> str:
    """Returns a notebook's text as the repository holds it: the same from every machine.

    Args:
        text: of an .ipynb file.
    """
    notebook = json.loads(text)
    notebook["metadata"] = _METADATA
    for cell in notebook["cells"]:
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key in _KEPT}
        if cell["cell_type"] == "code":
            cell.update(execution_count=None, outputs=[])
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Strips all notebooks of the repository; says which were changed."""
    folder = Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")) / "examples/notebooks"
    for path in sorted(folder.glob("*.ipynb")):
        before = path.read_text(encoding="utf-8")
        if (after := stripped(before)) != before:
            path.write_text(after, encoding="utf-8")
            print(f"stripped {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
