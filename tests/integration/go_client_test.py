"""The Go client (go/) against the proxy and a real Triton: its own tests for that, and its example."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from devstack.domino import DominoStandIn
from devstack.ports import ADDRESS
from devstack.runfiles import runfiles
from devstack.triton import Triton
from service_testing.authority import Authority, SecretVolume
from serving import KEY, TIMEOUT, proxy

Environment = Mapping[str, str]


def program(name: str) -> Path:
    """One of the module's programs: in $GO_CLIENT, or among the runfiles."""
    if "GO_CLIENT" in os.environ:
        return Path(os.environ["GO_CLIENT"], name)
    return next(runfiles(f"go_client/bin/{name}"))


def names() -> list[str]:
    listed = subprocess.run([program("stacktest.test"), "-test.list", "."], capture_output=True, text=True, check=True)
    return listed.stdout.split()


@pytest.fixture(scope="module", params=["plaintext", "TLS"])
def environment(
    request: pytest.FixtureRequest, triton: Triton, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """Where the proxy is, and a credential that it knows."""
    folder = tmp_path_factory.mktemp("tls")
    settings, client = {}, {}
    if request.param == "TLS":
        authority, volume = Authority("ours"), SecretVolume(folder / "proxy")
        volume.put(authority.issue(ADDRESS), authority.pem)
        settings = {"TLS_CERT_FILE": volume.path("tls.crt"), "TLS_KEY_FILE": volume.path("tls.key")}
        (folder / "ca.crt").write_bytes(authority.pem)
        client = {"MM_CA": str(folder / "ca.crt")}
    with DominoStandIn() as domino:
        domino.add_user("ann", api_key=KEY)
        with proxy(triton.grpc_url, domino.url, **settings) as served:
            yield {"MM_ADDR": served.address, "DOMINO_USER_API_KEY": KEY, **client}


def run(name: str, *words: str, environment: Environment) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program(name), *words], env={**environment}, capture_output=True, text=True, check=False, timeout=2 * TIMEOUT
    )


@pytest.mark.parametrize("name", names())
def test_go(environment: Environment, name: str) -> None:
    done = run("stacktest.test", "-test.v", "-test.run", f"^{name}$", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"--- PASS: {name} " in done.stdout


def test_the_example_shows_what_its_tones_are(environment: Environment) -> None:
    words = ["-ca", environment["MM_CA"]] if "MM_CA" in environment else []
    done = run("example", "-n", "5", *words, environment=environment)
    assert (done.returncode, done.stderr) == (0, "")
    lines = re.findall(r"^ *(\d+) Hz: RMS 0\.354, (\d+) zero crossings$", done.stdout, re.MULTILINE)
    assert [int(hertz) for hertz, _ in lines] == [440, 100, 200, 300, 400, 500]
    # Two for each period of a second's tone, give or take those of its ends.
    assert all(abs(int(crossings) - 2 * int(hertz)) <= 2 for hertz, crossings in lines)


def test_the_example_says_what_it_lacks(environment: Environment) -> None:
    done = run("example", environment={"MM_ADDR": environment["MM_ADDR"]})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("mmclient: the environment has no credential; expected DOMINO_USER_TOKEN")
