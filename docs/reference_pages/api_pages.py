"""Pages of the Python libraries; what stands in them is read from the docstrings when the site is built."""

from __future__ import annotations

import importlib
import inspect

_OPTIONS = "    options:\n      heading_level: 3\n"


def page(title: str, introduction: str, name: str) -> str:
    """The page of a package's public names: classes, functions and exceptions.

    Args:
        title: its heading.
        introduction: Markdown below it.
        name: the package's; its `__all__` has the public names.
    """
    package = importlib.import_module(name)
    kinds: dict[str, list[str]] = {"Classes": [], "Functions": [], "Exceptions": []}
    for each in package.__all__:
        value = getattr(package, each)
        if not inspect.isclass(value):
            kinds["Functions"].append(each)
        elif issubclass(value, Exception):
            kinds["Exceptions"].append(each)
        else:
            kinds["Classes"].append(each)
    parts = [f"# {title}\n\n{introduction}\n\n"]
    for kind, names in kinds.items():
        if names:
            parts.append(f"## {kind}\n\n")
            parts += [f"::: {name}.{each}\n{_OPTIONS}\n" for each in names]
    return "".join(parts)
