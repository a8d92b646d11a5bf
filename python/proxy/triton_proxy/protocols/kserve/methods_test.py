from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2

from triton_proxy.protocols.kserve import methods

SERVICE = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"]
ALLOWED = {methods.MODEL_INFER_METHOD, methods.MODEL_STREAM_INFER_METHOD, *methods.QUERY_METHODS}
TEXT = (
    "this proxy passes on, of inference.GRPCInferenceService, ServerLive, ServerReady, ServerMetadata, ModelReady, "
    "ModelMetadata, ModelConfig, ModelStatistics, RepositoryIndex, ModelInfer, ModelStreamInfer alone; expected one of "
    "these by its exact name; call it"
)


def test_what_is_passed_on_is_ten_methods_of_tritons_own() -> None:
    names = {f"/{SERVICE.full_name}/{method.name}" for method in SERVICE.methods}
    assert len(ALLOWED) == 10
    assert names > ALLOWED
    assert {name.rpartition("/")[2] for name in names - ALLOWED} >= {
        "RepositoryModelLoad",
        "RepositoryModelUnload",
        "SystemSharedMemoryRegister",
        "CudaSharedMemoryRegister",
        "TraceSetting",
        "LogSettings",
    }


@pytest.mark.parametrize("method", sorted({method.name for method in SERVICE.methods}))
@pytest.mark.parametrize(
    "spelled",
    [
        "/inference.GRPCInferenceService/{}",
        "/inference.grpcinferenceservice/{}",
        "inference.GRPCInferenceService/{}",
        "//inference.GRPCInferenceService//{}",
        "/inference.GRPCInferenceService/{}/",
        "/inference.GRPCInferenceService/{}%00",
        "/inference.GRPC%49nferenceService/{}",
        "/inference.GRPCInferenceService/../inference.GRPCInferenceService/{}",
        "/GRPCInferenceService/{}",
        "/a/inference.GRPCInferenceService/{}?x=1",
    ],
)
def test_other_spellings_are_forbidden(method: str, spelled: str) -> None:
    name = spelled.format(method)
    if name not in ALLOWED:
        assert methods.forbidden(name) == TEXT


@pytest.mark.parametrize(
    "method", ["/a.B/C", "", "/", "/multimodal.MultimodalService/Chatter", "/grpc.health.v1.Health/Check"]
)
def test_other_services_are_only_unknown(method: str) -> None:
    assert methods.forbidden(method) is None
