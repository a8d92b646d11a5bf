from __future__ import annotations

from pathlib import Path

from boundary import guide

PAGE = """# Title
```sh
export A=1
```
## Install
text
```yaml
a: 1
```
```sh
# needs AWS
aws s3 ls
```
```sh
helm install
helm list
```
"""


def test_blocks_of_shell_are_found_with_their_place() -> None:
    assert guide.blocks(PAGE) == [
        guide.Block(3, "", "export A=1\n"),
        guide.Block(11, "Install", "# needs AWS\naws s3 ls\n"),
        guide.Block(15, "Install", "helm install\nhelm list\n"),
    ]
    assert [block.runs_on_kind for block in guide.blocks(PAGE)] == [True, False, True]


def test_the_pod_that_tries_has_to_find_what_the_page_says() -> None:
    (reach,) = [
        block for block in guide.blocks(Path(guide.PAGE).read_text(encoding="utf-8")) if "run reach" in block.text
    ]
    rest = "t 8000 timed out\nt 8001 timed out\nt 8002 timed out\n"
    assert guide.verdict(reach, "p 50051 reached\n" + rest) == "works"
    assert guide.verdict(reach, "") == "the pod found []"
    for wrong in ("p 50051 timed out\n" + rest, "p 50051 reached\n" + rest.replace("8002 timed out", "8002 reached")):
        assert guide.verdict(reach, wrong).startswith("the pod found [[")
    assert guide.verdict(guide.Block(1, "", "helm list\n"), "anything") == "works"


def test_every_command_of_the_page_runs_here_or_says_what_it_needs() -> None:
    page = Path(guide.PAGE).read_text(encoding="utf-8")
    blocks = guide.blocks(page)
    assert page.count("```sh") == len(blocks)
    assert blocks[0].text.startswith("export NAMESPACE=")
    foreign = ("aws ", "eksctl ", "registry.example.com")
    for block in blocks:
        assert block.runs_on_kind == (not any(word in block.text for word in foreign) and "edv" not in block.text)
    run = "".join(block.text for block in blocks if block.runs_on_kind)
    for command in (
        "create namespace",
        "helm lint",
        "upgrade --install",
        "helm rollback",
        "helm uninstall",
        "run reach",
    ):
        assert command in run
