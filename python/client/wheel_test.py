"""The built wheel in virtual environments of the oldest and the newest dependencies, and its oldest Python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pip
import pytest

WHEEL = Path("python/client/domino_triton_client-0.1.0-py3-none-any.whl").resolve()
ECHO = Path("python/client/client_testing/echo.py").resolve()
API_KEY = "key-of-alice"
FLOOR = "3.9"
PACKAGES = ("mm_client", "mm_client_api", "multimodal_contract")

# Named as the published pipeline script is, to show that it does not hide the library from itself.
PUBLISHED_SCRIPT = """
import sys
import multimodal_pb2 as pb
import numpy as np
from mm_client_api import TritonBytesStreamer

streamer = TritonBytesStreamer(sys.argv[1], "images", (1, 4), pb.DT_FP32, ("output0",), parse_outputs_numpy=True)
frames = (np.full(4, number, "<f4").tobytes() for number in range(5))
for seq, ack_msg, outputs in streamer.stream_bytes(model_name="echo", model_version="1", frame_bytes_iter=frames):
    assert outputs["output0"].tolist() == [[seq] * 4], ack_msg
print(seq)
"""
LIBRARY_SCRIPT = r"""
import asyncio, sys
import numpy as np
from mm_client import TritonClient
from mm_client_api import AsyncTritonClient, AuthenticationError, ApiKey, InferenceRequest

inputs = {
    "x": np.arange(6, dtype=">f8").reshape(2, 3)[:, ::-1],
    "t": np.array(["a", ""]),
    "e": np.empty((0, 2), "?"),
    "n": [[1, 2]],
    "b": ["a", b"b\0"],
}
expected = [[2, 1, 0], [5, 4, 3]], [b"a", b""], [], [[1, 2]], [b"a", b"b\0"]

def values(result):
    return tuple(result.outputs[name].tolist() for name in inputs)

async def main():
    async with AsyncTritonClient(sys.argv[1]) as client:
        assert values(await client.infer("echo", inputs, outputs=list(inputs))) == expected
        requests = [InferenceRequest("echo", {"x": np.array([number])}, ["x"]) for number in range(20)]
        assert [r.outputs["x"].item() async for r in client.stream(requests)] == list(range(20))
        try:
            async with AsyncTritonClient(sys.argv[1], credentials=ApiKey("wrong")) as refused:
                async for _ in refused.stream(requests):
                    pass
        except AuthenticationError as error:
            print(error.status)

with TritonClient(sys.argv[1]) as client:
    assert values(client.infer("echo", inputs, outputs=list(inputs))) == expected
asyncio.run(main())
"""
FORK_SCRIPT = """
import multiprocessing, os, sys
import numpy as np
from mm_client_api import ConfigurationError, InferenceRequest, TritonClient

client = TritonClient(sys.argv[1])

def requests():
    return (InferenceRequest("echo", {"x": np.array([number])}, ["x"]) for number in range(50))

def work(_):
    result = client.infer("echo", {"x": np.arange(3)}, outputs=["x"])
    assert result.outputs["x"].tolist() == [0, 1, 2]
    for connections in (1, 3):
        results = client.stream(requests(), window=2, connections=connections)
        assert [result.outputs["x"].item() for result in results] == list(range(50))
    return os.getpid(), result.correlation_id.split("-")[0]

def check(here):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        found = {*pool.map(work, range(6), chunksize=1), *here, work(0)}
    processes, clients = zip(*found)
    assert len(found) == len(set(processes)) == len(set(clients)), found
    assert len(found) > 1

check([])
try:
    check([work(0)])
except ConfigurationError as error:
    print(error)
work(0)
client.close()
"""
UNDER_WAY_SCRIPT = """
import asyncio, itertools, os, sys
import numpy as np
from mm_client_api import AsyncTritonClient, ConfigurationError, InferenceRequest, TritonClient

addr, what = sys.argv[1:]
client = TritonClient(addr)
requests = (InferenceRequest("echo", {"x": np.array([number])}, ["x"]) for number in itertools.count())
inputs = {"x": np.arange(3)}

async def infer():
    async with AsyncTritonClient(addr) as client:
        await client.infer("echo", inputs, outputs=["x"])

stream = client.stream(requests, connections=2)
attempts = [
    lambda: client.infer("echo", inputs, outputs=["x"]),
    lambda: TritonClient(addr),
    lambda: asyncio.run(infer()),
]
if what == "stream":
    next(stream)
    attempts.append(lambda: next(stream))
elif what == "asyncio":
    asyncio.run(infer())
child = os.fork()
if not child:
    for attempt in attempts:
        try:
            attempt()
        except ConfigurationError as error:
            print(error, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
if what == "stream":
    assert [next(stream).outputs["x"].item() for _ in range(20)] == list(range(1, 21))
os._exit(0)
"""
OLD = (
    "a client was in use before this process was forked, which grpcio {} does not survive here; expected 1.80 or later "
    "without GRPC_ENABLE_FORK_SUPPORT=0, or a fork before that; upgrade, fork first, or write "
    "multiprocessing.get_context('spawn')."
)
UNDER_WAY = (
    "a call or stream was under way when this process was forked, which gRPC does not survive; expected a fork while "
    "there is none; fork before the first call, end streams first, or write multiprocessing.get_context('spawn')."
)
ASYNCIO = (
    "an AsyncTritonClient was used before this process was forked, which gRPC's asyncio part does not survive; "
    "expected a process that was spawned, or forked before that; write multiprocessing.get_context('spawn'), or use "
    "the client in the workers only."
)
VIDEO_SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from mm_client.video_io import VideoSink

with VideoSink(Path(sys.argv[1]), 20.0, 320, 180) as sink:
    for number in range(6):
        frame = np.full((180, 320, 3), 90, np.uint8)
        frame[40:100, 20 + number : 80 + number] = (0, 0, 255)
        sink.write(frame)
"""
AUTHORITIES_SCRIPT = """
from mm_client.doctor.certificates import trusted_authorities
print(len(trusted_authorities("", {}).get_ca_certs()))
"""
SOUND_SCRIPT = """
import sys
import numpy as np
import soundfile

soundfile.write(sys.argv[1], np.zeros((4800, 2), np.float32), 48000)
"""


class Environment:
    """A virtual environment that holds the wheel, what `wheels` has of its dependencies, and `more` of that."""

    def __init__(self, folder: Path, wheels: Path, *more: str) -> None:
        self.executable = folder / "bin" / "python"
        self.bin = folder / "bin"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self._run(
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                self.bin / "python",
                "install",
                "--no-index",
                "--no-cache-dir",
                "--disable-pip-version-check",
                "--quiet",
                "--find-links",
                wheels,
                f"{WHEEL}[chat,sound,video]",
                *more,
            ],
            {"PYTHONPATH": str(Path(pip.__file__).parents[1])},
        )

    def python(self, *words: str | Path, **env: str) -> str:
        return self._run([self.bin / "python", *words], {"PYTHONWARNINGS": "error", **env})

    def mm_client(self, *words: str | Path) -> str:
        return self._run([self.bin / "mm-client", *words], {"PYTHONWARNINGS": "error"})

    def serve(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.bin / "python", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=self._env({})
        )

    def _run(self, words: list[str | Path], env: dict[str, str]) -> str:
        done = subprocess.run(words, env=self._env(env), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _env(self, more: dict[str, str]) -> dict[str, str]:
        # Nothing listens there: a client that asks the environment's web proxy fails.
        web_proxy = "http://127.0.0.1:1"
        return {
            "PATH": os.environ.get("PATH", ""),
            "DOMINO_USER_API_KEY": API_KEY,
            "http_proxy": web_proxy,
            "https_proxy": web_proxy,
            **more,
        }


@pytest.fixture(scope="module", params=["oldest", "newest"])
def environment(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    wheels = Path(f"../client_{request.param}/wheels").resolve()
    return Environment(tmp_path_factory.mktemp(request.param), wheels)


@pytest.fixture(scope="module")
def addr(environment: Environment) -> Iterator[str]:
    with environment.serve() as server:
        assert server.stdout is not None
        assert server.stdin is not None
        yield server.stdout.readline().strip()
        server.stdin.close()


def test_the_wheel_installs_nothing_else() -> None:
    names = zipfile.ZipFile(WHEEL).namelist()
    assert {name.split("/")[0] for name in names} == {
        "mm_client",
        "mm_client_api",
        "mm_console",
        "multimodal_contract",
        "multimodal_pb2.py",
        "domino_triton_client-0.1.0.dist-info",
    }
    assert not [name for name in names if name.endswith(("_test.py", "conftest.py")) or "testing" in name]
    assert len(names) == len(set(names))
    for layer in ("_core/retry", "_sync/client", "_aio/client", "streamer"):
        assert f"mm_client_api/{layer}.py" in names
    for package in (*PACKAGES, "mm_console"):
        assert f"{package}/py.typed" in names
    for name in ("static/console.css", "static/console.js", "static/icon.svg", "templates/base.html"):
        assert f"mm_console/{name}" in names


def test_the_console_says_what_it_lacks(environment: Environment) -> None:
    words = (environment.bin / "mm-client", "console")
    done = subprocess.run(words, env={}, capture_output=True, text=True, check=False)
    lacking = "prometheus_client, python_multipart, starlette, uvicorn"
    said = f"mm-client: the console needs {lacking}: pip install 'domino-triton-client[console]'\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_the_library_infers_and_streams(environment: Environment, addr: str) -> None:
    assert environment.python("-c", LIBRARY_SCRIPT, addr).split() == ["UNAUTHENTICATED"]


def test_a_forked_process_goes_on_with_the_client(environment: Environment, addr: str) -> None:
    version = environment.python("-c", "import grpc; print(grpc.__version__)").strip()
    assert environment.python("-c", FORK_SCRIPT, addr).strip() == (OLD.format(version) if version == "1.62.3" else "")


@pytest.mark.parametrize(
    ("what", "attempts", "said"), [("stream", 4, UNDER_WAY), ("asyncio", 3, ASYNCIO), ("nothing", 3, OLD)]
)
def test_a_process_forked_at_the_wrong_moment_says_so(
    environment: Environment, addr: str, what: str, attempts: int, said: str
) -> None:
    # With its handlers for forks, grpc itself can crash a process that is forked in the middle of a call.
    printed = environment.python("-c", UNDER_WAY_SCRIPT, addr, what, GRPC_ENABLE_FORK_SUPPORT="0")
    version = environment.python("-c", "import grpc; print(grpc.__version__)").strip()
    assert printed.splitlines() == [said.format(version)] * attempts


def test_a_published_script_works(environment: Environment, addr: str, tmp_path: Path) -> None:
    script = tmp_path / "mm_client.py"
    script.write_text(PUBLISHED_SCRIPT)
    assert environment.python(script, addr).strip() == "4"


def test_the_command_infers_and_explains_itself(environment: Environment, addr: str) -> None:
    assert "examples:" in environment.mm_client("--help")
    words = ("infer", "--addr", addr, "--model", "echo", "--input", "T=text:hi", "--output", "T", "--json")
    assert json.loads(environment.mm_client(*words))["outputs"]["T"]["data"] == ["hi"]


def test_the_doctor_knows_what_is_installed(environment: Environment, addr: str) -> None:
    words = ("-m", "mm_client", "doctor", "--addr", addr, "--json")
    report = json.loads(environment.python(*words, MAX_MESSAGE_MB="1"))
    assert report["ok"]
    (versions,) = (check["found"] for check in report["checks"] if check["check"] == "versions")
    assert versions.startswith("client 0.1.0, contract ")
    # Where gRPC keeps the authorities that it trusts, and how they are written, is its own affair.
    assert int(environment.python("-c", AUTHORITIES_SCRIPT)) > 50


def test_the_video_pipeline_counts_and_draws(environment: Environment, addr: str, tmp_path: Path) -> None:
    environment.python("-c", VIDEO_SCRIPT, tmp_path / "v.mp4")
    out = environment.mm_client(
        "--addr", addr, "--video", tmp_path / "v.mp4", "--results", tmp_path, "--model", "detects", "--img-size", "320"
    )
    assert out.startswith("6 frames")
    rows = [json.loads(line) for line in (tmp_path / "frame_counts.jsonl").read_text().splitlines()]
    assert [row["counts"] for row in rows] == [{"car": 1}] * 6
    assert (tmp_path / "annotated.mp4").stat().st_size > 1000


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".mp3"])
def test_recordings_are_read_and_resampled(environment: Environment, addr: str, tmp_path: Path, suffix: str) -> None:
    environment.python("-c", SOUND_SCRIPT, tmp_path / f"s{suffix}")
    words = ("infer", "--addr", addr, "--model", "echo", "--input", f"W={tmp_path}/s{suffix}", "--output", "W")
    answer = json.loads(environment.mm_client(*words, "--rate", "W=16000", "--json"))
    (length,) = answer["outputs"]["W"]["shape"]
    # Encoders add or drop a few milliseconds.
    assert abs(length - 1600) < 500


def test_type_checkers_see_the_types(environment: Environment, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from mm_client_api import TritonClient\n"
        "with TritonClient('a:1') as client:\n"
        "    reveal_type(client.infer('m', {}, outputs=[]).timing.total_ms)\n"
        "    client.infer(1, {}, outputs=[])\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", tmp_path, "--python-executable", environment.executable, script],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert 'Revealed type is "float"' in done.stdout, done.stdout + done.stderr
    assert 'Argument 1 to "infer" of "TritonClient" has incompatible type "int"' in done.stdout


@pytest.fixture(scope="module")
def checkers(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    more = ("mypy", "vermin", "types-grpcio", "types-protobuf", "types-tqdm")
    return Environment(tmp_path_factory.mktemp("floor"), Path("../client_floor/wheels").resolve(), *more)


def test_the_wheel_says_which_python_it_needs() -> None:
    (metadata,) = (name for name in zipfile.ZipFile(WHEEL).namelist() if name.endswith("/METADATA"))
    assert f"Requires-Python: >={FLOOR}" in zipfile.ZipFile(WHEEL).read(metadata).decode().splitlines()


def test_the_oldest_python_has_all_that_the_wheel_uses(checkers: Environment, tmp_path: Path) -> None:
    zipfile.ZipFile(WHEEL).extractall(tmp_path)
    modules = sorted(tmp_path.rglob("*.py"))
    assert len(modules) > 30
    words = (f"--target={FLOOR}-", "--violations", "-vvv", "--no-tips")
    found = checkers.python(checkers.bin / "vermin", *words, *modules)
    assert "Minimum required versions: 3." in found


def test_the_types_hold_for_the_oldest_python(checkers: Environment, tmp_path: Path) -> None:
    packages = [word for package in PACKAGES for word in ("--package", package)]
    found = checkers.python("-m", "mypy", "--strict", "--python-version", FLOOR, "--cache-dir", tmp_path, *packages)
    assert found.startswith("Success: no issues found in")
