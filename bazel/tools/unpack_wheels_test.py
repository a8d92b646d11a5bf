from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import unpack_wheels
from unpack_wheels import Distribution, build_file, destination, requirements, target_name, unpack

METADATA = """\
Metadata-Version: 2.1
Name: Some.Thing
Requires-Dist: typing-extensions~=4.12
Requires-Dist: Ruamel.Yaml; python_version >= "3.11"
Requires-Dist: tomli; python_version < "3.11"
Requires-Dist: pywin32; sys_platform == "win32"
Requires-Dist: grpcio>=1.62; extra == "grpc"

Requires-Dist: in-the-description
"""


def make_wheel(folder: Path, members: dict[str, tuple[str, int]]) -> Path:
    path = folder / "Some.Thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, (text, mode) in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, text)
    return path


def test_requirements_are_those_that_hold_here() -> None:
    assert requirements(METADATA) == ("ruamel_yaml", "typing_extensions")
    assert requirements("Name: nothing\n") == ()


@pytest.mark.parametrize(
    ("distribution", "target"), [("types-grpcio", "types_grpcio"), ("Zope.Event", "zope_event"), ("a--b_c", "a_b_c")]
)
def test_target_name(distribution: str, target: str) -> None:
    assert target_name(distribution) == target


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("pkg/a.py", "pkg/a.py"),
        ("x-1.data/scripts/ruff", "bin/ruff"),
        ("x-1.data/purelib/pkg/a.py", "pkg/a.py"),
        ("x-1.data/platlib/pkg/a.so", "pkg/a.so"),
        ("x-1.data/data/share/f", "share/f"),
        ("x-1.data/headers/x.h", None),
        ("pkg/BUILD", None),
        ("x-1.dist-info/RECORD", None),
        ("pkg/RECORD", "pkg/RECORD"),
    ],
)
def test_destination(member: str, path: str | None) -> None:
    assert destination(member) == path


@pytest.mark.parametrize("member", ["../x", "/etc/x", "pkg/../../x"])
def test_members_stay_inside(member: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        destination(member)


def test_unpack(tmp_path: Path) -> None:
    members = {
        "pkg/a.py": ("a = 1\n", 0o644),
        "pkg/server": ("binary", 0o755),
        "Some.Thing-1.0.data/scripts/tool": ("#!python\n", 0o644),
        "Some.Thing-1.0.dist-info/METADATA": (METADATA, 0o644),
        "Some.Thing-1.0.dist-info/RECORD": ("", 0o644),
    }
    assert unpack(make_wheel(tmp_path, members), tmp_path / "site-packages") == Distribution(
        "some_thing", ("ruamel_yaml", "typing_extensions")
    )
    root = tmp_path / "site-packages/some_thing"
    executable = {str(p.relative_to(root)): bool(p.stat().st_mode & 0o111) for p in root.rglob("*") if p.is_file()}
    assert executable == {
        "pkg/a.py": False,
        "pkg/server": True,
        "bin/tool": True,
        "Some.Thing-1.0.dist-info/METADATA": False,
    }


def test_build_file_names_only_what_the_lock_holds() -> None:
    text = build_file([Distribution("grpcio", ("typing_extensions", "absent")), Distribution("typing_extensions", ())])
    libraries = {}
    exec(  # noqa: S102 - BUILD files are Python enough
        text,
        {
            "package": lambda **_: None,
            "py_library": lambda **kw: libraries.update({kw["name"]: kw}),
        },
    )
    assert libraries["grpcio"]["deps"] == [":typing_extensions"]
    assert libraries["typing_extensions"]["deps"] == []
    assert libraries["grpcio"]["imports"] == ["site-packages/grpcio"]
    assert libraries["grpcio"]["data"] == ["site-packages/grpcio", "unpacked/grpcio.txt"]


@pytest.fixture
def unpack_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Unpacks a wheel whose one module has this text, as the repository rule does; returns the repository."""

    def unpack_all(text: str) -> Path:
        wheel = make_wheel(tmp_path, {"pkg/a.py": (text, 0o644), "pkg/broken.py": ("a = (\n", 0o644)})
        repository = Path(tempfile.mkdtemp(dir=tmp_path))
        monkeypatch.setattr("sys.argv", ["unpack_wheels", str(wheel.parent), str(repository)])
        unpack_wheels.main()
        return repository

    return unpack_all


def test_main_compiles_what_it_unpacks(unpack_all: Callable[[str], Path]) -> None:
    repository = unpack_all("a = 1\n")
    assert [p.name for p in repository.rglob("*.pyc")] == ["a.cpython-311.pyc"]
    assert 'name = "some_thing"' in (repository / "BUILD.bazel").read_text()


def test_bazel_sees_that_a_wheel_is_another_and_that_it_is_the_same(unpack_all: Callable[[str], Path]) -> None:
    first, again, other = (unpack_all(text) for text in ("a = 1\n", "a = 1\n", "a = 2\n"))
    assert (
        len({(repository / "site-packages/some_thing").stat().st_mtime_ns for repository in (first, again, other)}) == 1
    )
    texts = [(repository / "unpacked/some_thing.txt").read_text() for repository in (first, again, other)]
    assert texts[0] == texts[1] != texts[2]
