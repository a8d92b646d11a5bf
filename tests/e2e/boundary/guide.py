"""README_HELM_INSTALL.md's own commands, taken from it and run on the cluster."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from boundary import names
from boundary.claims import Claim
from boundary.kube import Kube
from kind_cluster import files
from kind_cluster.command import KindError, run

PAGE = "README_HELM_INSTALL.md"
GROUP = f"commands of {PAGE}"
_FENCE = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ELSEWHERE = "# needs "
_REACH = "run reach "
_SECONDS = 600


@dataclass(frozen=True)
class Block:
    """A block of commands.

    Attributes:
        line: of its first command in the page.
        heading: the one above it.
        text: the commands.
    """

    line: int
    heading: str
    text: str

    @property
    def runs_on_kind(self) -> bool:
        """Whether it wants nothing but a cluster."""
        return not self.text.startswith(_ELSEWHERE)


def blocks(page: str) -> list[Block]:
    """All blocks of shell commands of a Markdown page."""
    found = []
    for match in _FENCE.finditer(page):
        before = page[: match.start()]
        headings = [line.lstrip("# ") for line in before.splitlines() if line.startswith("## ")]
        found.append(Block(before.count("\n") + 2, headings[-1] if headings else "", match[1]))
    return found


def verdict(block: Block, printed: str) -> str:
    """ "works", or what the page's pod that tries to reach everybody found instead of what the page says."""
    if _REACH not in block.text:
        return "works"
    found = [line.split(maxsplit=2)[2:] for line in printed.splitlines()]
    return "works" if found == [["reached"], *[["timed out"]] * 3] else f"the pod found {found}"


def run_all(kube: Kube, checkout: Path, say: Callable[[str], None]) -> list[Claim]:
    """Runs every block that needs nothing but a cluster, in order, until one fails.

    Args:
        kube: the cluster.
        checkout: a folder with the chart where the source tree has it.
        say: takes a line of progress.
    """
    todo = [block for block in blocks((files.WORKSPACE / PAGE).read_text(encoding="utf-8")) if block.runs_on_kind]
    names_of_all = todo[0].text
    claims: list[Claim] = []
    tools = ":".join(str(files.tool(name).parent) for name in ("helm", "kubectl"))
    shell = {"KUBECONFIG": str(_kubeconfig(kube, checkout)), "PATH": f"{tools}:/usr/local/bin:/usr/bin:/bin"}
    for block in todo:
        first = block.text.strip().splitlines()[0]
        try:
            script = f"set -euo pipefail\n{names_of_all}\n{block.text}"
            printed = run(["bash", "-c", script], env=shell, folder=checkout, timeout=_SECONDS)
            observed = verdict(block, printed)
            detail = printed[-2000:]
        except KindError as error:
            observed, detail = "failed", str(error)
        claims.append(Claim(GROUP, f"{block.heading}: {first}", "works", observed, observed == "works", detail=detail))
        say(f"  line {block.line}, {first}: {observed}")
        if observed != "works":
            break
    return claims


def _kubeconfig(kube: Kube, folder: Path) -> Path:
    """A file with this cluster alone, so that a bare kubectl means no other."""
    path = folder / "kubeconfig"
    shown = kube.kubectl("config", "view", "--minify", "--flatten", "--raw", "--output=yaml")
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(yaml.safe_load(shown)), encoding="utf-8")
    return path


def clean_up(kube: Kube) -> None:
    """Removes what the page's commands leave where one of them failed."""
    kube.kubectl("delete", "namespace", names.GUIDE, "--ignore-not-found", "--timeout=180s")
    volume = f"{names.GUIDE}-{names.TRITON}-models"
    kube.kubectl("delete", "persistentvolume", volume, "--ignore-not-found", "--timeout=60s")
    kube.kubectl(f"--namespace={names.COMPUTE}", "delete", "pod", "reach", "--ignore-not-found")
