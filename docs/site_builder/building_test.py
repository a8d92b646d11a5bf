from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from site_builder.building import Given, build_pages, lay_out, navigation

CONFIG = """
site_name: x
use_directory_urls: false
validation:
  nav: {omitted_files: warn, not_found: warn}
  links: {not_found: warn, anchors: warn, unrecognized_links: warn}
"""


@pytest.fixture
def given(tmp_path: Path) -> Given:
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    (root / "docs/mkdocs.yml").write_text(CONFIG + "nav: [README.md, Notebooks: notebooks/]\n")
    return Given(root, tmp_path / "reference")


def built(given: Given, pages: dict[str, str], folder: Path) -> list[str]:
    for name, text in pages.items():
        (folder / "pages" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pages" / name).write_text(text)
    return build_pages(given, folder / "pages", folder / "out")


def test_pages_without_a_mistake_are_built(given: Given, tmp_path: Path) -> None:
    assert built(given, {"README.md": "# A\n[b](notebooks/b.md#b)\n", "notebooks/b.md": "# B\n"}, tmp_path) == []
    assert (tmp_path / "out/index.html").exists()
    assert (tmp_path / "out/notebooks/b.html").exists()


@pytest.mark.parametrize(
    ("pages", "expected"),
    [
        ({"README.md": "# A\n", "left.md": "# B\n"}, "left.md"),
        ({"README.md": "# A\n[b](gone.md)\n"}, "gone.md"),
        ({"README.md": "# A\n[b](#gone)\n"}, "#gone"),
        ({"other.md": "# A\n"}, "README.md"),
    ],
)
def test_a_mistake_is_told(given: Given, tmp_path: Path, pages: dict[str, str], expected: str) -> None:
    assert any(expected in problem for problem in built(given, pages, tmp_path))


def test_a_folder_in_the_nav_is_its_pages_with_their_titles_and_nothing_where_there_are_none(tmp_path: Path) -> None:
    (tmp_path / "adr").mkdir()
    for name, text in (("0002-b.md", "# 2. B\n"), ("0001-a.md", "# 1. A\n"), ("README.md", "# All\n")):
        (tmp_path / "adr" / name).write_text(text)
    nav = ["x.md", {"More": [{"Decisions": "adr/"}, {"Notebooks": "notebooks/"}, {"Y": "y.md"}]}]
    decisions = ["adr/README.md", {"1. A": "adr/0001-a.md"}, {"2. B": "adr/0002-b.md"}]
    assert navigation(nav, tmp_path) == ["x.md", {"More": [{"Decisions": decisions}, {"Y": "y.md"}]}]


def test_notebooks_diagrams_and_files_are_laid_out(tmp_path: Path) -> None:
    notebooks = tuple(Path("examples/notebooks").glob("*.ipynb"))
    script = tmp_path / "mermaid.js"
    script.write_text("draws()")
    root = tmp_path / "root"
    shutil.copytree("docs", root / "docs", ignore=shutil.ignore_patterns("site", "generated_reference"))
    for name in ("proto", "go", "python", "deploy", "examples"):
        (root / name).symlink_to(Path(name).absolute())
    for page in Path().glob("*.md"):
        shutil.copyfile(page, root / page)
    (tmp_path / "reference").mkdir()
    lay_out(Given(root, tmp_path / "reference", notebooks, script), tmp_path / "pages")
    assert (tmp_path / "pages/notebooks/video.md").read_text().startswith("# A video")
    assert (tmp_path / "pages/notebooks/video.ipynb").exists()
    assert '<script src="javascripts/mermaid.tiny.js">' in (tmp_path / "pages/architecture.md").read_text()
    assert "<script" not in (tmp_path / "pages/tls.md").read_text()
    assert (tmp_path / "pages/files/proto/multimodal.proto").exists()
