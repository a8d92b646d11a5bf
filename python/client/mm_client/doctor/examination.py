"""All checks in their order, and what each needs of those before it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from mm_client.doctor import calls, identity, network, tls, versions
from mm_client.doctor.certificates import trusted_authorities
from mm_client.doctor.finding import Finding, not_checked, ok, wrong_by
from mm_client_api import ConfigurationError, TritonClient
from mm_client_api._core.address import target_of
from mm_client_api._core.endpoint import Endpoint, message_limit_mb, uses_http_proxy
from mm_client_api.credentials import Metadata

_REST_PORT = 8080


@dataclass(frozen=True)
class Question:
    """What is to be examined.

    Attributes:
        addr: the proxy's address as people write it.
        tls: whether to encrypt.
        ca_bundle: PEM file of the authorities to trust; empty for those that come with gRPC.
        http_url: the proxy's REST; empty for port 8080 of its host.
        model: to infer with; empty takes one that is ready.
        timeout_secs: longest time of a step.
    """

    addr: str
    tls: bool
    ca_bundle: str
    http_url: str
    model: str
    timeout_secs: float


class _Taken:
    """Credentials that the proxy has taken."""

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata

    def metadata(self) -> Metadata:
        return self._metadata


class Examination:
    """Makes one check after the other.

    Args:
        question: what is to be examined.
    """

    def __init__(self, question: Question) -> None:
        self._question = question
        self._target = ""
        self._hosts: list[tuple[str, int]] = []
        self._places: list[network.Place] = []
        self._asked: tls.Asked | None = None
        self._found: list[identity.Found] = []
        self._taken: Metadata = ()
        self._stack = ExitStack()
        self._proxy: calls.Proxy | None = None

    def findings(self) -> Iterator[Finding]:
        """Make the checks, and yield what each found, without any credential in it."""
        blocked: set[str] = set()
        with self._stack:
            for name, check, needed in self._checks():
                began = time.perf_counter()
                lacking = [each for each in needed if each in blocked]
                found = not_checked(f"it needs {' and '.join(lacking)}", blocks=True) if lacking else check()
                if found.blocks:
                    blocked.add(name)
                took = (time.perf_counter() - began) * 1000
                yield replace(found, check=name, milliseconds=took).without([each.secret for each in self._found])

    def _checks(self) -> tuple[tuple[str, Callable[[], Finding], tuple[str, ...]], ...]:
        return (
            ("address", self._address, ()),
            ("DNS", self._dns, ("address",)),
            ("TCP", self._tcp, ("DNS",)),
            ("TLS", self._tls, ("TCP",)),
            ("HTTP/2", self._http2, ("TLS",)),
            ("credentials", self._credentials, ()),
            ("sign-in", self._sign_in, ("HTTP/2", "credentials")),
            ("clock", self._clock, ()),
            ("versions", self._versions, ()),
            ("message size", self._message_size, ("sign-in",)),
            ("round trip", self._round_trip, ("sign-in",)),
        )

    def _address(self) -> Finding:
        try:
            self._target = target_of(self._question.addr)
            through_web_proxy = uses_http_proxy(None, os.environ)
        except ConfigurationError as error:
            return wrong_by(error)
        if through_web_proxy:
            return ok(f"{self._question.addr}, through the environment's web proxy (MM_ENABLE_HTTP_PROXY is 1)")
        if network.names_a_server(self._target):
            return ok(f"{self._question.addr}, with a name server of its own")
        self._hosts = network.hosts_of(self._target)
        if not self._hosts:
            self._places = [network.socket_of(self._target)]
        return ok(self._question.addr)

    def _elsewhere(self) -> bool:
        """Whether only gRPC can find the way."""
        return not (self._hosts or self._places)

    def _dns(self) -> Finding:
        if not self._hosts:
            return not_checked("the address has no name that is looked up here")
        self._places, finding = network.look_up(self._hosts)
        return finding

    def _tcp(self) -> Finding:
        if self._elsewhere():
            return not_checked("gRPC alone knows the way there")
        place, finding = network.reach(self._places, self._question.timeout_secs)
        if place is not None:
            name = self._hosts[0][0] if self._hosts else "localhost"
            encrypted = self._question.tls or bool(self._question.ca_bundle)
            self._asked = tls.Asked(place, name, encrypted, self._question.ca_bundle, self._question.timeout_secs)
        return finding

    def _tls(self) -> Finding:
        if self._asked is None:
            return not_checked("gRPC alone knows the way there")
        return tls.check_encryption(self._asked)

    def _http2(self) -> Finding:
        if self._asked is None:
            return not_checked("gRPC alone knows the way there")
        return tls.check_http2(self._asked)

    def _credentials(self) -> Finding:
        self._found, finding = identity.find_credentials(os.environ)
        return finding

    def _sign_in(self) -> Finding:
        question = self._question
        try:
            endpoint = Endpoint.resolve(
                question.addr,
                credentials=_Taken(()),
                tls=question.tls,
                ca_bundle=question.ca_bundle or None,
                # A wrong setting is the business of the check of sizes.
                max_message_mb=64,
                enable_http_proxy=None,
            )
        except ConfigurationError as error:
            return wrong_by(error)
        self._proxy = self._stack.enter_context(calls.Proxy(endpoint, question.timeout_secs))
        taken, finding = identity.check_sign_in(self._proxy, self._found)
        if taken is not None:
            self._taken = taken.metadata
        return finding

    def _clock(self) -> Finding:
        question = self._question
        encrypted = question.tls or bool(question.ca_bundle)
        url = question.http_url
        if not url and self._hosts:
            host = self._hosts[0][0]
            url = f"{'https' if encrypted else 'http'}://{f'[{host}]' if ':' in host else host}:{_REST_PORT}"
        context = None
        if url.startswith("https:"):
            try:
                context = trusted_authorities(question.ca_bundle, os.environ)
            except OSError:
                url = ""
        return identity.check_clock(url, context, self._found, question.timeout_secs)

    def _versions(self) -> Finding:
        return versions.check_versions([".", *filter(None, sys.path)])

    def _message_size(self) -> Finding:
        try:
            limit_mb = message_limit_mb(None, os.environ)
        except ConfigurationError as error:
            return wrong_by(error)
        assert self._proxy is not None  # noqa: S101 - it signed in
        return calls.check_message_size(self._proxy, self._taken, limit_mb, self._question.timeout_secs)

    def _round_trip(self) -> Finding:
        question = self._question
        assert self._proxy is not None  # noqa: S101 - it signed in
        try:
            client = TritonClient(
                question.addr,
                credentials=_Taken(self._taken),
                tls=question.tls,
                ca_bundle=question.ca_bundle or None,
            )
        except ConfigurationError as error:
            return wrong_by(error)
        with client:
            return calls.check_round_trip(client, self._proxy, self._taken, question.model, question.timeout_secs)
