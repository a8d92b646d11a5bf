from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from generate_contract import GenerateError, generate, rewrite_imports, use_private_pool

A = """
syntax = "proto3";
package some;
import "b.proto";
import "google/protobuf/timestamp.proto";
service Service { rpc Call(B) returns (stream A); }
message A { B b = 1; google.protobuf.Timestamp at = 2; string x_pb2 = 3; }
"""
B = 'syntax = "proto3"; package some; message B { repeated int64 n = 1; }'


def write_protos(folder: Path) -> list[Path]:
    (folder / "a.proto").write_text(A)
    (folder / "b.proto").write_text(B)
    return [folder / "a.proto", folder / "b.proto"]


def test_rewrite_imports_moves_only_our_modules() -> None:
    text = "import a_pb2 as a__pb2\nimport a_pb2\nimport a_pb2_grpc\nimport grpc\nx = 'import a_pb2'\nimport aa_pb2\n"
    assert rewrite_imports(text, ["a_pb2", "a_pb2_grpc"], "pkg._gen") == (
        "from pkg._gen import a_pb2 as a__pb2\nfrom pkg._gen import a_pb2\nfrom pkg._gen import a_pb2_grpc\n"
        "import grpc\nx = 'import a_pb2'\nimport aa_pb2\n"
    )


def test_generated_modules_find_each_other(tmp_path: Path) -> None:
    out = tmp_path / "site/pkg/_gen"
    out.mkdir(parents=True)
    generate(write_protos(tmp_path), "pkg._gen", out, private_pool=False)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{stem}_pb2{suffix}" for stem in "ab" for suffix in (".py", ".pyi", "_grpc.py", "_grpc.pyi")
    )
    assert "from pkg._gen import b_pb2" in (out / "a_pb2.pyi").read_text()
    program = (
        f"import sys; sys.path[:] = [{str(tmp_path / 'site')!r}, *{sys.path!r}]\n"
        "from pkg._gen import a_pb2, a_pb2_grpc, b_pb2\n"
        "assert a_pb2.A(b=b_pb2.B(n=[1])).b.n[0] == 1\n"
        "assert a_pb2_grpc.ServiceStub\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_a_private_pool_holds_what_the_default_pool_refuses(tmp_path: Path) -> None:
    for name, field in (("one", "n"), ("two", "m")):
        proto = tmp_path / name / "same.proto"
        out = tmp_path / "site" / name
        proto.parent.mkdir()
        out.mkdir(parents=True)
        proto.write_text(f'syntax = "proto3"; package some; message B {{ int64 {field} = 1; }}')
        generate([proto], name, out, private_pool=True)
        assert use_private_pool((out / "same_pb2.py").read_text()) == (out / "same_pb2.py").read_text()
    program = (
        f"import sys; sys.path[:] = [{str(tmp_path / 'site')!r}, *{sys.path!r}]\n"
        "from one import same_pb2 as a\nfrom two import same_pb2 as b\n"
        "assert b.B.FromString(a.B(n=7).SerializeToString()).m == 7\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_protoc_refuses(tmp_path: Path) -> None:
    (tmp_path / "bad.proto").write_text("message {")
    with pytest.raises(GenerateError):
        generate([tmp_path / "bad.proto"], "pkg", tmp_path, private_pool=False)
