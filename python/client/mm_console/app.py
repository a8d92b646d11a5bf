"""The console as an ASGI application: its routes, and what stands before each of them.

Addresses are relative and without folders, so that it works below any path prefix: `try` is `/prefix/try` for a browser
that has opened `/prefix/`.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from mm_console import models_page, operations_page, try_page
from mm_console.console import Console
from mm_console.forms import Form
from mm_console.limits import SafeHeaders, check_size
from mm_console.problems import Problem, problem_of
from mm_console.samples import MAKERS

_STATIC = Path(__file__).with_name("static")
_STATIC_TYPES = {"console.css": "text/css", "console.js": "text/javascript", "icon.svg": "image/svg+xml"}
# Of one field; files go to disk as they come.
_LONGEST_FIELD = 16 * 1024 * 1024
_MOST_FIELDS = 200
_LOG = logging.getLogger(__name__)
_Page = Callable[[Console, Request], Response]
_Action = Callable[[Console, Form], Response]


def create_app(console: Console) -> Starlette:
    """Return the application of a console."""
    return Starlette(
        routes=[
            Route("/", _page(console, _home)),
            Route("/models", _page(console, models_page.models)),
            Route("/model", _page(console, models_page.model)),
            Route("/try", _page(console, try_page.show)),
            Route("/try", _action(console, try_page.run), methods=["POST"]),
            Route("/stream", _action(console, try_page.stream), methods=["POST"]),
            Route("/operations", _page(console, operations_page.show)),
            Route("/confirm", _page(console, operations_page.confirm)),
            Route("/scale", _action(console, operations_page.scale), methods=["POST"]),
            Route("/restart", _action(console, operations_page.restart), methods=["POST"]),
            Route("/file", _page(console, _file)),
            Route("/sample", _page(console, _sample)),
            Route("/healthz", _healthz),
            *(Route(f"/{name}", _static(name, kind)) for name, kind in _STATIC_TYPES.items()),
        ],
        middleware=[Middleware(SafeHeaders)],
        exception_handlers={HTTPException: _http_error(console)},
        lifespan=_lifespan(console),
    )


def _lifespan(console: Console) -> Callable[[Starlette], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def running(_: Starlette) -> AsyncIterator[None]:
        with console.watching_metrics():
            yield

    return running


def _page(console: Console, answer: _Page) -> Callable[[Request], Response]:
    """What answers a GET: after the check of the caller, in a thread."""

    def endpoint(request: Request) -> Response:
        try:
            if (welcome := console.access.welcome(request)) is not None:
                return welcome
            console.access.check(request)
        except Problem as problem:
            return console.pages.problem(problem, navigation=False)
        try:
            return answer(console, request)
        except Exception as error:  # noqa: BLE001 - whatever it is, a person gets to read it
            return console.pages.problem(_noted(error))

    return endpoint


def _action(console: Console, act: _Action) -> Callable[..., object]:
    """What answers a POST: after the checks of the caller, the size and the form's token, in a thread."""

    async def endpoint(request: Request) -> Response:
        from_script = request.headers.get("x-requested-with") == "console"
        form: Form | None = None
        try:
            console.access.check(request)
            console.access.check_origin(request)
            check_size(request, console.settings.max_upload_mb)
            data = await request.form(max_files=_MOST_FIELDS, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD)
            try:
                token = data.get("form_token", "")
                console.access.check_token("" if isinstance(token, UploadFile) else token)
                form = await run_in_threadpool(Form, data, console.uploads, from_script=from_script)
            finally:
                await data.close()
            response = await run_in_threadpool(act, console, form)
        except HTTPException as error:
            problem = Problem(
                f"{error.detail}", "A form as the page sends it.", "Load the page again.", error.status_code
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, a person gets to read it
            problem = _noted(error)
        else:
            if act is not try_page.stream:
                form.close()
            return response
        if form is not None:
            problem = form.cleaned(problem)
            form.close()
        if from_script:
            return JSONResponse({"problem": problem.as_json()}, problem.status)
        return console.pages.problem(problem)

    return endpoint


def _noted(error: Exception) -> Problem:
    """What to show of an error; one that nobody foresaw is logged where the console runs."""
    problem = problem_of(error)
    if problem.status == 500:
        _LOG.error("the console failed", exc_info=error)
    return problem


def _home(_: Console, __: Request) -> Response:
    return RedirectResponse("models", status_code=303)


def _file(console: Console, request: Request) -> Response:
    name = request.query_params.get("name", "")
    path = console.results.find(request.query_params.get("result", ""), name)
    # Only what a page shows is shown; the rest is saved.
    shown = path.suffix in (".png", ".webm")
    return FileResponse(path, filename=path.name, content_disposition_type="inline" if shown else "attachment")


def _sample(console: Console, request: Request) -> Response:
    name = request.query_params.get("name", "")
    if name not in MAKERS:
        raise Problem(f"There is no sample {name!r}.", f"One of {', '.join(MAKERS)}.", "Choose one of these.", 404)
    return FileResponse(console.samples.path(name), filename=name)


def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok")


def _static(name: str, kind: str) -> Callable[[Request], Response]:
    def endpoint(_: Request) -> Response:
        return FileResponse(_STATIC / name, media_type=kind)

    return endpoint


def _http_error(console: Console) -> Callable[[Request, Exception], Response]:
    def answer(_: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        if status == 405:
            problem = Problem(
                "This address is not asked that way.", "A page or a form.", "Open the page Models.", status
            )
        else:
            problem = Problem("There is no such page.", "An address of this console.", "Open the page Models.", status)
        return console.pages.problem(problem, navigation=False)

    return answer
