"""The way to Triton, or to several: which one is asked, and whether another one is where one is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import grpc
from tritonclient.grpc import service_pb2

from mm_service.supervisor import Workers
from mm_service.tls import Certificates
from multimodal_contract.wire import Buffer
from triton_proxy.http2.loop_thread import LoopThread
from triton_proxy.inference.query import QueryMethod
from triton_proxy.inference.request import Headers
from triton_proxy.triton import addresses
from triton_proxy.triton.addresses import Resolve
from triton_proxy.triton.awaited import Awaited
from triton_proxy.triton.channel import ChannelOptions, StreamCall
from triton_proxy.triton.direct.blocking_socket import CallFailed, unavailable
from triton_proxy.triton.direct.calls import Call, UnaryCall
from triton_proxy.triton.endpoint import EndpointOptions
from triton_proxy.triton.engine_calls import works_here
from triton_proxy.triton.leavable_stream import LeavableStream
from triton_proxy.triton.membership import Membership, Pace
from triton_proxy.triton.model_statistics import TotalCall
from triton_proxy.triton.moving_call import FailedStream, MovingCall, NamedStream, Triton, failure
from triton_proxy.triton.patience import PatientCall
from triton_proxy.triton.pins import Pin, Place
from triton_proxy.triton.triton_statistics import TritonStatistics

# Kubernetes itself takes about a minute to bring a changed Secret into a pod.
_CHECK_SECS = 10.0
_MOST_CALLS = 512
_DRAINS = 4
_PACE = Pace()
# Of these answers the model or version is not there; of others it is only not known what it is.
GONE = (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT)


class TritonConnection:
    """The connections to all Tritons of one name, shared by all calls.

    Each call goes to the Triton with the least outstanding. One that it has certainly not begun goes to another; one
    that it may have begun fails, and says where.
    """

    def __init__(
        self,
        url: str,
        *,
        max_message_bytes: int,
        most_calls: int = _MOST_CALLS,
        certificates: Certificates | None = None,
        server_name: str = "",
        check_secs: float = _CHECK_SECS,
        loop: LoopThread | None = None,
        cancel_delay_secs: float = 0.0,
        resolve: Resolve | None = None,
        pace: Pace = _PACE,
        wait_secs: float = 0.0,
    ) -> None:
        """Connects in the background; a Triton that is away is found again within seconds.

        Args:
            url: `HOST:PORT` of the gRPC endpoint; every address of HOST is a Triton.
            max_message_bytes: largest answer.
            most_calls: inferences of large requests at one Triton at once; further ones wait.
            certificates: for TLS; None is plaintext.
            server_name: the name that Triton's certificate must have; "" for the host of `url`.
            check_secs: how often to look whether the certificates' files have changed.
            loop: for the HTTP/2 engine, which then makes the inferences of small requests; None leaves them to grpc.
            cancel_delay_secs: for how long at the longest Triton is not told of an inference that nobody waits for.
            resolve: gives the addresses of `url`; None for the system's resolver.
            pace: how soon Tritons that come, go, or fail are noticed.
            wait_secs: longest wait of a request while there is none.
        """
        self._cancel_delay_secs = cancel_delay_secs
        self._own_clock = LoopThread("triton-clock") if cancel_delay_secs and loop is None else None
        self._clock = loop or self._own_clock
        # In which answers are read that nobody waits for; where more streams are left than that, they wait their turn.
        self._drains = Workers(_DRAINS, "triton-left", setting="MAX_CALLS") if cancel_delay_secs else None
        # The certificate is the name's, whichever address of it the connection goes to.
        if certificates is not None and not server_name and (resolve is not None or not addresses.is_address(url)):
            server_name = addresses.split(url)[0]
        options = EndpointOptions(
            ChannelOptions(max_message_bytes, url, server_name),
            most_calls,
            loop if loop is not None and works_here() else None,
            tls=certificates is not None,
        )
        self._tritons = Membership(
            url,
            options,
            certificates=certificates,
            check_secs=check_secs,
            resolve=resolve,
            pace=pace,
            wait_secs=wait_secs,
        )
        self._picker, self._pins = self._tritons.picker, self._tritons.pins

    def close(self) -> None:
        """Ends the connections and whatever is under way on them."""
        self._tritons.close()
        if self._drains is not None:
            self._drains.shutdown(wait=False, cancel_futures=True)
        if self._own_clock is not None:
            self._own_clock.close()

    def statistics(self) -> TritonStatistics:
        """What there is at this moment."""
        return self._tritons.statistics()

    @property
    def awaited(self) -> Awaited:
        """Requests that wait while there is no Triton."""
        return self._tritons.awaited

    def infer(
        self, request: Sequence[Buffer], *, timeout_secs: float, place: Place | None = None, headers: Headers = ()
    ) -> UnaryCall:
        """Begins one inference.

        Args:
            request: a serialized ModelInferRequest, in parts.
            timeout_secs: its deadline.
            place: in a sequence, all of which has to reach one Triton, by one connection.
            headers: what goes beside the request.

        Returns:
            The call for a serialized ModelInferResponse. Of a sequence whose Triton is gone it fails with ABORTED.
        """

        def begin_at(triton: Triton, secs: float) -> UnaryCall:
            return triton.target.infer(request, timeout_secs=secs, pinned=place is not None, headers=headers)

        def begin(secs: float) -> UnaryCall:
            return self._begin(begin_at, secs, place)

        if self._clock is None or not self._cancel_delay_secs:
            return begin(timeout_secs)
        return PatientCall(self._clock, begin, timeout_secs=timeout_secs, delay_secs=self._cancel_delay_secs)

    def infer_stream(
        self, request: bytes, *, timeout_secs: float, place: Place | None = None, headers: Headers = ()
    ) -> StreamCall:
        """Begins one inference: a serialized ModelInferRequest for any number of ModelStreamInferResponses.

        grpc does not say whether a Triton that was lost had begun it, so that it goes to no other.

        Args:
            request: the request.
            timeout_secs: its deadline.
            place: see `infer`.
            headers: see `infer`.
        """
        try:
            triton = self._triton_for(place)
        except CallFailed as error:
            return FailedStream(error)
        try:
            call = triton.target.infer_stream(request, timeout_secs=timeout_secs, headers=headers)
        except BaseException:
            self._tritons.over(triton, None)
            raise
        named = NamedStream(call, self._tritons, triton)
        if self._clock is None or self._drains is None:
            return named
        return LeavableStream(named, self._clock, self._drains, delay_secs=self._cancel_delay_secs)

    def ask(self, method: QueryMethod, request: bytes, *, timeout_secs: float, headers: Headers = ()) -> UnaryCall:
        """Begins to ask a question, of whichever Triton; of another one, too, where that is not available.

        Statistics are asked of all, and added up.

        Args:
            method: what is asked.
            request: the method's serialized message.
            timeout_secs: its deadline.
            headers: what goes beside the question.

        Returns:
            The call for a serialized answer.
        """

        def begin_at(triton: Triton, secs: float) -> UnaryCall:
            return triton.target.ask(method, request, timeout_secs=secs, headers=headers)

        if method is QueryMethod.MODEL_STATISTICS and self._tritons.several:
            tritons = self._picker.pick_all()
            calls = [self._begin_at(triton, begin_at, timeout_secs) for triton in tritons]
            if calls:
                return TotalCall(calls)
        return self._begin(begin_at, timeout_secs, None, harmless=True)

    def describe(
        self, model: str, model_version: str, *, timeout_secs: float
    ) -> tuple[service_pb2.ModelMetadataResponse, service_pb2.ModelConfigResponse]:
        """Asks what a model takes and gives, one Triton after another until one can say.

        Args:
            model: name in Triton's repository.
            model_version: a version, or "" for Triton's choice.
            timeout_secs: longest time to wait.

        Raises:
            grpc.RpcError: none answered, or serves that version of that model. One of `GONE` only where all say so.
        """
        deadline = time.monotonic() + timeout_secs
        tried: list[Triton] = []
        failures: list[grpc.RpcError] = []
        while (triton := self._picker.pick(tried)) is not None:
            tried.append(triton)
            error: grpc.RpcError | None = None
            try:
                left = max(deadline - time.monotonic(), 0.0)
                return triton.target.describe(model, model_version, timeout_secs=left)
            except grpc.RpcError as failed:
                error = failed
                failures.append(failed)
            finally:
                self._tritons.over(triton, error)
        if not failures:
            raise unavailable(self._tritons.nobody())
        raise next((each for each in failures if each.code() not in GONE), failures[0])

    def ready(self, *, timeout_secs: float) -> bool:
        """Asks all Tritons whether they are ready: whether one says so. Being asked keeps `infer` quick."""
        return self._tritons.ready(timeout_secs)

    def _begin(
        self,
        begin: Callable[[Triton, float], UnaryCall],
        timeout_secs: float,
        place: Place | None,
        *,
        harmless: bool = False,
    ) -> UnaryCall:
        try:
            triton = self._triton_for(place)
        except CallFailed as error:
            failed = Call()
            failed.fail(error)
            return failed
        if self._tritons.several:
            moving = MovingCall(self._tritons, begin, timeout_secs=timeout_secs, harmless=harmless)
            moving.start(triton)
            return moving
        return self._begin_at(triton, begin, timeout_secs)

    def _begin_at(self, triton: Triton, begin: Callable[[Triton, float], UnaryCall], timeout_secs: float) -> UnaryCall:
        try:
            call = begin(triton, timeout_secs)
        except BaseException:
            self._tritons.over(triton, None)
            raise
        call.add_done_callback(lambda done: self._tritons.over(triton, failure(done)))
        return call

    def _triton_for(self, place: Place | None) -> Triton:
        """The Triton for new work, or for what has its place in a sequence; it is counted there.

        Raises:
            CallFailed: there is none.
        """
        pin = None if place is None else self._pins.find(place)
        if pin is not None:
            triton = self._picker.keep(pin.address, pin.epoch)
        else:
            triton = self._picker.pick()
            if triton is None:
                raise unavailable(self._tritons.nobody(), unprocessed=True)
            pin = Pin(triton.address, triton.epoch)
        if place is not None:
            self._pins.went(place, pin)
        if triton is None:
            raise CallFailed(
                grpc.StatusCode.ABORTED,
                f"the sequence's Triton at {pin.address} is gone, and the sequence's state with it: "
                "begin the sequence anew",
            )
        return triton
