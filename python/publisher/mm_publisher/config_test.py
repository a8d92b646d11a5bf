from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm_publisher.config import ConfigError, ModelConfig, serial_of

_VERSIONS = st.sets(st.integers(1, 2**62), min_size=1, max_size=5)
_MINIMAL = 'backend: "onnxruntime"'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inputs [", 'line 1:1 : Message type "inference.ModelConfig" has no field named "inputs"'),
        ('name: "m"\nmax_batch_size: many', "line 2:17"),
        ("input [ { data_type: TYPE_FP33 } ]", "TYPE_FP33"),
    ],
)
def test_a_text_that_does_not_parse_says_where(text: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig.parse(text)
    assert expected in str(caught.value)
    assert caught.value.exit_status == 3


@pytest.mark.parametrize(
    ("text", "backend", "file"),
    [
        ('platform: "onnxruntime_onnx"', "onnxruntime", "model.onnx"),
        ('backend: "onnxruntime" default_model_filename: "net.onnx"', "onnxruntime", "net.onnx"),
        ('platform: "tensorrt_plan"', "tensorrt", "model.plan"),
        ('backend: "tensorflow" platform: "tensorflow_savedmodel"', "tensorflow_savedmodel", "model.savedmodel"),
        ('backend: "python"', "python", "model.py"),
        ('platform: "ensemble"', "ensemble", None),
        ('backend: "ours"', "ours", None),
        ("", "", None),
    ],
)
def test_the_file_that_a_backend_wants(text: str, backend: str, file: str | None) -> None:
    config = ModelConfig.parse(text)
    assert (config.backend, config.model_file) == (backend, file)


def test_tensors_are_read() -> None:
    config = ModelConfig.parse("""
        max_batch_size: 4
        input [ { name: "TEXT" data_type: TYPE_STRING dims: [ -1 ] optional: true },
                { name: "ONE" data_type: TYPE_BF16 dims: [ 1 ] reshape { shape: [] } } ]
        output [ { name: "LABEL" data_type: TYPE_INT64 dims: [ 2, 3 ] reshape { shape: [ 6 ] } } ]
    """)
    text, one = config.inputs
    assert (text.name, text.datatype, text.dims, text.model_dims, text.optional) == (
        "TEXT",
        "BYTES",
        (-1,),
        (-1,),
        True,
    )
    assert (one.datatype, one.dims, one.model_dims, one.optional) == ("BF16", (1,), (), False)
    assert config.outputs[0].model_dims == (6,)


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", (9,)),
        ("latest { num_versions: 2 }", (3, 9)),
        ("latest { num_versions: 9 }", (1, 3, 9)),
        ("all {}", (1, 3, 9)),
        ("specific { versions: [3, 4] }", (3,)),
    ],
)
def test_a_policy_serves_what_triton_would(policy: str, served: tuple[int, ...]) -> None:
    text = f"version_policy {{ {policy} }}" if policy else ""
    assert ModelConfig.parse(text).served([9, 1, 3]) == served
    assert ModelConfig.parse(text).served([]) == ()


@given(versions=_VERSIONS, others=_VERSIONS)
def test_named_versions_are_served_and_no_others(versions: set[int], others: set[int]) -> None:
    config = ModelConfig.parse("version_policy { all {} }").with_versions(others).with_versions(versions)
    assert config.pinned == tuple(sorted(versions))
    assert config.served(versions | others) == tuple(sorted(versions))


@given(serial=st.integers(0, 2**40), versions=_VERSIONS)
def test_what_is_written_is_read_back(serial: int, versions: set[int]) -> None:
    config = ModelConfig.parse(_MINIMAL).for_model("m", 1).with_versions(versions)
    text = config.text(serial)
    assert serial_of(text) == serial
    assert ModelConfig.parse(text).text() == config.text()
    assert serial_of(config.text()) is None


def test_labels_move_into_the_version_folder() -> None:
    config = ModelConfig.parse('output [ { name: "a" label_filename: "labels.txt" }, { name: "b" } ]')
    assert config.label_files == ("labels.txt",)
    moved = config.for_model("m", 7)
    assert moved.label_files == ("7/labels.txt",)
    assert moved.name == "m"
    assert config.label_files == ("labels.txt",)


@pytest.mark.parametrize(
    ("change", "alike"),
    [
        ("dynamic_batching {}", True),
        ("instance_group [ { count: 2 } ]", True),
        ("max_batch_size: 9", True),
        ('output [ { name: "more" data_type: TYPE_FP32 dims: [ 1 ] } ]', False),
        ('default_model_filename: "other.onnx"', False),
        ('sequence_batching { state [ { input_name: "s" output_name: "t" } ] }', False),
        ("sequence_batching { oldest { } }", True),
        ('batch_input [ { target_name: "n" } ]', False),
        ('ensemble_scheduling { step [ { model_name: "m" } ] }', False),
    ],
)
def test_which_configurations_old_versions_fit(change: str, alike: bool) -> None:
    base = 'backend: "onnxruntime" max_batch_size: 8 input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]'
    assert (
        ModelConfig.parse(
            base.replace("max_batch_size: 8", "") + change + ("" if "max" in change else " max_batch_size: 8")
        ).serves_like(ModelConfig.parse(base))
        is alike
    )


def test_warm_up_files_are_found() -> None:
    text = 'model_warmup [ { name: "w" inputs { key: "x" value { input_data_file: "raw" dims: [1] } } } ]'
    assert ModelConfig.parse(text).warmup_files == ("raw",)
