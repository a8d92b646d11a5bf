"""grpc's own interop client in Go, against its test service on the engine: plaintext and TLS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from conformance.programs import Outcome, go_program, run
from conformance.service import TestService
from conformance.tls import tls_files
from proxy_testing.http2 import ENGINES, serving

CASES = (
    "empty_unary",
    "large_unary",
    "client_streaming",
    "server_streaming",
    "ping_pong",
    "empty_stream",
    "timeout_on_sleeping_server",
    "cancel_after_begin",
    "cancel_after_first_response",
    "status_code_and_message",
    "special_status_message",
    "custom_metadata",
    "unimplemented_method",
    "unimplemented_service",
    "pick_first_unary",
    "rpc_soak",
    "channel_soak",
)
# Of the client's cases, those that say nothing of a server's HTTP/2 and gRPC, with the reason.
_GOOGLE = "asks for a token of Google's, which only an account there has"
_ORCA = "asks for load reports (ORCA), a service of its own that a proxy may have or not"
OTHERS = {
    "compute_engine_creds": _GOOGLE,
    "service_account_creds": _GOOGLE,
    "jwt_token_creds": _GOOGLE,
    "per_rpc_creds": _GOOGLE,
    "oauth2_auth_token": _GOOGLE,
    "google_default_credentials": _GOOGLE,
    "compute_engine_channel_credentials": _GOOGLE,
    "orca_per_rpc": _ORCA,
    "orca_oob": _ORCA,
}
# The client has them beside those of its usage.
UNLISTED = {"rpc_soak", "channel_soak"}


# A soak as short as it can be with calls side by side; by itself it gives up after 10 s, which a busy machine takes.
SOAK = (
    "-soak_iterations=40",
    "-soak_num_threads=4",
    "-soak_per_iteration_max_acceptable_latency_ms=60000",
    "-soak_overall_timeout_seconds=100",
)


@dataclass(frozen=True)
class Place:
    port: int
    words: tuple[str, ...]


@pytest.fixture(scope="module", params=["ngh2", "ngh2 over TLS", "h2"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    engine, _, tls = request.param.partition(" over ")
    contexts, words = None, tuple[str, ...]()
    if tls:
        files = tls_files(tmp_path_factory.mktemp("tls"))
        contexts, words = files.contexts(), ("-use_tls", "-use_test_ca", f"-ca_file={files.authority}")
    with serving(TestService(), engine=ENGINES[engine], ssl_context=contexts) as running:
        yield Place(running.port, words)
        assert running.errors == []
        assert running.statistics().violations == 0


def client(*words: object) -> Outcome:
    return run(go_program("interop_client"), *words)


@pytest.mark.parametrize("case", CASES)
def test_grpc_s_own_client_is_served(place: Place, case: str) -> None:
    outcome = client("-server_host=127.0.0.1", f"-server_port={place.port}", f"-test_case={case}", *place.words, *SOAK)
    assert outcome.status == 0, outcome.text


def test_the_client_has_no_case_that_is_neither_run_nor_left_out_for_a_reason() -> None:
    listed = set(re.findall(r"^\s+([a-z0-9_]+) ?: ", client("-help").text, re.MULTILINE))
    assert listed == (set(CASES) - UNLISTED) | set(OTHERS)
