from __future__ import annotations

import base64
import json
from typing import Any

from site_builder.notebooks import page


def notebook(*cells: dict[str, Any]) -> str:
    return json.dumps({"nbformat": 4, "metadata": {}, "cells": cells})


def code(text: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": text.splitlines(keepends=True), "outputs": list(outputs)}


def test_cells_come_in_their_order_and_outputs_behind_them() -> None:
    text, pictures = page(
        notebook(
            {"cell_type": "markdown", "source": ["# First\n", "Words."]},
            code("print(1)\nprint(2)", {"output_type": "stream", "name": "stdout", "text": ["1\n", "2\n"]}),
            code(""),
        ),
        "first.ipynb",
    )
    assert text == (
        "# First\nWords.\n\n```python\nprint(1)\nprint(2)\n```\n\n```text\n1\n2\n```\n\n"
        "[Download this notebook](first.ipynb)\n"
    )
    assert pictures == {}


def test_pictures_are_files_and_tables_stay_html() -> None:
    picture = {
        "output_type": "display_data",
        "data": {"image/png": base64.b64encode(b"png").decode(), "text/plain": "x"},
    }
    rows = {"output_type": "execute_result", "data": {"text/html": ["<table>", "</table>"], "text/plain": "x"}}
    text, pictures = page(notebook(code("a", picture, picture), code("b", rows)), "plot.ipynb")
    assert pictures == {"plot-1.png": b"png", "plot-2.png": b"png"}
    assert "](plot-1.png)" in text
    assert '<div class="output" markdown="0">\n<table></table>\n</div>' in text


def test_a_fence_in_a_cell_does_not_end_the_cell() -> None:
    text, _ = page(notebook(code("a = '''\n```\n'''")), "x.ipynb")
    assert text.startswith("````python\n")
