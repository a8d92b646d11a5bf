"""No sequence of Domino's answers, byte by byte, ever lets a credential in that Domino did not name.

`histories_test` has far more sequences, and strangers, but no HTTP. Here hypothesis drives what Domino answers, which
caller asks and how time passes, against the authenticators over real HTTP. The oracle reads no answer: it knows what
each answer means because it wrote it, and which were given to whose credential.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from domino_identity import Credential, IdentityUnavailable, Kind, NotAuthenticated, Principal
from domino_identity.breaker import Breaker
from domino_identity.caller import Caller
from domino_identity.decisions import Decision, Decisions
from domino_identity.domino import DominoPrincipal
from domino_identity.http import Client
from domino_identity.tree import AnyOf
from identity_testing.raw_server import Answer, RawServer, header, http_response

POSITIVE_SECS = 60
CREDENTIALS = (
    Credential(Kind.API_KEY, "one"),
    Credential(Kind.API_KEY, "two"),
    Credential(Kind.TOKEN, "one"),
    Credential(Kind.TOKEN, "two"),
)
NAMES = ("ann", "bob")
# What names nobody, in each of the ways that an HTTP server can go wrong.
GOOD_BODY = b'{"isAnonymous": false, "isAdmin": true, "canonicalName": "eve", "userName": "eve"}'
HEAD = b"HTTP/1.1 200 OK\r\n"
TROUBLE = (
    Answer(),
    Answer((HEAD,)),
    Answer((HEAD + b"Content-Length: 999\r\n\r\n" + GOOD_BODY,)),
    Answer((b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD_BODY,)),
    Answer((GOOD_BODY,)),
    http_response("200 OK", b""),
    http_response("200 OK", GOOD_BODY[:-1]),
    http_response("200 OK", b"[" + GOOD_BODY + b"]"),
    http_response("200 OK", GOOD_BODY.replace(b"false", b'"false"')),
    http_response("200 OK", GOOD_BODY.replace(b"false", b"0")),
    http_response("200 OK", GOOD_BODY.replace(b"false", b"null")),
    http_response("200 OK", GOOD_BODY.replace(b'"eve"', b"{}")),
    http_response("200 OK", b"<html>" + GOOD_BODY),
    http_response("200 OK", GOOD_BODY + GOOD_BODY),
    http_response("302 Found", GOOD_BODY, "Location: /v4/auth/principal"),
    *(
        http_response(f"{status} No", GOOD_BODY, "Set-Cookie: s=eve; Path=/")
        for status in (201, 204, 206, 404, 429, 503)
    ),
)
REFUSALS = (
    http_response("200 OK", b'{"isAnonymous": true}'),
    http_response("200 OK", GOOD_BODY.replace(b"false", b"true")),
    http_response("401 Unauthorized", GOOD_BODY),
    http_response("403 Forbidden", GOOD_BODY),
)


@dataclass
class Told:
    """What Domino says, from now on, to who shows one credential; and what it said last that was a decision.

    Attributes:
        name: whom the answer names; "" where it refuses; None where it says nothing.
        last_name: the same of the last decision that was really sent.
        last_at: when that was, on the test's clock.
    """

    answer: Answer = REFUSALS[0]
    name: str | None = ""
    last_name: str = ""
    last_at: float = float("-inf")
    stream: Caller | None = None
    began_as: str = ""


@dataclass
class World:
    stale_secs: float
    now: float = 1000.0
    sound: bool = True
    told: dict[Credential, Told] = field(default_factory=lambda: {one: Told() for one in CREDENTIALS})

    def answer(self, request: bytes) -> Answer:
        key, token = header(request, "X-Domino-Api-Key"), header(request, "Authorization")
        if key is None and token is None:  # Whether it answers at all, which no test has anything against.
            return REFUSALS[0]
        # In a thread of the server's: an assertion here would be heard by nobody.
        self.sound = self.sound and (key is None) != (token is None) and header(request, "Cookie") is None
        kind, secret = (Kind.API_KEY, key) if key is not None else (Kind.TOKEN, (token or "").removeprefix("Bearer "))
        told = self.told[Credential(kind, secret or "")]
        if told.name is not None:
            told.last_name, told.last_at = told.name, self.now
        return told.answer


class Sequences(RuleBasedStateMachine):
    server: RawServer
    client: Client

    def __init__(self) -> None:
        super().__init__()
        self.server = RawServer()
        self.client = Client(connections=1)

    def teardown(self) -> None:
        self.server.stop()
        self.client.close()

    @initialize(stale_secs=st.sampled_from([0, 0, 30]))
    def begin(self, stale_secs: float) -> None:
        self.world = World(stale_secs)
        self.server.answer = self.world.answer
        # Retries are not what this is about, and waiting between them would take all of its time.
        asks = DominoPrincipal(self.server.url, self.client, timeout_secs=5, sleep=lambda secs: None)
        self.decisions = Decisions(
            AnyOf([Breaker(asks, asks.answers, clock=self.clock)]),
            positive_secs=POSITIVE_SECS,
            stale_secs=stale_secs,
            entries=3,
            clock=self.clock,
            wall_clock=self.clock,
        )

    def clock(self) -> float:
        return self.world.now

    @rule(who=st.sampled_from(CREDENTIALS), name=st.sampled_from(NAMES), admin=st.booleans())
    def domino_names(self, who: Credential, name: str, admin: bool) -> None:
        told = self.world.told[who]
        body = {"isAnonymous": False, "isAdmin": admin, "canonicalName": name}
        told.answer, told.name = http_response("200 OK", json.dumps(body).encode(), "Set-Cookie: s=1; Path=/"), name

    @rule(who=st.sampled_from(CREDENTIALS), answer=st.sampled_from(REFUSALS))
    def domino_refuses(self, who: Credential, answer: Answer) -> None:
        self.world.told[who].answer, self.world.told[who].name = answer, ""

    @rule(who=st.sets(st.sampled_from(CREDENTIALS)), answer=st.sampled_from(TROUBLE))
    def domino_is_in_trouble(self, who: set[Credential], answer: Answer) -> None:
        for one in who:
            self.world.told[one].answer, self.world.told[one].name = answer, None

    @rule(seconds=st.sampled_from([0.1, 1, 4.9, 5, 7, 29.9, 59.9, 60, 95]))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    @rule(who=st.sampled_from(CREDENTIALS))
    def somebody_calls(self, who: Credential) -> None:
        try:
            decision = self.decisions.decide(who, time.monotonic() + 10)
        except (NotAuthenticated, IdentityUnavailable):
            return
        self.must_be_named(who, decision.principal)
        self.must_end(who, decision)

    @rule(who=st.sampled_from(CREDENTIALS))
    def somebody_opens_a_stream(self, who: Credential) -> None:
        told = self.world.told[who]
        try:
            told.stream = Caller(
                self.decisions, who, self.decisions.decide(who, time.monotonic() + 10), clock=self.clock
            )
        except (NotAuthenticated, IdentityUnavailable):
            return
        told.began_as = told.stream.principal.name
        self.must_be_named(who, told.stream.principal)

    @precondition(lambda self: any(told.stream for told in self.world.told.values()))
    @rule()
    def streams_go_on(self) -> None:
        for who, told in self.world.told.items():
            if told.stream is not None:
                try:
                    told.stream.confirm(time.monotonic() + 10)
                except (NotAuthenticated, IdentityUnavailable):
                    told.stream = None
                    continue
                self.must_be_named(who, told.stream.principal)
                assert told.stream.principal.name == told.began_as

    def must_be_named(self, who: Credential, principal: Principal) -> None:
        told = self.world.told[who]
        assert self.world.sound
        assert told.last_name == principal.name
        assert self.world.now - told.last_at < POSITIVE_SECS + self.world.stale_secs

    def must_end(self, who: Credential, decision: Decision) -> None:
        assert decision.valid_until <= self.world.told[who].last_at + POSITIVE_SECS + self.world.stale_secs


TestSequences = Sequences.TestCase
TestSequences.settings = settings(deadline=None)
