"""Other people's models, out of their wheels: published without a config.pbtxt, served as ONNX Runtime runs them.

Nothing here knows more of them than their makers' documentation tells a user.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped, unused-ignore]  # it has no stubs
import pytest
from numpy.typing import NDArray

from devstack.runfiles import runfiles
from mm_client_api import ApiKey, TritonClient
from mm_publisher import ConfigOptions, Proxy, PublishReport, publish
from mm_publisher.progress import Silent
from publishing import READY_SECS, Place, place
from serving import KEY

SITE_VARIABLE = "MODELS_SITE"
TOLERANCE = 1e-5
Tensors = Mapping[str, NDArray[Any]]


def _package(name: str) -> Path:
    """The folder of a package, which is not imported: from MODELS_SITE, a folder of packages, or Bazel's runfiles."""
    given = [Path(os.environ[SITE_VARIABLE])] if SITE_VARIABLE in os.environ else []
    for packages in (*given, *runfiles(f"pip_models/site-packages/{name}")):
        if (packages / name).is_dir():
            return packages / name
    raise FileNotFoundError(
        f"no package {name} in ${SITE_VARIABLE} or Bazel's runfiles; set {SITE_VARIABLE} to a folder with what "
        "bazel/locks/models.lock has (pip install --target)"
    )


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("place")) as found:
        yield found


@pytest.fixture
def client(here: Place) -> Iterator[TritonClient]:
    with TritonClient(here.addr, credentials=ApiKey(KEY)) as found:
        yield found


def _session(file: Path) -> Any:
    return onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])


def _expected(session: Any, inputs: Tensors) -> Tensors:
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _publish(here: Place, source: Path, name: str, sample: Tensors | None = None) -> PublishReport:
    server = Proxy(here.addr, credentials=ApiKey(KEY), ready_secs=READY_SECS, sample=sample)
    return publish(str(source), here.target, server=server, name=name, write_config=ConfigOptions(), progress=Silent())


def _alone(folder: Path, file: Path) -> Path:
    """A folder with a model's file alone, as a user has it that took it out of the package."""
    folder.mkdir()
    shutil.copy(file, folder)
    return folder


def _check(client: TritonClient, session: Any, name: str, inputs: Tensors) -> Tensors:
    """Asks for all outputs; they are ONNX Runtime's own. Returns them."""
    expected = _expected(session, inputs)
    # A request's tensors have a dimension at least; of a scalar it is 1.
    asked = {tensor: array.reshape(array.shape or (1,)) for tensor, array in inputs.items()}
    outputs = client.infer(name, asked, outputs=list(expected)).outputs
    for output, array in expected.items():
        assert outputs[output].shape == array.shape
        assert outputs[output].dtype == array.dtype
        np.testing.assert_allclose(outputs[output], array, rtol=0, atol=TOLERANCE)
    return outputs


_CONTENTS = {
    "python": b"from __future__ import annotations\n\nimport os\n\n\ndef main() -> None:\n    print(os.environ)\n" * 9,
    "json": json.dumps([{"id": number, "name": f"item {number}", "ok": True} for number in range(99)]).encode(),
    "shell": b"#!/bin/sh\nset -eu\nfor file in *.txt; do\n  grep -c word \"$file\" || true\ndone\nexit 0\n" * 9,
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n" + b"2 0 obj\n" * 200,
}  # fmt: skip


def _bytes_of(content: bytes, config: Mapping[str, Any]) -> NDArray[np.int32]:
    """What magika looks at: the first and the last bytes, with a number above all bytes where there are none."""
    first, last = config["beg_size"], config["end_size"]
    found = np.full(first + last, config["padding_token"], np.int32)
    content = content.strip()
    head, tail = content[:first], content[-last:]
    found[: len(head)] = np.frombuffer(head, np.uint8)
    found[first + last - len(tail) :] = np.frombuffer(tail, np.uint8)
    return found


def test_magika_tells_what_bytes_are(here: Place, client: TritonClient) -> None:
    # As it lies in the wheel, with what lies beside it.
    folder = next(path.parent for path in _package("magika").rglob("model.onnx"))
    config = json.loads((folder / "config.min.json").read_text())
    report = _publish(here, folder, "magika")
    assert "model.onnx" in report.files
    assert any("ran on zeros" in note for note in report.notes)
    batch = np.stack([_bytes_of(content, config) for content in _CONTENTS.values()])
    outputs = _check(client, _session(folder / "model.onnx"), "magika", {"bytes": batch})
    labels = [config["target_labels_space"][column] for column in outputs["target_label"].argmax(axis=1)]
    assert labels == list(_CONTENTS)


def test_rapidocr_tells_which_way_up_a_text_is(here: Place, client: TritonClient, tmp_path: Path) -> None:
    file = next(_package("rapidocr_onnxruntime").rglob("*_cls_infer.onnx"))
    report = _publish(here, _alone(tmp_path / "cls", file), "which_way_up")
    assert f'default_model_filename: "{file.name}"' in report.config
    picture = _stripes(48, 192)
    turned = picture[:, :, ::-1, ::-1]
    _check(client, _session(file), "which_way_up", {"x": np.concatenate([picture, turned])})


def test_rapidocr_reads_pictures_of_any_width(here: Place, client: TritonClient, tmp_path: Path) -> None:
    file = next(_package("rapidocr_onnxruntime").rglob("*_rec_infer.onnx"))
    session = _session(file)
    # The height is fixed by its weights, and the file does not say so: zeros of any other don't run.
    _publish(here, _alone(tmp_path / "rec", file), "reader", {"x": _stripes(48, 160)})
    for width in (160, 320):
        _check(client, session, "reader", {"x": _stripes(48, width)})


def _stripes(height: int, width: int) -> NDArray[np.float32]:
    """A picture [1, 3, height, width] from -1 to 1 that is another one upside down."""
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.sin(columns / 5) * np.cos(rows / 7) + rows / height - columns / width
    return np.repeat(np.clip(picture, -1, 1)[None, None], 3, axis=1).astype(np.float32)


_RATE = 16_000
# As its makers' own wrapper feeds it: 512 samples with 64 of those before.
_BEFORE, _SAMPLES = 64, 512


def test_silero_vad_hears_with_the_state_of_the_call_before(here: Place, client: TritonClient, tmp_path: Path) -> None:
    file = next(_package("silero_vad").rglob("silero_vad.onnx"))
    session = _session(file)
    time = np.arange(_BEFORE + 8 * _SAMPLES) / _RATE
    # Not speech; the state makes each answer depend on all before.
    sound = (0.4 * np.sin(2 * np.pi * 180 * time) * np.sin(2 * np.pi * 3 * time)).astype(np.float32)
    state = np.zeros((2, 1, 128), np.float32)
    rate = np.array(_RATE, np.int64)
    first: Tensors = {"input": sound[None, : _BEFORE + _SAMPLES], "state": state, "sr": rate.reshape(1)}
    _publish(here, _alone(tmp_path / "vad", file), "vad", first)
    heard = []
    for start in range(0, len(sound) - _BEFORE, _SAMPLES):
        window = sound[None, start : start + _BEFORE + _SAMPLES]
        outputs = _check(client, session, "vad", {"input": window, "state": state, "sr": rate})
        heard.append(float(outputs["output"][0, 0]))
        state = outputs["stateN"]
    assert len(heard) == 8
    assert len(set(heard)) == 8
