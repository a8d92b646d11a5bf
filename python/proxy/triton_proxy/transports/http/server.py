"""The REST listener: its socket, its routes, and its end."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial

from mm_service.status import Code, Status
from mm_service.tls import Certificates
from triton_proxy.admission.admission import AdmittedCall
from triton_proxy.http1.limits import HttpLimits
from triton_proxy.http1.request import HttpRequest
from triton_proxy.http1.server import HttpServer
from triton_proxy.http2.limits import Counters, share
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.inference.signature import Signature
from triton_proxy.models.model_cache import Models
from triton_proxy.protocols.openai.completions import TextProtocol
from triton_proxy.protocols.openai.embeddings import EmbeddingsProtocol
from triton_proxy.protocols.openai.models import ModelsProtocol
from triton_proxy.protocols.openai.reply import OpenAiWriter
from triton_proxy.protocols.openai.templates import Render
from triton_proxy.protocols.rest import describe, openapi, routes
from triton_proxy.protocols.rest.describe import DescribeProtocol, Question
from triton_proxy.protocols.rest.generate import GenerateProtocol
from triton_proxy.protocols.rest.infer import HEADER_LENGTH, InferProtocol
from triton_proxy.protocols.rest.infer_request import Target
from triton_proxy.protocols.rest.json_work import JsonWork
from triton_proxy.protocols.rest.reply import JSON, Writer
from triton_proxy.protocols.rest.routes import Action, Found
from triton_proxy.serving.active_calls import ActiveCalls
from triton_proxy.serving.call import Call
from triton_proxy.serving.protocol import WireProtocol
from triton_proxy.serving.router import Router
from triton_proxy.transports.call_threads import CallThreads
from triton_proxy.transports.http.http_call import HttpCall
from triton_proxy.transports.http.json_process import JsonProcess
from triton_proxy.transports.http.template_process import TemplateProcess
from triton_proxy.transports.http2.listening import Listen
from triton_proxy.transports.http2.tls import ListenerTls

_GONE = Status(Code.CANCELLED, "the caller went away")
# Longest wait for what Triton says of a model whose inputs a body names.
_DESCRIBE_SECS = 10.0
_LONGEST_PATH = 256
# The first segment of OpenAI's paths.
_OPENAI = ("v1",)
_QUESTIONS: dict[Action, Question] = {
    Action.SERVER_METADATA: describe.SERVER_METADATA,
    Action.MODEL_METADATA: describe.MODEL_METADATA,
    Action.MODEL_READY: describe.MODEL_READY,
    Action.MODEL_CONFIG: describe.MODEL_CONFIG,
    Action.STATISTICS: describe.MODEL_STATISTICS,
    Action.REPOSITORY_INDEX: describe.REPOSITORY_INDEX,
}
_FIXED: dict[Action, tuple[str, Callable[[], str]]] = {
    Action.OPENAPI: (JSON[1], lambda: json.dumps(openapi.document())),
    Action.DOCS: ("text/html; charset=utf-8", openapi.page),
}


class RestServer:
    """Serves callers over HTTP/1.1.

    Attributes:
        port: where it listens.
    """

    def __init__(
        self,
        loop: LoopThread,
        router: Router,
        calls: ActiveCalls,
        models: Models,
        address: str,
        *,
        certificates: Certificates | None,
        max_message_bytes: int,
        threads: CallThreads,
        ready: Callable[[], bool],
        listen: Listen,
        workers: int,
    ) -> None:
        """Binds the port, but serves nothing yet.

        Args:
            loop: in which everything arrives and leaves.
            router: says who is calling.
            calls: serves those that may.
            models: what is known of models.
            address: HOST:PORT; port 0 takes a free one.
            certificates: for TLS; None is plaintext.
            max_message_bytes: largest body, and largest answer.
            threads: where calls wait and compute.
            ready: says without waiting whether proxy and Triton serve.
            listen: gives the socket.
            workers: processes that serve the address, this one among them.

        Raises:
            RuntimeError: the address can't be bound.
        """
        self._loop = loop
        self._router = router
        self._calls = calls
        self._models = models
        self._tls = None if certificates is None else ListenerTls(certificates, "http/1.1")
        self._max_message_bytes = max_message_bytes
        self._threads = threads
        self._ready = ready
        self._workers = workers
        self._json = JsonProcess()
        self._templates = TemplateProcess()
        self._listener = listen(address, "HTTP_LISTEN_ADDR")
        self.port: int = self._listener.getsockname()[1]
        self._server: HttpServer | None = None

    def start(self) -> None:
        """Serves from now on."""
        self._loop.run(self._listen()).result()

    def statistics(self) -> Counters | None:
        """What connections there are and were; None before the start."""
        return None if self._server is None else self._server.statistics()

    def stop(self, grace_secs: float) -> Callable[[float], None]:
        """Takes no new requests; those under way may go on for so long.

        Args:
            grace_secs: after this, what is still open is cut off.

        Returns:
            Waits for the end of all requests, for so many seconds at the longest, and cuts off what is open then.
        """
        return self._loop.run_until(self._drain(grace_secs), self._cut_off)

    def close(self) -> None:
        """Ends what reads JSON and renders templates; call it when no request is left."""
        self._json.close()
        self._templates.close()

    async def _listen(self) -> None:
        limits = share(HttpLimits(body_bytes=self._max_message_bytes), self._workers)
        self._server = HttpServer(self._serve, limits, ssl_context=self._tls.context if self._tls else None)
        self._server.listen(self._listener)

    async def _drain(self, grace_secs: float) -> None:
        if self._server is not None:
            await self._server.drain(grace_secs)

    async def _cut_off(self) -> None:
        if self._server is not None:
            await self._server.close()

    # Requests, in the loop's thread until their callers are known.

    def _serve(self, request: HttpRequest) -> None:
        head = request.head
        found = routes.find(head.method, head.path)
        route = found.route if found is not None else None
        if route is not None and route.public:
            self._answer_health(request, route.action)
            return
        accepts = head.field("accept-encoding")
        writer: Writer
        if head.path[:1] == _OPENAI:
            writer = OpenAiWriter(accepts)
        else:
            writer = Writer(accepts, events=route is not None and route.action is Action.GENERATE_STREAM)
        name = route.name if route is not None else f"{head.method} /{'/'.join(head.path)}"[:_LONGEST_PATH]
        call = HttpCall(request, name, writer, self._loop, self._threads, self._max_message_bytes)
        self._router.route_nowait(call, partial(self._begin, request, call, found, writer))

    def _answer_health(self, request: HttpRequest, action: Action) -> None:
        # Triton's bodies are empty; KServe's client reads what its protocol says of them.
        if action is Action.LIVE:
            request.respond(200, (JSON,), (b'{"live":true}',), None)
        elif self._ready():
            request.respond(200, (JSON,), (b'{"ready":true}',), None)
        else:
            text = "proxy or Triton does not serve just now; try again"
            request.respond(503, (JSON,), (Writer().error(503, text),), None)

    def _begin(
        self,
        request: HttpRequest,
        http_call: HttpCall,
        found: Found | None,
        writer: Writer,
        call: Call,
        admitted: AdmittedCall,
    ) -> None:
        http_call.admitted()
        if found is None:
            status = Status(Code.NOT_FOUND, f"no route {call.head.method}; GET /docs lists those that there are")
            admitted.close(status)
            call.finish(status)
            return
        if found.route is None:
            text = f"{call.head.method} is no route; the path takes {' and '.join(found.allowed)}"
            admitted.close(Status(Code.UNIMPLEMENTED, text))
            http_call.refuse(405, text, ("allow", ", ".join(found.allowed)))
            return
        action, target = found.route.action, found.target
        work = self._json.for_call(lambda: http_call.over)
        if action in {Action.GENERATE, Action.GENERATE_STREAM}:
            self._generate(call, admitted, target, writer, work, events=action is Action.GENERATE_STREAM)
            return
        if isinstance(writer, OpenAiWriter):
            render = self._templates.for_call(lambda: http_call.over)
            # A model may answer any number of times.
            unary = action is Action.OPENAI_MODELS
            self._calls.begin(call, _openai(action, target, writer, work, render), admitted, unary=unary)
            return
        protocol: WireProtocol
        if action is Action.INFER:
            protocol = InferProtocol(target, request.head.field(HEADER_LENGTH), writer, work)
        elif action in _FIXED:
            content_type, make = _FIXED[action]
            protocol = openapi.FixedProtocol(target, writer, content_type, make().encode())
        else:
            protocol = DescribeProtocol(_QUESTIONS[action], target, writer)
        self._calls.begin(call, protocol, admitted, unary=True)

    def _generate(
        self, call: Call, admitted: AdmittedCall, target: Target, writer: Writer, work: JsonWork, *, events: bool
    ) -> None:
        """Begins once it is known what the model takes: the body names inputs and parameters alike."""

        def begin(signature: Signature | None) -> None:
            protocol = GenerateProtocol(target, signature, writer, work, events=events)
            self._calls.begin(call, protocol, admitted, unary=False)

        entry = self._models.recall(target.model, target.version)
        if entry is not None:
            begin(entry.signature)
            return
        begun = False

        def ask() -> None:
            nonlocal begun
            entry = self._models.get(target.model, target.version, timeout_secs=_DESCRIBE_SECS)
            begun = True
            begin(None if entry is None else entry.signature)

        def gone() -> None:
            if not begun:
                admitted.close(_GONE)

        call.submit(ask, gone)


def _openai(action: Action, target: Target, writer: OpenAiWriter, work: JsonWork, render: Render) -> WireProtocol:
    if action is Action.OPENAI_MODELS:
        return ModelsProtocol(target, writer)
    if action is Action.EMBEDDINGS:
        return EmbeddingsProtocol(writer, work)
    return TextProtocol(writer, work, render, chat=action is Action.CHAT_COMPLETIONS)
