"""Completions and chats as serving sees them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mm_service.status import Code
from multimodal_contract.wire import Buffer
from triton_proxy.inference.answer import Answer
from triton_proxy.inference.request import InferenceRequest
from triton_proxy.inference.signature import Signature
from triton_proxy.protocols.openai.members import Members, RequestRefused
from triton_proxy.protocols.openai.outputs import Generated
from triton_proxy.protocols.openai.prompts import inputs_for
from triton_proxy.protocols.openai.reply import DONE, OpenAiWriter, event
from triton_proxy.protocols.openai.requests import TextRequest, read_chat, read_completion
from triton_proxy.protocols.openai.roles import Roles, roles_of
from triton_proxy.protocols.openai.templates import Render
from triton_proxy.protocols.openai.tool_calls import ToolCall
from triton_proxy.protocols.rest.infer import RestMessage
from triton_proxy.protocols.rest.infer_request import Target, request_of
from triton_proxy.protocols.rest.json_text import check_size
from triton_proxy.protocols.rest.json_work import JsonWork
from triton_proxy.protocols.rest.refused import BodyRefused
from triton_proxy.protocols.rest.reply import Reply

_NO_MODEL = Target("", "")
# A long text takes its minutes, and ends with its caller: MAX_TIMEOUT_SECS is the limit.
_LONGEST_SECS = 86400.0


class RefusedMessage(RestMessage):
    """A body that asks for nothing that is served."""

    def __init__(self, refused: BodyRefused, size: int, writer: OpenAiWriter) -> None:
        """Made by a protocol.

        Args:
            refused: why.
            size: bytes of the body.
            writer: of the answer.
        """
        super().__init__(_NO_MODEL, size, writer, None)
        self._why = refused if isinstance(refused, RequestRefused) else RequestRefused(str(refused))
        self._openai = writer

    def reply(self) -> Reply:
        """Says why."""
        return self._openai.refused(self._why)


class ModelMessage(RestMessage):
    """A body that asks a model, whose inputs are made once it is known what the model takes."""

    def __init__(self, model: str, size: int, writer: OpenAiWriter, cid: str) -> None:
        """Nothing is known of the model.

        Args:
            model: its name.
            size: bytes of the body.
            writer: of the answer.
            cid: the answer's own name.
        """
        self._target = Target(model, "")
        super().__init__(self._target, size, writer, None, cid=cid)
        self.inferable = True
        self.fit = self._fit
        self._openai = writer
        self._roles: Roles | None = None
        self._why: RequestRefused | None = None

    def request_for(self, roles: Roles) -> InferenceRequest:
        """What is asked of Triton.

        Raises:
            BodyRefused: the model can't take it.
        """
        raise NotImplementedError

    def completed(self, roles: Roles, answer: Answer) -> Reply | None:
        """The answer with what the model answered, as `answered`.

        Raises:
            BodyRefused: the model's outputs are not what they have to be.
        """
        raise NotImplementedError

    def reply(self) -> Reply:
        """Says why nothing is asked of the model."""
        assert self._why is not None  # noqa: S101 - or it would be inferable
        return self._openai.refused(self._why)

    def answered(self, answer: Answer) -> Reply | None:
        """The answer, or a part of it, with what the model answered."""
        if self._roles is None:
            # Nothing was asked of it that it could have answered.
            return self.failed("the model was not known just now; try again", by_triton=False, code=Code.UNAVAILABLE)
        try:
            return self.completed(self._roles, answer)
        except BodyRefused as refused:
            return self.failed(str(refused), by_triton=True, code=Code.FAILED_PRECONDITION)

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """Says why there is no answer."""
        del by_triton, final
        self.satisfied = True
        return self._openai.failed(text, code)

    def _fit(self, signature: Signature | None) -> None:
        try:
            if signature is None:
                # Of a model that it does not describe, Triton says why when it is asked.
                self._request = request_of(self._target, (), (), {})
                return
            self._roles = roles_of(signature)
            self._request = self.request_for(self._roles)
        except BodyRefused as refused:
            self._why = refused if isinstance(refused, RequestRefused) else RequestRefused(str(refused))
            self.inferable = False


class TextProtocol:
    """Reads the body of one request. Pure: it asks nobody."""

    def __init__(self, writer: OpenAiWriter, work: JsonWork, render: Render, *, chat: bool) -> None:
        """Nothing was read.

        Args:
            writer: of the answer.
            work: reads JSON.
            render: renders chat templates.
            chat: whether it is a chat.
        """
        self._writer, self._work, self._render = writer, work, render
        self._read: Callable[[Members], TextRequest] = read_chat if chat else read_completion

    def read(self, raw: bytes) -> RestMessage:
        """Reads the body, whatever it holds."""
        try:
            check_size(len(raw))
            request = self._read(Members(self._work.object(raw)))
        except BodyRefused as refused:
            return RefusedMessage(refused, len(raw), self._writer)
        if request.stream:
            self._writer.as_events()
            return StreamedText(request, len(raw), self._writer, self._render)
        return WholeText(request, len(raw), self._writer, self._render)


class _Text(ModelMessage):
    """What both ways to answer have in common."""

    def __init__(self, request: TextRequest, size: int, writer: OpenAiWriter, render: Render) -> None:
        """Made by `TextProtocol.read`."""
        self._chat = request.conversation is not None
        self._asked = request
        self._id = f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}"
        super().__init__(request.model, size, writer, self._id)
        self._render = render
        self._created = int(time.time())
        self._generated = Generated(request.sampling)

    def request_for(self, roles: Roles) -> InferenceRequest:
        """See `ModelMessage`."""
        self._generated.limit(self._asked.sampling.limit(roles))
        inputs = inputs_for(self._asked, roles, self._render)
        if self._asked.tools and roles.tool_call_format:
            names = [tool["function"]["name"] for tool in self._asked.tools]
            self._generated.tell_calls_apart(names, single=not self._asked.parallel_tool_calls)
        # What is large of it is Triton's now.
        prompt = self._asked.prompt if self._asked.echo else ""
        self._asked = replace(self._asked, prompt=prompt, conversation=None, tools=(), template_words=None)
        return replace(request_of(self._target, inputs, (), {}), timeout_secs=_LONGEST_SECS)

    def _object(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        made = {"id": self._id, "object": kind, "created": self._created, "model": self._asked.model}
        return {**made, "choices": choices}


class WholeText(_Text):
    """A request whose answer is one piece."""

    def completed(self, roles: Roles, answer: Answer) -> Reply | None:
        """See `ModelMessage`."""
        self._generated.take(roles, answer)
        self.satisfied = self._generated.complete
        if not self.satisfied:
            return None
        generated = self._generated
        said = generated.said()
        text = "".join(each for each in said if isinstance(each, str))
        calls = [each.described() for each in said if isinstance(each, ToolCall)]
        choice: dict[str, Any] = {"index": 0, "finish_reason": generated.finish_reason, "logprobs": None}
        if generated.places:
            choice["logprobs"] = generated.probabilities(chat=self._chat)
        if self._chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
            if calls:
                choice["message"] |= {"content": text if text and not text.isspace() else None, "tool_calls": calls}
            made = self._object("chat.completion", [choice])
        else:
            choice["text"] = self._asked.prompt + text if self._asked.echo else text
            made = self._object("text_completion", [choice])
        if generated.usage is not None:
            made["usage"] = generated.usage
        return self._openai.value(made)


class StreamedText(_Text):
    """A request whose answer comes in events."""

    _begun = False

    def completed(self, roles: Roles, answer: Answer) -> Reply | None:
        """See `ModelMessage`."""
        generated = self._generated
        generated.take(roles, answer)
        self.satisfied = generated.complete
        events: list[Buffer] = []
        if not self._begun:
            self._begun = True
            if self._chat:
                events.append(self._event({"role": "assistant", "content": ""}, None))
            elif self._asked.echo and self._asked.prompt:
                events.append(self._event({"text": self._asked.prompt}, None))
        probabilities = generated.probabilities(chat=self._chat) if generated.places else None
        said = generated.said()
        for each in said or ([""] if probabilities else []):
            events.append(self._event(self._part(each), probabilities))
            probabilities = None
        if generated.complete:
            events.append(self._event({} if self._chat else {"text": ""}, None, generated.finish_reason))
            if self._asked.include_usage and generated.usage is not None:
                events.append(event({**self._object(self._kind, []), "usage": generated.usage}))
            events.append(DONE)
        return Reply(ok=True, parts=events) if events else None

    def failed(self, text: str, *, by_triton: bool, final: bool = True, code: Code = Code.INTERNAL) -> Reply:
        """A status where nothing else was said yet, and an event later on."""
        if not self._begun:
            return super().failed(text, by_triton=by_triton, final=final, code=code)
        self.satisfied = True
        return Reply(ok=False, parts=[self._openai.failure(text)])

    def _part(self, said: str | ToolCall) -> dict[str, Any]:
        if isinstance(said, str):
            return {"content" if self._chat else "text": said}
        return {"tool_calls": [{"index": said.index, **said.described()}]}

    @property
    def _kind(self) -> str:
        return "chat.completion.chunk" if self._chat else "text_completion"

    def _event(self, said: dict[str, Any], probabilities: dict[str, Any] | None, reason: str | None = None) -> bytes:
        choice: dict[str, Any] = {"index": 0, "logprobs": probabilities, "finish_reason": reason}
        choice |= {"delta": said} if self._chat else said
        made = self._object(self._kind, [choice])
        if self._asked.include_usage:
            made["usage"] = None
        return event(made)
