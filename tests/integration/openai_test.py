"""OpenAI's API with the real Triton behind: the unmodified `openai` package, LangChain, and curl."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import openai  # type: ignore[import-not-found, unused-ignore]
import pytest

# Their types would have to be checked anew each time.
from langchain_core.messages import HumanMessage, SystemMessage  # type: ignore[import-not-found, unused-ignore]
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # type: ignore[import-not-found, unused-ignore]

from devstack.domino import DominoStandIn
from devstack.language_models import CHAT, EMBEDDING, write_language_models
from devstack.models import MODELS, Model, Signature, identity_name
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from service_testing.waiting import until
from serving import KEY, Proxy, proxy

WRITER, EMBEDDER, FP32 = "writer", "embedder", identity_name("FP32")
TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: "
    "{% for part in m.content if m.content is not string %}{{ part.text if part.type == 'text' else '<image>' }} "
    "{% else %}{{ m.content if m.content is string }} {% endfor %}{% endfor %}"
    "{% for t in tools or [] %}tool: {{ t.function.name }} {% endfor %}"
    "{% if messages[-1].content == 'nothing' %}{{ raise_exception('nothing was said') }}{% endif %}assistant:"
)
_FLAGS = ("exclude_input_in_output", "return_finish_reason", "return_logprobs", "return_num_input_tokens")
HELLO = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Grüß dich, Welt!"}]
# Seconds of words, of which nobody waits for the end.
_LONG = 1000
SAID = "system: Be kind. user: Grüß dich, Welt! assistant:[pictures: 0]"


def write_models(repository: Path) -> None:
    """Writes a model that says what it was asked, one that makes embeddings, and one of numbers."""
    flags = [Signature(name, "BOOL", (1,), optional=True) for name in (*_FLAGS, "return_num_output_tokens", "stream")]
    writer = Model(
        [
            Signature("text_input", "BYTES", (1,)),
            Signature("sampling_parameters", "BYTES", (1,), optional=True),
            Signature("image", "BYTES", (-1,), optional=True),
            *flags,
        ],
        [
            Signature("text_output", "BYTES", (-1,)),
            Signature("finish_reason", "BYTES", (-1,)),
            Signature("logprobs", "BYTES", (-1,)),
            Signature("num_input_tokens", "UINT32", (1,)),
            Signature("num_output_tokens", "UINT32", (-1,)),
        ],
        "identity",
        config="model_transaction_policy { decoupled: true }\n"
        f'parameters {{ key: "chat_template" value {{ string_value: {json.dumps(TEMPLATE)} }} }}\n'
        'parameters { key: "tool_call_format" value { string_value: "hermes" } }\n'
        'parameters { key: "openai" value { string_value: \'{"default_max_tokens": 100}\' } }\n',
    )
    writer.write(repository / WRITER)
    shutil.copyfile(Path(__file__).with_name("writer_model.py"), repository / WRITER / "1" / "model.py")
    embedder = Model(
        [Signature("text_input", "BYTES", (1,))],
        [Signature("embedding", "FP32", (2,)), Signature("num_input_tokens", "UINT32", (1,))],
        "identity",
        max_batch_size=4,
    )
    embedder.write(repository / EMBEDDER)
    shutil.copyfile(Path(__file__).with_name("embedder_model.py"), repository / EMBEDDER / "1" / "model.py")
    MODELS[FP32].write(repository / FP32)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    folder = tmp_path_factory.mktemp("triton")
    write_models(folder / "models")
    assert write_language_models(folder / "models", folder / "unpacked") == {}
    with Triton(folder / "models", triton_wheels(), log=folder / "triton.log") as server:
        server.wait_ready(timeout=120)
        yield server


@pytest.fixture(scope="module")
def known() -> Iterator[DominoStandIn]:
    with DominoStandIn() as stand_in:
        stand_in.add_user("ann", api_key=KEY)
        yield stand_in


@pytest.fixture(scope="module")
def serving(triton: Triton, known: DominoStandIn) -> Iterator[Proxy]:
    with proxy(triton.grpc_url, known.url, TRITON_CANCEL_DELAY_SECS="0.2") as served:
        until(lambda: served.server.statistics().health.serving >= {"", "inference.GRPCInferenceService"})
        yield served


def address(serving: Proxy) -> str:
    return f"http://127.0.0.1:{serving.server.http_port}/v1"


def client_of(serving: Proxy, key: str = KEY) -> Any:
    return openai.OpenAI(base_url=address(serving), api_key=key, max_retries=0, timeout=60)


@pytest.fixture
def client(serving: Proxy) -> Iterator[Any]:
    with client_of(serving) as opened:
        yield opened


def test_the_client_lists_models(client: Any) -> None:
    assert [each.id for each in client.models.list()] == sorted([EMBEDDER, FP32, WRITER, CHAT, EMBEDDING])
    assert client.models.retrieve(WRITER).id == WRITER
    with pytest.raises(openai.NotFoundError, match="no model 'nothing' is ready"):
        client.models.retrieve("nothing")


def test_a_chat_is_answered(client: Any) -> None:
    made = client.chat.completions.create(model=WRITER, messages=HELLO, temperature=0)
    (choice,) = made.choices
    assert (choice.message.content, choice.message.role, choice.finish_reason) == (SAID, "assistant", "stop")
    assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (9, 9, 18)
    made = client.chat.completions.create(model=WRITER, messages=HELLO, max_completion_tokens=3)
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == ("system: Be kind. ", "length")


def test_a_call_of_a_tool_is_an_object_for_the_client(client: Any) -> None:
    written = '<tool_call>\n{"name": "clock", "arguments": {"zone": "in Zürich </tool_call>"}}\n</tool_call>\n'
    messages = [{"role": "user", "content": "Now: " + written}]
    tools = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]
    made = client.chat.completions.create(model=WRITER, messages=messages, tools=tools)
    (call,) = made.choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("clock", {"zone": "in Zürich </tool_call>"})
    assert made.choices[0].finish_reason == "tool_calls"
    with client.chat.completions.stream(model=WRITER, messages=messages, tools=tools) as stream:
        final = stream.get_final_completion()
    (streamed,) = final.choices[0].message.tool_calls
    assert streamed.function.arguments == call.function.arguments
    assert final.choices[0].message.content.startswith("user: Now: ")
    # The call goes back as it came, with what the tool said.
    answered = [*messages, made.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "noon"}]
    made = client.chat.completions.create(model=WRITER, messages=answered)
    assert "tool: noon" in made.choices[0].message.content


def test_a_chat_is_streamed_word_by_word(client: Any) -> None:
    options = {"include_usage": True}
    with client.chat.completions.create(model=WRITER, messages=HELLO, stream=True, stream_options=options) as stream:
        *chunks, last = list(stream)
    said = [each.choices[0].delta.content for each in chunks]
    words = ["system: ", "Be ", "kind. ", "user: ", "Grüß ", "dich, ", "Welt! ", "assistant:", "[pictures: 0]"]
    assert said == ["", *words, None]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert (last.choices, last.usage.total_tokens) == ([], 18)


def test_a_stop_string_over_two_words_ends_an_answer_that_never_would(serving: Proxy, client: Any) -> None:
    messages = [{"role": "user", "content": "go on forever and ever"}]
    words = {"model": WRITER, "messages": messages, "stop": ["never", "ever and"]}
    with client.chat.completions.create(**words, stream=True, max_tokens=_LONG) as stream:
        assert "".join(each.choices[0].delta.content or "" for each in stream) == "user: go on for"
    made = client.chat.completions.create(**words)
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == ("user: go on for", "stop")
    until(lambda: serving.server.statistics().calls.open == 0)


def test_completions_probabilities_tools_and_pictures(client: Any) -> None:
    made = client.completions.create(model=WRITER, prompt="Once upon", echo=True, logprobs=1)
    assert (made.choices[0].text, made.object) == ("Once uponOnce upon[pictures: 0]", "text_completion")
    assert made.choices[0].logprobs.tokens == ["Once ", "upon", "[pictures: 0]"]
    assert made.choices[0].logprobs.top_logprobs[1] == {"pon": -0.5}
    made = client.chat.completions.create(model=WRITER, messages=HELLO, logprobs=True, top_logprobs=1)
    first = made.choices[0].logprobs.content[0]
    assert (first.token, first.logprob, first.top_logprobs[0].token) == ("system: ", -1.0, "ystem: ")
    tools = [{"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}]
    made = client.chat.completions.create(model=WRITER, messages=HELLO, tools=tools)
    assert "tool: clock" in made.choices[0].message.content
    url = "data:image/png;base64," + base64.b64encode(b"a picture").decode()
    parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
    made = client.chat.completions.create(model=WRITER, messages=[{"role": "user", "content": parts}])
    assert made.choices[0].message.content == "user: What? <image> assistant:[pictures: 1]"


def test_embeddings_come_as_the_client_asks_for_them(client: Any) -> None:
    # By itself it asks for base64, and decodes it.
    made = client.embeddings.create(model=EMBEDDER, input=["a", "bcd"])
    assert [each.embedding for each in made.data] == [[1.0, -1.0], [3.0, -3.0]]
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (2, 2)
    made = client.embeddings.create(model=EMBEDDER, input="bcd", encoding_format="float")
    assert [each.embedding for each in made.data] == [[3.0, -3.0]]
    with pytest.raises(openai.BadRequestError, match="input has 5 texts, and model 'embedder' takes 4 in a request"):
        client.embeddings.create(model=EMBEDDER, input=list("abcde"))


def test_errors_are_those_that_the_client_knows(serving: Proxy, client: Any) -> None:
    with pytest.raises(openai.NotFoundError, match="unknown model: 'nothing' is not found") as raised:
        client.chat.completions.create(model="nothing", messages=HELLO)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    with pytest.raises(
        openai.BadRequestError, match="model 'identity_fp32' generates no text: it lacks an input"
    ) as raised:
        client.chat.completions.create(model=FP32, messages=HELLO)
    assert (raised.value.type, raised.value.param) == ("invalid_request_error", "model")
    with pytest.raises(openai.BadRequestError, match="n is 2, which is not served"):
        client.chat.completions.create(model=WRITER, messages=HELLO, n=2)
    with pytest.raises(openai.BadRequestError, match="does not take these messages: nothing was said"):
        client.chat.completions.create(model=WRITER, messages=[{"role": "user", "content": "nothing"}])
    with pytest.raises(openai.InternalServerError, match="it was asked to fail"):
        client.chat.completions.create(model=WRITER, messages=HELLO, extra_body={"fail": True})
    with pytest.raises(openai.APIStatusError, match="it was asked to fail"):
        list(client.chat.completions.create(model=WRITER, messages=HELLO, extra_body={"fail": True}, stream=True))
    with client_of(serving, "s3cret-of-nobody") as stranger, pytest.raises(openai.AuthenticationError) as refused:
        stranger.models.list()
    assert refused.value.code == "invalid_api_key"


def test_a_policy_holds_here_too(triton: Triton, known: DominoStandIn, tmp_path: Path) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"rules:\n- models: [{EMBEDDER}]\n  allow:\n    users: [ann]\n")
    with proxy(triton.grpc_url, known.url, ACCESS_POLICY_FILE=str(policy)) as served, client_of(served) as client:
        until(lambda: served.server.statistics().health.serving >= {"", "inference.GRPCInferenceService"})
        assert [each.id for each in client.models.list()] == [EMBEDDER]
        assert client.embeddings.create(model=EMBEDDER, input="a").data
        for model in (WRITER, "nothing"):
            with pytest.raises(openai.PermissionDeniedError, match="may not use"):
                client.chat.completions.create(model=model, messages=HELLO)
            with pytest.raises(openai.PermissionDeniedError, match="may not use"):
                client.models.retrieve(model)


def test_the_asynchronous_client_chats_many_times_at_once(serving: Proxy) -> None:
    async def session() -> list[str]:
        async with openai.AsyncOpenAI(base_url=address(serving), api_key=KEY, timeout=60) as opened:

            async def one(number: int) -> str:
                messages = [{"role": "user", "content": f"number {number}"}]
                stream = await opened.chat.completions.create(model=WRITER, messages=messages, stream=True)
                return "".join([each.choices[0].delta.content or "" async for each in stream])

            return await asyncio.gather(*map(one, range(10)))

    assert asyncio.run(session()) == [f"user: number {number} assistant:[pictures: 0]" for number in range(10)]


def test_langchain_chats_and_embeds(serving: Proxy) -> None:
    words = {"base_url": address(serving), "api_key": KEY, "max_retries": 0}
    chat = ChatOpenAI(model=WRITER, temperature=0, **words)
    messages = [SystemMessage("Be kind."), HumanMessage("Grüß dich, Welt!")]
    answer = chat.invoke(messages)
    assert (answer.content, answer.usage_metadata["total_tokens"]) == (SAID, 18)
    assert "".join(each.content for each in chat.stream(messages)) == SAID
    embeddings = OpenAIEmbeddings(model=EMBEDDER, check_embedding_ctx_length=False, **words)
    assert embeddings.embed_documents(["a", "bcd"]) == [[1.0, -1.0], [3.0, -3.0]]


def test_a_real_language_model_chats(client: Any) -> None:
    question = {"role": "user", "content": "Complete this sentence: the capital of France is"}
    words = {"model": CHAT, "messages": [question], "temperature": 0, "max_tokens": 40}
    made = client.chat.completions.create(**words)
    assert (made.choices[0].message.content, made.choices[0].finish_reason) == (
        "The capital of France is Paris.",
        "stop",
    )
    assert (made.usage.prompt_tokens, made.usage.completion_tokens) == (39, 8)
    with client.chat.completions.create(**words, stop=["Paris"], stream=True) as stream:
        said = [each.choices[0].delta.content or "" for each in stream]
    assert "".join(said) == "The capital of France is "
    assert len(said) > 5


def test_real_embeddings_tell_what_means_nearly_the_same(client: Any) -> None:
    sentences = ["A cat sits on the sofa.", "A kitten lies on the couch.", "Shares fell by three percent."]
    made = client.embeddings.create(model=EMBEDDING, input=sentences)
    cat, kitten, shares = (np.array(each.embedding) for each in made.data)
    assert cat @ kitten > cat @ shares + 0.4
    assert made.usage.prompt_tokens > len(sentences)


def curl(serving: Proxy, path: str, body: object) -> tuple[int, str]:
    asked = ["-H", f"Authorization: Bearer {KEY}", "-d", json.dumps(body), f"{address(serving)}{path}"]
    done = subprocess.run(
        ["curl", "-sSN", "-m", "60", "-w", "\n%{http_code}", *asked],  # noqa: S607 - the one that the machine has
        capture_output=True,
        text=True,
        check=True,
    )
    answer, _, status = done.stdout.rpartition("\n")
    return int(status), answer


def test_answers_are_as_the_document_says(serving: Proxy, client: Any) -> None:
    document = client.with_options(base_url=address(serving).removesuffix("/v1")).get("/openapi.json", cast_to=object)
    bodies: dict[str, list[dict[str, Any]]] = {
        "/completions": [{"model": WRITER, "prompt": "x"}, {"model": "nothing", "prompt": "x"}, {}],
        "/chat/completions": [
            {"model": WRITER, "messages": HELLO, "logprobs": True},
            {"model": FP32, "messages": HELLO},
        ],
        "/embeddings": [{"model": EMBEDDER, "input": "x"}, {"model": EMBEDDER, "input": ["x"] * 5}],
    }
    for path, given in bodies.items():
        operation = document["paths"][f"/v1{path}"]["post"]
        for body in given:
            status, answer = curl(serving, path, body)
            schema = operation["responses"][str(status)]["content"]["application/json"]["schema"]
            described = schema | {"components": document["components"]}
            jsonschema.Draft202012Validator(described).validate(json.loads(answer))
        assert curl(serving, path, given[0])[0] == 200
    status, answer = curl(serving, "/completions", {"model": WRITER, "prompt": "x y", "stream": True})
    assert (status, answer.endswith("data: [DONE]\n\n")) == (200, True)


# The last: Triton 2.51 dies of a cancel that meets an answer (ADR 32), which a slow one makes unlikely.
def test_a_reader_that_leaves_ends_the_answer(serving: Proxy, client: Any) -> None:
    messages = [{"role": "user", "content": "go on forever"}]
    stream = client.chat.completions.create(
        model=WRITER, messages=messages, stream=True, max_tokens=_LONG, extra_body={"pace": 0.2}
    )
    assert next(iter(stream)).choices[0].delta.role == "assistant"
    stream.close()
    until(lambda: serving.server.statistics().calls.open == 0)
