"""The notebooks of the repository: without outputs, and the same for everybody."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from executing.strip import stripped

NOTEBOOKS = sorted(Path("examples/notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Path, kind: str) -> list[Any]:
    return [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == kind]


def test_there_are_the_six() -> None:
    assert len(NOTEBOOKS) == 6


@each_notebook
def test_a_notebook_holds_no_output_and_nothing_of_a_machine(notebook: Path) -> None:
    text = notebook.read_text()
    assert [cell["id"] for cell in cells(notebook, "code") if cell["outputs"] or cell["execution_count"]] == []
    assert text == stripped(text), "expected what `./bazelw run //examples:strip` makes of it"
    assert not re.search(r"\d+\.\d+\.\d+\.\d+|localhost|/tmp/|/home/", text)


@each_notebook
def test_a_notebook_says_what_it_needs_and_shows_an_error(notebook: Path) -> None:
    texts = ["".join(cell["source"]) for cell in cells(notebook, "markdown")]
    assert texts[0].startswith("# ")
    assert "**Needed:** `pip install " in texts[0]
    assert sum("## When something is wrong\n" in text for text in texts) == 1
    code = "\n".join("".join(cell["source"]) for cell in cells(notebook, "code"))
    for name in re.findall(r"environ\[[\"'](\w+)", code):
        assert f"`{name}`" in texts[0]


def test_outputs_counts_and_a_machines_metadata_go_and_tags_stay() -> None:
    ran = {
        "cells": [
            {
                "cell_type": "code",
                "execution_count": 3,
                "id": "a",
                "metadata": {"tags": ["raises-exception"], "execution": {"iopub.execute_input": "2026"}},
                "outputs": [{"output_type": "stream", "name": "stdout", "text": ["s3://bucket"]}],
                "source": ["1 / 0"],
            },
            {"cell_type": "markdown", "id": "b", "metadata": {"collapsed": True}, "source": ["# ü"]},
        ],
        "metadata": {"language_info": {"name": "python", "version": "3.11.2"}, "kernelspec": {"name": "mine"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    code, text = json.loads(stripped(json.dumps(ran)))["cells"]
    assert (code["execution_count"], code["outputs"], code["source"]) == (None, [], ["1 / 0"])
    assert code["metadata"] == {"tags": ["raises-exception"]}
    assert text == {"cell_type": "markdown", "id": "b", "metadata": {}, "source": ["# ü"]}
    assert "mine" not in stripped(json.dumps(ran))
    assert stripped(stripped(json.dumps(ran))) == stripped(json.dumps(ran))
