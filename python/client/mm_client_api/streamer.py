"""The streamer that published scripts use, on top of `TritonClient`."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any

from mm_client_api._core.stream_options import StreamOptions
from mm_client_api._sync.client import TritonClient
from mm_client_api.credentials import Credentials
from mm_client_api.errors import ConfigurationError
from mm_client_api.published import published_message
from mm_client_api.request import InferenceRequest
from mm_client_api.tensors import Array, Tensor
from multimodal_contract import pb
from multimodal_contract.dtypes import BY_NUMBER


class TritonBytesStreamer:
    """Streams tensors that are bytes already, one per frame, all of one shape and type, into one input of a model.

    Args:
        addr: HOST:PORT of the proxy.
        input_name: the model's input.
        shape: dimensions of each tensor, batch dimension included.
        dtype_enum: element type, such as `pb.DT_FP32`.
        outputs: names of the wanted outputs.
        stream_id: name of the camera or file; begins each correlation id.
        request_timeout_sec: longest time Triton may take for one tensor.
        parse_outputs_numpy: True yields decoded arrays.
        window: most tensors in flight on a connection; see `TritonClient.stream`, also for what follows.
        ordered: False yields answers as they come.
        connections: most connections.
        batch_size: most tensors that are stacked into one; `shape` begins with 1 then.
        credentials: as for `TritonClient`, and so are the rest.

    Raises:
        ConfigurationError: an argument or setting cannot be used; as `CredentialsError` where no credentials are found.
    """

    def __init__(
        self,
        addr: str,
        input_name: str = "images",
        shape: Sequence[int] = (1, 3, 640, 640),
        dtype_enum: int = pb.DT_FP32,
        outputs: Sequence[str] = ("output0",),
        stream_id: str = "cam-001",
        request_timeout_sec: float = 600.0,
        parse_outputs_numpy: bool = False,
        *,
        window: int = 8,
        ordered: bool = True,
        connections: int = 1,
        batch_size: int = 1,
        credentials: Credentials | None = None,
        tls: bool = False,
        ca_bundle: str | os.PathLike[str] | None = None,
        max_message_mb: int | None = None,
        enable_http_proxy: bool | None = None,
    ) -> None:
        if int(dtype_enum) not in BY_NUMBER:
            known = ", ".join(f"pb.DT_{dtype.name}" for dtype in BY_NUMBER.values())
            raise ConfigurationError(
                f"dtype_enum is {dtype_enum}; expected one of {known}; pass the type of the model's input"
            )
        self._input_name = input_name
        self._shape = tuple(int(dim) for dim in shape)
        self._datatype = BY_NUMBER[int(dtype_enum)].name
        self._outputs = tuple(outputs)
        self._stream_id = stream_id
        self._timeout_secs = request_timeout_sec
        self._parse_outputs_numpy = parse_outputs_numpy
        self._options = StreamOptions(window, connections, ordered, batch_size, None)
        if batch_size > 1 and self._shape[:1] != (1,):
            raise ConfigurationError(
                f"shape is {list(self._shape)} and batch_size is {batch_size}; "
                "expected a first dimension of 1, along which tensors are stacked"
            )
        self._client = TritonClient(
            addr,
            credentials=credentials,
            tls=tls,
            ca_bundle=ca_bundle,
            max_message_mb=max_message_mb,
            enable_http_proxy=enable_http_proxy,
        )

    def stream_bytes(
        self,
        model: str | None = None,
        model_version: str = "",
        frame_bytes_iter: Iterable[bytes | bytearray | memoryview] = (),
        *,
        model_name: str | None = None,
    ) -> Generator[tuple[int, dict[str, Any], dict[str, Array] | None], None, None]:
        """Send every tensor of `frame_bytes_iter` over one stream and yield the answers in order.

        The bytes are not checked here: the proxy answers what does not fit shape and type.

        Args:
            model: name in Triton's repository; `model_name` is another word for it.
            model_version: such as "1".
            frame_bytes_iter: elements in C order, little-endian; may be endless.
            model_name: see `model`.

        Yields:
            The tensor's number from 0; the proxy's JSON as a dict, with a non-empty "error" where it failed; and with
            `parse_outputs_numpy` the outputs by name that the model has. The last is None otherwise and on failure.
            In the JSON each output is a `PublishedOutput`: its base64 is made when it is looked at, and its `numpy()`
            does without.

        Raises:
            CallError: the stream broke (also a `grpc.RpcError`); the subclass says how.
        """
        name = model if model_name is None else model_name
        if name is None or (model is not None and model_name is not None):
            raise TypeError("stream_bytes() takes the model's name once, as model or as model_name")
        return self._answers(name, model_version, frame_bytes_iter)

    def _answers(
        self, model: str, model_version: str, frames: Iterable[bytes | bytearray | memoryview]
    ) -> Generator[tuple[int, dict[str, Any], dict[str, Array] | None], None, None]:
        options = self._options
        for result in self._client.stream(
            self._requests(model, model_version, frames),
            window=options.window,
            ordered=options.ordered,
            connections=options.connections,
            batch_size=options.batch_size,
        ):
            # Decoupled models answer several times; all answers to a tensor have its number.
            seq = int(result.correlation_id.rsplit("-", 1)[1])
            wanted = self._parse_outputs_numpy and result.error is None
            yield seq, published_message(result), dict(result.outputs) if wanted else None

    def _requests(
        self, model: str, model_version: str, frames: Iterable[bytes | bytearray | memoryview]
    ) -> Iterator[InferenceRequest]:
        for seq, frame in enumerate(frames):
            yield InferenceRequest(
                model,
                {self._input_name: Tensor(self._datatype, self._shape, frame)},
                self._outputs,
                model_version,
                self._timeout_secs,
                f"{self._stream_id}-{seq:08d}",
            )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> TritonBytesStreamer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
