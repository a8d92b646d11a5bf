"""A model of an asyncio client as an object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mm_client_api._aio.iterators import Closing
from mm_client_api._core.fitting import InputValue
from mm_client_api._core.model import BoundModel, Inputs
from mm_client_api.descriptions import ModelDescription
from mm_client_api.named_arrays import NamedArrays

if TYPE_CHECKING:
    from mm_client_api._aio.client import AsyncTritonClient


class AsyncModel(BoundModel):
    """One version of a model: `await client.model("yolov8n")`. It is called as a function and awaited."""

    def __init__(
        self,
        client: AsyncTritonClient,
        description: ModelDescription,
        outputs: Sequence[str] | None,
        timeout_secs: float,
    ) -> None:
        """Made by `AsyncTritonClient.model`."""
        super().__init__(description, outputs, timeout_secs)
        self._client = client

    async def __call__(self, /, *values: InputValue | Inputs, **inputs: InputValue) -> NamedArrays:
        """Run one inference and wait for it. The arguments and errors are those of a `Model`."""
        self._check_unary()
        request = self.request(*values, **inputs)
        return NamedArrays(
            await self._client.infer(
                request.model,
                request.inputs,
                outputs=request.outputs,
                model_version=request.model_version,
                timeout_secs=request.timeout_secs,
            )
        )

    async def stream(
        self, items: Iterable[InputValue | Inputs] | AsyncIterable[InputValue | Inputs], **options: Any
    ) -> AsyncGenerator[NamedArrays, None]:
        """Send many requests over one stream and yield their answers, as `Model.stream`, for `async for`.

        Args:
            items: of each request all inputs by name; or the first input alone.
            options: of `AsyncTritonClient.stream`.

        Raises:
            AckError: a request was refused: the stream ends.
        """
        if isinstance(items, AsyncIterable):
            stream = self._client.stream((self.request(item) async for item in items), **options)
        else:
            stream = self._client.stream((self.request(item) for item in items), **options)
        async with Closing(stream) as results:
            async for result in results:
                if (arrays := self._answer(result)) is not None:
                    yield arrays
                del result, arrays  # Their megabytes would stay while the next ones are waited for.
