from __future__ import annotations

from pathlib import Path

import pytest

from devstack import triton_site
from devstack.triton_site import SITE_VARIABLE, TritonHome, TritonSiteError


def _site(folder: Path) -> Path:
    (folder / "pytriton/tritonserver").mkdir(parents=True)
    return folder


def test_the_variable_goes_before_the_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _site(tmp_path / "first"), _site(tmp_path / "second")
    monkeypatch.delenv("RUNFILES_DIR", raising=False)
    monkeypatch.setattr(triton_site, "_runfiles_roots", list)
    monkeypatch.syspath_prepend(str(second))
    monkeypatch.setenv(SITE_VARIABLE, f"{tmp_path / 'wheels'}:{first}")
    assert triton_site.triton_site() == (tmp_path / "wheels", first)

    monkeypatch.delenv(SITE_VARIABLE)
    assert second in triton_site.triton_site()


def test_runfiles_hold_one_folder_for_each_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheels = (tmp_path / "pip_triton/site/numpy", _site(tmp_path / "pip_triton/site/nvidia_pytriton"))
    wheels[0].mkdir()
    monkeypatch.delenv(SITE_VARIABLE, raising=False)
    monkeypatch.setenv("RUNFILES_DIR", str(tmp_path))
    assert triton_site.triton_site() == wheels


def test_no_triton_anywhere_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SITE_VARIABLE, str(tmp_path))
    with pytest.raises(TritonSiteError, match=f"set {SITE_VARIABLE} to the site-packages"):
        triton_site.triton_site()


def test_a_site_without_a_stub_for_this_python_is_refused(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with pytest.raises(TritonSiteError, match="triton_python_backend_stub is missing"):
        TritonHome(tmp_path / "home", [_site(tmp_path / "site")])


def test_its_python_imports_from_its_site_and_nowhere_else(tmp_path: Path) -> None:
    home = TritonHome(tmp_path, triton_site.triton_site())
    names = (tmp_path / "python/lib").glob("python3.*/site-packages/*.pth")

    assert (home.backends / "python/triton_python_backend_stub").stat().st_mode & 0o100
    assert (home.backends / "onnxruntime/model.py").is_file()
    assert not (home.backends / "python/libtriton_python.so").is_symlink()
    assert [str(folder.absolute()) for folder in triton_site.triton_site()] == next(names).read_text().splitlines()[1:]
    assert "PYTHONPATH" not in home.environment
