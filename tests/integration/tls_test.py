"""The client library, the proxy and a real Triton, with TLS on both ways and certificates that change under traffic."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from devstack import models
from devstack.child import Child
from devstack.domino import DominoStandIn
from devstack.ports import ADDRESS, free_ports
from devstack.triton_wheels import TritonHome, triton_wheels
from mm_client_api import ApiKey, CallError, ModelError, ProxyUnavailable, TritonClient
from service_testing.authority import Authority, SecretVolume
from serving import KEY, TIMEOUT, proxy

OURS = Authority("ours")
OTHERS = Authority("of others")


@dataclass(frozen=True)
class Volumes:
    """The Secrets of the two, and the authorities as clients have them."""

    proxy: SecretVolume
    triton: SecretVolume
    ours: Path
    others: Path

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TLS_CERT_FILE": self.proxy.path("tls.crt"),
            "TLS_KEY_FILE": self.proxy.path("tls.key"),
            "TRITON_CA_FILE": self.proxy.path("ca.crt"),
            "TRITON_CERT_FILE": self.proxy.path("tls.crt"),
            "TRITON_KEY_FILE": self.proxy.path("tls.key"),
            "TRITON_SERVER_NAME": "triton.test",
        }


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    made = Volumes(
        SecretVolume(tmp_path / "proxy"), SecretVolume(tmp_path / "triton"), tmp_path / "ours", tmp_path / "others"
    )
    made.proxy.put(OURS.issue(ADDRESS), OURS.pem)
    made.triton.put(OURS.issue("triton.test"), OURS.pem)
    made.ours.write_bytes(OURS.pem)
    made.others.write_bytes(OTHERS.pem)
    return made


@pytest.fixture
def mutual_triton(volumes: Volumes, tmp_path: Path) -> Iterator[str]:
    """The address of a real Triton that speaks mutual TLS only."""
    models.write_repository(tmp_path / "models", [models.identity_name("FP32")])
    (port,) = free_ports([0])
    folder = tmp_path / "home"
    folder.mkdir()
    home = TritonHome(folder, triton_wheels())
    child = Child(
        [
            str(home.executable),
            f"--model-repository={tmp_path / 'models'}",
            f"--backend-directory={home.backends}",
            "--disable-auto-complete-config",
            "--allow-http=false",
            "--allow-metrics=false",
            f"--grpc-address={ADDRESS}",
            f"--grpc-port={port}",
            "--grpc-use-ssl-mutual=true",
            f"--grpc-server-cert={volumes.triton.path('tls.crt')}",
            f"--grpc-server-key={volumes.triton.path('tls.key')}",
            f"--grpc-root-cert={volumes.triton.path('ca.crt')}",
        ],
        env=home.environment,
        log=tmp_path / "triton.log",
        grace=0.5,
    )
    try:
        yield f"{ADDRESS}:{port}"
    finally:
        child.stop()


def echoes(client: TritonClient) -> bool:
    given = np.arange(4, dtype=np.float32)
    result = client.infer("identity_fp32", {"INPUT0": given}, outputs=["OUTPUT0"], model_version="1")
    return np.array_equal(result.raise_for_status().outputs["OUTPUT0"], given)


def until_it_echoes(client: TritonClient) -> None:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            assert echoes(client)
            return
        except ModelError:  # Triton is still starting.
            assert time.monotonic() < deadline


def test_from_client_to_triton_everything_is_encrypted_and_checked(
    mutual_triton: str, volumes: Volumes, domino: DominoStandIn
) -> None:
    with (
        proxy(mutual_triton, domino.url, **volumes.settings) as served,
        TritonClient(served.address, credentials=ApiKey(KEY), ca_bundle=volumes.ours) as client,
    ):
        until_it_echoes(client)
        with (
            TritonClient(served.address, credentials=ApiKey(KEY), ca_bundle=volumes.others) as mistrusting,
            pytest.raises(ProxyUnavailable, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            echoes(mistrusting)
        with TritonClient(served.address, credentials=ApiKey(KEY)) as plain, pytest.raises(CallError):
            echoes(plain)

        volumes.proxy.put(OTHERS.issue(ADDRESS), OURS.pem)
        with TritonClient(served.address, credentials=ApiKey(KEY), ca_bundle=volumes.others) as newcomer:
            assert echoes(newcomer)
        assert echoes(client)


def test_a_triton_of_another_authority_gets_no_tensor(
    mutual_triton: str, volumes: Volumes, domino: DominoStandIn
) -> None:
    with (
        proxy(mutual_triton, domino.url, **volumes.settings) as served,
        TritonClient(served.address, credentials=ApiKey(KEY), ca_bundle=volumes.ours) as client,
    ):
        until_it_echoes(client)
    mistrusting = {**volumes.settings, "TRITON_CA_FILE": str(volumes.others)}
    with (
        proxy(mutual_triton, domino.url, **mistrusting) as served,
        TritonClient(served.address, credentials=ApiKey(KEY), ca_bundle=volumes.ours) as client,
        pytest.raises(ModelError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        echoes(client)
