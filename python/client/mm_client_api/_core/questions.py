"""Questions about models, by KServe's v2 protocol, and what is made of their answers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message

from mm_client_api.descriptions import ModelDescription, ModelIndex, ModelStatus, TensorSpec
from mm_client_api.errors import ModelNotFound, ModelNotReady, ProtocolError
from multimodal_contract import kserve

# Longest time for one, in seconds.
QUESTION_SECS = 30.0
_SERVICE = "/inference.GRPCInferenceService"
_ReadT = TypeVar("_ReadT")
_MessageT = TypeVar("_MessageT", bound=Message)


@dataclass(frozen=True)
class Question(Generic[_ReadT]):
    """One unary call.

    Attributes:
        method: full name of its method.
        request: the serialized request.
        read: makes what the caller gets of the serialized answer; raises ProtocolError where that is none.
        wakes: whether it starts a Triton where none is running, and waits for it.
    """

    method: str
    request: bytes
    read: Callable[[bytes], _ReadT]
    wakes: bool = True


def index() -> Question[ModelIndex]:
    """Which models there are that the caller may use, by name and version."""

    def read(raw: bytes) -> ModelIndex:
        found = _parsed(raw, kserve.RepositoryIndexResponse)
        models = [ModelStatus(each.name, each.version, each.state, each.reason) for each in found.models]
        return ModelIndex(sorted(models, key=lambda model: (model.name, _number(model.version))))

    request = kserve.RepositoryIndexRequest().SerializeToString()
    return Question(f"{_SERVICE}/RepositoryIndex", request, read, wakes=False)


def metadata(name: str, version: str) -> Question[kserve.ModelMetadataResponse]:
    """What a model takes and gives."""
    request = kserve.ModelMetadataRequest(name=name, version=version)
    return Question(
        f"{_SERVICE}/ModelMetadata",
        request.SerializeToString(),
        lambda raw: _parsed(raw, kserve.ModelMetadataResponse),
    )


def config(name: str, version: str) -> Question[kserve.ModelConfigResponse]:
    """How a model is configured."""
    request = kserve.ModelConfigRequest(name=name, version=version)
    return Question(
        f"{_SERVICE}/ModelConfig", request.SerializeToString(), lambda raw: _parsed(raw, kserve.ModelConfigResponse)
    )


def description_of(
    described: kserve.ModelMetadataResponse, configured: kserve.ModelConfigResponse, version: str
) -> ModelDescription:
    """Make a description of both answers about a model.

    Args:
        described: what it takes and gives.
        configured: how it is configured.
        version: the version that was asked for; empty takes the highest that is served, which Triton prefers unless
            the model's configuration says otherwise.
    """
    versions = tuple(sorted(described.versions, key=_number))
    settings = configured.config
    optional = {each.name for each in settings.input if each.optional}
    parameters = {key: value.string_value for key, value in settings.parameters.items()}
    return ModelDescription(
        name=described.name,
        version=version or (versions[-1] if versions else ""),
        versions=versions,
        platform=described.platform or settings.backend,
        inputs=_specs(described.inputs, optional),
        outputs=_specs(described.outputs, set()),
        max_batch_size=settings.max_batch_size,
        decoupled=settings.model_transaction_policy.decoupled,
        stateful=settings.HasField("sequence_batching"),
        text=parameters.get("description", ""),
        parameters=parameters,
    )


def check_ready(models: Sequence[ModelStatus], name: str, version: str) -> None:
    """Make sure that a model can be used.

    Args:
        models: those that there are.
        name: name of the model.
        version: the version; empty for any.

    Raises:
        ModelNotFound: there is none that the caller may use.
        ModelNotReady: it is there.
    """
    same = [model for model in models if model.name == name and version in ("", model.version)]
    if any(model.ready for model in same):
        return
    if same:
        states = "; ".join(
            f"version {each.version or '-'} is {each.state or 'not loaded'}{_why(each)}" for each in same
        )
        raise ModelNotReady(f"model {name!r} is not ready: {states}")
    names = list(dict.fromkeys(model.name for model in models))
    if name in names:
        versions = ", ".join(model.version for model in models if model.name == name and model.version)
        raise ModelNotFound(f"model {name!r} has no version {version!r}; it has {versions or 'none'}")
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(near)}" if near else f"there are {', '.join(names[:10]) or 'none'}"
    raise ModelNotFound(f"there is no model {name!r}, or you may not use it; {hint}")


def _why(model: ModelStatus) -> str:
    return f" ({model.reason})" if model.reason else ""


def _specs(tensors: Any, optional: set[str]) -> dict[str, TensorSpec]:
    return {
        each.name: TensorSpec(each.name, each.datatype, tuple(each.shape), each.name in optional) for each in tensors
    }


def _number(version: str) -> tuple[int, str]:
    return (int(version) if version.isdecimal() else -1, version)


def _parsed(raw: bytes, kind: type[_MessageT]) -> _MessageT:
    message = kind()
    try:
        message.ParseFromString(raw)
    except DecodeError as error:
        raise ProtocolError(f"{len(raw)} bytes came that are no {message.DESCRIPTOR.name}") from error
    return message
