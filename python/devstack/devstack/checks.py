"""What the demo shows besides the video: refusals, and models that are no detectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from devstack import models
from devstack.stack import Stack
from mm_client_api import (
    ApiKey,
    AuthenticationError,
    InferenceRequest,
    Tensor,
    TritonClient,
    TritonClientError,
)

_TEXTS = ("  Triton SAYS\tHello ", "Straße")
_NORMALIZED = ("triton says hello", "strasse")
_WORD_COUNTS = (3, 1)
_SAMPLE_RATE, _TONE_HZ, _AMPLITUDE = 16_000, 440.0, 0.5


@dataclass(frozen=True)
class Outcome:
    """How one check went.

    Attributes:
        title: what was tried.
        passed: whether it went as it should.
        detail: what was seen.
    """

    title: str
    passed: bool
    detail: str


def run_checks(stack: Stack, detector: Mapping[str, Any], own_repository: bool) -> list[Outcome]:
    """Tries, through the proxy, what must be refused and, on the sample models, what must not.

    Args:
        stack: a running stack.
        detector: mm-client's settings of that name: model_name, model_version, input_name, output_names, img_size.
        own_repository: whether the repository is the user's, so that the other sample models are not there.

    Returns:
        The outcomes, in the order in which they were tried.
    """
    checks: list[tuple[str, Callable[[TritonClient], Outcome]]] = [
        ("wrong API key", lambda _: _wrong_key(stack, detector)),
        ("wrong byte count", lambda client: _wrong_byte_count(client, detector)),
    ]
    if not own_repository:
        checks += [("text", _text), ("audio", _audio)]
    outcomes = []
    with TritonClient(stack.proxy.addr, credentials=ApiKey(stack.api_key)) as client:
        for title, check in checks:
            try:
                outcomes.append(check(client))
            except TritonClientError as error:
                outcomes.append(Outcome(title, False, str(error)))
    return outcomes


def _request(detector: Mapping[str, Any], missing_bytes: int = 0) -> InferenceRequest:
    """Makes a request with a black image of which bytes are cut off."""
    shape = (1, 3, detector["img_size"], detector["img_size"])
    data = bytes(math.prod(shape) * 4 - missing_bytes)
    inputs = {detector["input_name"]: Tensor("FP32", shape, data)}
    return InferenceRequest(detector["model_name"], inputs, detector["output_names"], detector["model_version"])


def _wrong_key(stack: Stack, detector: Mapping[str, Any]) -> Outcome:
    request = _request(detector)
    # Domino answers 200 to a wrong key; a proxy that looks at the status alone lets it in.
    with TritonClient(stack.proxy.addr, credentials=ApiKey("not-the-key")) as client:
        try:
            client.infer(request.model, request.inputs, outputs=request.outputs, model_version=request.model_version)
        except AuthenticationError as error:
            return Outcome("wrong API key", True, f"gRPC {error.code().name}")
    return Outcome("wrong API key", False, "was let in; expected gRPC UNAUTHENTICATED")


def _wrong_byte_count(client: TritonClient, detector: Mapping[str, Any]) -> Outcome:
    good = _request(detector)
    bad = _request(detector, missing_bytes=1)
    results = list(client.stream([good, bad, good]))
    expected = next(iter(good.inputs.values()))
    size = len(expected.data) if isinstance(expected, Tensor) else 0
    wanted = f"size mismatch: got {size - 1} bytes, expected {size}"
    statuses = [result.status for result in results]
    error = str(results[1].message.get("error"))
    passed = statuses == ["OK", "BAD_REQUEST", "OK"] and wanted in error
    return Outcome("wrong byte count", passed, f"{' → '.join(statuses)}; {error}")


def _text(client: TritonClient) -> Outcome:
    texts = np.array([text.encode() for text in _TEXTS], dtype=np.object_)
    result = client.infer(
        models.TEXT, {"TEXT": texts}, outputs=["NORMALIZED", "WORD_COUNT"], model_version="1", timeout_secs=30
    )
    normalized = tuple(bytes(text).decode() for text in result.outputs["NORMALIZED"])
    counts = tuple(int(count) for count in result.outputs["WORD_COUNT"])
    passed = (normalized, counts) == (_NORMALIZED, _WORD_COUNTS)
    described = ", ".join(f"“{text}” ({count})" for text, count in zip(normalized, counts, strict=True))
    return Outcome("text", passed, described)


def _audio(client: TritonClient) -> Outcome:
    # Half a sample in, so that no sample is exactly 0 and has no sign.
    times = (np.arange(_SAMPLE_RATE) + 0.5) / _SAMPLE_RATE
    wave = (_AMPLITUDE * np.sin(2 * np.pi * _TONE_HZ * times)).astype(np.float32)
    result = client.infer(
        models.AUDIO, {"WAVEFORM": wave}, outputs=["RMS", "ZERO_CROSSINGS"], model_version="1", timeout_secs=30
    )
    level, crossings = float(result.outputs["RMS"][0]), int(result.outputs["ZERO_CROSSINGS"][0])
    passed = abs(level - _AMPLITUDE / math.sqrt(2)) < 1e-3 and abs(crossings - 2 * _TONE_HZ) <= 1
    return Outcome("audio", passed, f"1 s of {_TONE_HZ:g} Hz: RMS {level:.3f}, {crossings} zero crossings")
