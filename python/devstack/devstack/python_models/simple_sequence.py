"""Triton python-backend model, stateful: OUTPUT is the sum of the INPUTs of a sequence so far."""

from __future__ import annotations

from typing import Any

import triton_python_backend_utils as pb_utils  # type: ignore[import-not-found, unused-ignore]


class TritonPythonModel:
    """One instance of the sequence model; all requests of a sequence come to the same one."""

    def initialize(self, args: dict[str, str]) -> None:
        """Begins without any sequence."""
        self._sums: dict[int | str, Any] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers each request, each being of another sequence."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        sequence, flags = request.correlation_id(), request.flags()
        total = pb_utils.get_input_tensor_by_name(request, "INPUT").as_numpy()
        if not flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_START:
            total = total + self._sums[sequence]
        if flags & pb_utils.TRITONSERVER_REQUEST_FLAG_SEQUENCE_END:
            self._sums.pop(sequence, None)
        else:
            self._sums[sequence] = total
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", total)])
