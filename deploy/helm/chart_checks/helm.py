"""The chart as helm renders it, and the values it was rendered with."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

HELM = Path("../helm/bin/helm").absolute()
CHART = Path("deploy/helm/domino-triton")
NAMESPACE = "inference-dev-vision"
RELEASE = "mm"
KUBERNETES = "1.34.0"


class RefusedError(Exception):
    """Helm refused; the text is what its user reads."""


@dataclass(frozen=True)
class Rendered:
    """A render.

    Attributes:
        text: what helm wrote.
        values: all values, those of values.yaml included.
    """

    text: str
    values: Mapping[str, Any]

    @functools.cached_property
    def manifests(self) -> list[dict[str, Any]]:
        """The objects; copy them before you change one."""
        return [manifest for manifest in yaml.safe_load_all(self.text) if manifest]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        """The object of this kind and name."""
        (found,) = [m for m in self.manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
        return found


@functools.cache
def render(values: str) -> Rendered:
    """Renders the chart in NAMESPACE as RELEASE.

    Args:
        values: YAML that goes on top of values.yaml; a line `# from: values-gpu.yaml` puts that value set in between.

    Raises:
        RefusedError: helm refused them.
    """
    done = run(["template", RELEASE, "--namespace", NAMESPACE], values)
    if done.returncode != 0:
        raise RefusedError(done.stderr)
    everything: Mapping[str, Any] = {}
    for text in [*((CHART / name).read_text() for name in ["values.yaml", *_sets(values)]), values]:
        everything = merged(everything, yaml.safe_load(text) or {})
    return Rendered(done.stdout, everything)


def run(words: list[str], values: str) -> subprocess.CompletedProcess[str]:
    """Runs a command of helm on the chart.

    Args:
        words: the command and its options.
        values: as for `render`.
    """
    sets = [word for name in _sets(values) for word in ("--values", str(CHART / name))]
    return subprocess.run(  # noqa: S603 - helm as built here, with words of ours
        [HELM, *words, Path(_files().name, CHART.name), "--kube-version", KUBERNETES, *sets, "--values", "-"],
        input=values,
        capture_output=True,
        text=True,
        check=False,
    )


@functools.cache
def _files() -> tempfile.TemporaryDirectory[str]:
    """A folder with a copy of the chart: helm warns of each link, and links are what Bazel lays out."""
    folder = tempfile.TemporaryDirectory(prefix="chart-")
    shutil.copytree(CHART, Path(folder.name, CHART.name))
    return folder


def _sets(values: str) -> list[str]:
    mark = "# from: "
    return [line.removeprefix(mark).strip() for line in values.splitlines() if line.startswith(mark)]


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """As helm does it: mappings are merged, null takes a key away, everything else is replaced."""
    both = dict(below)
    for key, value in above.items():
        under = both.get(key)
        both[key] = merged(under, value) if isinstance(under, Mapping) and isinstance(value, Mapping) else value
    return {key: value for key, value in both.items() if value is not None}
