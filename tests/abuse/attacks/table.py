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
        attack: what it does; its docstring or the table in docs/abuse.md has it in words.
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
    attack: Attack
    memory_bytes: int | None = None
    p99_secs: float = 1.0
    health_secs: float = 1.0
    recovery_secs: float = 10.0
    kills_triton: bool = False
    drained_in_ci: bool = False
    engine: str = ""


def _stranger(name: str, attack: Attack, *, drained_in_ci: bool = False, engine: str = "") -> Row:
    return Row(name, STRANGER, attack, drained_in_ci=drained_in_ci, engine=engine)


def _caller(name: str, attack: Attack, *, drained_in_ci: bool = False, kills_triton: bool = False) -> Row:
    return Row(name, CALLER, attack, drained_in_ci=drained_in_ci, kills_triton=kills_triton)


TABLE = (
    _stranger("watch-no-window", strangers.watch_without_a_window(on_callers), drained_in_ci=True),
    _stranger("watch-no-window-probes", strangers.watch_without_a_window(on_probes), drained_in_ci=True),
    _stranger("big-health-names", strangers.big_health_names(on_callers, 64 * MB)),
    # As large as grpc's own limit lets it be.
    _stranger("big-health-names-probes", strangers.big_health_names(on_probes, 4 * MB - 64)),
    _stranger("health-no-message", strangers.health_without_a_message(on_callers), drained_in_ci=True),
    _stranger("health-no-message-probes", strangers.health_without_a_message(on_probes), drained_in_ci=True),
    _stranger("large-health-messages", strangers.large_health_messages(on_callers)),
    _stranger("large-health-messages-probes", strangers.large_health_messages(on_probes)),
    _stranger("unread-refusals", strangers.unread_refusals(1), drained_in_ci=True),
    _stranger("unread-refusals-many", strangers.unread_refusals(64)),
    _stranger("refusals", strangers.calls(SEND_UNARY_METHOD)),
    _stranger("unknown-methods", strangers.calls(_UNKNOWN_METHOD)),
    _stranger("health-checks", strangers.calls(CHECK)),
    _stranger("health-watches", strangers.calls(WATCH, per_step=4)),
    _stranger("unknown-keys", strangers.unknown_keys, drained_in_ci=True),
    _stranger("garbage-credentials", strangers.garbage_credentials),
    _stranger("large-metadata", strangers.large_metadata),
    _stranger("idle-connections", connections.idle(on_callers, greets=True)),
    _stranger("idle-connections-probes", connections.idle(on_probes, greets=True)),
    _stranger("silent-connections", connections.idle(on_callers, greets=False)),
    _stranger("silent-connections-probes", connections.idle(on_probes, greets=False)),
    _stranger("connection-flood", connections.connection_flood(on_callers)),
    _stranger("connection-flood-probes", connections.connection_flood(on_probes)),
    _stranger("garbage-bytes", connections.garbage),
    _stranger("slow-headers", connections.slow_headers),
    _stranger("continuation-flood", connections.continuation_flood),
    _stranger("header-bomb", connections.header_bomb),
    _stranger("rapid-resets", connections.rapid_resets),
    _stranger("pings", connections.frame_flood(on_callers, connections.PINGS, reads=True)),
    _stranger("unread-pings", connections.frame_flood(on_callers, connections.PINGS, reads=False)),
    _stranger("unread-pings-probes", connections.frame_flood(on_probes, connections.PINGS, reads=False)),
    _stranger("settings", connections.frame_flood(on_callers, connections.SETTINGS_FRAMES, reads=True)),
    _stranger("unread-settings", connections.frame_flood(on_callers, connections.SETTINGS_FRAMES, reads=False)),
    _stranger("window-updates", connections.frame_flood(on_callers, connections.WINDOW_UPDATES, reads=True)),
    _stranger("empty-data", connections.empty_data),
    _caller("idle-streams", callers.idle_calls(CHAT_METHOD), drained_in_ci=True),
    _caller("unary-no-message", callers.idle_calls(SEND_UNARY_METHOD)),
    _caller("unfinished-messages", callers.unfinished_messages),
    _caller("largest-packets", callers.largest_packets, drained_in_ci=True),
    _caller("unread-acks", callers.unread_acks, drained_in_ci=True),
    _caller("unread-unary-acks", callers.unread_unary_acks),
    _caller("unread-decoupled", callers.unread_decoupled_answers, drained_in_ci=True),
    _caller("read-decoupled", callers.read_decoupled_answers),
    _caller("empty-inputs", callers.small_on_the_wire(callers.empty_inputs, together=4)),
    _caller("control-characters", callers.small_on_the_wire(callers.control_characters, together=2)),
    _caller("tiny-elements", callers.small_on_the_wire(callers.tiny_elements, together=4)),
    _caller("distinct-controls", callers.distinct_controls),
    _caller("distinct-models", callers.distinct_models),
    _caller("cancelled-packets", callers.cancelled_packets),
    _caller("good-packets", callers.good_packets),
    _caller("triton-killed", callers.good_packets, kills_triton=True),
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
