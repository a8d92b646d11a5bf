"""Histories of a stream against a small model: what is asked for, what is answered, and what the call ends with."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mm_service.status import OK, Code, Status
from multimodal_contract import pb
from proxy_testing.describing import DECOUPLED, PLAIN, STATEFUL
from proxy_testing.memory_serving import MemoryServing, one_answer
from triton_proxy.inference.answer import InferenceFailed
from triton_proxy.serving.call import FAILED

DRAIN = Status(Code.UNAVAILABLE, "drained")
GIVES_WAY = Status(Code.RESOURCE_EXHAUSTED, "gives way")
GONE = Status(Code.CANCELLED, "the caller went away")
DROPPED = Status(Code.CANCELLED, "dropped")
NOT_KNOWN = Status(Code.UNAUTHENTICATED, "not any more")
LARGEST = 200_000
LARGE, TOO_LARGE = 70_000, 200_001
# A model of its own each time is not known yet when its packet comes.
KINDS = ("plain", "plain", "new", "large", "too large", "decoupled", "decoupled", "event", "wrong", "unfit")


@dataclass
class Expected:
    """A packet that was accepted.

    Attributes:
        cid: its correlation id.
        decoupled: whether it may have any number of answers.
        begun: whether it has its place in the window.
        ready: whether its answers may be made.
        answers: status of those that can be made by now, and whether each is the last.
        all_made: whether its last answer was made.
        broken: whether making an answer raises.
        cut: whether its inference was cut.
    """

    cid: str
    decoupled: bool = False
    begun: bool = False
    ready: bool = False
    answers: list[tuple[pb.StatusCode.ValueType, bool]] = field(default_factory=list)
    all_made: bool = False
    broken: bool = False
    cut: bool = False


def packet(cid: str, kind: str) -> pb.DataPacket:
    if kind == "event":
        return pb.DataPacket(event=pb.SEV_END, meta=pb.Meta(correlation_id=cid))
    size = {"large": LARGE, "too large": TOO_LARGE}.get(kind, 4)
    shape = pb.Shape(dims=[size])
    return pb.DataPacket(
        meta=pb.Meta(correlation_id=cid),
        control=pb.Control(
            model={"new": f"new-{cid}", "decoupled": DECOUPLED, "unfit": STATEFUL}.get(kind, PLAIN),
            model_version="1",
            inputs=[pb.InputSpec(name="x", shape=shape, dtype=pb.DT_UINT8, **{"from": pb.SRC_TENSOR})],
            outputs=[pb.OutputSpec(name="y")],
        ),
        tensor=pb.Tensor(dtype=pb.DT_UINT8, shape=shape, data=bytes(size + (kind == "wrong"))),
    )


class Histories(RuleBasedStateMachine):
    """What may happen to a stream, in any order."""

    # Drawn apart from the rules: most histories would end before anything has happened in them.
    @initialize(window=st.integers(1, 4), remembered=st.booleans(), quiet=st.integers(0, 30), life=st.integers(0, 60))
    def begin(self, window: int, remembered: bool, quiet: int, life: int) -> None:
        self.quiet, self.life = quiet, life
        self.serving = MemoryServing(window=window, max_message_bytes=LARGEST, remembered=remembered)
        self.serving.know(PLAIN, DECOUPLED, STATEFUL)
        self.call = self.serving.call
        self.window, self.remembered = window, remembered
        self.count = 0
        self.receiving = self.known = True
        # What the step that waits is about: a packet that is not accepted yet, or one that is to begin.
        self.to_admit: tuple[str, str] | None = None
        self.to_begin: Expected | None = None
        self.queue: list[Expected] = []
        self.accepted: list[str] = []
        self.rejected: list[Status] = []
        self.sending = self.complete = self.over = self.failed = False
        self.ending: Status | None = None
        self.result: Status | None = None

    # The caller's side.

    @precondition(lambda self: self.receiving and not self.over)
    @rule(kind=st.sampled_from(KINDS))
    def send(self, kind: str) -> None:
        cid = str(self.count)
        self.count += 1
        self.call.deliver(packet(cid, kind).SerializeToString())
        self.receiving = False
        if not self.remembered or kind in ("large", "too large"):
            self.to_admit = cid, kind
        else:
            self.admit(cid, kind, waits=False)
        self.settle()

    @precondition(lambda self: self.receiving and not self.over and self.quiet <= 0)
    @rule()
    def send_no_more(self) -> None:
        self.call.deliver(None)
        self.receiving = False
        self.complete = True
        self.settle()

    @precondition(lambda self: self.sending and not self.over)
    @rule()
    def take(self) -> None:
        self.call.taken()
        self.sending = False
        if not self.queue[0].decoupled:
            self.queue.pop(0)
        self.settle()

    @precondition(lambda self: not self.over and self.life <= 0)
    @rule()
    def go_away(self) -> None:
        self.call.end()
        self.ended(GONE)

    # The transport's.

    @precondition(lambda self: (self.to_admit or self.to_begin) and not self.over)
    @rule()
    def take_a_step(self) -> None:
        self.call.step()
        if self.to_admit is not None:
            (cid, kind), self.to_admit = self.to_admit, None
            self.admit(cid, kind, waits=True)
        elif self.to_begin is not None:
            self.to_begin.begun, self.to_begin = True, None
        self.settle()

    @precondition(lambda self: self.can_make() and not self.over)
    @rule()
    def make(self) -> None:
        head = self.queue[0]
        made = self.call.make()
        if head.broken and not (head.answers or head.cut or head.all_made):
            assert made is None
            self.failed = True
            self.ending = self.ending or FAILED
        elif head.all_made:
            assert made is None
            self.queue.pop(0)
        else:
            assert made is not None
            ack = pb.Ack.FromString(made)
            status, final = (pb.INTERNAL, True) if head.cut else head.answers.pop(0)
            assert (ack.correlation_id, ack.status, ack.final) == (head.cid, status, final)
            head.all_made = final
            self.sending = True
        self.settle()

    # Triton's.

    @precondition(lambda self: self.under_way() and not self.over)
    @rule(data=st.data(), outcome=st.sampled_from(["answer", "error", "mistake"]))
    def answer(self, data: st.DataObject, outcome: str) -> None:
        asked = data.draw(st.sampled_from(self.under_way()))
        inference = self.serving.triton.inferences[asked.cid]
        if outcome == "answer":
            inference.give(one_answer())
            asked.answers.append((pb.OK, True))
        elif outcome == "error":
            inference.give(InferenceFailed("no luck", Code.UNKNOWN))
            asked.answers.append((pb.INTERNAL, True))
        else:
            inference.give(ZeroDivisionError())
            asked.broken = True
        inference.finish(10)
        asked.ready = True
        self.settle()

    @precondition(lambda self: any(each.decoupled for each in self.under_way()) and not self.over)
    @rule(data=st.data())
    def answer_once_more(self, data: st.DataObject) -> None:
        asked = data.draw(st.sampled_from([each for each in self.under_way() if each.decoupled]))
        self.serving.triton.inferences[asked.cid].give(one_answer(final=False))
        asked.answers.append((pb.OK, False))

    # The proxy's.

    @precondition(lambda self: self.quiet <= 0)
    @rule(status=st.sampled_from([DRAIN, GIVES_WAY]))
    def end(self, status: Status) -> None:
        self.serving.active.end(status)
        self.ending = self.ending or status
        self.settle()

    @rule(known=st.booleans())
    def confirm(self, known: bool) -> None:
        self.known = self.serving.identity.knows_ann = self.known and (known or self.quiet > 0)
        self.serving.active.confirm()
        if self.ending is None and not self.is_known():
            self.reject(NOT_KNOWN)
        self.settle()

    @precondition(lambda self: not self.over and self.life <= 0)
    @rule()
    def drop(self) -> None:
        self.serving.active.drop(DROPPED.text)
        assert self.call.cancelled
        self.result = None
        self.call.end()
        self.ended(DROPPED)

    @invariant()
    def agrees_with_the_model(self) -> None:
        self.quiet -= 1
        self.life -= 1
        if not self.over:
            assert self.call.is_receiving() is self.receiving
            assert bool(self.call.steps) is (self.to_admit is not None or self.to_begin is not None)
            assert self.call.is_answering() is self.can_answer()
            assert (self.call.status, self.call.resend) == (self.result, self.result not in (None, OK))
            assert len(self.queue) <= self.window
        assert self.serving.observer.admitted == self.accepted
        assert self.serving.observer.rejected == self.rejected
        if not self.queue and self.to_admit is None:
            assert self.serving.admission.budget.statistics().in_use == 0

    def teardown(self) -> None:
        if hasattr(self, "serving"):
            if not self.over:
                self.ended(GONE)
            self.serving.close()
            assert self.serving.observer.ended == [self.result]

    # The model.

    def is_known(self) -> bool:
        return self.remembered or self.known

    def admit(self, cid: str, kind: str, *, waits: bool) -> None:
        """What comes of a packet that has arrived, in a step that may wait or where it may not."""
        if kind == "too large":
            size = packet(cid, kind).ByteSize()
            text = (
                f"packet of {size} bytes is over the limit of 0 MiB; "
                "the operator sets it with MAX_MESSAGE_MB=0, on the proxy and for clients alike"
            )
            self.rejected.append(Status(Code.RESOURCE_EXHAUSTED, text))
            self.reject(self.rejected[-1])
        elif not self.is_known():
            self.rejected.append(NOT_KNOWN)
            self.reject(NOT_KNOWN)
        elif self.ending is None:
            entry = Expected(cid, decoupled=kind == "decoupled", begun=True)
            if kind == "event":
                entry.answers.append((pb.OK, True))
            elif kind in ("wrong", "unfit"):
                entry.answers.append((pb.BAD_REQUEST, True))
            entry.ready = bool(entry.answers) or entry.decoupled
            # What would be refused by what is known of a model is looked at anew, which may wait.
            if kind in ("new", "unfit") and not waits:
                entry.begun, self.to_begin = False, entry
            self.queue.append(entry)
            self.accepted.append(cid)

    def reject(self, status: Status) -> None:
        self.ending = self.ending or status
        if status is NOT_KNOWN:
            for entry in self.queue:
                if entry.decoupled:
                    entry.cut = True

    def settle(self) -> None:
        """What follows from what has happened."""
        if self.over:
            return
        finished = self.complete or self.ending is not None
        if self.failed:
            self.result = self.result or FAILED
        elif finished and not self.queue:
            self.result = self.result or (OK if self.complete else self.ending)
        if not finished and self.to_admit is None and self.to_begin is None and len(self.queue) < self.window:
            self.receiving = True

    def ended(self, status: Status) -> None:
        self.over = True
        self.receiving = self.sending = False
        self.to_admit = self.to_begin = None
        self.queue.clear()
        self.result = self.result or status

    def can_answer(self) -> bool:
        """Whether an answer is to be asked for."""
        return bool(self.queue) and self.queue[0].begun and self.queue[0].ready and not (self.sending or self.failed)

    def can_make(self) -> bool:
        """Whether it would not be waited for."""
        head = self.queue[0] if self.queue else None
        return head is not None and self.can_answer() and bool(head.answers or head.all_made or head.cut or head.broken)

    def under_way(self) -> list[Expected]:
        """Those whose inferences have not ended."""
        return [
            each
            for each in self.queue
            if each.begun and each.cid in self.serving.triton.inferences
            if not self.serving.triton.inferences[each.cid].done
        ]


Histories.TestCase.settings = settings(deadline=None, max_examples=300, stateful_step_count=40)
TestHistories = Histories.TestCase
