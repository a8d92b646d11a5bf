"""The code that the console offers, as it stands there, against the real proxy and Triton."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from devstack import language_models, models
from devstack.stack import Stack
from mm_client_api import ApiKey, TritonClient
from mm_console.snippets import snippets_for

WAYS = ("Python", "curl", "tritonclient")
# What is seen of the model's answer, in each way.
ANSWERS = {
    models.DETECTOR: ("output0  FP32 [1, 84, 8400]", '"shape":[1,84,8400]', "[[["),
    models.TEXT: ("'hello world'", '["hello world"]', "[b'hello world']"),
    models.ADD_SUB: ("SUM  FP32 [1, 4]  2, 2, 2, 2", '"data":[2.0,2.0,2.0,2.0]', "[[2. 2. 2. 2.]]"),
    models.SQUARE: ("OUT  INT32 [1]  1", '"OUT":1', "[1]"),
    language_models.CHAT: ("text_output  BYTES [1]", '"text_output":"', "[b'"),
}
CASES = [(name, way, seen) for name, answers in ANSWERS.items() for way, seen in zip(WAYS, answers, strict=True)]


@pytest.mark.parametrize(("name", "way", "seen"), CASES)
def test_it_can_be_pasted(
    stack: Stack, name: str, way: str, seen: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOMINO_USER_API_KEY", stack.api_key)
    with TritonClient(stack.proxy.addr, credentials=ApiKey(stack.api_key)) as client:
        described = client.describe(name)
    (text,) = (one.text for one in snippets_for(described, stack.proxy.addr, stack.proxy.http_url) if one.name == way)
    if way == "curl":
        if shutil.which("curl") is None:
            pytest.skip("curl is not installed")
        done = subprocess.run(["/bin/bash", "-euc", text], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        answer = done.stdout
    else:
        exec(compile(text, way, "exec"), {})  # noqa: S102 - as a reader would
        answer = capfd.readouterr().out
    assert seen in answer
