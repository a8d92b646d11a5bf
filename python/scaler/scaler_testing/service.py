"""The scale service beside an API server and a Domino of its own, and callers with credentials for it."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from identity_testing.raw_server import Answer, RawServer, header, http_response
from identity_testing.realm import ISSUER, SigningKey, claims, jwks
from mm_service import settings
from scale_service.app import Server, authenticator_for
from scale_service.autoscaler import AutoscalerStatistics, Pace
from scale_service.rest import RestStatistics
from scale_service.settings import Settings
from scaler_testing.api_server import NAMESPACE, PROXY, TRITON, ApiServer

TIMEOUT = 60
KEY = SigningKey("rsa")
# Domino knows these by their keys.
ADMIN_KEY, USER_KEY = "s3cret-key-of-root", "s3cret-key-of-ann"

POLICY = """
rules:
  - description: the platform team
    allow:
      groups: [/organizations/acme/platform]
      client_roles: [{client: triton-inference-server, role: admin}]
      admins: true
    deployments: [inference-server, proxy]
    verbs: [view, logs, scale, resources, restart]
    replicas: {min: "0", max: "4"}
    resources:
      cpu: {min: 100m, max: "8"}
      memory: {min: 256Mi, max: 32Gi}
      gpu: {max: "2"}
  - description: people who use it
    allow: {groups: [/organizations/acme/**]}
    deployments: [inference-server]
    verbs: [view, scale]
    replicas: {min: "1", max: "2"}
"""


def token(name: str, **changes: object) -> dict[str, str]:
    """The header of a user with a token of the realm, which `changes` adds claims to."""
    return {"Authorization": f"Bearer {KEY.token(claims(preferred_username=name, **changes))}"}


def platform() -> dict[str, str]:
    """The header of somebody in the platform team."""
    return token("pia", user_groups=["/organizations/acme/platform"])


def api_key(key: str) -> dict[str, str]:
    """The header of a user with an API key."""
    return {"X-Domino-Api-Key": key}


@dataclass(frozen=True)
class Response:
    """An answer.

    Attributes:
        status: HTTP's.
        body: its JSON.
        headers: by lower-case name.
    """

    status: int
    body: Any
    headers: Mapping[str, str]


class Service:
    """The service in this process, on a free port of loopback; its audit log goes to a file.

    Attributes:
        port: where REST is served.
        grpc_port: where gRPC is served.
        metrics_port: where its metrics are.
        api: its API server.
        domino: knows its callers.
        policy: the policy's file.
        audit: the audit log's file.
    """

    def __init__(
        self, api: ApiServer, folder: Path, pace: Pace | None = None, policy: str = POLICY, /, **changes: str
    ) -> None:
        self.api = api
        self.domino = RawServer(_domino)
        self.policy = folder / "policy.yaml"
        self.policy.write_text(policy)
        environment = {
            "NAMESPACE": NAMESPACE,
            "INFERENCE_SERVER_DEPLOYMENT": TRITON,
            "PROXY_DEPLOYMENT": PROXY,
            "SCALE_POLICY_FILE": str(self.policy),
            "KUBERNETES_URL": api.url,
            "LISTEN_ADDR": "127.0.0.1:0",
            "GRPC_LISTEN_ADDR": "127.0.0.1:0",
            "METRICS_LISTEN_ADDR": "127.0.0.1:0",
            "DOMINO_HOST": self.domino.url,
            "KEYCLOAK_ISSUER": ISSUER,
            "KEYCLOAK_JWKS_URL": f"{self.domino.url}/certs",
            "PROGRESS_EVERY_SECS": "0.05",
            "DRAIN_SECS": "5",
            **changes,
        }
        loaded = settings.load(Settings, environment)
        self.audit = folder / "audit.jsonl"
        self._audit = os.open(self.audit, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._server = Server(loaded, authenticator_for(loaded), audit_fd=self._audit, pace=pace)
        self._server.start()
        self.port = self._server.port
        self.grpc_port = self._server.grpc_port
        self.metrics_port = self._server.metrics_port
        self._stopped = False

    def __enter__(self) -> Service:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Drains it; what it wrote can then be read."""
        if not self._stopped:
            self._stopped = True
            self._server.drain()
            self.domino.stop()
            os.close(self._audit)

    def statistics(self) -> RestStatistics:
        """What it is at work on."""
        return self._server.statistics()

    def autoscaler(self) -> AutoscalerStatistics:
        """What scales to zero and back sees and did."""
        assert self._server.autoscaler is not None  # noqa: S101 - the test turned it on
        return self._server.autoscaler.statistics()

    def call(self, method: str, path: str, headers: Mapping[str, str], body: object = None, **more: str) -> Response:
        """A request of its own connection.

        Args:
            method: HTTP's.
            path: with its query.
            headers: of the caller.
            body: bytes, or what is sent as JSON; None for nothing.
            more: other headers, with _ for -.
        """
        raw = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        try:
            connection.request(method, path, raw, {**headers, **{k.replace("_", "-"): v for k, v in more.items()}})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return Response(response.status, json.loads(text), {k.lower(): v for k, v in response.headers.items()})

    def audited(self) -> list[dict[str, Any]]:
        """The lines of the audit log, once it is drained."""
        self.stop()
        return [json.loads(line) for line in self.audit.read_text().splitlines()]

    def write_policy(self, text: str) -> None:
        """Changes the policy, and returns once the service has had time to look at it anew."""
        self.policy.write_text(text)
        time.sleep(1.1)


def _domino(request: bytes) -> Answer:
    if request.startswith(b"GET /v4/auth/principal "):
        names = {ADMIN_KEY: ("root", True), USER_KEY: ("ann", False)}
        known = names.get(header(request, "X-Domino-Api-Key") or "")
        if known is None:
            return http_response("200 OK", b'{"isAnonymous": true}')
        told = {"isAnonymous": False, "canonicalName": known[0], "isAdmin": known[1]}
        return http_response("200 OK", json.dumps(told).encode())
    return http_response("200 OK", jwks(KEY.jwk()))
