"""What Triton says of models, as signatures."""

from __future__ import annotations

import grpc
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2, service_pb2

from triton_proxy.inference.signature import Signature, TensorSpec
from triton_proxy.triton.client import Triton
from triton_proxy.triton.connection import TritonConnection
from triton_proxy.triton.description import NotDescribed, signature_of


class Failed(grpc.RpcError):
    """As grpc raises it."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "a test says so"


class Unanswered(TritonConnection):
    """A connection on which no model is described."""

    def __init__(self, code: grpc.StatusCode) -> None:
        """Connects to nothing."""
        self._code = code

    def describe(
        self, model: str, model_version: str, *, timeout_secs: float
    ) -> tuple[service_pb2.ModelMetadataResponse, service_pb2.ModelConfigResponse]:
        raise Failed(self._code)


def test_a_signature_is_what_triton_says() -> None:
    metadata = text_format.Parse(
        """
        name: "m" versions: ["2", "3"]
        inputs { name: "a" datatype: "FP32" shape: [-1, 3] }
        inputs { name: "b" datatype: "BYTES" shape: [-1, -1] }
        inputs { name: "s" datatype: "INT32" shape: [-1, 2] }
        outputs { name: "y" datatype: "FP32" shape: [-1, 3] }
        outputs { name: "z" datatype: "FP32" shape: [-1, 3] }
        """,
        service_pb2.ModelMetadataResponse(),
    )
    config = text_format.Parse(
        """
        max_batch_size: 4
        input { name: "b" optional: true dims: [-1] }
        input { name: "a" dims: [3] }
        input { name: "s" is_shape_tensor: true dims: [2] }
        """,
        model_config_pb2.ModelConfig(),
    )
    inputs = {
        "a": TensorSpec("a", "FP32", (-1, 3)),
        "b": TensorSpec("b", "BYTES", (-1, -1), optional=True),
        "s": TensorSpec("s", "INT32", None),
    }
    assert signature_of(metadata, config) == Signature("m", inputs, ("y", "z"), 4, False, False, ("2", "3"))
    config.model_transaction_policy.decoupled = True
    assert signature_of(metadata, config).decoupled
    config.sequence_batching.SetInParent()
    assert signature_of(metadata, config).stateful
    assert not signature_of(metadata, config).text_outputs
    metadata.outputs[1].datatype = "BYTES"
    assert signature_of(metadata, config).text_outputs == {"z"}


@pytest.mark.parametrize("datatype", ["UINT64", "INT64", "UINT32", "INT32", "STRING"])
def test_as_what_a_model_gets_the_id_of_a_sequence(datatype: str) -> None:
    config = text_format.Parse(
        f"""sequence_batching {{
          control_input {{ name: "START" control {{ kind: CONTROL_SEQUENCE_START int32_false_true: [0, 1] }} }}
          control_input {{ name: "ID" control {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_{datatype} }} }}
        }}""",
        model_config_pb2.ModelConfig(),
    )
    metadata = service_pb2.ModelMetadataResponse()
    assert signature_of(metadata, config).sequence_id_datatype == datatype
    del config.sequence_batching.control_input[1]
    assert signature_of(metadata, config).sequence_id_datatype == "UINT64"


@pytest.mark.parametrize("code", grpc.StatusCode)
def test_a_model_is_gone_where_triton_says_so_and_not_where_it_says_nothing(code: grpc.StatusCode) -> None:
    with pytest.raises(NotDescribed, match="a test says so") as caught:
        Triton(Unanswered(code)).describe("m", "1", timeout_secs=1)
    assert caught.value.gone is (code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT))
