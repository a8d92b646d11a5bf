"""The table of metrics, of which the reference's page is made: name, type, labels and help of each."""

from __future__ import annotations

import enum
from dataclasses import dataclass

PREFIX = "triton_proxy_"
# Seconds. An inference takes milliseconds, one that waits takes as long as it may.
LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Five for each model: no more of them than say where the time goes.
STAGE = (0.0005, 0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
_CALL = (0.01, 0.1, 1.0, 10.0, 60.0, 300.0, 1800.0, 3600.0, 14400.0, 86400.0)
_PACKETS = (1.0, 2.0, 5.0, 10.0, 50.0, 100.0, 500.0, 1000.0, 10_000.0, 100_000.0)


class Type(enum.Enum):
    """Prometheus' types of metrics."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, eq=False)
class Metric:
    """One metric.

    Attributes:
        name: as Prometheus stores it; of a counter with `_total`.
        type: its type.
        labels: names of its labels.
        help: what it is, in one line.
        buckets: of a histogram, upper bounds in the metric's unit.
    """

    name: str
    type: Type
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()


def _counter(name: str, help_: str, *labels: str) -> Metric:
    return Metric(f"{PREFIX}{name}_total", Type.COUNTER, labels, help_)


def _gauge(name: str, help_: str, *labels: str) -> Metric:
    return Metric(PREFIX + name, Type.GAUGE, labels, help_)


def _histogram(name: str, help_: str, buckets: tuple[float, ...], *labels: str) -> Metric:
    return Metric(PREFIX + name, Type.HISTOGRAM, labels, help_, buckets)


_METHOD = ("protocol", "method")

# Calls and their requests, as `metrics.py` counts them.
REQUESTS = _counter(
    "requests",
    "Requests that have their answer (outcome ok or failed) or were refused one (rejected). reason is empty for ok; of"
    " rejected the call's status; of failed what went wrong first: invalid, model_mismatch, no_sequence,"
    " decoupled_unary, model_error, answer_too_large, rights_ended, or Triton's status.",
    *_METHOD,
    "model",
    "version",
    "outcome",
    "reason",
)
UNANSWERED = _counter(
    "requests_unanswered",
    "Requests that were accepted and had no complete answer when their call ended, by the call's status.",
    *_METHOD,
    "code",
)
REQUEST_SECONDS = _histogram(
    "request_duration_seconds",
    "From a request's arrival to its last answer, which includes waiting for the answers before it.",
    LATENCY,
    *_METHOD,
    "model",
)
STAGE_SECONDS = _histogram(
    "request_stage_duration_seconds",
    "Of that: auth (is the caller still who it was), queue (waiting for a thread and for memory), validate (reading it,"
    " and the policy), triton (until Triton had answered), answer (writing the answer).",
    STAGE,
    "model",
    "stage",
)
REQUEST_BYTES = _counter("request_bytes", "Bytes of requests, as their callers sent them.", *_METHOD, "model")
RESPONSE_BYTES = _counter("response_bytes", "Bytes of answers.", *_METHOD, "model")
CALLS = _counter("calls", "Calls (streams or single requests) that have ended, by their status.", *_METHOD, "code")
CALL_SECONDS = _histogram("call_duration_seconds", "How long calls of known callers lasted.", _CALL, *_METHOD)
CALL_REQUESTS = _histogram("call_requests", "Requests that were accepted on one call.", _PACKETS, *_METHOD)
CALLS_REFUSED = _counter(
    "calls_refused",
    "Calls that ended before it was known who calls, by the credential's kind (none where none could be read).",
    "credential",
    "code",
)

# Who is calling.
DECISIONS = _counter(
    "auth_decisions",
    "Decisions about who is calling that callers got, from memory or asked for.",
    "credential",
    "source",
    "outcome",
)
IDENTITY_SECONDS = _histogram(
    "identity_request_duration_seconds",
    "Questions to domino (principal) and keycloak (keys); answered is false for no answer and for HTTP 5xx.",
    LATENCY[2:12],
    "server",
    "answered",
)
STALE = _counter("auth_stale_answers", "Decisions that were prolonged since nobody could decide (AUTH_STALE_SECS).")
REMEMBERED = _gauge("auth_remembered", "Credentials whose last decision is remembered.", "outcome")
EVICTED = _counter("auth_evicted", "Remembered decisions that went to make room for others.")
ASKING = _gauge("auth_questions", "Questions under way about who is calling.")
ASK_WAITING = _gauge("auth_waiting", "Callers that wait for the answer to such a question.")
CALLS_WAITING = _gauge(
    "calls_waiting_for_identity",
    "Calls that wait until it is known who calls: those of strangers, and of callers known before (lapsed).",
    "standing",
)
BREAKER_OPEN = _gauge("breaker_open", "1 while Domino is not asked, since it did not answer.", "circuit")
BREAKER_OPENED = _counter("breaker_opened", "Times that the breaker opened.", "circuit")
BREAKER_REFUSED = _counter("breaker_refused", "Questions that were refused since the breaker was open.", "circuit")

# Calls and requests that are under way.
CALLS_OPEN = _gauge("calls_open", "Calls that have a place, of MAX_CALLS.")
CALLS_LIMIT = _gauge("calls_limit", "MAX_CALLS.")
CALLS_UNHEARD = _gauge("calls_unheard", "Of these, calls that have sent no request.")
CALLS_SENDING = _gauge("calls_sending", "Of these, calls whose caller has yet to take an answer.")
CALLS_LAPSED = _gauge("calls_lapsed", "Of these, calls whose caller is to be confirmed.")
IN_FLIGHT = _gauge("requests_in_flight", "Requests that were accepted and have no complete answer.")
PRINCIPALS = _gauge("principals", "Principals that have a call open, or an allowance that is not full.")
DRAINING = _gauge("draining", "1 while the proxy stops.")
LIMIT_HITS = _counter(
    "limit_hits",
    "How often a limit was reached: settings by their names, connections' limits by those in http2/limits.py, and"
    " strangers for too many callers that nobody knows.",
    "limit",
)

# Memory.
MEMORY_USED = _gauge("memory_reserved_bytes", "Memory that requests and answers have, of MAX_MB_IN_FLIGHT.")
MEMORY_LIMIT = _gauge("memory_limit_bytes", "MAX_MB_IN_FLIGHT.")
MEMORY_ARRIVING = _gauge("memory_arriving_bytes", "Of it, for requests that have not arrived completely.")
MEMORY_WAITING = _gauge("memory_waiting_requests", "Requests that wait for memory.")
MEMORY_HELD_BACK = _gauge("memory_held_back_calls", "Calls that may send no more of a request before there is memory.")

# Models and Triton.
MODELS = _gauge("models_known", "Models and versions that Triton described lately, in the spelling of requests.")
MODELS_UNANSWERED = _gauge("models_unanswered", "Models and versions that Triton had no answer about.")
MODEL_QUESTIONS = _counter("model_questions", "Questions to Triton about models that are over.")
TRITON_READY = _gauge("triton_ready", "1 where a Triton of that name said so when it was last asked.", "triton")
TRITON_OUTSTANDING = _gauge(
    "triton_outstanding_requests",
    "Calls to each Triton under way: by the engine or grpc (channel), or on connections of their own (direct). A Triton"
    " that is away has its series for as long as DNS gives its address.",
    "triton",
    "path",
)
TRITON_EJECTED = _gauge(
    "triton_ejected", "1 while a Triton gets nothing new since it is not ready, and others are.", "triton"
)
TRITON_EJECTIONS = _counter("triton_ejections", "How often a Triton was ejected, also of those that DNS names no more.")
TRITON_MOVED = _counter("triton_moved", "Calls that one Triton had certainly not begun and that went to another.")
TRITON_WANTED = _counter(
    "triton_wanted",
    "Requests for an inference or about one model, whose callers may use it: while it stands still, nobody needs"
    " Triton.",
)
TRITON_AWAITED = _gauge("triton_awaited_requests", "Of these, those that wait since there is no Triton.")
SEQUENCES = _gauge("triton_sequences", "Sequences of stateful models that began and have not ended, where they are.")
TRITON_IDLE = _gauge("triton_idle_connections", "Connections for large requests that wait for the next.", "triton")

# Listeners, files, and the process.
SERVING = _gauge("serving", "1 where health says SERVING of the proxy.")
OWN_CALLS_UNANSWERED = _gauge("own_calls_unanswered", "The proxy's calls to itself that were not answered, in a row.")
PROBES = _counter("probes", "Probes on the port of HEALTH_LISTEN_ADDR.", "result")
CONNECTIONS = _gauge("connections", "Open connections of callers (GRPC_SERVER=http2).")
CONNECTIONS_ACCEPTED = _counter("connections_accepted", "Connections of callers so far (GRPC_SERVER=http2).")
CONNECTION_ERRORS = _counter(
    "connection_errors",
    "What was wrong with connections: http1, handshake (TLS), violation (of HTTP/2), head (none of gRPC's), handler (a"
    " mistake of the proxy's).",
    "kind",
)
HELD_BYTES = _gauge("held_bytes", "Bytes of messages that arrived and were not taken (GRPC_SERVER=http2).")
LOOP_PAUSE = _gauge("loop_longest_pause_seconds", "By which the loop was late at most, within the last minute or two.")
CERTIFICATE_ENDS = _gauge(
    "certificate_not_after_timestamp_seconds",
    "When the proxy's certificate ends: the one for callers (listener), and the one for Triton (triton).",
    "end",
)
FILE_STALE = _gauge(
    "file_stale",
    "1 where a watched file can't be used and what was read before is in force: access_policy, listener, triton.",
    "file",
)
FILE_CHANGES = _counter("file_changes", "Times that a watched file's new contents came into force.", "file")
FILE_FAILURES = _counter("file_failures", "Times that a watched file's new contents could not be used.", "file")
AUDIT_LINES = _counter(
    "audit_lines", "Lines of the audit log that were written, or dropped for a slow reader.", "result"
)
AUDIT_WAITING = _gauge("audit_lines_waiting", "Lines of the audit log that wait for their reader.")
TRACED = _counter(
    "traced",
    "Calls and requests that are traced and whose spans the collector took (exported), or which were dropped for a slow"
    " collector or none.",
    "result",
)
TRACED_WAITING = _gauge("traced_waiting", "Calls and requests whose spans wait to be exported.")
SCRAPES_REFUSED = _counter("metrics_connections_refused", "Connections to this port that got no metrics.")
WORKERS_SERVING = _gauge("workers_serving", "Worker processes that answered, of WORKERS.")
WORKER_RESTARTS = _counter("worker_restarts", "Worker processes that ended by themselves, and were started again.")
BUILD = _gauge("build_info", "1, with what is running.", "version", "python", "grpc_server")

# Where several processes serve, each says these of itself, and the highest or lowest is what the proxy says. All other
# gauges add up.
WORST_IS_HIGHEST = (
    REMEMBERED,
    BREAKER_OPEN,
    PRINCIPALS,
    DRAINING,
    MODELS,
    MODELS_UNANSWERED,
    TRITON_EJECTED,
    OWN_CALLS_UNANSWERED,
    LOOP_PAUSE,
    FILE_STALE,
    BUILD,
)
WORST_IS_LOWEST = (TRITON_READY, SERVING, CERTIFICATE_ENDS)
METRICS = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
