from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_publisher.config import ModelConfig
from mm_publisher.errors import Refused
from mm_publisher.plan import Plan, make_plan
from mm_publisher.repository import Present
from mm_publisher.state import File, Manifest
from mm_publisher.storage import Item
from publisher_testing.models import CONFIG

FILES = (File("model.onnx", 5, "aa"),)
NEW = ModelConfig.parse(CONFIG)


def _present(*versions: int, policy: str | None = None, config: str = CONFIG) -> Present:
    items = [Item(f"m/{version}/model.onnx", 5, 0) for version in versions]
    return Present("m", items, None if policy is None else f"{config}{policy}")


def _specific(*versions: int) -> str:
    return f"version_policy {{ specific {{ versions: {list(versions)} }} }}"


def _plan(present: Present, version: int | None = None, keep: int = 1, manifest: Manifest | None = None) -> Plan:
    manifests = {} if manifest is None else {manifest.version: manifest}
    return make_plan(present, NEW, FILES, version, manifests, keep=keep)


def _manifest(version: int, *files: File) -> Manifest:
    return Manifest("m", version, "", "", "", files or FILES)


def test_the_first_version_serves_alone() -> None:
    plan = _plan(_present())
    assert (plan.version, plan.serving, plan.upload, plan.pinned, plan.before) == (1, (1,), True, None, None)
    assert plan.config.name == "m"
    assert plan.config.pinned == (1,)


def test_the_one_before_goes_on_serving() -> None:
    plan = _plan(_present(1, 2, policy=_specific(1, 2)))
    assert (plan.version, plan.was_serving, plan.serving, plan.stops) == (3, (1, 2), (2, 3), (1,))
    assert plan.notes == ("version 1 stops serving",)


@given(served=st.sets(st.integers(1, 20), max_size=5), version=st.integers(1, 25), keep=st.integers(0, 4))
def test_the_new_version_is_always_the_highest_that_serves(served: set[int], version: int, keep: int) -> None:
    if version in served:
        return
    present = _present(*served, policy=_specific(*served)) if served else _present()
    plan = _plan(present, version, keep)
    # A caller that names no version is served by the highest one.
    assert plan.serving[-1] == version
    assert set(plan.serving[:-1]) <= served
    assert len(plan.serving) <= keep + 1
    assert plan.config.pinned == plan.serving
    assert plan.pinned is None


@pytest.mark.parametrize("policy", ["", "version_policy { latest { num_versions: 2 } }", "version_policy { all {} }"])
def test_a_policy_that_takes_whatever_appears_is_pinned_first(policy: str) -> None:
    plan = _plan(_present(1, 2, policy=policy))
    assert plan.pinned is not None
    assert plan.pinned.pinned == plan.was_serving
    assert plan.notes[0].startswith("config.pbtxt is first made to name version")


def test_a_policy_that_names_the_new_version_already_is_pinned_first() -> None:
    plan = _plan(_present(1, policy=_specific(1, 2)), 2)
    assert plan.pinned is not None
    assert plan.pinned.pinned == (1,)


@pytest.mark.parametrize("policy", ["", _specific(1)])
def test_where_nothing_could_be_named_instead_it_is_refused(policy: str) -> None:
    with pytest.raises(Refused, match="as soon as its first file is there, and there is no other version to name"):
        _plan(_present(policy=policy), 1)


def test_versions_without_a_configuration_are_refused() -> None:
    with pytest.raises(Refused, match=r"m has version 1 and no config.pbtxt"):
        _plan(_present(1))
    # What was published to the end, but for the switch, is finished.
    plan = _plan(_present(1), 1, manifest=_manifest(1))
    assert (plan.upload, plan.before, plan.serving) == (False, None, (1,))


def test_a_configuration_that_does_not_parse_is_refused() -> None:
    with pytest.raises(Refused, match=r"m/config.pbtxt in the repository does not parse"):
        _plan(_present(1, policy="version_policy {"))


def test_a_version_never_changes() -> None:
    present = _present(1, policy=_specific(1))
    other = _manifest(1, File("model.onnx", 5, "bb"), File("old.bin", 1, "cc"))
    with pytest.raises(Refused) as caught:
        _plan(present, 1, manifest=other)
    assert caught.value.problems == ("model.onnx differs", "old.bin was there")
    with pytest.raises(Refused, match="m/1 is there already, with other files, put there by hand"):
        make_plan(present, NEW, (File("model.onnx", 6, "aa"),), 1, {}, keep=1)


def test_the_same_again_is_nothing_to_do() -> None:
    first = _plan(_present())
    present = Present("m", [Item("m/1/model.onnx", 5, 0)], first.config.text(serial=4))
    again = _plan(present, 1, manifest=_manifest(1))
    assert again.nothing_to_do
    assert not again.upload
    changed = ModelConfig.parse(CONFIG + "dynamic_batching {}")
    assert not make_plan(present, changed, FILES, 1, {1: _manifest(1)}, keep=1).nothing_to_do


def test_versions_of_another_kind_cannot_go_on_serving() -> None:
    plan = _plan(_present(1, policy=_specific(1), config=CONFIG.replace('"Y"', '"Z"')))
    assert plan.serving == (2,)
    assert plan.notes == (
        "version 1 can't go on serving: config.pbtxt has other inputs, outputs or files now", "version 1 stops serving",
    )  # fmt: skip


_ENVIRONMENT = 'parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "$$TRITON_MODEL_DIRECTORY/{}" }} }}'


@pytest.mark.parametrize(
    ("added", "path"),
    [
        (_ENVIRONMENT, "env.tar.gz"),
        (_ENVIRONMENT, "env"),
        ('output [ {{ name: "Z" data_type: TYPE_FP32 dims: [ 1 ] label_filename: "{}" }} ]', "labels.txt"),
    ],
)  # fmt: skip
def test_versions_whose_shared_files_differ_cannot_go_on_serving(added: str, path: str) -> None:
    config = ModelConfig.parse(CONFIG + added.format(path))
    one, other = (File(f"{path}/bin/python" if path == "env" else path, 3, sha256) for sha256 in ("aa", "bb"))
    before = config.for_model("m", 1).with_versions([1]).text()
    for file, serving in ((one, (1, 2)), (other, (2,))):
        present = Present("m", [Item(f"m/1/{known.path}", known.size, 0) for known in (*FILES, one)], before)
        plan = make_plan(present, config, (*FILES, file), None, {1: _manifest(1, *FILES, one)}, keep=1)
        assert plan.serving == serving
    assert plan.notes[0] == (
        f"version 1 can't go on serving: config.pbtxt names one {path} for all versions, and theirs differs"
    )


def test_a_version_with_another_environment_cannot_go_on_serving() -> None:
    added = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "/opt/a.tar.gz" } }'
    plan = _plan(_present(1, policy=_specific(1), config=CONFIG + added))
    assert plan.serving == (2,)


def test_an_older_version_makes_newer_ones_stop() -> None:
    plan = _plan(_present(2, 3, policy=_specific(2, 3)), 1)
    assert (plan.serving, plan.stops) == ((1,), (2, 3))
