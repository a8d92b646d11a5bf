"""The page that tries a model with a file, a text, or arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from mm_client.chat_model import Sampling
from mm_client.sample_inputs import sample, sample_shape
from mm_client_api import Model
from mm_console import arrays, chats, images, sounds, texts, videos
from mm_console.blocks import Answer, Words
from mm_console.console import Console
from mm_console.forms import Form
from mm_console.kinds import ARRAYS, CHAT, IMAGE, SOUND, TEXT, VIDEO, kinds_of
from mm_console.problems import Problem, problem_of
from mm_console.samples import PROMPT, TEXTS

# More than this is made up, not shown in a field.
_MOST_SHOWN = 64
_SAMPLES = {IMAGE: "sample.png", VIDEO: "sample.mp4", SOUND: "sample.wav"}
_HIGHEST_RATE = 768_000


def show(console: Console, request: Request) -> Response:
    """Show the form for a model."""
    model = console.model(request.query_params.get("model", ""), request.query_params.get("version", ""))
    return console.pages.page("try.html", _context(model, request.query_params.get("kind", "")))


def run(console: Console, form: Form) -> Response:
    """Try it, and answer with the result: a part of a page where a script asks, else a page."""
    with ExitStack() as stack:
        stack.enter_context(console.one_run())
        model = console.model(form.text("model"), form.text("version"))
        answer = _RUNS[_kind(model, form.text("kind"))](console, model, form)
    if form.from_script:
        return HTMLResponse(console.pages.text("answer.html", {"answer": answer}))
    return console.pages.page("try.html", {**_context(model, form.text("kind")), "answer": answer})


def stream(console: Console, form: Form) -> Response:
    """Try it, and answer with a line of JSON for each step.

    A line has `text`, a piece of a generated text; `frames`, how many are done; `html`, the result; or `problem`.
    """
    return StreamingResponse(_lines(console, form), media_type="application/x-ndjson")


def _lines(console: Console, form: Form) -> Iterator[str]:
    try:
        with closing(form), console.one_run():
            model = console.model(form.text("model"), form.text("version"))
            if _kind(model, form.text("kind")) == CHAT:
                for piece in _chat_pieces(console, model, form):
                    yield _line(text=piece)
                return
            with closing(_video_steps(console, model, form)) as steps:
                for step in steps:
                    if isinstance(step, Answer):
                        yield _line(html=console.pages.text("answer.html", {"answer": step}))
                    else:
                        yield _line(frames=step)
    except Exception as error:  # noqa: BLE001 - the answer has begun, so this is the only place for it
        yield _line(problem=form.cleaned(problem_of(error)).as_json())


def _line(**fields: Any) -> str:
    return json.dumps(fields) + "\n"


def _kind(model: Model, asked: str) -> str:
    kinds = kinds_of(model.description)
    if asked and asked not in kinds:
        raise Problem(
            f"Model {model.name} cannot be tried with {asked}.", f"One of {', '.join(kinds)}.", "Choose one of these."
        )
    return asked or kinds[0]


def _context(model: Model, asked: str) -> dict[str, Any]:
    kind = _kind(model, asked)
    return {
        "here": "try",
        "model": model,
        "kind": kind,
        "kinds": kinds_of(model.description),
        "sample": _SAMPLES.get(kind, ""),
        "texts": TEXTS,
        "prompt": PROMPT,
        "values": _shown_values(model) if kind == ARRAYS else {},
        "answer": None,
    }


def _shown_values(model: Model) -> dict[str, str]:
    """Made up values that are short enough to be shown, as JSON by the inputs' names."""
    random = np.random.default_rng(0)
    batches = bool(model.description.max_batch_size)
    shown = {}
    for name, spec in model.inputs.items():
        dims = zip(sample_shape(spec, batches=batches), spec.shape)
        shape = [dim if there >= 0 or dim == 1 else 4 for dim, there in dims]
        if spec.optional or np.prod(shape) > _MOST_SHOWN:
            continue
        value = sample(spec, random, batches=batches, shape=shape)
        shown[name] = json.dumps(np.round(value, 3).tolist() if value.dtype.kind == "f" else value.tolist())
    return shown


def _image(console: Console, model: Model, form: Form) -> Answer:
    path = form.file("file", console.samples, _SAMPLES[IMAGE])
    return images.run(model, path, form.number("threshold", 0.25, 0, 1), console.results.new())


def _video_steps(console: Console, model: Model, form: Form) -> Generator[int | Answer, None, None]:
    settings = console.settings
    connection = {
        "mm_addr": settings.addr,
        "mm_tls": settings.tls,
        "mm_ca_bundle": settings.ca_bundle,
        "req_timeout_sec": settings.timeout_secs,
    }
    path = form.file("file", console.samples, _SAMPLES[VIDEO])
    threshold, frames = form.number("threshold", 0.25, 0, 1), int(form.number("frames", 300, 0, 1e6))
    return videos.run(model, path, threshold, frames, connection, console.results.new())


def _video(console: Console, model: Model, form: Form) -> Answer:
    steps = list(_video_steps(console, model, form))
    (answer,) = (step for step in steps if isinstance(step, Answer))
    return answer


def _sound(console: Console, model: Model, form: Form) -> Answer:
    rate = int(form.number("rate", 0, 0, _HIGHEST_RATE)) or None
    return sounds.run(model, form.file("file", console.samples, _SAMPLES[SOUND]), rate, console.results.new())


def _text(console: Console, model: Model, form: Form) -> Answer:
    return texts.run(model, form.text("text"), console.results.new())


def _chat_pieces(console: Console, model: Model, form: Form) -> Iterator[str]:
    sampling = Sampling(
        max_tokens=int(form.number("max_tokens", 256, 1, 1e6)), temperature=form.number("temperature", 0, 0, 10)
    )
    return chats.answer(console.client, model, form.text("prompt"), form.text("history"), form.text("system"), sampling)


def _chat(console: Console, model: Model, form: Form) -> Answer:
    said = "".join(_chat_pieces(console, model, form))
    return Answer(f"{model.name} version {model.version}", [Words("Answer", said)])


def _arrays(console: Console, model: Model, form: Form) -> Answer:
    given = {name: arrays.Given(form.text(f"value:{name}"), *form.upload(f"file:{name}")) for name in model.inputs}
    return arrays.run(model, given, console.results.new())


_RUNS: dict[str, Callable[[Console, Model, Form], Answer]] = {
    IMAGE: _image,
    VIDEO: _video,
    SOUND: _sound,
    TEXT: _text,
    CHAT: _chat,
    ARRAYS: _arrays,
}
