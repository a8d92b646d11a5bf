"""The console's pages for a test, upon a server with a model of each kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
from starlette.testclient import TestClient

from client_testing.echo import DETECTS
from client_testing.repository import RepositoryServer
from mm_client_api import TritonClient
from mm_console.access import Access
from mm_console.app import create_app
from mm_console.console import Console, Settings
from multimodal_contract import kserve

HEARS, READS, SORTS = "hears", "reads", "sorts"
_TENSORS = {
    DETECTS: (("images", "FP32", (1, 3, 320, 320)), ("output0", "FP32", (1, 84, 2100))),
    HEARS: (("WAVEFORM", "FP32", (-1,)), ("WAVEFORM", "FP32", (-1,))),
    READS: (("TEXT", "BYTES", (-1,)), ("TEXT", "BYTES", (-1,))),
    SORTS: (("scores", "FP32", (1, 3)), ("scores", "FP32", (1, 3))),
}


class ModelsServer(RepositoryServer):
    """Has a detector, a model that takes a recording, one of texts and one of scores besides; all but it echo."""

    @staticmethod
    def _index(request: kserve.RepositoryIndexRequest, context: grpc.ServicerContext) -> kserve.RepositoryIndexResponse:
        index = RepositoryServer._index(request, context)
        for name in _TENSORS:
            index.models.add(name=name, version="1", state="READY")
        return index

    @staticmethod
    def _metadata(request: kserve.ModelMetadataRequest, context: grpc.ServicerContext) -> kserve.ModelMetadataResponse:
        if request.name not in _TENSORS:
            return RepositoryServer._metadata(request, context)
        described = kserve.ModelMetadataResponse(name=request.name, versions=["1"], platform="python")
        for tensors, (name, datatype, shape) in zip((described.inputs, described.outputs), _TENSORS[request.name]):
            tensors.add(name=name, datatype=datatype, shape=shape)
        return described

    @staticmethod
    def _config(request: kserve.ModelConfigRequest, context: grpc.ServicerContext) -> kserve.ModelConfigResponse:
        if request.name not in _TENSORS:
            return RepositoryServer._config(request, context)
        answer = kserve.ModelConfigResponse()
        answer.config.name, answer.config.backend = request.name, "python"
        answer.config.parameters["labels"].string_value = "cat, dog, <bird>"
        return answer


class Visit:
    """A browser without scripts, at a console. Close it.

    Attributes:
        http: asks; addresses are relative to the console's.
        access: the console's.
        console: that.
    """

    def __init__(self, addr: str, folder: Path, viewers: tuple[str, ...] = (), **settings: Any) -> None:
        """Not let in yet; the credential is the environment's.

        Args:
            addr: of the proxy, or what stands for it.
            folder: an empty one.
            viewers: see `Access`.
            settings: of `Settings`.
        """
        self.client = TritonClient(addr)
        self.access = Access(viewers)
        self.console = Console(Settings(addr, **settings), self.client, self.access, folder)
        self.http = TestClient(create_app(self.console))

    def enter(self) -> Visit:
        """Open it with its key."""
        self.http.get(f"/?key={self.access.key}").raise_for_status()
        return self

    def post(
        self,
        address: str,
        fields: Mapping[str, str],
        files: Mapping[str, tuple[str, bytes]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Send a form with the token that is in pages."""
        data = {"form_token": self.access.form_token, **fields}
        return self.http.post(address, data=data, files=files or {"nothing": ("", b"")}, headers=headers)

    def close(self) -> None:
        """End it."""
        self.http.close()
        self.client.close()


def shown(html: str) -> str:
    """The text of a page, without its tags, in one line."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())
