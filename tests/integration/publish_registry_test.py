"""Train, register, publish, serve, publish the next, roll back: with MLflow, an S3 server, Triton and the proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import pytest

from devstack.model_registry import ModelRegistry
from mm_publisher import ConfigOptions, Refused, RolledBack, UsageError, publish, rollback
from mm_publisher.inspecting import list_versions, verify
from mm_publisher.progress import Silent
from publisher_testing.faults import wait_until
from publisher_testing.models import write_source
from publishing import Callers, Place, place

MODEL = "irises"
# Of the second species.
FLOWER = {"measurements": np.array([[6.0, 2.7, 5.1, 1.6]], np.float32)}
OUTPUT = "probabilities"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("registry")
    with ModelRegistry(folder) as registry, pytest.MonkeyPatch.context() as patch:
        registry.train(MODEL)
        patch.setenv("MLFLOW_TRACKING_URI", registry.url)
        with place(tmp_path_factory.mktemp("place")) as found:
            yield found


def _publish(here: Place, source: str, ready_secs: float = 20.0) -> tuple[int, ...]:
    return publish(source, here.target, server=here.server(ready_secs), progress=Silent()).serving


def test_a_registered_model_gets_from_the_registry_to_its_callers(here: Place) -> None:
    report = publish(f"models:/{MODEL}@champion", here.target, server=here.server(), progress=Silent())
    assert (report.action, report.version, report.source, report.serving) == (
        "published",
        1,
        f"models:/{MODEL}/1",
        (1,),
    )
    assert any("ran on zeros" in note for note in report.notes)

    with (
        Callers(here.addr, MODEL, "", FLOWER, OUTPUT, 4) as latest,
        Callers(here.addr, MODEL, "1", FLOWER, OUTPUT, 4) as first,
    ):
        assert _publish(here, f"models:/{MODEL}/2") == (1, 2)
        # Version 3 passes every check, and Triton cannot load it.
        with pytest.raises(RolledBack) as caught:
            _publish(here, f"models:/{MODEL}/3", ready_secs=4)
        assert f"{MODEL} version 3 was rolled back, and what served before still does" in str(caught.value)
        assert f"Request for unknown model: '{MODEL}' version 3 is not at ready state" in str(caught.value)
    assert latest.errors == []
    assert first.errors == []
    # Every answer is one version's, and each version has but one.
    assert {version for version, _ in latest.answers} == {"1", "2"}
    assert {version for version, _ in first.answers} == {"1"}
    assert len(latest.answers) == 2
    assert len(set(latest.answers) | set(first.answers)) == 2

    assert [(row.version, row.serving) for row in list_versions(here.target)] == [(1, True), (2, True), (3, False)]
    assert verify(here.target, progress=Silent()) == []

    with Callers(here.addr, MODEL, "", FLOWER, OUTPUT, 2) as callers:
        assert rollback(MODEL, here.target, server=here.server(), progress=Silent()).serving == (1,)
        callers.answers.clear()
    assert callers.errors == []
    # When it says that it is done, version 2 has stopped.
    assert callers.versions <= {"1"}


def test_what_the_registry_lacks_is_reported(here: Place) -> None:
    for source in (f"models:/{MODEL}/9", f"models:/{MODEL}@nobody", "models:/nothing/1"):
        with pytest.raises(Refused, match=f"does not give {source}: .*check the name and version in the registry"):
            _publish(here, source)


def test_a_cut_off_model_is_refused_and_nothing_changes(here: Place, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in here.root.rglob("*")}
    (tmp_path / "config.pbtxt").write_text((here.root / MODEL / "config.pbtxt").read_text())
    (tmp_path / "model.onnx").write_bytes((here.root / MODEL / "1/model.onnx").read_bytes()[:300])
    with pytest.raises(Refused, match=r"model.onnx is no ONNX model that can be read"):
        publish(str(tmp_path), here.target, server=here.server(), progress=Silent())
    assert {path: path.stat().st_mtime_ns for path in here.root.rglob("*")} == before


def _register(folder: Path, name: str) -> None:
    """Registers a folder as it is, as `mlflow.log_artifacts` and `mlflow.register_model` do."""
    client = mlflow.MlflowClient()
    run = client.create_run("0")
    client.log_artifacts(run.info.run_id, str(folder), "model")
    client.create_registered_model(name)
    client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)


def test_what_mlflows_triton_plugin_registers_is_published(here: Place, tmp_path: Path) -> None:
    for version in (1, 2):
        write_source(tmp_path / f"plugin/fraud/{version}", float(version))
        (tmp_path / f"plugin/fraud/{version}/config.pbtxt").replace(tmp_path / "plugin/fraud/config.pbtxt")
    (tmp_path / "plugin/MLmodel").write_text("flavors:\n  triton:\n    data: fraud\n")
    (tmp_path / "plugin/.DS_Store").write_text("")
    _register(tmp_path / "plugin", "fraud detector")
    with pytest.raises(UsageError, match=r"has several versions: there are 1, 2; choose one with --version"):
        publish("models:/fraud detector/1", here.target, server=None, name="fraud", progress=Silent())
    report = publish(
        "models:/fraud detector/1", here.target, server=here.server(), name="fraud", version=2, progress=Silent()
    )
    assert (report.model, report.version, report.files) == ("fraud", 2, ("model.onnx",))
    assert report.notes[0].startswith("left out: .DS_Store, MLmodel, fraud/1/")
    with Callers(here.addr, "fraud", "", {"X": np.zeros((1, 1), np.float32)}, "Y", 1) as callers:
        wait_until(lambda: bool(callers.versions or callers.errors))
    assert set(callers.answers) == {("2", (2.0,))}


def test_mlflows_own_onnx_flavour_is_published(here: Place, tmp_path: Path) -> None:
    folder = write_source(tmp_path / "flavour", 3.0)
    (folder / "config.pbtxt").unlink()
    for name in ("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt"):
        (folder / name).write_text("flavors: {}")
    _register(folder, "flavour")
    report = publish(
        "models:/flavour/1", here.target, server=here.server(), write_config=ConfigOptions(), progress=Silent()
    )
    assert (report.model, report.files) == ("flavour", ("model.onnx",))
    assert report.notes[0].startswith("left out: MLmodel, conda.yaml, python_env.yaml, ")
