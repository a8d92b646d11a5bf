from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from triton_proxy.telemetry.trace import CallTrace, Sampler, TraceContext, parse

TRACE, SPAN = "ab" * 16, "cd" * 8
PARENT = f"00-{TRACE}-{SPAN}-01"
SAMPLED = TraceContext(TRACE, SPAN, sampled=True)


@pytest.mark.parametrize(
    ("headers", "context"),
    [
        ([("traceparent", PARENT)], SAMPLED),
        ([("tracestate", "a=b"), ("traceparent", PARENT)], TraceContext(TRACE, SPAN, sampled=True, state="a=b")),
        (
            [("tracestate", "a=b"), ("traceparent", PARENT), ("tracestate", "c=d")],
            TraceContext(TRACE, SPAN, sampled=True, state="a=b,c=d"),
        ),
        ([("traceparent", PARENT[:-1] + "0")], TraceContext(TRACE, SPAN, sampled=False)),
        ([("traceparent", PARENT[:-1] + "2")], TraceContext(TRACE, SPAN, sampled=False, random=True)),
        ([("traceparent", PARENT[:-2] + "ff")], TraceContext(TRACE, SPAN, sampled=True, random=True)),
        ([("traceparent", PARENT[:-2] + "fd")], SAMPLED),
        # A version to come may say more; this one may not.
        ([("traceparent", PARENT.replace("00-", "01-", 1) + "-more")], SAMPLED),
        ([("traceparent", PARENT + "-more")], None),
        ([("traceparent", PARENT.upper())], None),
        ([("traceparent", f"00-{'0' * 32}-{SPAN}-01")], None),
        ([("traceparent", f"00-{TRACE}-{'0' * 16}-01")], None),
        ([("traceparent", f"ff-{TRACE}-{SPAN}-01")], None),
        ([("traceparent", PARENT + "\n")], None),
        ([("traceparent", "")], None),
        ([("tracestate", PARENT)], None),
        ([], None),
        # What can't be a header of ours is not passed on; the trace is.
        ([("traceparent", PARENT), ("tracestate", "a=b\r\nx: y")], SAMPLED),
        ([("traceparent", PARENT), ("tracestate", "a=" + "é")], SAMPLED),
        ([("traceparent", PARENT), ("tracestate", "a=" + "b" * 511)], SAMPLED),
        (
            [("traceparent", PARENT), ("tracestate", "a=" + "b" * 510)],
            TraceContext(TRACE, SPAN, sampled=True, state="a=" + "b" * 510),
        ),
    ],
)
def test_what_callers_say_of_their_traces(headers: list[tuple[str, str]], context: TraceContext | None) -> None:
    assert parse(headers) == context


TEXTS = st.text(max_size=80) | st.from_regex(
    r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z", fullmatch=True
)
NAMES = st.sampled_from(["traceparent", "tracestate"])


@given(st.lists(st.tuples(NAMES, TEXTS), max_size=4))
@example([("traceparent", PARENT), ("tracestate", " a=b")])
def test_nothing_hostile_goes_on_to_triton(headers: list[tuple[str, str]]) -> None:
    call = Sampler(1).begin(parse(headers), 0.0)
    if call is None:
        context = parse(headers)
        assert context is not None
        assert not context.sampled
        return
    request = call.request(0.0)
    assert request is not None
    sent = dict(request.ask())
    assert re.fullmatch(f"00-{call.trace_id}-{request.inference_id}-0[13]", sent.pop("traceparent"))
    assert re.fullmatch("[0-9a-f]{32}", call.trace_id)
    assert re.fullmatch("[0-9a-f]{16}", request.inference_id)
    assert int(call.trace_id, 16)
    assert int(request.inference_id, 16)
    for name, value in sent.items():
        assert name == "tracestate"
        assert re.fullmatch("[!-~]([ -~]*[!-~])?", value)
        assert len(value) <= 512


def test_a_call_is_traced_where_its_caller_traces_it_and_others_by_chance() -> None:
    chances = iter([0.0, 0.0099, 0.01, 0.5])
    sampler = Sampler(0.01, lambda: next(chances))
    began = [sampler.begin(None, 1.0) for _ in range(4)]
    assert [each is not None for each in began] == [True, True, False, False]
    assert {each.parent_id for each in began if each is not None} == {""}
    traced = sampler.begin(TraceContext(TRACE, SPAN, sampled=True, state="a=b"), 2.0)
    assert traced is not None
    assert (traced.trace_id, traced.parent_id, traced.state, traced.began) == (TRACE, SPAN, "a=b", 2.0)
    assert traced.flags == 1
    drawn = sampler.begin(TraceContext(TRACE, SPAN, sampled=True, random=True), 2.0)
    assert drawn is not None
    assert drawn.flags == 3
    assert sampler.begin(TraceContext(TRACE, SPAN, sampled=False), 2.0) is None
    assert Sampler(0, lambda: 0.0).begin(None, 1.0) is None


def test_a_stream_is_traced_at_its_beginning_and_a_request_a_second_from_then_on() -> None:
    call = CallTrace(TRACE, "", "", 0.0)
    ids = [call.request(10.0 + number / 1000) for number in range(100)]
    assert len({each.span_id for each in ids if each is not None}) == 100
    later = [number / 10 for number in range(300)]
    traced = [secs for secs in later if call.request(100.0 + secs) is not None]
    assert traced == [float(number) for number in range(30)]
