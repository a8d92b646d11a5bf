"""A python model with an environment of its own, which the real backend unpacks from the version's folder."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mm_client_api import ApiKey, TritonClient
from mm_publisher import publish
from mm_publisher.progress import Silent
from publishing import Place, place
from serving import KEY

MODEL = "with_environment"
_CONFIG = """\
backend: "python"
max_batch_size: 0
input [ { name: "X" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "Y" data_type: TYPE_STRING dims: [ 1 ] } ]
parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }
"""
# Answers with what its environment says.
_MODEL = """\
import os

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        said = np.array([os.environ["OF_THE_ENVIRONMENT"]], dtype=object)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("Y", said)]) for _ in requests]
"""


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as found:
        yield found


def _source(folder: Path, says: str) -> Path:
    """A model's folder with an environment beside config.pbtxt, as conda-pack writes one: it has bin/activate."""
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(_CONFIG)
    (folder / "1/model.py").write_text(_MODEL)
    activate = f"export OF_THE_ENVIRONMENT='{says}'\n".encode()
    with tarfile.open(folder / "env.tar.gz", "w:gz") as archive:
        for name, data in (("bin/activate", activate), ("lib/empty", b"")):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return folder


def test_each_version_runs_in_its_own_environment(here: Place, tmp_path: Path) -> None:
    for version in (1, 2):
        source = _source(tmp_path / str(version), f"that of version {version}")
        (source / "1").rename(source / str(version))
        report = publish(str(source), here.target, server=here.server(), name=MODEL, progress=Silent())
        assert report.files == ("env.tar.gz", "model.py")
        assert f"$$TRITON_MODEL_DIRECTORY/{version}/env.tar.gz" in report.config
        # One configuration is for all versions, and names one environment.
        assert report.serving == (version,)
        with TritonClient(here.addr, credentials=ApiKey(KEY)) as client:
            said = client.infer(MODEL, {"X": np.zeros(1, np.float32)}, outputs=["Y"]).outputs["Y"]
        assert said.tolist() == [f"that of version {version}".encode()]
