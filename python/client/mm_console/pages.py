"""Templates to answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse

from mm_console.kinds import TITLES
from mm_console.problems import Problem

_FOLDER = Path(__file__).with_name("templates")


class Pages:
    """The templates.

    Args:
        form_token: is in each form.
    """

    def __init__(self, form_token: str) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(_FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(form_token=form_token, kind_titles=TITLES, svg=Markup)

    def text(self, template: str, context: Mapping[str, Any]) -> str:
        """Return a page, or a part of one."""
        return self._environment.get_template(template).render(context)

    def page(self, template: str, context: Mapping[str, Any], status: int = 200) -> HTMLResponse:
        """Return a page as an answer."""
        return HTMLResponse(self.text(template, context), status_code=status)

    def problem(self, problem: Problem, *, navigation: bool = True) -> HTMLResponse:
        """Return a page that says what went wrong.

        Args:
            problem: that.
            navigation: whether other pages are offered, which a stranger gets nothing of.
        """
        return self.page("problem.html", {"problem": problem, "navigation": navigation, "here": ""}, problem.status)
