"""A model of a blocking client as an object."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from mm_client_api._core.fitting import InputValue
from mm_client_api._core.model import BoundModel, Inputs
from mm_client_api.descriptions import ModelDescription
from mm_client_api.named_arrays import NamedArrays

if TYPE_CHECKING:
    from mm_client_api._sync.client import TritonClient


class Model(BoundModel):
    """One version of a model: `client.model("yolov8n")`. It is called as a function, with its inputs."""

    def __init__(
        self, client: TritonClient, description: ModelDescription, outputs: Sequence[str] | None, timeout_secs: float
    ) -> None:
        """Made by `TritonClient.model`."""
        super().__init__(description, outputs, timeout_secs)
        self._client = client

    def __call__(self, /, *values: InputValue | Inputs, **inputs: InputValue) -> NamedArrays:
        """Run one inference and wait for it.

        Args:
            values: inputs in the model's order; or one mapping of them by name.
            inputs: inputs by name. Arrays, lists, text and numbers take the model's element type and rank; paths are
                of `.npy` files or, for BYTES, of files whose content is one element.

        Raises:
            InvalidRequest: inputs are missing, unknown or do not fit, or the model is decoupled; nothing was sent.
            AckError: as `TritonClient.infer`; so are the others.
        """
        self._check_unary()
        request = self.request(*values, **inputs)
        return NamedArrays(
            self._client.infer(
                request.model,
                request.inputs,
                outputs=request.outputs,
                model_version=request.model_version,
                timeout_secs=request.timeout_secs,
            )
        )

    def stream(self, items: Iterable[InputValue | Inputs], **options: Any) -> Generator[NamedArrays, None, None]:
        """Send many requests over one stream and yield their answers, in order; of a decoupled model, each of them.

        Args:
            items: of each request all inputs by name; or the first input alone.
            options: of `TritonClient.stream`, such as `window` and `batch_size`.

        Raises:
            AckError: a request was refused: the stream ends. To go on, give `model.request(…)` to
                `TritonClient.stream`, whose results have an `error`.
        """
        with closing(self._client.stream((self.request(item) for item in items), **options)) as results:
            for result in results:
                if (arrays := self._answer(result)) is not None:
                    yield arrays
                del result, arrays  # Their megabytes would stay while the next ones are waited for.
