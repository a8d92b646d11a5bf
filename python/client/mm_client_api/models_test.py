"""Models as objects, of both clients."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_testing import echo
from client_testing.repository import BROKEN, NEVER, PAIR, REASON, SELFISH, TALKER, RepositoryServer

from mm_client_api import (
    ApiKey,
    AsyncTritonClient,
    AuthenticationError,
    InvalidRequest,
    ModelNotFound,
    ModelNotReady,
    NotAProxy,
    TensorSpec,
    TritonClient,
)

KEY = ApiKey(echo.API_KEY)


@pytest.fixture
def repository() -> Iterator[RepositoryServer]:
    with RepositoryServer() as server:
        yield server


@pytest.fixture
def client(repository: RepositoryServer) -> Iterator[TritonClient]:
    with TritonClient(repository.addr, credentials=KEY) as client:
        yield client


def test_models_are_listed_with_their_states(client: TritonClient) -> None:
    listed = [(model.name, model.version, model.state, model.reason, model.ready) for model in client.models()]
    assert listed == [
        (BROKEN, "1", "UNAVAILABLE", REASON, False),
        (NEVER, "", "", "", False),
        (PAIR, "9", "UNAVAILABLE", "unloaded", False),
        (PAIR, "10", "READY", "", True),
        (SELFISH, "1", "READY", "", True),
        (TALKER, "1", "READY", "", True),
    ]


def test_a_model_is_described(client: TritonClient) -> None:
    described = client.describe(PAIR)
    assert (described.version, described.platform, described.max_batch_size) == ("10", "python", 8)
    assert described.inputs["x"] == TensorSpec("x", "INT64", (-1, 3))
    assert described.inputs["scale"].optional
    assert str(described).splitlines() == [
        "pair version 10 (python)",
        "Echoes <both> of its inputs.",
        "batches of up to 8",
        "takes x: INT64 [-1, 3]",
        "takes t: BYTES [-1, 1]",
        "takes scale: FP32 [-1, 1], optional",
        "gives x: INT64 [-1, 3]",
        "gives t: BYTES [-1, 1]",
    ]
    assert client.describe(TALKER).decoupled


def test_a_model_is_called_with_what_people_have(client: TritonClient, tmp_path: Path) -> None:
    model = client.model(PAIR)
    np.save(tmp_path / "x.npy", np.array([1, 2, 3], np.int16))
    (tmp_path / "t.bin").write_bytes(b"\0\xff")
    calls: list[tuple[list[Any], dict[str, Any], Any]] = [
        ([[1, 2, 3], "a"], {}, ([[1, 2, 3]], [[b"a"]])),
        ([[[1, 2, 3], [4, 5, 6]]], {"t": ["a", "b"]}, ([[1, 2, 3], [4, 5, 6]], [[b"a"], [b"b"]])),
        ([{"t": b"a", "x": (1, 2, 3), "scale": 0.5}], {}, ([[1, 2, 3]], [[b"a"]])),
        ([tmp_path / "x.npy", tmp_path / "t.bin"], {}, ([[1, 2, 3]], [[b"\0\xff"]])),
    ]
    for values, named, expected in calls:
        arrays = model(*values, **named)
        assert (arrays.x.tolist(), arrays["t"].tolist()) == expected
        assert list(arrays) == ["x", "t"]
        assert (arrays.x.dtype.name, arrays.result.model_version) == ("int64", "10")


@pytest.mark.parametrize(
    ("values", "named", "text"),
    [
        ([], {}, "model 'pair' lacks an input; expected x (INT64 [-1, 3]), t (BYTES [-1, 1])"),
        ([[1, 2, 3]], {"t": "a", "u": 1}, "model 'pair' has no input 'u'; expected x (INT64 [-1, 3]), t"),
        ([[1, 2, 3], "a"], {"x": 1}, "input 'x' is given twice"),
        ([1, 2, 3, 4], {}, "4 inputs are given; expected at most 3: x, t, scale"),
        ([[1, 2], "a"], {}, "input 'x' does not fit: its shape is [2]; expected INT64 [-1, 3]; reshape it"),
        ([[0.5, 1, 2], "a"], {}, "elements of type float64 cannot become INT64 without changing their meaning, for in"),
        (["x.npy", "a"], {}, "input 'x' does not fit: it is a text; expected INT64 [-1, 3]; write pathlib.Path(…)"),
        ([Path("none.npy"), "a"], {}, "input 'x' does not fit: none.npy cannot be read: "),
        ([Path("picture.png"), "a"], {}, "input 'x' does not fit: picture.png is no .npy file; expected INT64"),
        ([[1, 2, 3], {"t": 1}], {}, "input 't' is a mapping; expected an array, a list, text or a path"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_sent(
    client: TritonClient, repository: RepositoryServer, values: list[Any], named: dict[str, Any], text: str
) -> None:
    model = client.model(PAIR)
    with pytest.raises(InvalidRequest) as caught:
        model(*values, **named)
    assert text in caught.value.detail
    assert repository.asked == ["RepositoryIndex", "ModelMetadata", "ModelConfig"]


def test_a_stream_gives_each_answer(client: TritonClient) -> None:
    model = client.model(PAIR, outputs=["x"])
    items = ({"x": [number, 0, 0], "t": "a"} for number in range(20))
    found = [arrays.x[0, 0] for arrays in model.stream(items, window=4)]
    assert found == list(range(20))
    talker = client.model(TALKER)
    said = [arrays.text_output[0] for arrays in talker.stream(["Hello", "you"])]
    assert said == [b"Hell", b"o", b"you"]
    with pytest.raises(InvalidRequest) as caught:
        talker("a")
    assert caught.value.detail == (
        "not sent: model 'talker' may send any number of answers to one request (decoupled); "
        "expected `for arrays in model.stream([inputs])`, which yields each"
    )


def test_asyncio_has_the_same(repository: RepositoryServer) -> None:
    async def main() -> None:
        async with AsyncTritonClient(repository.addr, credentials=KEY) as client:
            assert {model.name for model in await client.models()} == {PAIR, SELFISH, TALKER, BROKEN, NEVER}
            model = await client.model(PAIR)
            arrays = await model([1, 2, 3], t="a")
            assert (arrays.x.tolist(), arrays.t.tolist()) == ([[1, 2, 3]], [[b"a"]])

            async def items() -> Any:
                for number in range(5):
                    yield {"x": [number, 0, 0], "t": "a"}

            assert [arrays.x[0, 0] async for arrays in model.stream(items())] == list(range(5))
            assert [arrays.x[0, 0] async for arrays in model.stream([{"x": [7, 0, 0], "t": "a"}])] == [7]
            with pytest.raises(ModelNotReady):
                await client.model(BROKEN)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "version", "kind", "text"),
    [
        ("pear", "", ModelNotFound, "there is no model 'pear', or you may not use it; did you mean pair"),
        ("zzz", "", ModelNotFound, "or you may not use it; there are broken, never_loaded, pair, selfish, talker"),
        (PAIR, "8", ModelNotFound, "model 'pair' has no version '8'; it has 9, 10"),
        (PAIR, "9", ModelNotReady, "model 'pair' is not ready: version 9 is UNAVAILABLE (unloaded)"),
        (BROKEN, "", ModelNotReady, f"version 1 is UNAVAILABLE ({REASON})"),
        (NEVER, "", ModelNotReady, "version - is not loaded"),
    ],
)
def test_a_model_that_cannot_be_used_says_why(
    client: TritonClient, name: str, version: str, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        client.model(name, version)
    assert text in str(caught.value)


def test_strangers_and_older_proxies_are_told(server: echo.EchoServer, repository: RepositoryServer) -> None:
    with TritonClient(repository.addr, credentials=ApiKey("wrong")) as stranger:
        for ask in (stranger.models, lambda: stranger.model(PAIR)):
            with pytest.raises(AuthenticationError):
                ask()
    with TritonClient(server.addr, credentials=KEY) as older, pytest.raises(NotAProxy):
        older.models()


def test_an_output_that_is_not_there_is_named(client: TritonClient) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.model(PAIR, outputs=["x", "y"])
    assert "model 'pair' has no output 'y'; expected x, t" in caught.value.detail
    arrays = client.model(PAIR, outputs=["x"])([1, 2, 3], "a")
    assert list(arrays) == ["x"]
    with pytest.raises(KeyError, match="no output 't'; expected one of x"):
        arrays["t"]
    with pytest.raises(AttributeError):
        _ = arrays.t


def test_inputs_may_have_any_name(client: TritonClient) -> None:
    model = client.model(SELFISH)
    named: dict[str, Any] = {"self": 1, "in-put": 2}
    for arrays in (model(1, 2), model({"self": 1, "in-put": 2}), model(**named)):
        assert arrays["self"].tolist() == [1]
    assert list(inspect.signature(model).parameters) == ["self"]


def test_editors_and_notebooks_are_shown_what_there_is(client: TritonClient) -> None:
    model = client.model(PAIR)
    assert (inspect.getdoc(model) or "").startswith("pair version 10 (python)\nEchoes <both> of its inputs.")
    signature = inspect.signature(model)
    assert list(signature.parameters) == ["x", "t", "scale"]
    assert signature.parameters["x"].annotation == "INT64 [-1, 3]"
    assert signature.parameters["scale"].default is None
    assert {"x", "t"} <= set(dir(model.inputs))
    assert model.inputs.x.shape == (-1, 3)
    assert repr(model) == "Model('pair', version 10: x, t, scale → x, t)"
    arrays = model([1, 2, 3], "a")
    assert {"x", "t", "result"} <= set(dir(arrays))
    assert repr(arrays).splitlines() == [
        "x  INT64 [1, 3]  1, 2, 3  min 1, mean 2, max 3",
        "t  BYTES [1, 1]  'a'",
    ]
    shows: list[Callable[[], str]] = [model._repr_html_, arrays._repr_html_, client.models()._repr_html_]
    for show in shows:
        assert "<table>" in show()
    assert "Echoes &lt;both&gt; of its inputs." in model._repr_html_()
