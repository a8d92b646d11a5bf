from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kind_cluster import files, programs
from kind_cluster.cluster import STOCK_IMAGE


@given(st.tuples(*[st.integers(0, 99)] * 3))
def test_a_version_is_stamped_in_full_and_in_parts(numbers: tuple[int, int, int]) -> None:
    version = "v{}.{}.{}".format(*numbers)
    assert programs.ldflags({"a.full": "{version}", "a.major": "{major}", "a.minor": "{minor}"}, version) == (
        f"-s -w -X a.full={version} -X a.major={numbers[0]} -X a.minor={numbers[1]}"
    )


def test_without_stamps_no_version_is_needed() -> None:
    assert programs.ldflags({}, "") == "-s -w"


@pytest.mark.parametrize("module", programs.MODULES, ids=lambda module: str(module.name))
def test_what_is_built_is_what_go_mod_names_as_its_tools(module: programs.Module) -> None:
    text = (files.MODULES / module.name / "go.mod").read_text()
    tools = re.search(r"^tool \(\n(.*?)^\)", text, re.DOTALL | re.MULTILINE)
    assert tools
    assert sorted(module.packages) == sorted(tools.group(1).split())


def test_both_node_images_are_of_the_same_kubernetes() -> None:
    text = (files.MODULES / "kubernetes/go.mod").read_text()
    pinned = re.search(r"k8s\.io/kubernetes v(\d+\.\d+)\.", text)
    assert pinned
    assert re.fullmatch(rf"kindest/node:v{re.escape(pinned.group(1))}\.\d+@sha256:[0-9a-f]{{64}}", STOCK_IMAGE)
