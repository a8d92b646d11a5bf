"""Starts each image's program in the image's own files, as a cluster would: not as root, with only /tmp to write."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from image_files import IMAGES, read

from devstack import models
from devstack.ports import free_ports

# $1 is the image's root, $2 the user, $3 more options of /tmp. What a container runtime mounts, and no more.
ENTER = """
set -eu
root=$1 user=$2 tmp=$3; shift 3
mount --bind "$root" "$root"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o "mode=1777$tmp" tmpfs "$root/tmp"
for device in null zero random urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot --userspec="$user" "$root" "$@"
"""
_UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--propagation=private"]
_LONGEST = 60.0
Start = Callable[..., "subprocess.Popen[str]"]


def _why_not() -> str | None:
    if os.geteuid() != 0:
        return "only root can become another user in an image's files"
    tried = subprocess.run(
        [*_UNSHARE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True, check=False
    )
    return f"this machine does not let root mount: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacked images, by name."""
    if reason := _why_not():
        pytest.skip(reason)
    unpacked: dict[str, Path] = {}

    def root(name: str) -> Path:
        if name not in unpacked:
            image = read(name)
            unpacked[name] = tmp_path_factory.mktemp(name)
            unpacked[name].chmod(0o755)
            image.extract(unpacked[name])
        return unpacked[name]

    return root


@pytest.fixture
def start(roots: Callable[[str], Path]) -> Iterator[Start]:
    """Starts a program in an image: by default the image's own, with more words and variables, as the image's user."""
    running: list[subprocess.Popen[str]] = []

    def start(
        name: str,
        *words: str,
        user: str = "",
        env: dict[str, str] | None = None,
        command: list[str] | None = None,
        tmp: str = "",
    ) -> subprocess.Popen[str]:
        config = read(name).config
        given = dict(item.split("=", 1) for item in config["Env"]) | (env or {})
        entry = [*config["Entrypoint"], *(words or config["Cmd"])] if command is None else command
        enter = [*_UNSHARE, "sh", "-c", ENTER, "sh", str(roots(name)), user or config["User"], tmp, *entry]
        # The image's path comes first, and the machine's serves the words above.
        given["PATH"] += ":/usr/sbin:/sbin"
        process = subprocess.Popen(enter, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        running.append(process)
        return process

    yield start
    for process in running:
        for pid in program(process):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def program(process: subprocess.Popen[str]) -> list[int]:
    """Process id of the program in the image while it runs: unshare, its parent, passes no signals on."""
    if process.poll() is not None:
        return []
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=_LONGEST)
    return process.returncode, output


def line_with(process: subprocess.Popen[str], text: str) -> str:
    """Waits for a line of output."""
    assert process.stdout is not None
    output = ""
    for line in process.stdout:
        output += line
        if text in line:
            return line
    pytest.fail(f"it ended without saying {text!r}: {output}")


def test_the_proxy_explains_itself_and_asks_for_its_settings(start: Start) -> None:
    status, output = finished(start("proxy", "--help"))
    assert (status, output.splitlines()[0]) == (0, "usage: triton_proxy [-h]")
    status, output = finished(start("proxy"))
    assert status == 2
    assert "TRITON_URL" in output


def test_the_proxy_serves_and_ends_on_sigterm(start: Start) -> None:
    settings = {"TRITON_URL": "127.0.0.1:1", "DOMINO_HOST": "http://127.0.0.1:1"}
    settings |= dict.fromkeys(("LISTEN_ADDR", "METRICS_LISTEN_ADDR", "HTTP_LISTEN_ADDR"), "127.0.0.1:0")
    process = start("proxy", env=settings)
    line = line_with(process, "serving on port ")
    port = line.split("serving on port ")[1].split(",")[0]
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
            "/multimodal.MultimodalService/SendUnary"
        )
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=_LONGEST)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    (pid,) = program(process)
    os.kill(pid, signal.SIGTERM)
    assert finished(process)[0] == 0


def test_nothing_in_the_environment_changes_what_the_proxy_imports(start: Start) -> None:
    status, output = finished(start("proxy", "--help", env={"PYTHONPATH": "/tmp", "PYTHONHOME": "/nowhere"}))  # noqa: S108
    assert (status, output.splitlines()[0]) == (0, "usage: triton_proxy [-h]")


def test_the_client_helps_and_pip_knows_what_is_installed(start: Start) -> None:
    status, output = finished(start("client", "--help"))
    assert status == 0
    assert "mm-client" in output
    status, output = finished(start("client", command=["/usr/bin/python3", "-m", "pip", "check"]))
    assert (status, output) == (0, "No broken requirements found.\n")
    status, output = finished(
        start("client", command=["/bin/sh", "-c", "python -c 'import mm_client_api, cv2; print(1)' | cat"])
    )
    assert (status, output) == (0, "1\n")


def test_the_publisher_helps_and_finds_what_it_needs(start: Start) -> None:
    # The user that the chart gives it: Domino's own.
    status, output = finished(start("publisher", "--help", user="12574:12574"))
    assert (status, output.splitlines()[0]) == (0, "usage: mm-publish [-h] COMMAND ...")
    code = "import boto3, mlflow, onnx, onnxruntime, tritonclient.grpc"
    assert finished(start("publisher", command=["/usr/bin/python3.11", "-I", "-c", code]))[0] == 0


def test_the_scale_service_helps_and_finds_what_it_needs(start: Start) -> None:
    status, output = finished(start("scaler", "--help"))
    assert (status, output.splitlines()[0]) == (0, "usage: scale_service [-h]")
    # As the chart's CronJobs run it.
    once = ["/usr/bin/python3.11", "-I", "-m", "scale_service.set_replicas", "--help"]
    status, output = finished(start("scaler", command=once))
    assert (status, output.split()[:2]) == (0, ["usage:", "scale_service.set_replicas"])
    code = "import kubernetes.client, aiohttp.web, scale_service.app"
    assert finished(start("scaler", command=["/usr/bin/python3.11", "-I", "-c", code]))[0] == 0


@pytest.mark.parametrize("name", IMAGES)
def test_every_module_of_the_standard_library_finds_its_libraries(name: str, start: Start) -> None:
    code = (
        "import importlib, pathlib, sysconfig\n"
        "for path in pathlib.Path(sysconfig.get_path('platstdlib'), 'lib-dynload').glob('*.so'):\n"
        "    importlib.import_module(path.name.split('.')[0])\n"
    )
    expected = 1 if name != "client" else 0  # sqlite3's library is the client's alone
    status, output = finished(start(name, command=["/usr/bin/python3.11", "-I", "-c", code]))
    assert status == expected, output
    assert ("libsqlite3.so.0" in output) == bool(expected)


# The image's own user, and the one that NVIDIA's image and the chart have.
@pytest.mark.parametrize("user", ["65532:65532", "1000:1000"])
def test_triton_serves_python_and_onnx_models(user: str, start: Start, roots: Callable[[str], Path]) -> None:
    repository = roots("triton_cpu") / "models"
    shutil.rmtree(repository, ignore_errors=True)
    models.write_repository(repository, [models.ADD_SUB, models.DETECTOR])
    grpc_port, http_port, metrics_port = free_ports([0, 0, 0])
    address = [f"--{kind}-address=127.0.0.1" for kind in ("grpc", "http", "metrics")]
    ports = [f"--grpc-port={grpc_port}", f"--http-port={http_port}", f"--metrics-port={metrics_port}"]
    command = ["tritonserver", "--model-repository=/models", "--disable-auto-complete-config", *address, *ports]
    process = start("triton_cpu", *command, user=user)
    line_with(process, "Started GRPCInferenceService")
    client = grpcclient.InferenceServerClient(f"127.0.0.1:{grpc_port}")
    deadline = time.monotonic() + _LONGEST
    while not client.is_server_ready():
        assert time.monotonic() < deadline
    frame = grpcclient.InferInput("images", [1, 3, 640, 640], "FP32")
    frame.set_data_from_numpy(np.zeros((1, 3, 640, 640), np.float32))
    assert client.infer(models.DETECTOR, [frame]).as_numpy("output0").shape == (1, 84, 8400)
    one = grpcclient.InferInput("INPUT0", [1, 2], "FP32")
    one.set_data_from_numpy(np.array([[1, 2]], np.float32))
    two = grpcclient.InferInput("INPUT1", [1, 2], "INT32")
    two.set_data_from_numpy(np.array([[10, 20]], np.int32))
    assert client.infer(models.ADD_SUB, [one, two]).as_numpy("SUM").tolist() == [[11, 22]]
    client.close()
    # Polling looks at a model's folder: nothing may be written there.
    assert list(repository.rglob("*.pyc")) == []


def test_where_programs_cannot_run_from_tmp_triton_says_what_to_do(start: Start) -> None:
    status, output = finished(start("triton_cpu", tmp=",noexec"))
    assert status == 1
    assert output == (
        "tritonserver: /tmp is mounted noexec, and Triton's python backend starts its stub from there; in Docker use "
        "`--tmpfs=/tmp:exec`, in Kubernetes an emptyDir\n"
    )
