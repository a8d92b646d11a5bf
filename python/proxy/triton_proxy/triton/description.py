"""What Triton says of a model, in its two messages, as a signature."""

from __future__ import annotations

from tritonclient.grpc import model_config_pb2, service_pb2

from triton_proxy.inference.signature import Signature, TensorSpec

_TEXT = "BYTES"


class NotDescribed(Exception):  # noqa: N818 - what happened, not a fault
    """Triton does not describe a model.

    Attributes:
        gone: whether the model or version is gone; otherwise it is only not known what it is.
    """

    def __init__(self, text: str, *, gone: bool) -> None:
        """An answer, or none.

        Args:
            text: Triton's words.
            gone: see the attribute.
        """
        super().__init__(text)
        self.gone = gone


def signature_of(metadata: service_pb2.ModelMetadataResponse, config: model_config_pb2.ModelConfig) -> Signature:
    """A model's signature from Triton's two descriptions of it.

    Args:
        metadata: has shapes with the batch dimension.
        config: has the rest.
    """
    configured = {item.name: item for item in config.input}
    inputs = {}
    for given in metadata.inputs:
        item = configured.get(given.name, model_config_pb2.ModelInput())
        shape = None if item.is_shape_tensor else tuple(given.shape)
        inputs[given.name] = TensorSpec(given.name, given.datatype, shape, item.optional)
    return Signature(
        model=metadata.name,
        inputs=inputs,
        outputs=tuple(given.name for given in metadata.outputs),
        max_batch_size=config.max_batch_size,
        decoupled=config.model_transaction_policy.decoupled,
        stateful=config.HasField("sequence_batching"),
        versions=tuple(metadata.versions),
        sequence_id_datatype=_sequence_id_datatype(config.sequence_batching),
        text_outputs=frozenset(given.name for given in metadata.outputs if given.datatype == _TEXT),
        parameters={name: value.string_value for name, value in config.parameters.items()},
    )


def _sequence_id_datatype(batching: model_config_pb2.ModelSequenceBatching) -> str:
    kind = model_config_pb2.ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID
    for tensor in batching.control_input:
        for control in tensor.control:
            if control.kind == kind:
                return str(model_config_pb2.DataType.Name(control.data_type)).removeprefix("TYPE_")
    return Signature.sequence_id_datatype
