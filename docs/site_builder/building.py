"""Lays out what the documentation is built from, and builds it."""

from __future__ import annotations

import logging
import posixpath
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from pymdownx.superfences import fence_code_format

from site_builder import layout, notebooks
from site_builder.links import title

_REFERENCE = "reference"
_NOTEBOOKS = "notebooks"
_DIAGRAM = "```mermaid"
_DIAGRAMS = "javascripts/mermaid.tiny.js"
_DIAGRAM_FENCE = {"name": "mermaid", "class": "mermaid", "format": fence_code_format}


@dataclass(frozen=True)
class Given:
    """What the documentation is made of.

    Attributes:
        root: of the source tree.
        reference: folder of the reference's generated pages.
        notebooks: .ipynb files.
        mermaid: the script that draws diagrams; None leaves them as text.
    """

    root: Path
    reference: Path
    notebooks: tuple[Path, ...] = ()
    mermaid: Path | None = None


def lay_out(given: Given, into: Path) -> None:
    """Writes all pages and files into a folder, with links as they have to be there.

    Raises:
        LinkError: a link leads to what the documentation lacks.
    """
    own = sorted(path.relative_to(given.root).as_posix() for path in (given.root / "docs").rglob("*.md"))
    where = layout.places(own, [path.name for path in given.notebooks])
    for path in [*own, *layout.PAGES]:
        text = (given.root / path).read_text(encoding="utf-8")
        _write(into, where[path], layout.placed(path, text, where, where[path]), given)
    generated = {f"{_REFERENCE}/{page.name}": page for page in sorted(given.reference.glob("*.md"))}
    where_too = {**where, **{f"{layout.DOCS}{place}": place for place in generated}}
    for place, page in generated.items():
        text = page.read_text(encoding="utf-8")
        _write(into, place, layout.placed(f"{layout.DOCS}{place}", text, where_too, place), given)
    for name in layout.FILES:
        _copy(given.root / name, into / layout.place_of_file(name))
    _copy(given.root / "docs/stylesheets/extra.css", into / "stylesheets/extra.css")
    if given.mermaid:
        _copy(given.mermaid, into / _DIAGRAMS)
    _write_notebooks(given.notebooks, into / _NOTEBOOKS)


def _write(into: Path, place: str, text: str, given: Given) -> None:
    # Only pages with a diagram load the script, and before the theme's own, which would fetch one from elsewhere.
    if given.mermaid and f"\n{_DIAGRAM}\n" in text:
        script = posixpath.relpath(_DIAGRAMS, posixpath.dirname(place) or ".")
        text += f'\n<script src="{script}"></script>\n'
    target = into / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _write_notebooks(paths: Iterable[Path], folder: Path) -> None:
    for path in paths:
        text, pictures = notebooks.page(path.read_text(encoding="utf-8"), path.name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.with_suffix(".md").name).write_text(text, encoding="utf-8")
        shutil.copyfile(path, folder / path.name)
        for name, picture in pictures.items():
            (folder / name).write_bytes(picture)


def navigation(entries: Iterable[Any], pages: Path) -> list[Any]:
    """A nav of mkdocs.yml in which entries that end with / are the pages of that folder, README.md first.

    Args:
        entries: of the nav.
        pages: the folder that `lay_out` wrote.
    """
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, str):
            found.append(entry)
            continue
        ((name, below),) = entry.items()
        if isinstance(below, list):
            found.append({name: navigation(below, pages)})
        elif not below.endswith("/"):
            found.append({name: below})
        elif (pages / below).is_dir():
            paths = sorted((pages / below).glob("*.md"), key=lambda path: (path.name != "README.md", path.name))
            found.append({name: [_entry(path, below) for path in paths]})
    return found


def _entry(path: Path, folder: str) -> Any:
    place = posixpath.join(folder, path.name)
    return place if path.name == "README.md" else {title(path.read_text(encoding="utf-8")) or path.stem: place}


class _Kept(logging.Handler):
    """Keeps what MkDocs complains of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def build_pages(given: Given, pages: Path, out: Path) -> list[str]:
    """Builds the documentation.

    Args:
        given: what it is made of.
        pages: the folder that `lay_out` wrote.
        out: where HTML goes.

    Returns:
        What is wrong, such as links that lead nowhere and pages that the nav leaves out; then `out` can't be relied on.
    """
    kept = _Kept()
    log = logging.getLogger("mkdocs")
    log.addHandler(kept)
    # MkDocs checks no anchors where its log has level DEBUG.
    level = log.level
    log.setLevel(logging.INFO)
    try:
        config = load_config(str(given.root / "docs/mkdocs.yml"), docs_dir=str(pages), site_dir=str(out), strict=False)
        config["nav"] = navigation(config["nav"], pages)
        if given.mermaid:
            config["mdx_configs"]["pymdownx.superfences"] = {"custom_fences": [_DIAGRAM_FENCE]}
        build(config)
    except Abort as aborted:
        kept.texts.append(str(aborted))
    finally:
        log.removeHandler(kept)
        log.setLevel(level)
    return kept.texts
