from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from numpy.typing import NDArray
from tritonclient.grpc import service_pb2

from devstack import models
from devstack.models import MODELS, identity_name
from devstack.triton import Triton, TritonError
from devstack.triton_wheels import triton_wheels
from multimodal_contract import dtypes

Array = NDArray[np.generic]
_WAIT_SECONDS = 20.0


def _infer(triton: Triton, model: str, **inputs: tuple[Array, str]) -> grpcclient.InferResult:
    tensors = []
    for name, (value, dtype) in inputs.items():
        tensor = grpcclient.InferInput(name, value.shape, dtype)
        tensor.set_data_from_numpy(value)
        tensors.append(tensor)
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        return client.infer(model, tensors, client_timeout=_WAIT_SECONDS)


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _add_sub_only(folder: Path) -> Triton:
    models.write_repository(folder / "models", [models.ADD_SUB])
    return Triton(folder / "models", triton_wheels(), log=folder / "triton.log")


def _answers(triton: Triton) -> bool:
    one = np.ones((1, 1))
    result = _infer(triton, models.ADD_SUB, INPUT0=(one.astype("f4"), "FP32"), INPUT1=(one.astype("i4"), "INT32"))
    return bool(result.as_numpy("SUM")[0, 0] == 2)


@pytest.mark.parametrize("dtype", dtypes.TABLE, ids=lambda dtype: dtype.name)
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_identity_of_every_type_gives_the_very_bytes_back(triton: Triton, dtype: dtypes.DType, count: int) -> None:
    random = np.random.default_rng(count)
    if dtype.name == "BYTES":
        raw = b"".join(
            length.to_bytes(4, "little") + random.bytes(length) for length in random.integers(0, 9, count).tolist()
        )
    elif dtype.name == "BOOL":
        raw = random.integers(0, 2, count, np.uint8).tobytes()
    else:
        raw = random.bytes(count * (dtype.size or 0))
    request = service_pb2.ModelInferRequest(model_name=identity_name(dtype.name), raw_input_contents=[raw])
    request.inputs.add(name="INPUT0", datatype=dtype.name, shape=[count])
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        answer = client._client_stub.ModelInfer(request, timeout=_WAIT_SECONDS)

    assert answer.raw_output_contents[0] == raw
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == (dtype.name, [count])


def test_metadata_says_what_the_table_of_models_says(triton: Triton) -> None:
    with grpcclient.InferenceServerClient(triton.grpc_url) as client:
        for name, model in MODELS.items():
            metadata = client.get_model_metadata(name)
            batch = [-1] if model.max_batch_size else []
            for listed, signatures in ((metadata.inputs, model.inputs), (metadata.outputs, model.outputs)):
                assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in listed] == [
                    (signature.name, signature.dtype, batch + list(signature.dims)) for signature in signatures
                ]


def test_text_is_normalized_and_its_words_are_counted(triton: Triton) -> None:
    texts = np.array(["Hello  Wörld\tﬁ".encode(), b"", "STRASSE Straße".encode()], dtype=np.object_)
    result = _infer(triton, models.TEXT, TEXT=(texts, "BYTES"))

    assert [text.decode() for text in result.as_numpy("NORMALIZED")] == ["hello wörld fi", "", "strasse strasse"]
    assert result.as_numpy("WORD_COUNT").tolist() == [3, 0, 2]


def test_text_that_is_not_utf8_is_refused_in_words(triton: Triton) -> None:
    with pytest.raises(Exception, match="TEXT holds bytes that are not UTF-8"):
        _infer(triton, models.TEXT, TEXT=(np.array([b"\xff"], dtype=np.object_), "BYTES"))


@pytest.mark.parametrize("length", [1, 2, 16_001])
def test_audio_level_of_any_length(triton: Triton, length: int) -> None:
    wave = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
    result = _infer(triton, models.AUDIO, WAVEFORM=(wave, "FP32"))

    assert result.as_numpy("RMS") == pytest.approx([np.sqrt(np.mean(wave**2))], rel=1e-4)
    assert result.as_numpy("PEAK") == pytest.approx([np.abs(wave).max()])
    assert result.as_numpy("ZERO_CROSSINGS").tolist() == [np.count_nonzero(np.diff(wave < 0))]


def test_add_sub_takes_two_types_and_a_batch(triton: Triton) -> None:
    first = np.array([[1.5, -2.5, 0.0], [3.0, 4.0, 5.0]], np.float32)
    second = np.array([[1, 2, 3], [-4, -5, -6]], np.int32)
    result = _infer(triton, models.ADD_SUB, INPUT0=(first, "FP32"), INPUT1=(second, "INT32"))

    assert result.as_numpy("SUM").tolist() == (first + second).tolist()
    assert result.as_numpy("DIFFERENCE").tolist() == np.trunc(first - second).astype(int).tolist()


def test_a_batch_of_pictures_has_a_mean_each(triton: Triton) -> None:
    pictures = np.random.default_rng(1).random((8, 3, 20, 30), np.float32)
    result = _infer(triton, models.IMAGE_MEAN, IMAGE=(pictures, "FP32"))

    assert result.as_numpy("MEAN") == pytest.approx(pictures.mean((2, 3)), rel=1e-5)


def test_slow_identity_is_slow_and_requests_are_counted(triton: Triton) -> None:
    before = triton.request_count(models.SLOW)
    start = time.monotonic()
    delay = np.array([0.3], np.float32)
    _infer(triton, models.SLOW, INPUT0=(np.ones(3, np.float32), "FP32"), DELAY=(delay, "FP32"))

    assert time.monotonic() - start >= 0.3
    _wait(lambda: triton.request_count(models.SLOW) == before + 1)


def test_it_listens_on_the_loopback_only(triton: Triton) -> None:
    inodes = {link for fd in Path(f"/proc/{triton.pid}/fd").iterdir() if "socket:" in (link := os.readlink(fd))}
    listening = [
        line.split()[1]
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{triton.pid}/net/{table}").read_text().splitlines()[1:]
        if line.split()[3] == "0A" and f"socket:[{line.split()[9]}]" in inodes
    ]

    assert len(listening) == 3
    # 127.0.0.1 as the kernel writes it, also where it is mapped into IPv6.
    assert all(address.partition(":")[0].endswith("0100007F") for address in listening)


def test_kill_takes_everything_and_restart_keeps_the_ports(tmp_path: Path) -> None:
    with _add_sub_only(tmp_path) as triton:
        urls, pid = (triton.grpc_url, triton.http_url, triton.metrics_url), triton.pid
        triton.kill()
        assert not triton.running
        assert not Path(f"/proc/{pid}").exists()
        assert not _processes_naming(tmp_path)
        triton.restart()
        assert (triton.grpc_url, triton.http_url, triton.metrics_url) == urls
        triton.wait_ready()
        assert _answers(triton)


def test_a_model_added_later_is_found(tmp_path: Path) -> None:
    with _add_sub_only(tmp_path) as triton:
        MODELS[identity_name("FP32")].write(tmp_path / "models" / "latecomer")
        triton.wait_ready(["latecomer"])


def test_a_broken_model_is_named_with_its_reason_and_the_others_serve(tmp_path: Path) -> None:
    models.write_repository(tmp_path / "models", [models.SLOW])
    (tmp_path / "models" / models.SLOW / "1" / "model.py").write_text("raise RuntimeError('no such luck')")
    with _add_sub_only(tmp_path) as triton:
        with pytest.raises(TritonError, match=rf"{models.SLOW} 1: (UNAVAILABLE|LOADING) .*no such luck"):
            triton.wait_ready(timeout=4)
        triton.wait_ready([models.ADD_SUB])
        assert _answers(triton)


def test_a_start_that_fails_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (tmp_path / "models").mkdir()
        triton = Triton(tmp_path / "models", triton_wheels(), log=tmp_path / "log", grpc_port=port)
        with pytest.raises(TritonError, match=f"(?s)did not start.*127.0.0.1:{port}"):
            triton.start()
    assert not triton.running


def test_nothing_is_left_when_its_owner_is_killed(tmp_path: Path) -> None:
    program = f"""
        import sys, time
        from pathlib import Path
        from devstack.triton import Triton
        from devstack.triton_wheels import triton_wheels
        triton = Triton(Path("{tmp_path}/models"), triton_wheels(), log=Path("{tmp_path}/log"))
        triton.start()
        print(triton.grpc_url, flush=True)
        time.sleep(60)
    """
    models.write_repository(tmp_path / "models", [models.SLOW])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    owner = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], env=environment, stdout=subprocess.PIPE)
    assert owner.stdout is not None
    port = int(owner.stdout.readline().decode().rpartition(":")[2])
    (prefix,) = {
        word.partition("=")[2] for words in _processes_naming(tmp_path) for word in words if "shm-region" in word
    }
    shared_memory = prefix.partition("=")[2]
    assert list(Path("/dev/shm").glob(f"{shared_memory}*"))  # noqa: S108
    owner.send_signal(signal.SIGKILL)
    owner.wait()

    _wait(lambda: not _processes_naming(tmp_path))
    assert not list(Path("/dev/shm").glob(f"{shared_memory}*"))  # noqa: S108
    assert not list((tmp_path / "tmp").iterdir())
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    owner.stdout.close()


def _processes_naming(folder: Path) -> list[list[str]]:
    """Command lines of the processes, other than this one, that have the folder in them."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if process.name != str(os.getpid()) and any(str(folder) in word for word in words):
            found.append(words)
    return found
