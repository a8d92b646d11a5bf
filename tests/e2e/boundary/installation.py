"""Puts everything onto a cluster: images, models, namespaces, Domino's stand-in, a client, the chart."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import yaml

from boundary import names, objects, scaling
from boundary.kube import Kube, Manifest
from boundary.names import DOMINO, INFERENCE, NAMESPACES, PROXY, RELEASE, SCALER, TRITON
from chart_checks.helm import KUBERNETES, merged
from devstack import domino, models
from kind_cluster import files
from kind_cluster.command import KindError, run
from kind_cluster.steps import Step
from scale_service import _gen

_INSIDE = Path(__file__).with_name("inside")
_IMAGES = ("proxy", "scaler", "triton_cpu", "client")
_CHART = Path("deploy/helm/domino-triton")
_MODELS = (models.identity_name("FP32"), models.IMAGE_MEAN, models.DETECTOR, models.TEXT, models.SLOW)
_READY = "--timeout=240s"


class Installation:
    """The suite's own part of a cluster.

    Args:
        kube: the cluster.
        folder: for files on the way to it.
    """

    def __init__(self, kube: Kube, folder: Path) -> None:
        self._kube = kube
        self._folder = folder

    def steps(self) -> list[Step]:
        """What is to be done, in order."""
        return [
            Step("namespaces", "", self._namespaces),
            *(Step(f"image {name} on the nodes", "", functools.partial(self._image, name)) for name in _IMAGES),
            Step("models on the nodes", "", self._models),
            Step("Domino's stand-in, a client", "", self._neighbours),
            Step("chart", "half a minute", self._install),
        ]

    def _namespaces(self) -> str:
        there = {
            found["metadata"]["name"]: found["metadata"].get("labels", {}) for found in self._kube.get("namespaces")
        }
        ours = [name for name in NAMESPACES if names.OURS.items() <= there.get(name, {}).items()]
        if others := sorted({*NAMESPACES, names.GUIDE} & set(there) - set(ours)):
            raise KindError(
                f"This cluster has namespaces of these names that are not the suite's: {', '.join(others)}. "
                "Use a cluster that serves nobody, or leave out --cluster to have one made."
            )
        self.remove()
        self._kube.apply([objects.namespace(name) for name in NAMESPACES])
        return "removed those of an earlier run, made them anew" if ours else f"{len(NAMESPACES)} made"

    def remove(self) -> None:
        """Removes all that the suite made on the cluster, cluster-wide objects included."""
        selector = ",".join(f"{key}={value}" for key, value in names.OURS.items())
        self._kube.kubectl("delete", "namespace", f"--selector={selector}", "--ignore-not-found", "--timeout=180s")
        volume = f"{INFERENCE}-{TRITON}-models"
        self._kube.kubectl("delete", "persistentvolume", volume, "--ignore-not-found", "--timeout=60s")

    def _image(self, name: str) -> None:
        archive = files.WORKSPACE / f"deploy/images/{name}_archive.tar"
        self._kube.kind.kind("load", "image-archive", archive.resolve(), "--name", self._kube.cluster.name)

    def _models(self) -> str:
        repository = self._folder / "models"
        models.write_repository(repository, _MODELS)
        run(["chmod", "-R", "a+rX", repository])
        for node in self._kube.nodes:
            run([self._kube.docker, "exec", node, "sh", "-c", f"rm -rf {names.MODELS} && mkdir -p {names.MODELS}"])
            run([self._kube.docker, "cp", f"{repository}/.", f"{node}:{names.MODELS}"])
        return ", ".join(_MODELS)

    def _neighbours(self) -> None:
        devstack = Path(domino.__file__).parent
        self._kube.apply([*objects.front_end(_INSIDE, devstack), *objects.caller(_INSIDE, Path(_gen.__file__).parent)])
        for namespace, pod in ((DOMINO, names.FRONT_END), (names.COMPUTE, names.CALLER)):
            self._kube.kubectl(f"--namespace={namespace}", "wait", f"pod/{pod}", "--for=condition=Ready", _READY)

    @property
    def checkout(self) -> Path:
        """A folder with the chart where the source tree has it, without the links of Bazel's runfiles."""
        copy = self._folder / "checkout"
        if not copy.exists():
            shutil.copytree(files.WORKSPACE / _CHART, copy / _CHART)
        return copy

    def _install(self) -> str:
        self.upgrade({})
        return f"release {RELEASE} in {INFERENCE}"

    def upgrade(self, values: Manifest) -> None:
        """Installs the chart, or changes what is installed; with these values on top of the suite's."""
        self._kube.helm("upgrade", "--install", RELEASE, *self._chart(values), "--wait", "--timeout=5m")
        for name in (TRITON, PROXY, SCALER):
            self._kube.kubectl(f"--namespace={INFERENCE}", "rollout", "status", f"deployment/{name}", _READY)

    def rendered(self, values: Manifest) -> list[Manifest]:
        """The chart's objects with such values."""
        text = self._kube.helm("template", RELEASE, *self._chart(values), f"--kube-version={KUBERNETES}")
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]

    def _chart(self, values: Manifest) -> list[str | Path]:
        chart = self.checkout / _CHART
        more = self._folder / "values.yaml"
        more.write_text(yaml.safe_dump(merged(scaling.values(self._kube), values)))
        return [chart, f"--namespace={INFERENCE}", f"--values={chart / 'values-kind.yaml'}", f"--values={more}"]
