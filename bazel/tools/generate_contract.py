"""Compile .proto files to Python modules and type stubs inside one Python package."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

import grpc_tools
from grpc_tools import protoc

_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
_PLUGINS = {"mypy": "main", "mypy_grpc": "grpc"}


class GenerateError(Exception):
    """protoc refused the files; it has said why on standard error."""


def rewrite_imports(text: str, modules: list[str], package: str) -> str:
    """Make generated modules find each other inside a package.

    Args:
        text: a generated .py or .pyi file.
        modules: plain names of all generated modules.
        package: dotted package they are put into.

    Returns:
        The text, importing these modules from `package`; names bound by the imports stay the same.
    """
    names = "|".join(sorted(map(re.escape, modules), key=len, reverse=True))
    return re.sub(rf"(?m)^import ({names})( as \w+)?$", rf"from {package} import \1\2", text)


def _write_plugin(folder: Path, plugin: str, function: str) -> str:
    """Stand in for the console script that mypy-protobuf's wheel would install; returns protoc's option for it."""
    path = folder / f"protoc-gen-{plugin}"
    program = f"import sys; sys.path[:] = {sys.path!r}; from mypy_protobuf.main import {function}; {function}()"
    path.write_text(f"#!{sys.executable}\n{program}\n", encoding="utf-8")
    path.chmod(0o755)
    return f"--plugin=protoc-gen-{plugin}={path}"


def use_private_pool(text: str) -> str:
    """Let a generated module register its messages in a pool of its own.

    protobuf's default pool takes one contract of a name in a process. A script that still has stubs of its own
    beside it would otherwise fail to import whatever uses ours.

    Args:
        text: text of a generated _pb2 module that imports no other.
    """
    return text.replace("_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()")


def generate(protos: list[Path], package: str, out: Path, *, private_pool: bool) -> None:
    """Compile to `out`, four files for each .proto (stubs are empty where it has no service).

    Args:
        protos: the files; their folders are the import paths.
        package: dotted package that `out` is going to be.
        out: folder to write to.
        private_pool: see `use_private_pool`.

    Raises:
        GenerateError: protoc refused.
    """
    with tempfile.TemporaryDirectory() as scratch:
        options = [_write_plugin(Path(scratch), plugin, function) for plugin, function in _PLUGINS.items()]
        raw = Path(scratch) / "out"
        raw.mkdir()
        folders = dict.fromkeys(str(proto.parent) for proto in protos)
        options += [f"--proto_path={folder}" for folder in folders]
        options.append(f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}")
        options += [f"--{name}_out={raw}" for name in ("python", "grpc_python")]
        options += [f"--{name}_out=quiet:{raw}" for name in _PLUGINS]
        if protoc.main(["protoc", *options, *map(os.fspath, protos)]):
            raise GenerateError
        modules = [proto.stem + suffix for proto in protos for suffix in ("_pb2", "_pb2_grpc")]
        for name in [proto.stem + suffix for proto in protos for suffix in _SUFFIXES]:
            made = raw / name
            text = made.read_text(encoding="utf-8") if made.exists() else ""
            text = rewrite_imports(text, modules, package)
            (out / name).write_text(use_private_pool(text) if private_pool else text, encoding="utf-8")


def main() -> int:
    """Generate as the command line says; 1 when protoc refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python-package", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--private-pool", action="store_true")
    parser.add_argument("protos", nargs="+", type=Path)
    options = parser.parse_args()
    try:
        generate(options.protos, options.python_package, options.out, private_pool=options.private_pool)
    except GenerateError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
