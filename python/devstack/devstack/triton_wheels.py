"""Finds the unpacked wheels that Triton runs from, and gives it a Python environment and a backend folder of its own.

Triton comes from the wheel nvidia-pytriton, whose dependencies (numpy below 2) differ from ours: what it runs must see
its own wheels only.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from devstack.runfiles import runfiles

SITE_VARIABLE = "TRITON_SITE"
_SERVER = Path("pytriton/tritonserver")
_RUNFILES = "pip_triton/site-packages"
_BACKENDS = Path(__file__).with_name("backends")
# Neither the wheels nor the model repository are ours to write __pycache__ into.
_NO_BYTECODE = "import sys; sys.dont_write_bytecode = True"
_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


class TritonWheelsError(Exception):
    """Triton's wheels are missing or incomplete."""


def triton_wheels() -> tuple[Path, ...]:
    """Finds the folders of unpacked wheels that Triton runs from.

    Looked for in this order: the folders in the environment variable TRITON_SITE, separated by colons; Bazel's
    runfiles; this process's own import path.

    Returns:
        Folders to import from; one of them holds pytriton/tritonserver.

    Raises:
        TritonWheelsError: none of these places holds a Triton.
    """
    if SITE_VARIABLE in os.environ:
        candidates = [tuple(Path(entry) for entry in os.environ[SITE_VARIABLE].split(os.pathsep))]
    else:
        unpacked = [tuple(sorted(folder.iterdir())) for folder in runfiles(_RUNFILES)]
        candidates = [*unpacked, tuple(Path(entry) for entry in sys.path)]
    for wheels in candidates:
        if any((folder / _SERVER).is_dir() for folder in wheels):
            return wheels
    raise TritonWheelsError(
        f"no folder with {_SERVER} in ${SITE_VARIABLE}, in Bazel's runfiles or on sys.path; give the Bazel target "
        f"data from @pip_triton, or set {SITE_VARIABLE} to the site-packages of an environment with nvidia-pytriton "
        "and onnxruntime"
    )


class TritonHome:
    """What one Triton process runs from: environment variables and a folder that holds its backends.

    Args:
        folder: an empty folder to build in.
        wheels: folders of unpacked wheels, as `triton_wheels` finds them.

    Raises:
        TritonWheelsError: they lack a part of Triton that this Python needs.
    """

    def __init__(self, folder: Path, wheels: Sequence[Path]) -> None:
        root = next((entry.absolute() for entry in wheels if (entry / _SERVER).is_dir()), None)
        if root is None:
            raise TritonWheelsError(f"none of {', '.join(map(str, wheels)) or 'no folders'} holds {_SERVER}")
        server = root / _SERVER
        stub = server / "python_backend_stubs" / _VERSION / "triton_python_backend_stub"
        self.executable = server / "bin/tritonserver"
        self.backends = folder / "backends"
        for part in (stub, self.executable):
            if not part.is_file():
                raise TritonWheelsError(f"{part} is missing; expected nvidia-pytriton with Python {_VERSION} support")
        _build_python(folder / "python", wheels)
        _build_backends(self.backends, server / "backends/python", stub)
        self.environment = {
            "PATH": f"{folder / 'python/bin'}:/usr/bin:/bin",
            "HOME": str(folder),
            "LD_LIBRARY_PATH": f"{root / 'nvidia_pytriton.libs'}:{sysconfig.get_config_var('LIBDIR')}",
            "OPENBLAS_NUM_THREADS": "1",
        }


def _build_python(folder: Path, wheels: Sequence[Path]) -> None:
    # The stubs embed an isolated Python, deaf to PYTHONPATH and PYTHONHOME: it takes the environment of the first
    # python3 on PATH, so that one must be a virtual environment that names the wheels.
    packages = folder / "lib" / f"python{_VERSION}" / "site-packages"
    packages.mkdir(parents=True)
    lines = [_NO_BYTECODE, *(str(entry.absolute()) for entry in wheels)]
    (packages / "triton_wheels.pth").write_text("\n".join(lines) + "\n")
    home = Path(sys.base_exec_prefix) / "bin"
    (folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
    (folder / "bin").mkdir()
    (folder / "bin/python3").symlink_to(home / f"python{_VERSION}")


def _build_backends(folder: Path, python_backend: Path, stub: Path) -> None:
    folder.mkdir()
    (folder / "python").mkdir()
    for part in (*python_backend.glob("*.so"), *python_backend.glob("*.py"), stub):
        # Triton refuses a library that a link puts outside the backend's folder.
        shutil.copy(part, folder / "python" / part.name)
    for backend in _BACKENDS.iterdir():
        shutil.copytree(backend, folder / backend.name)
