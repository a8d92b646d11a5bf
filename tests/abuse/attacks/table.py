"""The table of attacks: who does what, and what of it others may notice."""

from __future__ import annotations

from dataclasses import dataclass

from attacks import callers, connections, strangers
from attacks.strangers import Attack
from attacks.strangers import callers as on_callers
from attacks.strangers import probes as on_probes
from attacks.world import CHECK, MB, WATCH
from multimodal_contract import CHAT_METHOD, SEND_UNARY_METHOD

STRANGER, CALLER = "a stranger", "a caller"
_UNKNOWN_METHOD = "/no.such.Service/Method"


@dataclass(frozen=True)
class Row:
    """An attack and its bounds.

    Attributes:
        name: of the attack, by which it is chosen.
        who: STRANGER has no credential, CALLER has one, of another principal than the good caller's.
        what: what is done, in words.
        attack: does it.
        memory_bytes: most resident memory of the proxy; None for what the chart's formula says.
        p99_secs: of the good caller's small inferences; none of them may fail.
        health_secs: longest answer on the probes' port.
        recovery_secs: time after the attack until everything is as before.
        kills_triton: whether Triton is killed and started again meanwhile; the good caller's inferences then fail as
            Triton does.
        drained_in_ci: whether the short run ends a proxy under this attack, too.
        engine: why grpc's server can't bound it, where the issue "engine" has to; the row is then run and reported,
            but neither its memory nor its times are held against the bounds.
    """

    name: str
    who: str
    what: str
    attack: Attack
    memory_bytes: int | None = None
    p99_secs: float = 1.0
    health_secs: float = 1.0
    recovery_secs: float = 10.0
    kills_triton: bool = False
    drained_in_ci: bool = False
    engine: str = ""


def _stranger(name: str, what: str, attack: Attack, *, drained_in_ci: bool = False, engine: str = "") -> Row:
    return Row(name, STRANGER, what, attack, drained_in_ci=drained_in_ci, engine=engine)


def _caller(name: str, what: str, attack: Attack, *, drained_in_ci: bool = False, kills_triton: bool = False) -> Row:
    return Row(name, CALLER, what, attack, drained_in_ci=drained_in_ci, kills_triton=kills_triton)


TABLE = (
    _stranger(
        "watch-no-window",
        "Health/Watch with a window of 0",
        strangers.watch_without_a_window(on_callers),
        drained_in_ci=True,
    ),
    _stranger(
        "watch-no-window-probes",
        "the same on the probes' port",
        strangers.watch_without_a_window(on_probes),
        drained_in_ci=True,
    ),
    _stranger(
        "big-health-names",
        "Watch and Check with gzipped names of 64 MiB",
        strangers.big_health_names(on_callers, 64 * MB),
    ),
    _stranger(
        "big-health-names-probes",
        "the same on the probes' port, with names as large as grpc takes by default",
        strangers.big_health_names(on_probes, 4 * MB - 64),
    ),
    _stranger(
        "health-no-message",
        "400 health calls that send no message",
        strangers.health_without_a_message(on_callers),
        drained_in_ci=True,
    ),
    _stranger(
        "health-no-message-probes",
        "the same on the probes' port",
        strangers.health_without_a_message(on_probes),
        drained_in_ci=True,
    ),
    _stranger(
        "large-health-messages",
        "health calls whose messages of up to 300 MiB never end",
        strangers.large_health_messages(on_callers),
    ),
    _stranger(
        "large-health-messages-probes", "the same on the probes' port", strangers.large_health_messages(on_probes)
    ),
    _stranger(
        "unread-refusals",
        "calls on one connection of which nothing is read",
        strangers.unread_refusals(1),
        drained_in_ci=True,
    ),
    _stranger("unread-refusals-many", "the same on 64 connections", strangers.unread_refusals(64)),
    _stranger("refusals", "calls without a credential, at full speed", strangers.calls(SEND_UNARY_METHOD)),
    _stranger(
        "unknown-methods", "calls of a method that does not exist, at full speed", strangers.calls(_UNKNOWN_METHOD)
    ),
    _stranger("health-checks", "Health/Check on the callers' port, at full speed", strangers.calls(CHECK)),
    _stranger(
        "health-watches", "Health/Watch on the callers' port, again and again", strangers.calls(WATCH, per_step=4)
    ),
    _stranger(
        "unknown-keys",
        "API keys and tokens that nobody has; Domino takes 100 ms for each",
        strangers.unknown_keys,
        drained_in_ci=True,
    ),
    _stranger(
        "garbage-credentials",
        "credentials of all lengths, to which Domino answers 400 and 500",
        strangers.garbage_credentials,
    ),
    _stranger("large-metadata", "calls with 8 to 16 KiB of metadata", strangers.large_metadata),
    _stranger("idle-connections", "3,000 connections without a call", connections.idle(on_callers, greets=True)),
    _stranger("idle-connections-probes", "the same on the probes' port", connections.idle(on_probes, greets=True)),
    _stranger("silent-connections", "3,000 TCP connections without a byte", connections.idle(on_callers, greets=False)),
    _stranger("silent-connections-probes", "the same on the probes' port", connections.idle(on_probes, greets=False)),
    _stranger(
        "connection-flood", "connections that are closed once they are open", connections.connection_flood(on_callers)
    ),
    _stranger("connection-flood-probes", "the same on the probes' port", connections.connection_flood(on_probes)),
    _stranger("garbage-bytes", "random bytes, TLS and HTTP/1.1 instead of HTTP/2's first words", connections.garbage),
    _stranger("slow-headers", "header fields that come a byte at a time", connections.slow_headers),
    _stranger("continuation-flood", "CONTINUATION frames without an end", connections.continuation_flood),
    _stranger("header-bomb", "header fields of a byte each that stand for 4,000", connections.header_bomb),
    _stranger("rapid-resets", "calls that are cancelled in the same breath", connections.rapid_resets),
    _stranger(
        "pings", "PING frames, at full speed", connections.frame_flood(on_callers, connections.PINGS, reads=True)
    ),
    _stranger(
        "unread-pings",
        "the same, and no answer is read",
        connections.frame_flood(on_callers, connections.PINGS, reads=False),
    ),
    _stranger(
        "unread-pings-probes",
        "the same on the probes' port",
        connections.frame_flood(on_probes, connections.PINGS, reads=False),
    ),
    _stranger(
        "settings",
        "SETTINGS frames, at full speed",
        connections.frame_flood(on_callers, connections.SETTINGS_FRAMES, reads=True),
    ),
    _stranger(
        "unread-settings",
        "the same, and no answer is read",
        connections.frame_flood(on_callers, connections.SETTINGS_FRAMES, reads=False),
    ),
    _stranger(
        "window-updates",
        "WINDOW_UPDATE frames, at full speed",
        connections.frame_flood(on_callers, connections.WINDOW_UPDATES, reads=True),
    ),
    _stranger("empty-data", "DATA frames without a byte, at full speed", connections.empty_data),
    _caller(
        "idle-streams", "more idle Chat calls than MAX_STREAMS", callers.idle_calls(CHAT_METHOD), drained_in_ci=True
    ),
    _caller(
        "unary-no-message",
        "more SendUnary calls without a message than MAX_STREAMS",
        callers.idle_calls(SEND_UNARY_METHOD),
    ),
    _caller("unfinished-messages", "108 messages of 62 MiB that never end", callers.unfinished_messages),
    _caller(
        "largest-packets",
        "packets of 62 MiB for a model that is busy, with a time limit of a day",
        callers.largest_packets,
        drained_in_ci=True,
    ),
    _caller("unread-acks", "streams that take no Acks of 16 MiB", callers.unread_acks, drained_in_ci=True),
    _caller("unread-unary-acks", "the same with unary calls", callers.unread_unary_acks),
    _caller(
        "unread-decoupled",
        "streams that take no Acks of a decoupled model, which has no end of them",
        callers.unread_decoupled_answers,
        drained_in_ci=True,
    ),
    _caller("read-decoupled", "the same, and all Acks are taken", callers.read_decoupled_answers),
    _caller(
        "empty-inputs",
        "packets of 15 KiB that gunzip to 16 MiB of empty inputs",
        callers.small_on_the_wire(callers.empty_inputs, together=4),
    ),
    _caller(
        "control-characters",
        "correlation_ids of 32 MiB, six times as long in JSON",
        callers.small_on_the_wire(callers.control_characters, together=2),
    ),
    _caller(
        "tiny-elements",
        "packets of four million empty BYTES elements",
        callers.small_on_the_wire(callers.tiny_elements, together=4),
    ),
    _caller("distinct-controls", "controls of which each names another output", callers.distinct_controls),
    _caller("distinct-models", "packets of which each names another model or version", callers.distinct_models),
    _caller("cancelled-packets", "packets whose calls are cancelled at once", callers.cancelled_packets),
    _caller("good-packets", "good small packets, at full speed", callers.good_packets),
    _caller(
        "triton-killed", "the same while Triton is killed and started again", callers.good_packets, kills_triton=True
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
