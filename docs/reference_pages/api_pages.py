"""Pages of the Python libraries; what stands in them is read from the docstrings when the site is built."""

from __future__ import annotations

import inspect
from types import ModuleType

_OPTIONS = "    options:\n      heading_level: 3\n"


def page(title: str, introduction: str, package: ModuleType) -> str:
    """The page of a package's public names: classes, functions and exceptions.

    Args:
        title: its heading.
        introduction: Markdown below it.
        package: `__all__` has the public names.
    """
    kinds: dict[str, list[str]] = {"Classes": [], "Functions": [], "Exceptions": []}
    for name in package.__all__:
        value = getattr(package, name)
        if not inspect.isclass(value):
            kinds["Functions"].append(name)
        elif issubclass(value, Exception):
            kinds["Exceptions"].append(name)
        else:
            kinds["Classes"].append(name)
    parts = [f"# {title}\n\n{introduction}\n\n"]
    for kind, names in kinds.items():
        if names:
            parts.append(f"## {kind}\n\n")
            parts += [f"::: {package.__name__}.{name}\n{_OPTIONS}\n" for name in names]
    return "".join(parts)
