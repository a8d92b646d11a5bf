"""The REST server against its own /openapi.json, by schemathesis, with the real Triton behind."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from devstack import models
from devstack.domino import DominoStandIn
from devstack.triton import Triton
from devstack.triton_wheels import triton_wheels
from service_testing.waiting import until
from serving import KEY, Proxy, proxy

# A program with packages of its own; outside Bazel, the folder of its packages.
_PROGRAM, _SITE = "tests/integration/schemathesis_main", "SCHEMATHESIS_SITE"
MODEL = models.identity_name("FP32")
# A model that there is: of others nothing but refusals would be seen. What it takes, no schema says: a body that fits
# the schema may be refused. Of a body that is a tensor alone, any bytes are right. To a stranger, any method is 401.
CONFIG = f"""
[parameters]
"path.model" = "{MODEL}"
"path.version" = "1"
[auth.openapi.apiKey]
api_key = "{KEY}"
[checks]
positive_data_acceptance.enabled = false
[[operations]]
include-path-regex = "/infer$"
checks.negative_data_rejection.enabled = false
[[operations]]
include-path-regex = "^/v2/health/"
checks.unsupported_method.enabled = false
"""


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Proxy]:
    models.MODELS[MODEL].write(tmp_path / "models" / MODEL)
    with (
        Triton(tmp_path / "models", triton_wheels(), log=tmp_path / "triton.log") as triton,
        DominoStandIn() as domino,
    ):
        triton.wait_ready()
        domino.add_user("ann", api_key=KEY)
        with proxy(triton.grpc_url, domino.url) as served:
            until(lambda: served.server.statistics().health.serving >= {"", "inference.GRPCInferenceService"})
            yield served


def program() -> tuple[list[str], dict[str, str]]:
    """What runs schemathesis: its words, and its environment."""
    if site := os.environ.get(_SITE):
        return [sys.executable, "-P", "-m", "schemathesis.cli"], {"PYTHONPATH": site}
    return [str(Path(_PROGRAM).absolute())], {}


def test_the_server_keeps_to_its_document(serving: Proxy, tmp_path: Path) -> None:
    words, environment = program()
    config, document = tmp_path / "schemathesis.toml", tmp_path / "openapi.json"
    config.write_text(CONFIG)
    url = f"http://127.0.0.1:{serving.server.http_port}"
    asked = urllib.request.Request(f"{url}/openapi.json", headers={"x-domino-api-key": KEY})  # noqa: S310
    document.write_bytes(urllib.request.urlopen(asked, timeout=60).read())  # noqa: S310 - of this machine
    done = subprocess.run(
        [
            *words,
            f"--config-file={config}",
            "run",
            str(document),
            f"--url={url}",
            # The same operations with a version in the path.
            "--exclude-path-regex=/versions/",
            "--phases=coverage,fuzzing",
            "--max-examples=3",
            "--generation-deterministic",
            "--continue-on-failure",
            "--no-shrink",
            "--no-color",
        ],
        env={**os.environ, **environment},
        # It keeps what it found beside it.
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
