"""What the demo shows of language: a chat that streams, and sentences that mean nearly the same."""

from __future__ import annotations

import json
import time

import numpy as np
import requests

from devstack import language_models as models
from devstack.checks import Outcome
from devstack.stack import Stack
from mm_client_api import ApiKey, TritonClient, TritonClientError

_QUESTION, _KNOWN = "Complete this sentence: the capital of France is", "Paris"
_SENTENCES = ("A cat sits on the sofa.", "A kitten lies on the couch.", "Shares fell by three percent.")
_APART = 0.2
_MAX_TOKENS = 48
_SECONDS = 60


def run_language_checks(stack: Stack) -> list[Outcome]:
    """Talks, through the proxy, to the language models that are there.

    Args:
        stack: a running stack with the repository that it made itself.

    Returns:
        The outcomes, in the order in which they were tried.
    """
    checks = ((models.CHAT, "chat", _chat), (models.EMBEDDING, "similarity", _similarity))
    outcomes = []
    for name, title, check in checks:
        if name in stack.missing:
            continue
        try:
            outcomes.append(check(stack))
        except (TritonClientError, requests.RequestException) as error:
            outcomes.append(Outcome(title, False, str(error)))
    return outcomes


def _chat(stack: Stack) -> Outcome:
    """REST's generate_stream, with the prompt as the model's chat template makes it."""
    body = {
        "text_input": f"<|im_start|>user\n{_QUESTION}<|im_end|>\n<|im_start|>assistant\n",
        "stream": True,
        "sampling_parameters": json.dumps({"temperature": 0, "max_tokens": _MAX_TOKENS}),
        "return_finish_reason": True,
    }
    url = f"{stack.proxy.http_url}/v2/models/{models.CHAT}/generate_stream"
    began = time.monotonic()
    first: float | None = None
    pieces, reason = [], None
    with requests.post(
        url, json=body, headers={"X-Domino-Api-Key": stack.api_key}, stream=True, timeout=_SECONDS
    ) as answer:
        if answer.status_code != requests.codes.ok:
            return Outcome("chat", False, f"HTTP {answer.status_code}: {answer.text}")
        for line in answer.iter_lines(chunk_size=None):
            if line.startswith(b"data:"):
                event = json.loads(line.removeprefix(b"data:"))
                if "error" in event:
                    return Outcome("chat", False, str(event["error"]))
                first = first or time.monotonic() - began
                pieces.append(event["text_output"])
                reason = event["finish_reason"]
    text = "".join(pieces).strip()
    passed = len(pieces) > 1 and reason == "stop" and _KNOWN in text
    return Outcome("chat", passed, f"“{text}” in {len(pieces)} pieces, the first after {(first or 0) * 1000:.0f} ms")


def _similarity(stack: Stack) -> Outcome:
    texts = np.array([[sentence.encode()] for sentence in _SENTENCES], dtype=np.object_)
    with TritonClient(stack.proxy.addr, credentials=ApiKey(stack.api_key)) as client:
        result = client.infer(
            models.EMBEDDING, {"text_input": texts}, outputs=["embedding"], model_version="1", timeout_secs=_SECONDS
        )
    vectors = np.asarray(result.outputs["embedding"], np.float64)
    near, far = (float(vectors[0] @ vectors[other]) for other in (1, 2))
    first, second, third = _SENTENCES
    detail = f"“{first}” is {near:.2f} like “{second}” and {far:.2f} like “{third}”"
    return Outcome("similarity", near > far + _APART, detail)
