"""The table of attacks: who does what, and what of it others may notice."""

from __future__ import annotations

from dataclasses import dataclass

from attacks import callers, chats, connections, rest, scrapes, strangers
from attacks.strangers import Attack
from attacks.strangers import callers as on_callers
from attacks.strangers import probes as on_probes
from attacks.world import CHECK, MB
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD
from triton_proxy.protocols.kserve.methods import MODEL_INFER_METHOD

STRANGER, CALLER = "a stranger", "a caller"
# AUTH_CACHE_SECS, and a few more: the good caller is asked about once again meanwhile.
_LAPSES_SECS = 70.0
# Nobody without a name may make the proxy need what the chart gives it for callers.
_STRANGERS_BYTES = 300 * MB
_UNKNOWN_METHOD = "/no.such.Service/Method"


@dataclass(frozen=True)
class Row:
    """An attack and its bounds.

    Attributes:
        name: of the attack, by which it is chosen.
        who: STRANGER has no credential, CALLER has one, of another principal than the good caller's.
        what: what is done, in words.
        attack: does it.
        memory_bytes: most resident memory of the proxy; None for what the chart's formula says, and where a stranger
            attacks for `_STRANGERS_BYTES`.
        p99_secs: of the good caller's small inferences; none of them may fail.
        health_secs: longest answer on the probes' port.
        recovery_secs: time after the attack until everything is as before.
        newcomers: whether callers that come meanwhile for the first time have to be served, too.
        seconds_at_least: of the attack in the long run.
        kills_triton: whether Triton is killed and started again meanwhile; the good caller's inferences then fail as
            Triton does.
        drained_in_ci: whether the short run ends a proxy under this attack, too; where Acks are not taken, that lasts
            as long as DRAIN_SECS.
    """

    name: str
    who: str
    what: str
    attack: Attack
    memory_bytes: int | None = None
    p99_secs: float = 1.0
    health_secs: float = 1.0
    recovery_secs: float = 10.0
    newcomers: bool = True
    seconds_at_least: float = 0.0
    kills_triton: bool = False
    drained_in_ci: bool = False

    @property
    def most_bytes(self) -> int | None:
        """`memory_bytes`, with what stands for None where a stranger attacks."""
        if self.memory_bytes is None and self.who == STRANGER:
            return _STRANGERS_BYTES
        return self.memory_bytes


TABLE = (
    Row(
        "watch-no-window",
        STRANGER,
        "Health/Watch with a window of 0",
        strangers.watch_without_a_window(on_callers),
        drained_in_ci=True,
    ),
    Row(
        "watch-no-window-probes",
        STRANGER,
        "the same on the probes' port",
        strangers.watch_without_a_window(on_probes),
        drained_in_ci=True,
    ),
    Row(
        "big-health-names",
        STRANGER,
        "Watch and Check with gzipped names of 64 MiB",
        strangers.big_health_names(on_callers, 64 * MB),
    ),
    Row(
        "big-health-names-probes",
        STRANGER,
        "the same on the probes' port, with names as large as grpc takes by default",
        strangers.big_health_names(on_probes, 4 * MB - 64),
    ),
    Row(
        "health-no-message",
        STRANGER,
        "400 health calls that send no message",
        strangers.health_without_a_message(on_callers),
        drained_in_ci=True,
    ),
    Row(
        "health-no-message-probes",
        STRANGER,
        "the same on the probes' port",
        strangers.health_without_a_message(on_probes),
        drained_in_ci=True,
    ),
    Row(
        "large-health-messages",
        STRANGER,
        "health calls whose messages of up to 300 MiB never end",
        strangers.large_health_messages(on_callers),
    ),
    Row(
        "large-health-messages-probes",
        STRANGER,
        "the same on the probes' port",
        strangers.large_health_messages(on_probes),
    ),
    Row(
        "unread-refusals",
        STRANGER,
        "calls with 6 KB of metadata on one connection of which nothing is read",
        strangers.unread_refusals(1, (SEND_UNARY_METHOD,), padding=6000),
        drained_in_ci=True,
    ),
    Row(
        "unread-refusals-many",
        STRANGER,
        "the same on 64 connections",
        strangers.unread_refusals(64, (SEND_UNARY_METHOD, CHAT_METHOD)),
    ),
    Row("refusals", STRANGER, "calls without a credential, at full speed", strangers.calls(SEND_UNARY_METHOD)),
    Row(
        "unknown-methods",
        STRANGER,
        "calls of a method that does not exist, at full speed",
        strangers.calls(_UNKNOWN_METHOD),
    ),
    Row("health-checks", STRANGER, "Health/Check on the callers' port, at full speed", strangers.calls(CHECK)),
    Row("open-watches", STRANGER, "400 Health/Watch calls that stay open", strangers.open_watches(on_callers)),
    Row("open-watches-probes", STRANGER, "the same on the probes' port", strangers.open_watches(on_probes)),
    Row(
        "unknown-keys",
        STRANGER,
        "API keys and tokens that nobody has; Domino takes 100 ms for each",
        strangers.unknown_keys,
        # Until Domino has answered, a newcomer is as unknown as they are.
        newcomers=False,
        seconds_at_least=_LAPSES_SECS,
        drained_in_ci=True,
    ),
    Row(
        "garbage-credentials",
        STRANGER,
        "credentials of all lengths, to which Domino answers 400 and 500",
        strangers.garbage_credentials,
        seconds_at_least=_LAPSES_SECS,
    ),
    Row("large-metadata", STRANGER, "calls with 8 to 16 KiB of metadata", strangers.large_metadata),
    Row("idle-connections", STRANGER, "3,000 connections without a call", connections.idle(on_callers, greets=True)),
    Row("idle-connections-probes", STRANGER, "the same on the probes' port", connections.idle(on_probes, greets=True)),
    Row(
        "silent-connections",
        STRANGER,
        "3,000 TCP connections without a byte",
        connections.idle(on_callers, greets=False),
    ),
    Row(
        "silent-connections-probes", STRANGER, "the same on the probes' port", connections.idle(on_probes, greets=False)
    ),
    Row("silent-connections-metrics", STRANGER, "300 connections to the metrics' port without a byte", scrapes.silent),
    Row(
        "scrapes",
        STRANGER,
        "GET /metrics on new connections, at full speed",
        scrapes.at_full_speed,
        drained_in_ci=True,
    ),
    Row("unread-scrapes", STRANGER, "300 connections that ask for the metrics and read nothing", scrapes.unread),
    Row(
        "connection-flood",
        STRANGER,
        "connections that are closed once they are open",
        connections.connection_flood(on_callers),
    ),
    Row(
        "connection-flood-probes",
        STRANGER,
        "the same on the probes' port",
        connections.connection_flood(on_probes),
    ),
    Row(
        "garbage-bytes", STRANGER, "random bytes, TLS and HTTP/1.1 instead of HTTP/2's first words", connections.garbage
    ),
    Row("slow-headers", STRANGER, "header fields that come a byte at a time", connections.slow_headers),
    Row("continuation-flood", STRANGER, "CONTINUATION frames without an end", connections.continuation_flood),
    Row(
        "header-bomb",
        STRANGER,
        "header fields of a byte each that stand for 4,000",
        connections.header_bomb,
        drained_in_ci=True,
    ),
    Row("rapid-resets", STRANGER, "calls that are cancelled in the same breath", connections.rapid_resets),
    Row(
        "pings",
        STRANGER,
        "PING frames, at full speed",
        connections.frame_flood(on_callers, connections.PINGS, reads=True),
        drained_in_ci=True,
    ),
    Row(
        "unread-pings",
        STRANGER,
        "the same, and no answer is read",
        connections.frame_flood(on_callers, connections.PINGS, reads=False),
    ),
    Row(
        "unread-pings-probes",
        STRANGER,
        "the same on the probes' port",
        connections.frame_flood(on_probes, connections.PINGS, reads=False),
    ),
    Row(
        "settings",
        STRANGER,
        "SETTINGS frames, at full speed",
        connections.frame_flood(on_callers, connections.SETTINGS_FRAMES, reads=True),
    ),
    Row(
        "unread-settings",
        STRANGER,
        "the same, and no answer is read",
        connections.frame_flood(on_callers, connections.SETTINGS_FRAMES, reads=False),
    ),
    Row(
        "window-updates",
        STRANGER,
        "WINDOW_UPDATE frames, at full speed",
        connections.frame_flood(on_callers, connections.WINDOW_UPDATES, reads=True),
    ),
    Row("empty-data", STRANGER, "DATA frames without a byte, at full speed", connections.empty_data),
    Row(
        "idle-streams",
        CALLER,
        "more idle Chat calls than MAX_CALLS",
        callers.idle_calls(CHAT_METHOD),
        drained_in_ci=True,
    ),
    Row(
        "unary-no-message",
        CALLER,
        "more SendUnary calls without a message than MAX_CALLS",
        callers.idle_calls(SEND_UNARY_METHOD),
    ),
    Row(
        "unfinished-messages",
        CALLER,
        "108 messages of 62 MiB that never end",
        callers.unfinished_messages,
    ),
    Row(
        "largest-packets",
        CALLER,
        "packets of 62 MiB for a model that is busy, with a time limit of a day",
        callers.largest_packets,
        drained_in_ci=True,
    ),
    Row("unread-acks", CALLER, "streams that take no Acks of 16 MiB", callers.unread_acks),
    Row("unread-unary-acks", CALLER, "the same with unary calls", callers.unread_unary_acks),
    Row(
        "unread-decoupled",
        CALLER,
        "streams that take no Acks of a decoupled model, which has no end of them",
        callers.unread_decoupled_answers,
    ),
    Row("read-decoupled", CALLER, "the same, and all Acks are taken", callers.read_decoupled_answers),
    Row(
        "empty-inputs",
        CALLER,
        "packets of 15 KiB that gunzip to 16 MiB of empty inputs",
        callers.small_on_the_wire(callers.empty_inputs, together=4),
    ),
    Row(
        "control-characters",
        CALLER,
        "correlation_ids of 32 MiB, six times as long in JSON",
        callers.small_on_the_wire(callers.control_characters, together=2),
    ),
    Row(
        "tiny-elements",
        CALLER,
        "packets of four million empty BYTES elements",
        callers.small_on_the_wire(callers.tiny_elements, together=4),
    ),
    Row(
        "typed-integers",
        CALLER,
        "ModelInfer with a million typed integers, eight times as large once they are read",
        callers.small_on_the_wire(callers.typed_integers, together=4, method=MODEL_INFER_METHOD),
    ),
    Row(
        "typed-texts",
        CALLER,
        "ModelInfer with half a million typed texts, all empty",
        callers.small_on_the_wire(callers.typed_texts, together=4, method=MODEL_INFER_METHOD),
    ),
    Row(
        "empty-contents",
        CALLER,
        "ModelInfer of 16 KiB that gunzips to 16 MiB of empty contents",
        callers.small_on_the_wire(callers.empty_contents, together=4, method=MODEL_INFER_METHOD),
    ),
    Row("many-inputs", CALLER, "packets of 60 KB that describe 4,000 inputs", callers.many_inputs),
    Row("distinct-controls", CALLER, "controls of which each names another output", callers.distinct_controls),
    Row("distinct-models", CALLER, "packets of which each names another model or version", callers.distinct_models),
    Row("cancelled-packets", CALLER, "packets whose calls are cancelled at once", callers.cancelled_packets),
    Row("good-packets", CALLER, "good small packets, at full speed", callers.good_packets),
    Row(
        "rest-silent-connections",
        STRANGER,
        "connections to the REST port that say nothing",
        connections.idle(rest.listener, greets=False),
    ),
    Row("rest-slow-heads", STRANGER, "requests of REST whose heads come a byte at a time", rest.slow_heads),
    Row("rest-slow-bodies", STRANGER, "the same with bodies", rest.slow_bodies),
    Row("rest-uploads", STRANGER, "bodies of 60 MiB to REST, at full speed", rest.uploads),
    Row(
        "rest-pipelined",
        STRANGER,
        "requests to each route of REST and OpenAI's API, sent ahead of their answers",
        rest.request_flood(*rest.NO_CREDENTIAL, reads=True),
    ),
    Row(
        "rest-unread-health",
        STRANGER,
        "the same for health, and no answer is read",
        rest.request_flood(rest.HEALTH, reads=False),
    ),
    Row("rest-huge-heads", STRANGER, "heads of 40 KiB", rest.request_flood(rest.HUGE, reads=True)),
    Row("rest-unfinished-bodies", CALLER, "bodies of 60 MiB to REST that never end", rest.unfinished_bodies),
    Row("rest-worst-json", CALLER, "8 MiB of JSON that is nothing but empty objects", rest.WORST_JSON),
    Row("rest-gzip-bombs", CALLER, "bodies of 64 KiB that gunzip to 63 MiB", rest.BOMB),
    Row("chat-template-bombs", CALLER, "chats whose template has no end in time or memory", chats.TEMPLATE_BOMBS),
    Row("chat-many-messages", CALLER, "chats of 8 MiB in 4,096 messages", chats.MANY_MESSAGES),
    Row("chat-huge-pictures", CALLER, "chats with a picture of 6 MiB", chats.HUGE_PICTURES),
    Row(
        "chat-unread-events", CALLER, "80 streamed chats of 60 KB a word, of which nothing is read", chats.unread_events
    ),
    Row(
        "chat-extremes",
        CALLER,
        "chats with stop, logprobs, max_tokens, tools and n at and over their bounds",
        chats.EXTREMES,
    ),
    Row("huge-embeddings", CALLER, "embeddings of four texts of 2 MiB, and of 49,000 texts", chats.EMBEDDINGS),
    Row(
        "triton-killed",
        CALLER,
        "the same while Triton is killed and started again",
        callers.good_packets,
        kills_triton=True,
    ),
)


def named(names: list[str]) -> list[Row]:
    """The rows of these names, in the table's order; all of them where no name is given.

    Raises:
        ValueError: there is no row of a name.
    """
    if unknown := set(names) - {row.name for row in TABLE}:
        known = ", ".join(row.name for row in TABLE)
        raise ValueError(f"no attack {', '.join(sorted(unknown))}; expected some of {known}")
    return [row for row in TABLE if not names or row.name in names]
