"""Kubernetes' own programs, compiled from pinned Go modules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kind_cluster import files
from kind_cluster.command import run

_BUILD_SECONDS = 3600
# As bazel/private/go_tool.bzl has them, so that both find each other's work in Go's cache.
_ENV = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOROOT": "", "GOTOOLCHAIN": "local", "GOWORK": "off"}


@dataclass(frozen=True)
class Module:
    """A Go module of bazel/go and what is built from it.

    Attributes:
        name: its folder.
        packages: import paths of main packages.
        usual: how long building takes, for the user.
        stamps: string variables and what they are set to; {version}, {major} and {minor} are of `stamped`.
        stamped: the module whose version the stamps tell.
    """

    name: str
    packages: tuple[str, ...]
    usual: str
    stamps: Mapping[str, str]
    stamped: str = ""


KUBERNETES = Module(
    "kubernetes",
    tuple(
        f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kubeadm",
            "kubectl",
            "kubelet",
            "kube-apiserver",
            "kube-controller-manager",
            "kube-proxy",
            "kube-scheduler",
        )
    ),
    "7 minutes the first time on 2 cores",
    # kubeadm refuses to run without a version.
    {
        "k8s.io/component-base/version.gitVersion": "{version}",
        "k8s.io/component-base/version.gitMajor": "{major}",
        "k8s.io/component-base/version.gitMinor": "{minor}",
        "k8s.io/client-go/pkg/version.gitVersion": "{version}",
    },
    "k8s.io/kubernetes",
)
CALICO = Module(
    "calico",
    ("github.com/projectcalico/calico/cni-plugin/cmd/calico", "github.com/projectcalico/calico/felix/cmd/calico-felix"),
    "2 minutes the first time",
    {},
)
ETCD = Module(
    "etcd",
    ("go.etcd.io/etcd/server/v3", "github.com/coredns/coredns"),
    "2 minutes the first time",
    {},
)
MODULES = (KUBERNETES, CALICO, ETCD)


def ldflags(stamps: Mapping[str, str], version: str) -> str:
    """The linker's flags for a module.

    Args:
        stamps: see `Module`.
        version: such as "v1.34.4".

    Returns:
        Flags that leave out symbols and debugging information, and set the stamps.
    """
    major, minor = version.removeprefix("v").split(".")[:2] if stamps else ("", "")
    set_variables = [
        f"-X {name}={value.format(version=version, major=major, minor=minor)}" for name, value in stamps.items()
    ]
    return " ".join(["-s", "-w", *set_variables])


def _go(module: Module, *words: str | Path) -> str:
    return run([files.go(), *words], env=_ENV, folder=files.MODULES / module.name, timeout=_BUILD_SECONDS).strip()


def version(module: Module, of: str) -> str:
    """The version of the module `of` that go.mod of `module` pins."""
    return _go(module, "list", "-m", "-f", "{{.Version}}", of)


def source_folder(module: Module, of: str) -> Path:
    """Where Go has unpacked the module `of` that go.mod of `module` pins."""
    return Path(_go(module, "list", "-m", "-f", "{{.Dir}}", of))


def build(module: Module, target: Path) -> None:
    """Compiles the programs of a module into the folder `target`; quick where nothing changed.

    Raises:
        KindError: Go cannot; with its words.
    """
    stamped = version(module, module.stamped) if module.stamped else ""
    flags = ["-trimpath", "-buildvcs=false", "-ldflags", ldflags(module.stamps, stamped)]
    _go(module, "build", *flags, "-o", f"{target}/", *module.packages)
