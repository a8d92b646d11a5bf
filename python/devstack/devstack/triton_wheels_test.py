from __future__ import annotations

from pathlib import Path

import pytest

from devstack import triton_wheels
from devstack.triton_wheels import SITE_VARIABLE, TritonHome, TritonWheelsError


def _wheel(folder: Path) -> Path:
    (folder / "pytriton/tritonserver").mkdir(parents=True)
    return folder


def test_the_variable_goes_before_the_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _wheel(tmp_path / "first"), _wheel(tmp_path / "second")
    monkeypatch.delenv("RUNFILES_DIR", raising=False)
    monkeypatch.setattr(triton_wheels, "runfiles", lambda _: iter(()))
    monkeypatch.syspath_prepend(str(second))
    monkeypatch.setenv(SITE_VARIABLE, f"{tmp_path / 'wheels'}:{first}")
    assert triton_wheels.triton_wheels() == (tmp_path / "wheels", first)

    monkeypatch.delenv(SITE_VARIABLE)
    assert second in triton_wheels.triton_wheels()


def test_runfiles_hold_one_folder_for_each_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = (
        tmp_path / "pip_triton/site-packages/numpy",
        _wheel(tmp_path / "pip_triton/site-packages/nvidia_pytriton"),
    )
    wheels[0].mkdir()
    monkeypatch.delenv(SITE_VARIABLE, raising=False)
    monkeypatch.setenv("RUNFILES_DIR", str(tmp_path))
    assert triton_wheels.triton_wheels() == wheels


def test_no_triton_anywhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SITE_VARIABLE, str(tmp_path))
    with pytest.raises(TritonWheelsError, match=f"set {SITE_VARIABLE} to the site-packages"):
        triton_wheels.triton_wheels()


def test_a_wheel_without_a_stub_for_this_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(TritonWheelsError, match="triton_python_backend_stub is missing"):
        TritonHome(tmp_path / "home", [_wheel(tmp_path / "wheel")])


def test_its_python_imports_from_its_wheels_and_nowhere_else(tmp_path: Path) -> None:
    home = TritonHome(tmp_path, triton_wheels.triton_wheels())
    names = (tmp_path / "python/lib").glob("python3.*/site-packages/*.pth")

    assert (home.backends / "python/triton_python_backend_stub").stat().st_mode & 0o100
    assert (home.backends / "onnxruntime/model.py").is_file()
    assert not (home.backends / "python/libtriton_python.so").is_symlink()
    assert [str(folder.absolute()) for folder in triton_wheels.triton_wheels()] == next(names).read_text().splitlines()[
        1:
    ]
    assert "PYTHONPATH" not in home.environment
