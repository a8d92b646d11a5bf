from __future__ import annotations

import json
import queue
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from devstack import language_models
from devstack.language_models import CHAT, EMBEDDING
from devstack.reference_llama import ReferenceLlama
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels

_WAIT_SECONDS = 60.0
_MAX_MODEL_LEN = 320
_COUNTING, _COUNTED_ON = "1, 2, 3, 4,", " 5, 6, 7, 8,"
_OUTPUTS = ("finish_reason", "cumulative_logprob", "logprobs", "num_input_tokens", "num_output_tokens")
_DTYPES: Mapping[type, str] = {bytes: "BYTES", bool: "BOOL"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("language")


@pytest.fixture(scope="module")
def missing(folder: Path) -> Mapping[str, str]:
    reasons = language_models.write_language_models(folder / "models", folder / "unpacked")
    assert CHAT not in reasons, reasons[CHAT]
    # Reading 2048 tokens takes a minute on a busy machine, and shows no more.
    config = folder / "models" / CHAT / "config.pbtxt"
    served = config.read_text().replace('string_value: "2048"', f'string_value: "{_MAX_MODEL_LEN}"')
    assert served != config.read_text()
    config.write_text(served)
    return reasons


@pytest.fixture(scope="module")
def triton(folder: Path, missing: Mapping[str, str]) -> Iterator[Triton]:
    with Triton(folder / "models", triton_wheels(), log=folder / "triton.log") as started:
        started.wait_ready()
        yield started


def _inputs(**values: bytes | bool) -> list[grpcclient.InferInput]:
    inputs = []
    for name, value in values.items():
        tensor = grpcclient.InferInput(name, [1], _DTYPES[type(value)])
        tensor.set_data_from_numpy(np.array([value], np.object_ if isinstance(value, bytes) else np.bool_))
        inputs.append(tensor)
    return inputs


def _results(
    triton: Triton, inputs: Sequence[grpcclient.InferInput], seen: Callable[[Any], object] = lambda _: None
) -> list[grpcclient.InferResult]:
    """Asks the language model. After a result that `seen` calls true, the rest is cancelled and not waited for."""
    came: queue.Queue[tuple[grpcclient.InferResult | None, InferenceServerException | None]] = queue.Queue()
    results = []
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        client.start_stream(lambda result, error: came.put((result, error)))
        client.async_stream_infer(CHAT, inputs, enable_empty_final_response=True)
        while True:
            result, error = came.get(timeout=_WAIT_SECONDS)
            if error is not None:
                raise error
            assert result is not None
            if result.as_numpy("text_output") is not None:
                results.append(result)
            if seen(result):
                client.stop_stream(cancel_requests=True)
                return results
            if result.get_response().parameters["triton_final_response"].bool_param:
                return results


def _asked(triton: Triton, prompt: str, stream: bool = True, **sampling: Any) -> list[dict[str, Any]]:
    """Every answer to a prompt, with all outputs by name."""
    wanted = {f"return_{name}": True for name in _OUTPUTS}
    parameters = json.dumps({"temperature": 0, **sampling}).encode()
    inputs = _inputs(text_input=prompt.encode(), stream=stream, sampling_parameters=parameters, **wanted)
    return [
        {name: result.as_numpy(name).tolist()[0] for name in ("text_output", *_OUTPUTS)}
        for result in _results(triton, inputs)
    ]


def _text(answers: Sequence[Mapping[str, Any]]) -> str:
    return b"".join(answer["text_output"] for answer in answers).decode()


def _tokens(answers: Sequence[Mapping[str, Any]]) -> int:
    return sum(answer["num_output_tokens"] for answer in answers)


def test_it_writes_what_a_language_model_writes_and_the_same_again(triton: Triton) -> None:
    first, again = (_asked(triton, _COUNTING, max_tokens=12) for _ in range(2))
    assert _text(first).startswith(_COUNTED_ON)
    assert first == again


def test_a_chat_in_the_form_of_its_template_is_answered_and_ended_by_the_model(triton: Triton) -> None:
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        parameters = client.get_model_config(CHAT).config.parameters
    assert "<|im_start|>assistant" in parameters["chat_template"].string_value
    question = "<|im_start|>user\nComplete this sentence: the capital of France is<|im_end|>\n<|im_start|>assistant\n"
    answers = _asked(triton, question, max_tokens=48)
    assert "Paris" in _text(answers)
    assert "<|" not in _text(answers)
    assert [answer["finish_reason"] for answer in answers] == [b"None"] * (len(answers) - 1) + [b"stop"]
    assert _tokens(answers) == len(answers) < 48


def test_pieces_are_the_text_that_comes_at_once_without_stream(triton: Triton) -> None:
    pieces = _asked(triton, _COUNTING, max_tokens=12)
    (at_once,) = _asked(triton, _COUNTING, stream=False, max_tokens=12)
    assert len(pieces) == 12
    # As in vLLM's backend, the prompt comes first unless it is not wanted.
    assert at_once["text_output"].decode() == _COUNTING + _text(pieces)
    assert at_once["finish_reason"] == pieces[-1]["finish_reason"] == b"length"
    assert at_once["num_output_tokens"] == _tokens(pieces) == 12
    assert at_once["cumulative_logprob"] == pieces[-1]["cumulative_logprob"]
    assert at_once["num_input_tokens"] == 11


def test_only_the_text_comes_where_no_more_is_wanted_and_without_the_prompt_if_asked(triton: Triton) -> None:
    (result,) = _results(
        triton,
        _inputs(
            text_input=_COUNTING.encode(),
            exclude_input_in_output=True,
            sampling_parameters=b'{"temperature": 0, "max_tokens": 6}',
        ),
    )
    assert [output.name for output in result.get_response().outputs] == ["text_output"]
    assert result.as_numpy("text_output").tolist()[0].decode() == _COUNTED_ON[:6]


def test_the_requests_own_parameters_say_how_to_sample_too(triton: Triton) -> None:
    # As Triton's generate hands on what is no input.
    answer = requests.post(
        f"{triton.http_url}/v2/models/{CHAT}/generate",
        json={"text_input": _COUNTING, "temperature": 0, "max_tokens": 6, "unlike": "any"},
        timeout=_WAIT_SECONDS,
    )
    assert answer.json()["text_output"] == _COUNTING + _COUNTED_ON[:6]


def test_a_stop_text_ends_the_answer_and_is_not_in_it(triton: Triton) -> None:
    answers = _asked(triton, _COUNTING, max_tokens=40, stop=["8", " 7,"])
    assert _text(answers) == " 5, 6,"
    assert answers[-1]["finish_reason"] == b"stop"


def test_a_seed_repeats_an_answer_and_another_changes_it(triton: Triton) -> None:
    first, again, other = (
        _text(_asked(triton, "Once upon a time", temperature=1, seed=seed, max_tokens=16)) for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


def test_its_probabilities_are_those_of_the_weights_in_its_file(triton: Triton) -> None:
    prompt = (
        "The river had been rising for three days when the mayor called a meeting. Nobody in the village had slept, and"
    )
    (answer,) = _asked(triton, prompt, stream=False, max_tokens=1, logprobs=10)
    ((listed),) = json.loads(answer["logprobs"])
    assert [each["rank"] for each in listed.values()] == list(range(1, 11))
    reference = ReferenceLlama()
    # Each of its words is one token, with the space before it.
    tokens = [reference.vocabulary.index(word.replace(" ", "Ġ")) for word in re.findall(r" ?\w+|[.,]", prompt)]
    assert answer["num_input_tokens"] == len(tokens)
    expected = reference.logprobs(tokens)
    # It rounds activations to 8 bits, which the reference does not.
    differences = [each["logprob"] - expected[int(token)] for token, each in listed.items()]
    assert np.abs(differences).max() < 0.7
    assert str(expected.argmax()) in list(listed)[:2]
    decoded = {token: each["decoded_token"].replace(" ", "Ġ") for token, each in listed.items()}
    assert decoded == {token: reference.vocabulary[int(token)] for token in listed}


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"sampling_parameters": b"{"}, "sampling_parameters is no JSON"),
        ({"sampling_parameters": b'{"temperatur": 1}'}, "sampling_parameters has temperatur; known are"),
        ({"text_input": b"\xff"}, "text_input holds bytes that are not UTF-8"),
        ({"text_input": b""}, "text_input has 0 tokens; expected from 1 to 319"),
        ({"text_input": b"one " * 320}, "text_input has 321 tokens; expected from 1 to 319"),
        ({"stream": True, "exclude_input_in_output": False}, "exclude_input_in_output is false; a streamed answer"),
    ],
)
def test_what_it_cannot_do_is_refused_in_words(triton: Triton, values: Mapping[str, Any], text: str) -> None:
    with pytest.raises(InferenceServerException, match=text):
        _results(triton, _inputs(**{"text_input": b"x", **values}))


def test_an_answer_ends_where_the_model_knows_no_further_place(triton: Triton) -> None:
    answers = _asked(triton, "1 " * 158 + "1", max_tokens=9, ignore_eos=True)
    assert (answers[-1]["num_input_tokens"], _tokens(answers)) == (317, _MAX_MODEL_LEN - 317)
    assert answers[-1]["finish_reason"] == b"length"


def test_requests_are_answered_beside_each_other(triton: Triton) -> None:
    expected = _text(_asked(triton, _COUNTING, max_tokens=12))
    with ThreadPoolExecutor(6) as callers:
        texts = list(callers.map(lambda _: _text(_asked(triton, _COUNTING, max_tokens=12)), range(6)))
    assert texts == [expected] * 6


def test_it_stops_when_nobody_reads_on(triton: Triton, folder: Path) -> None:
    parameters = b'{"max_tokens": 300, "ignore_eos": true}'
    inputs = _inputs(text_input=_COUNTING.encode(), stream=True, sampling_parameters=parameters)
    assert len(_results(triton, inputs, seen=lambda result: True)) == 1
    # Triton counts it as a success, for it had begun; the model itself says what it did.
    deadline = time.monotonic() + _WAIT_SECONDS
    while not (found := re.search(r"cancelled after (\d+) of 300 tokens", (folder / "triton.log").read_text())):
        assert time.monotonic() < deadline, "it did not stop in time"
        time.sleep(0.05)
    assert 1 <= int(found[1]) < 300


@pytest.fixture
def embed(triton: Triton, missing: Mapping[str, str]) -> Callable[..., tuple[NDArray[np.float32], list[int]]]:
    if EMBEDDING in missing:
        pytest.skip(missing[EMBEDDING])

    def ask(*texts: bytes) -> tuple[NDArray[np.float32], list[int]]:
        tensor = grpcclient.InferInput("text_input", [len(texts), 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[text] for text in texts], np.object_))
        with grpcclient.InferenceServerClient(triton.grpc_url) as client:
            result = client.infer(EMBEDDING, [tensor], client_timeout=_WAIT_SECONDS)
        return result.as_numpy("embedding"), result.as_numpy("num_input_tokens")[:, 0].tolist()

    return ask


Embed = Callable[..., tuple[NDArray[np.float32], list[int]]]


def test_sentences_that_mean_the_same_are_near_each_other(embed: Embed) -> None:
    pairs = [
        (b"A cat sits on the sofa.", b"A kitten lies on the couch."),
        (b"Shares fell by three percent.", b"The stock market dropped."),
        (b"How do I reset my password?", b"I forgot my login and need a new one."),
    ]
    vectors, tokens = embed(*(text for pair in pairs for text in pair))
    assert vectors.shape == (6, 384)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(6), abs=1e-5)
    assert tokens[0] == 9
    likeness = vectors @ vectors.T - 2 * np.eye(6)
    assert likeness.argmax(axis=1).tolist() == [1, 0, 3, 2, 5, 4]


def test_a_sentences_vector_does_not_depend_on_its_neighbours(embed: Embed) -> None:
    alone, _ = embed(b"A cat sits on the sofa.")
    beside, _ = embed(
        b"An unlike and much longer sentence about the price of steel in 1974!", b"A cat sits on the sofa."
    )
    assert beside[1].tobytes() == alone[0].tobytes()


def test_a_long_text_is_cut_where_the_model_was_trained_to(embed: Embed) -> None:
    (long, longer), tokens = embed(b"word " * 300, b"word " * 400)
    assert tokens == [256, 256]
    assert long.tobytes() == longer.tobytes()


def test_an_empty_text_has_a_vector_too(embed: Embed) -> None:
    (vector,), tokens = embed(b"")
    assert tokens == [2]
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_text_that_is_not_utf8_is_refused_in_words(embed: Embed) -> None:
    with pytest.raises(InferenceServerException, match="text_input holds bytes that are not UTF-8"):
        embed(b"\xff")


def test_what_is_not_there_is_named_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(language_models.FOLDER_VARIABLE, str(tmp_path))
    monkeypatch.setattr(language_models, "runfiles", lambda _: iter(()))
    reasons = language_models.write_language_models(tmp_path / "models", tmp_path / "unpacked")
    assert set(reasons) == {CHAT, EMBEDDING}
    assert "give the target //python/devstack:language_models" in reasons[CHAT]
    (tmp_path / "unavailable.txt").write_text("Maven is not installed\n")
    assert (
        language_models.write_language_models(tmp_path / "models", tmp_path / "again")[EMBEDDING]
        == "Maven is not installed"
    )
