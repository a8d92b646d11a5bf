"""Notebooks as pages: cells in their order, with outputs where the notebook has any."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

_PICTURES = {"image/png": "png", "image/jpeg": "jpg"}


def page(source: str, download: str) -> tuple[str, Mapping[str, bytes]]:
    """The page of a notebook.

    Args:
        source: an .ipynb file's text (nbformat 4).
        download: the name of the file, for a link to it.

    Returns:
        Markdown, and the pictures among its outputs by the names that the page has for them.
    """
    notebook = json.loads(source)
    language = notebook.get("metadata", {}).get("kernelspec", {}).get("language", "python")
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in notebook["cells"]:
        text = _joined(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
        elif cell["cell_type"] == "code" and text.strip():
            parts.append(_fenced(text, language))
            stem = download.removesuffix(".ipynb")
            parts += _outputs(cell.get("outputs", ()), pictures, stem)
    parts.append(f"[Download this notebook]({download})")
    return "\n\n".join(parts) + "\n", pictures


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)


def _fenced(text: str, language: str) -> str:
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _outputs(outputs: list[Mapping[str, Any]], pictures: dict[str, bytes], stem: str) -> Iterator[str]:
    for output in outputs:
        data = output.get("data", {})
        kind = next((each for each in _PICTURES if each in data), None)
        if output["output_type"] == "stream":
            yield _fenced(_joined(output["text"]), "text")
        elif kind:
            name = f"{stem}-{len(pictures) + 1}.{_PICTURES[kind]}"
            pictures[name] = base64.b64decode(_joined(data[kind]))
            yield f"![Output of the cell above]({name})"
        elif "text/html" in data:
            yield f'<div class="output" markdown="0">\n{_joined(data["text/html"])}\n</div>'
        elif "text/plain" in data:
            yield _fenced(_joined(data["text/plain"]), "text")
