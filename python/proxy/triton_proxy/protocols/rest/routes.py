"""The table of routes: what is served, by which method, and what it is for people who read the document of it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from triton_proxy.protocols.rest.infer_request import Target

# Triton reads it into 64 bits.
_LONGEST_VERSION = 18


class Action(enum.Enum):
    """What a route does."""

    LIVE = enum.auto()
    READY = enum.auto()
    SERVER_METADATA = enum.auto()
    MODEL_METADATA = enum.auto()
    MODEL_READY = enum.auto()
    MODEL_CONFIG = enum.auto()
    STATISTICS = enum.auto()
    INFER = enum.auto()
    GENERATE = enum.auto()
    GENERATE_STREAM = enum.auto()
    REPOSITORY_INDEX = enum.auto()
    OPENAI_MODELS = enum.auto()
    COMPLETIONS = enum.auto()
    CHAT_COMPLETIONS = enum.auto()
    EMBEDDINGS = enum.auto()
    OPENAPI = enum.auto()
    DOCS = enum.auto()


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        method: of HTTP; GET is also HEAD.
        template: the path, with {model} and {version} where the caller's names stand.
        action: what it does.
        summary: what it is for, in a sentence.
        public: whether it is answered without credentials.
    """

    method: str
    template: str
    action: Action
    summary: str
    public: bool = False

    @property
    def name(self) -> str:
        """What observers know it by."""
        return f"{self.method} {self.template}"


def _of_model(method: str, rest: str, action: Action, summary: str) -> tuple[Route, Route]:
    return (
        Route(method, f"/v2/models/{{model}}{rest}", action, summary),
        Route(method, f"/v2/models/{{model}}/versions/{{version}}{rest}", action, summary),
    )


ROUTES = (
    Route("GET", "/v2/health/live", Action.LIVE, "Says whether the proxy runs.", public=True),
    Route("GET", "/v2/health/ready", Action.READY, "Says whether proxy and Triton serve.", public=True),
    Route("GET", "/v2", Action.SERVER_METADATA, "Describes the server and the extensions that are served."),
    # Before those of models: as Triton has it, no model of this name is described.
    Route("GET", "/v2/models/stats", Action.STATISTICS, "Gives the statistics of every model that you may use."),
    *_of_model("GET", "", Action.MODEL_METADATA, "Describes a model's inputs and outputs."),
    *_of_model("GET", "/ready", Action.MODEL_READY, "Says whether a model is ready."),
    *_of_model("GET", "/config", Action.MODEL_CONFIG, "Gives a model's configuration."),
    *_of_model("GET", "/stats", Action.STATISTICS, "Gives a model's statistics."),
    *_of_model("POST", "/infer", Action.INFER, "Infers, with tensors as JSON or as binary data."),
    *_of_model("POST", "/generate", Action.GENERATE, "Infers, with inputs and outputs as members of an object."),
    *_of_model(
        "POST", "/generate_stream", Action.GENERATE_STREAM, "The same, with each answer as a server-sent event."
    ),
    Route("POST", "/v2/repository/index", Action.REPOSITORY_INDEX, "Lists the models that you may use."),
    Route("GET", "/v1/models", Action.OPENAI_MODELS, "Lists the models that are ready and that you may use."),
    Route("GET", "/v1/models/{model}", Action.OPENAI_MODELS, "Says whether a model is ready and you may use it."),
    Route("POST", "/v1/completions", Action.COMPLETIONS, "Goes on with a text, as OpenAI's API has it."),
    Route("POST", "/v1/chat/completions", Action.CHAT_COMPLETIONS, "Answers in a chat, as OpenAI's API has it."),
    Route("POST", "/v1/embeddings", Action.EMBEDDINGS, "Makes embeddings of texts, as OpenAI's API has it."),
    Route("GET", "/openapi.json", Action.OPENAPI, "Gives the document of all routes."),
    Route("GET", "/docs", Action.DOCS, "Shows that document to people."),
)
_SEGMENTS = tuple((route, tuple(route.template.split("/")[1:])) for route in ROUTES)


@dataclass(frozen=True)
class Found:
    """A route that a request's path names.

    Attributes:
        route: the route; None where the path is known and the method is not.
        target: the model in the path; without a name where there is none.
        allowed: the methods of the path.
    """

    route: Route | None
    target: Target
    allowed: tuple[str, ...]


def find(method: str, path: tuple[str, ...]) -> Found | None:
    """The route of a request; None where no route has such a path.

    Args:
        method: of HTTP.
        path: its segments, unquoted.
    """
    wanted = "GET" if method == "HEAD" else method
    allowed: list[str] = []
    for route, segments in _SEGMENTS:
        target = _match(segments, path)
        if target is not None:
            if route.method == wanted:
                return Found(route, target, (route.method,))
            allowed.append(route.method)
    return Found(None, Target("", ""), tuple(dict.fromkeys(allowed))) if allowed else None


def _match(segments: tuple[str, ...], path: tuple[str, ...]) -> Target | None:
    if len(segments) != len(path):
        return None
    names = {"{model}": "", "{version}": ""}
    for segment, given in zip(segments, path, strict=True):
        if segment in names:
            names[segment] = given
        elif segment != given:
            return None
    version = names["{version}"]
    if "{version}" in segments and not (version.isascii() and version.isdigit() and len(version) <= _LONGEST_VERSION):
        return None
    if "{model}" in segments and not names["{model}"]:
        return None
    return Target(names["{model}"], version)
