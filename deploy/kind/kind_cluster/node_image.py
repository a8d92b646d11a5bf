"""The image of a node, made from Debian packages and Go modules, for where no image can be pulled."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from kind_cluster import docker, files, programs
from kind_cluster.command import run, succeeds
from kind_cluster.steps import Step

# Everything this product makes in Docker has it, so that it can be found and removed.
LABEL = "multimodal.kind"
_REPOSITORY = "multimodal-kind"
_LEGACY = {"DOCKER_BUILDKIT": "0"}
_RELEASE = "bookworm"
_IMPORT = r"""
containerd >/var/log/containerd.log 2>&1 &
until ctr version >/dev/null 2>&1; do kill -0 $! || exit 1; sleep 0.2; done
ctr --namespace k8s.io images import --all-platforms --no-unpack {archive} >/dev/null || exit 1
kill $!; wait $!; rm -rf /var/log/containerd.log /run/containerd
"""
# Pod images of one program each: the last part of the name that kubeadm gives it, and the program's file.
_PODS = {
    "kube-apiserver": "kube-apiserver",
    "kube-controller-manager": "kube-controller-manager",
    "kube-scheduler": "kube-scheduler",
    "etcd": "server",
    "coredns": "coredns",
}
ON_NODES = ("kubeadm", "kubelet", "kubectl", "calico", "calico-felix")


def inputs() -> list[Path]:
    """Every file that decides what the node image holds."""
    modules = [files.MODULES / module.name / name for module in programs.MODULES for name in ("go.mod", "go.sum")]
    ours = [path for path in sorted(files.NODE.iterdir()) if path.name != "kind.yaml"]
    return [*ours, *modules, files.GO_LOCK, Path(__file__), Path(programs.__file__), files.tool("probe")]


def content_hash(paths: Iterable[Path]) -> str:
    """Sixteen hexadecimal digits that change with the name or the content of any of the files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def name() -> str:
    """The node image's name: its tag is the hash of what it is made from, but for Debian's packages."""
    return f"{_REPOSITORY}/node:{content_hash(inputs())}"


def import_files(client: Path, image: str, contents: dict[str, Path], entrypoint: str) -> None:
    """Makes an image of a few files and nothing else.

    Args:
        client: Docker's client.
        image: its name.
        contents: files by their path inside, each made executable.
        entrypoint: Docker's ENTRYPOINT, a JSON list.
    """
    archive = files.cache() / f"{uuid.uuid4().hex}.tar"
    try:
        with tarfile.open(archive, "w") as tar:
            for inside, path in sorted(contents.items()):
                entry = tarfile.TarInfo(inside)
                entry.size, entry.mode = path.stat().st_size, 0o755
                with path.open("rb") as source:
                    tar.addfile(entry, source)
        changes = [f"LABEL {LABEL}=1", "ENV PATH=/usr/local/bin", f"ENTRYPOINT {entrypoint}"]
        run([client, "import", *(word for change in changes for word in ("--change", change)), archive, image])
    finally:
        archive.unlink(missing_ok=True)


@contextlib.contextmanager
def _build_folder(*parts: Path) -> Iterator[Path]:
    folder = files.cache() / f"build-{uuid.uuid4().hex}"
    folder.mkdir()
    try:
        for part in parts:
            # Linked, since together they are half a gigabyte.
            (os.link if part.is_relative_to(files.cache()) else shutil.copy)(part, folder / part.name)
        yield folder
    finally:
        shutil.rmtree(folder)


class NodeImage:
    """Builds the node image in steps.

    Args:
        client: Docker's client.
        image: its name, see `name`.
    """

    def __init__(self, client: Path, image: str) -> None:
        self._client = client
        self._image = image
        self._programs = files.cache() / "programs"
        self._packages = files.NODE / "packages"
        self._base = f"{_REPOSITORY}/base:{content_hash([self._packages])}"
        self._pods: list[str] = []

    def steps(self) -> list[Step]:
        """What is to be done, in order."""
        compiled = [
            Step(f"Go programs of {module.name}", module.usual, functools.partial(self._compile, module))
            for module in programs.MODULES
        ]
        return [
            *compiled,
            Step("Debian's files of a node", "1 minute the first time", self._debian),
            Step("pod images", "15 seconds", self._pod_images),
            Step("node image", "half a minute", self._node),
        ]

    def _compile(self, module: programs.Module) -> str:
        self._programs.mkdir(exist_ok=True)
        programs.build(module, self._programs)
        return f"{len(module.packages)} programs"

    def _debian(self) -> str:
        archive = files.cache() / f"{self._base.replace('/', '-').replace(':', '-')}.tar"
        if not archive.exists():
            packages = [line for line in self._packages.read_text().split("\n") if line and not line.startswith("#")]
            part = archive.with_suffix(".part.tar")
            excludes = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
            words = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(packages)}", *excludes]
            # Debian's packages of systemd want /bin to be a link already.
            words += ["--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr", _RELEASE, str(part)]
            run(words, timeout=1800)
            part.rename(archive)
        if not docker.has_image(self._client, self._base):
            run([self._client, "import", "--change", f"LABEL {LABEL}=1", archive, self._base])
        return f"{archive.stat().st_size >> 20} MiB"

    def _build(self, image: str, dockerfile: str, parts: Iterable[Path], **arguments: str) -> None:
        words = ["--network", "none", "--label", f"{LABEL}=1", "--tag", image, "--file", dockerfile]
        for key, value in arguments.items():
            words += ["--build-arg", f"{key}={value}"]
        with _build_folder(files.NODE / dockerfile, *parts) as folder:
            run([self._client, "build", *words, "."], env=_LEGACY, folder=folder)

    def _names(self) -> dict[str, str]:
        """Names that kubeadm gives the images of its pods, by the last part without the tag."""
        version = programs.version(programs.KUBERNETES, "k8s.io/kubernetes")
        listed = run([self._programs / "kubeadm", "config", "images", "list", "--kubernetes-version", version])
        return {line.split("/")[-1].split(":")[0]: line for line in listed.split()}

    def _pod_images(self) -> str:
        names = self._names()
        for pod, program in _PODS.items():
            inside = f"usr/local/bin/{pod}"
            import_files(self._client, names[pod], {inside: self._programs / program}, f'["/{inside}"]')
        import_files(self._client, names["pause"], {"probe": files.tool("probe")}, '["/probe", "pause"]')
        self._build(names["kube-proxy"], "kube-proxy.Dockerfile", [self._programs / "kube-proxy"], BASE=self._base)
        self._pods = [names[pod] for pod in (*_PODS, "pause", "kube-proxy")]
        return f"{len(self._pods)} images"

    def _node(self) -> str:
        definitions = self._programs / "default-cni.yaml"
        calico = programs.source_folder(programs.CALICO, "github.com/projectcalico/calico")
        resources = [*sorted((calico / "libcalico-go/config/crd").glob("*.yaml")), files.NODE / "calico-rbac.yaml"]
        definitions.write_text("".join(f"---\n{path.read_text()}\n" for path in resources))
        ours = [path for path in files.NODE.iterdir() if path.suffix != ".Dockerfile"]
        unpacked = f"{self._image}-without-pods"
        self._build(
            unpacked,
            "node.Dockerfile",
            [*ours, *(self._programs / name for name in ON_NODES), definitions],
            BASE=self._base,
            VERSION=programs.version(programs.KUBERNETES, "k8s.io/kubernetes"),
            PAUSE=self._names()["pause"],
        )
        self._with_pods(unpacked)
        # What it was made from is quick to make again; the base stays, as part of it.
        run([self._client, "rmi", unpacked, *self._pods])
        return f"{int(run([self._client, 'image', 'inspect', '--format', '{{.Size}}', self._image])) // 10**6} MB"

    def _with_pods(self, unpacked: str) -> None:
        """Puts the pods' images into the node's own containerd, packed, which is half the size."""
        container = f"multimodal-kind-{uuid.uuid4().hex}"
        archive = files.cache() / f"{container}.tar"
        try:
            run([self._client, "save", "--output", archive, *self._pods])
            options = ["--privileged", "--network", "none", "--volume", f"{archive.parent}:/mnt:ro"]
            words = [*options, "--entrypoint", "sh", unpacked, "-c", _IMPORT.format(archive=f"/mnt/{archive.name}")]
            run([self._client, "run", "--name", container, *words], timeout=600)
            entrypoint = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
            run([self._client, "commit", "--change", entrypoint, "--change", "CMD []", container, self._image])
        finally:
            # It may not have been made, and why is what matters then.
            succeeds([self._client, "rm", "--force", "--volumes", container])
            archive.unlink(missing_ok=True)
