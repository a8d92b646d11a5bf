"""OpenAI's API of a proxy that runs, with a stand-in for Triton behind."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from proxy_testing.http1 import Peer
from proxy_testing.in_process import Served, served
from proxy_testing.openai_calls import (
    HELLO,
    JOINED,
    KEY,
    TEMPLATE,
    answers,
    answers_once,
    chat,
    completion,
    error,
    ok,
    post,
    vllm,
)
from proxy_testing.text_models import answer, describe, events, streamed
from service_testing.waiting import until

PICTURE = base64.b64encode(b"a picture").decode()


@pytest.fixture(scope="module")
def proxy() -> Iterator[Served]:
    with served(MAX_MESSAGE_MB="1", TRITON_CANCEL_DELAY_SECS="0.2") as running:
        yield running


@pytest.fixture
def asked(proxy: Served) -> Iterator[list[Any]]:
    """The inputs of each request that Triton gets."""
    usual = proxy.triton.infer, proxy.triton.infer_stream
    yield []
    proxy.triton.infer, proxy.triton.infer_stream = usual


def test_a_chat_is_a_prompt_for_the_model_and_its_answer_a_message(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy)
    counts: dict[str, Any] = {"num_input_tokens": 7, "num_output_tokens": 2, "finish_reason": "stop"}
    answers(proxy, asked, streamed(text_output="Oh, ich schon.", **counts), streamed(final=True))
    made = ok(chat(proxy, model, temperature=0, max_completion_tokens=20, seed=3, stop="\n", top_k=5))
    assert made.pop("id").startswith("chatcmpl-")
    assert made.pop("created") > 1_700_000_000
    assert made == {
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Oh, ich schon.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }
    (inputs,) = asked
    sampling = json.loads(inputs.pop("sampling_parameters"))
    assert sampling == {"temperature": 0, "max_tokens": 20, "seed": 3, "stop": ["\n"], "top_k": 5}
    assert inputs == {
        "text_input": JOINED,
        "stream": False,
        "exclude_input_in_output": True,
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }


def test_a_streamed_chat_comes_in_chunks_and_ends_with_usage_and_done(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy)
    said = "Grüß dich".encode()
    # The second answer ends within a character.
    parts = [said[:2], said[2:3], said[3:]]
    answers(
        proxy,
        asked,
        *(streamed(text_output=part, num_input_tokens=7, num_output_tokens=1) for part in parts),
        streamed(final=True),
    )
    response = chat(proxy, model, stream=True, stream_options={"include_usage": True}, max_tokens=3)
    assert (response.status, response.fields["content-type"]) == (200, "text/event-stream; charset=utf-8")
    *chunks, last, done = events(response.body)
    assert done == "[DONE]"
    assert {(each["object"], each["id"], each["model"]) for each in (*chunks, last)} == {
        ("chat.completion.chunk", last["id"], model)
    }
    assert [each["choices"][0]["delta"] for each in chunks] == [
        {"role": "assistant", "content": ""},
        {"content": "Gr"},
        {"content": "üß dich"},
        {},
    ]
    assert [each["choices"][0]["finish_reason"] for each in chunks] == [None, None, None, "length"]
    assert [each["usage"] for each in chunks] == [None] * 4
    assert (last["choices"], last["usage"]["total_tokens"]) == ([], 10)
    assert asked[0]["stream"] is True


def test_a_stop_string_ends_the_answer_and_the_inference(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy)
    cancelled: list[bool] = []

    def infer_stream(request: Any, context: Any) -> Iterator[bytes]:
        context.add_callback(lambda: cancelled.append(True))
        for part in ("one t", "w", "o three"):
            yield streamed(text_output=part)
        while not cancelled:
            yield streamed(text_output="x" * 1000)

    proxy.triton.infer_stream = infer_stream
    *chunks, done = events(completion(proxy, model, stream=True, stop=["two", "twit"]).body)
    assert "".join(each["choices"][0]["text"] for each in chunks) == "one "
    assert (chunks[-1]["choices"][0]["finish_reason"], done) == ("stop", "[DONE]")
    until(lambda: bool(cancelled) and proxy.server.statistics().calls.open == 0)
    cancelled.clear()
    made = ok(completion(proxy, model, stop=["two", "twit"]))
    assert made["choices"][0]["text"] == "one "
    assert made["object"] == "text_completion"
    assert "usage" not in made
    until(lambda: bool(cancelled) and proxy.server.statistics().budget.in_use == 0)


def test_a_reader_that_leaves_ends_the_inference(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy)
    cancelled: list[bool] = []

    def infer_stream(request: Any, context: Any) -> Iterator[bytes]:
        context.add_callback(lambda: cancelled.append(True))
        while not cancelled:
            yield streamed(text_output="x" * 1000)

    proxy.triton.infer_stream = infer_stream
    port = proxy.server.http_port
    assert port is not None
    with Peer(port) as peer:
        body = {"model": model, "messages": HELLO, "stream": True}
        peer.request("POST", "/v1/chat/completions", json.dumps(body).encode(), **KEY)
        assert b"200 OK" in peer.until(b"\r\n\r\n")
        peer.chunk()
    until(lambda: bool(cancelled) and proxy.server.statistics().calls.open == 0)
    until(lambda: proxy.server.statistics().budget.in_use == 0)


def test_a_template_makes_the_prompt_and_sees_the_tools(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy, chat_template=TEMPLATE, eos_token="</s>")  # noqa: S106 - ends a text
    answers(proxy, asked, streamed(text_output="x", final=True))
    assert ok(chat(proxy, model))["choices"][0]["message"]["content"] == "x"
    tools = [{"type": "function", "function": {"name": "clock", "description": "ä < b"}}]
    ok(chat(proxy, model, tools=tools, tool_choice="auto"))
    ok(chat(proxy, model, tools=tools, tool_choice="none"))
    plain = "<system>Be kind.<user>Hä?{}<assistant></s>"
    described = json.dumps(tools, ensure_ascii=False)
    assert [each["text_input"] for each in asked] == [plain.format(each) for each in ("", described, "")]


def test_a_model_that_has_an_input_for_each_thing_gets_each(proxy: Served, asked: list[Any]) -> None:
    inputs = {
        "prompt": ("BYTES", [1]),
        "system_prompt": ("BYTES", [1]),
        "max_tokens": ("INT32", [1]),
        "temperature": ("FP32", [1]),
        "min_length": ("INT32", [1]),
    }
    model = describe(proxy.triton, inputs, {"generated_text": "BYTES", "token_count": "UINT32"}, max_batch_size=4)
    answers_once(proxy, asked, answer(generated_text="Well.", token_count=5))
    made = ok(chat(proxy, model, max_tokens=5, temperature=0.5, top_p=1, min_length=2))
    assert made["choices"][0]["message"]["content"] == "Well."
    # The model does not count the prompt's tokens, so nobody does.
    assert (made["choices"][0]["finish_reason"], "usage" in made) == ("length", False)
    expected = {"prompt": "Hä?", "system_prompt": "Be kind.", "max_tokens": 5, "temperature": 0.5, "min_length": 2}
    assert asked == [expected]
    refused = error(chat(proxy, model, top_p=0.5), 400)
    assert refused["message"].startswith(f"'top_p' is asked for, and model '{model}' has no input 'top_p' for it")
    assert refused["param"] == "top_p"
    # It comes in one piece, and so in one event.
    *chunks, done = events(chat(proxy, model, stream=True).body)
    assert [each["choices"][0]["delta"].get("content") for each in chunks] == ["", "Well.", None]
    assert done == "[DONE]"


def test_a_configuration_says_what_names_do_not(proxy: Served, asked: list[Any]) -> None:
    settings = {
        "inputs": {"prompt": "QUERY", "max_tokens": "LEN"},
        "outputs": {"text": "ANSWER"},
        "default_max_tokens": 9,
    }
    model = describe(
        proxy.triton,
        {"QUERY": ("BYTES", [1]), "LEN": ("UINT32", [1])},
        {"ANSWER": "BYTES"},
        required=("QUERY", "LEN"),
        openai=json.dumps(settings),
    )
    answers_once(proxy, asked, answer(ANSWER=" upon a time"))
    made = ok(completion(proxy, model, echo=True))
    assert made["choices"][0]["text"] == "Once upon a time"
    assert asked == [{"QUERY": "Once", "LEN": 9}]


def test_pictures_go_to_a_model_that_sees(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy, chat_template="{% for p in messages[0].content %}[{{ p.type }}{{ p.text }}]{% endfor %}")
    answers(proxy, asked, streamed(text_output="a cat", final=True))

    def shown(url: object) -> list[Any]:
        part = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, part]}]

    ok(chat(proxy, model, messages=shown(f"data:image/png;base64,{PICTURE}")))
    assert (asked[0]["image"], asked[0]["text_input"]) == (PICTURE, "[textWhat is it?][image]")
    for url in ("http://10.0.0.1/latest", "file:///etc/passwd", "data:text/html;base64,eA==", ""):
        refused = error(chat(proxy, model, messages=shown(url)), 400)
        assert "nothing is fetched from an address that a caller names" in refused["message"]
        assert refused["param"] == "messages[0].content[1].image_url.url"
    assert "no base64" in error(chat(proxy, model, messages=shown("data:image/png;base64,?")), 400)["message"]
    model = describe(proxy.triton, {"text_input": ("BYTES", [1])}, {"text_output": "BYTES"})
    blind = error(chat(proxy, model, messages=shown(f"data:image/png;base64,{PICTURE}")), 400)
    assert "has no input 'image'" in blind["message"]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_probabilities_come_where_the_model_gives_them(proxy: Served, asked: list[Any], path: str) -> None:
    model = vllm(proxy)
    places = [{"5": {"logprob": -1.5, "rank": 2, "decoded_token": "hö"}, "9": {"logprob": -0.5, "decoded_token": "ha"}}]
    answers(proxy, asked, streamed(text_output="hö", logprobs=json.dumps(places), final=True))
    is_chat = "chat" in path
    body = {"messages": HELLO, "logprobs": True, "top_logprobs": 1} if is_chat else {"prompt": "x", "logprobs": 1}
    (choice,) = ok(post(proxy, path, {"model": model, **body}))["choices"]
    if is_chat:
        top = [{"token": "ha", "logprob": -0.5, "bytes": [104, 97]}]
        expected: Any = {
            "content": [{"token": "hö", "logprob": -1.5, "bytes": list("hö".encode()), "top_logprobs": top}]
        }
    else:
        expected = {"tokens": ["hö"], "token_logprobs": [-1.5], "top_logprobs": [{"ha": -0.5}], "text_offset": [0]}
    assert choice["logprobs"] == expected
    assert (asked[0]["return_logprobs"], json.loads(asked[0]["sampling_parameters"])["logprobs"]) == (True, 1)
    model = describe(proxy.triton, {"text_input": ("BYTES", [1])}, {"text_output": "BYTES"})
    refused = error(post(proxy, path, {"model": model, **body}), 400)
    assert "has no input 'return_logprobs'" in refused["message"]


@pytest.mark.parametrize("encoded", [False, True], ids=["float", "base64"])
def test_embeddings_are_one_vector_for_each_text(proxy: Served, asked: list[Any], *, encoded: bool) -> None:
    model = describe(
        proxy.triton,
        {"text_input": ("BYTES", [1])},
        {"embedding": "FP32", "num_input_tokens": "UINT32"},
        max_batch_size=2,
    )
    answers_once(proxy, asked, answer(embedding=[0.5, 1.0, -2.0, 0.25], num_input_tokens=3))
    form = {"encoding_format": "base64"} if encoded else {}
    made = ok(post(proxy, "/v1/embeddings", {"model": model, "input": ["a", "b"], **form}))
    vectors: list[Any] = [[0.5, 1.0], [-2.0, 0.25]]
    if encoded:
        vectors = [base64.b64encode(struct.pack("<2f", *each)).decode() for each in vectors]
    assert made == {
        "object": "list",
        "model": model,
        "data": [{"object": "embedding", "index": at, "embedding": vectors[at]} for at in range(2)],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    assert asked == [{"text_input": ["a", "b"]}]
    refused = error(post(proxy, "/v1/embeddings", {"model": model, "input": ["a", "b", "c"]}), 400)
    assert refused["message"] == f"input has 3 texts, and model '{model}' takes 2 in a request; send fewer at once"


def test_vllms_embeddings_are_asked_for_as_its_backend_has_it(proxy: Served, asked: list[Any]) -> None:
    model = vllm(proxy)
    answers(proxy, asked, streamed(text_output="[0.5, -1]"), streamed(final=True))
    made = ok(post(proxy, "/v1/embeddings", {"model": model, "input": "a", "dimensions": 2}))
    assert [each["embedding"] for each in made["data"]] == [[0.5, -1.0]]
    assert json.loads(asked[0]["embedding_request"]) == {"input": "a", "pooling_params": {"dimensions": [2]}}


def test_the_audit_log_names_the_model_and_the_answers_own_id(
    proxy: Served, asked: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    model = vllm(proxy)
    answers(proxy, asked, streamed(text_output="x", final=True))
    cid = ok(chat(proxy, model))["id"]
    lines: list[str] = []

    def audited() -> bool:
        lines.extend(capfd.readouterr().out.splitlines())
        return any(cid in each for each in lines)

    until(audited)
    line = next(json.loads(each) for each in lines if cid in each)
    assert (line["principal"], line["method"]) == ("ann", "POST /v1/chat/completions")
    assert (line["models"], line["ok"], line["result"]) == ([{"model": model, "model_version": ""}], 1, "OK")
