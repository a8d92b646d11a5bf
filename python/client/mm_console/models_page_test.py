"""The page of models, and the code that it offers."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import pytest
from client_testing.pages import Visit, shown
from client_testing.repository import REASON

from mm_client_api import ModelDescription, TensorSpec
from mm_console.kinds import PictureInput, kinds_of, picture_input
from mm_console.snippets import snippets_for


def described(*inputs: TensorSpec, outputs: tuple[TensorSpec, ...] = (), **more: Any) -> ModelDescription:
    outputs = outputs or (TensorSpec("out", "FP32", (-1,)),)
    return ModelDescription(
        "m", "2", ("2",), "python", {each.name: each for each in inputs}, {each.name: each for each in outputs}, **more
    )


def test_models_are_listed_with_what_they_take_or_why_not(visit: Visit) -> None:
    text = shown(visit.http.get("/models").text)
    assert "11 that you may use." in text
    assert "pair version 10 Ready Echoes &lt;both&gt; of its inputs. Takes x INT64 [-1, 3] t BYTES [-1, 1]" in text
    assert f"broken version 1 Unavailable Why not: {REASON}" in text
    assert "never_loaded no version Not loaded Why not: Triton gives no reason" in text


def test_models_can_be_searched(visit: Visit) -> None:
    page = visit.http.get("/models", params={"words": "pai"}).text
    assert "2 that you may use with “pai” in their names." in shown(page)
    assert "No model has that in its name." in shown(visit.http.get("/models", params={"words": "<nothing>"}).text)
    assert "&lt;nothing&gt;" in visit.http.get("/models", params={"words": "<nothing>"}).text


def test_a_model_has_a_page_with_code(visit: Visit) -> None:
    page = visit.http.get("/model", params={"name": "pair"}).text
    assert "Runs on python" in shown(page)
    assert "Note Batches of up to 8." in shown(page)
    assert re.findall(r"<h3>(.*)</h3>", page) == ["Python", "curl", "tritonclient"]
    assert REASON in shown(visit.http.get("/model", params={"name": "broken"}).text)


@pytest.mark.parametrize("query", [{"name": "nothing"}, {"name": "*"}, {"name": "pair", "version": "77"}, {}])
def test_a_model_that_is_not_there_is_refused_in_words(visit: Visit, query: dict[str, str]) -> None:
    answer = visit.http.get("/model", params=query)
    assert answer.status_code == 404
    assert "or you may not use it." in answer.text


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        (TensorSpec("images", "FP32", (1, 3, 640, 640)), ["image", "video", "arrays"]),
        (TensorSpec("images", "FP32", (-1, 3, -1, -1)), ["image", "arrays"]),
        (TensorSpec("image", "UINT8", (-1, 224, 224, 3)), ["image", "arrays"]),
        (TensorSpec("image", "UINT8", (3, 224, 224)), ["image", "arrays"]),
        (TensorSpec("x", "INT64", (1, 3, 640, 640)), ["arrays"]),
        (TensorSpec("x", "FP32", (8, 3, 640, 640)), ["arrays"]),
        (TensorSpec("x", "FP32", (1, 4, 640, 640)), ["arrays"]),
        (TensorSpec("x", "FP32", (3, 3, 3)), ["arrays"]),
        (TensorSpec("WAVEFORM", "FP32", (-1,)), ["sound", "arrays"]),
        (TensorSpec("audio_signal", "FP32", (-1, -1)), ["sound", "arrays"]),
        (TensorSpec("WAVEFORM", "FP32", (16000,)), ["arrays"]),
        (TensorSpec("x", "FP32", (-1,)), ["arrays"]),
        (TensorSpec("TEXT", "BYTES", (-1, 1)), ["text", "arrays"]),
    ],
)
def test_what_a_model_takes_decides_how_it_is_tried(spec: TensorSpec, kinds: list[str]) -> None:
    assert kinds_of(described(spec)) == kinds
    # Another needed input leaves arrays alone; an optional one changes nothing.
    assert kinds_of(described(spec, TensorSpec("more", "FP32", (1,)))) == ["arrays"]
    assert kinds_of(described(spec, TensorSpec("more", "FP32", (1,), optional=True))) == kinds
    assert kinds_of(described(spec, stateful=True)) == ["arrays"]


def test_a_picture_goes_where_its_colours_are() -> None:
    found = picture_input(described(TensorSpec("image", "UINT8", (-1, 224, 320, 3))))
    assert found == PictureInput("image", "UINT8", planar=False, height=224, width=320)
    assert found.square is None


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize(
    "specs",
    [
        [TensorSpec("images", "FP32", (1, 3, 640, 640))],
        [TensorSpec("a b'\"", "INT64", (-1, 4)), TensorSpec("flag", "BOOL", (1,))],
        [TensorSpec("TEXT", "BYTES", (-1, 1))],
        [TensorSpec("text_input", "BYTES", (1,)), TensorSpec("more", "FP32", (1,), optional=True)],
    ],
)
def test_code_is_code(specs: list[TensorSpec], decoupled: bool) -> None:
    outputs = (TensorSpec("text_output", "BYTES", (1,)),)
    found = snippets_for(described(*specs, outputs=outputs, decoupled=decoupled), "proxy:50051", "http://proxy:8080")
    python, curl, tritonclient = (snippet.text for snippet in found)
    for text in (python, tritonclient):
        ast.parse(text)
        assert "'proxy:50051'" in text
        assert "more" not in text
    assert '"http://proxy:8080/v2/models/m/versions/2/' in curl
    assert "x-domino-api-key: $DOMINO_USER_API_KEY" in curl
    assert max(map(len, curl.splitlines())) < 400


def test_small_inputs_stand_in_the_command() -> None:
    curl = snippets_for(described(TensorSpec("x", "INT64", (-1, 2))), "proxy:50051", "")[1].text
    body = re.search(r"-d '(.*)'", curl)
    assert body is not None
    (sent,) = json.loads(body.group(1))["inputs"]
    assert sent == {"name": "x", "datatype": "INT64", "shape": [1, 2], "data": [1, 1]}
    assert '"$MM_HTTP_URL/v2/models/m' in curl
