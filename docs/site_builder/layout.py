"""What becomes of the repository's files in the documentation."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping

from site_builder.links import external, resolved, rewritten

DOCS = "docs/"
# Pages that lie elsewhere, and where the documentation has them. All of docs/ is there under its own names.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README_HELM_INSTALL.md": "install.md",
    "SECURITY.md": "security.md",
    "examples/README.md": "notebooks/README.md",
    "proto/README.md": "contract.md",
    "python/client/README.md": "client.md",
    "python/publisher/README.md": "mm-publish.md",
    "python/scale_client/README.md": "mm-scale.md",
}
# The repository's front page and the documentation's say the same.
_OTHERWISE = {"README.md": "README.md"}
# Tables of the code: a link to one leads to the page that is made from it.
SOURCES = {
    "deploy/helm/domino-triton/values.yaml": "reference/chart-values.md",
    "python/client/mm_client/__main__.py": "reference/commands.md",
    "python/client/mm_client_api/__init__.py": "reference/python-client.md",
    "python/proxy/triton_proxy/protocols/multimodal/reasons.py": "reference/errors.md",
    "python/proxy/triton_proxy/protocols/rest/routes.py": "reference/rest.md",
    "python/proxy/triton_proxy/settings.py": "reference/proxy-settings.md",
    "python/proxy/triton_proxy/telemetry/audit.schema.json": "reference/logs.md",
    "python/proxy/triton_proxy/telemetry/metrics_table.py": "reference/metrics.md",
    "python/publisher/mm_publisher/__init__.py": "reference/python-publisher.md",
    "python/scale_client/mm_scale/__init__.py": "reference/python-scale.md",
    "python/scaler/scale_service/settings.py": "reference/scaler-settings.md",
}
# Files that pages lead to, which come along as they are.
FILES = ("go/buf.gen.yaml", "go/example/main.go", "proto/multimodal.proto", "proto/scaling.proto")
_FILES_BELOW = "files"


class LinkError(Exception):
    """A link leads to nothing that the documentation has."""


def place_of_file(path: str) -> str:
    """Where a file of `FILES` lies in the documentation."""
    return f"{_FILES_BELOW}/{path}"


def places(docs: Iterable[str], notebooks: Iterable[str]) -> Mapping[str, str]:
    """Where each page and file of the repository is in the documentation, by its path from the root.

    Args:
        docs: paths of the pages below docs/.
        notebooks: names of the notebooks, such as `video.ipynb`.
    """
    shown = {f"examples/notebooks/{name}": f"notebooks/{name.removesuffix('.ipynb')}.md" for name in notebooks}
    own = {path: path.removeprefix(DOCS) for path in docs}
    return {**_OTHERWISE, **SOURCES, **PAGES, **{path: place_of_file(path) for path in FILES}, **shown, **own}


def placed(path: str, text: str, where: Mapping[str, str], place: str) -> str:
    """A page with its links as they have to be in the documentation.

    Args:
        path: the page's own, from the root.
        text: of the page.
        where: `places`.
        place: the page's in the documentation.

    Raises:
        LinkError: a link leads to a file that the documentation lacks.
    """

    def target_for(target: str) -> str:
        if external(target) or target.startswith("#"):
            return target
        leads_to, anchor = resolved(path, target)
        if leads_to not in where:
            raise LinkError(
                f"{path} has a link to {target}, and the documentation has no {leads_to}; correct it, or add the file"
                " to docs/site_builder/layout.py"
            )
        relative = posixpath.relpath(where[leads_to], posixpath.dirname(place) or ".")
        return f"{relative}#{anchor}" if anchor else relative

    return rewritten(text, target_for)
