from __future__ import annotations

import argparse

import pytest

from mm_client.options import VIDEO_OPTIONS, UsageError, add_options, read_options

PUBLISHED = {
    "MM_ADDR",
    "VIDEO_PATH",
    "RESULTS_DIR",
    "STREAM_ID",
    "IMG_SIZE",
    "CONF_THRES",
    "MAX_FRAMES",
    "MODEL_NAME",
    "MODEL_VERSION",
    "INPUT_NAME",
    "OUTPUT_NAMES",
    "INPUT_SHAPE",
    "INPUT_DTYPE",
    "PARSE_NUMPY",
    "REQ_TIMEOUT_SEC",
}


def test_every_published_name_is_there_once() -> None:
    names = [option.env for option in VIDEO_OPTIONS]
    assert set(names) >= PUBLISHED
    assert len(set(names)) == len(names)
    assert len({option.flag for option in VIDEO_OPTIONS}) == len(names)


def test_every_option_has_its_default() -> None:
    values = read_options(VIDEO_OPTIONS, {}, {"VIDEO_PATH": "v.mp4"})
    assert values == {
        "mm_addr": "localhost:50051",
        "mm_tls": False,
        "mm_ca_bundle": "",
        "video_path": "v.mp4",
        "results_dir": "results",
        "stream_id": "cam-001",
        "img_size": 640,
        "conf_thres": 0.25,
        "max_frames": 0,
        "model_name": "yolov8n",
        "model_version": "1",
        "input_name": "images",
        "output_names": ("output0",),
        "mm_layout": "auto",
        "mm_labels": "",
        "input_shape": (),
        "input_dtype": "FP32",
        "batch_size": 1,
        "parse_numpy": True,
        "req_timeout_sec": 600.0,
    }


def test_a_flag_goes_before_the_environment() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, VIDEO_OPTIONS)
    flags = vars(parser.parse_args(["--conf", "0.5", "--output-names", "a, b"]))
    environ = {
        "VIDEO_PATH": "v",
        "CONF_THRES": "0.1",
        "INPUT_SHAPE": "1,3,-1,7",
        "PARSE_NUMPY": "False",
        "INPUT_DTYPE": "DT_FP16",
    }
    values = read_options(VIDEO_OPTIONS, flags, environ)
    assert values["conf_thres"] == 0.5
    assert values["output_names"] == ("a", "b")
    assert values["input_shape"] == (1, 3, -1, 7)
    assert values["parse_numpy"] is False
    assert values["input_dtype"] == "FP16"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("IMG_SIZE", "31"),
        ("CONF_THRES", "nan"),
        ("CONF_THRES", "1.1"),
        ("MAX_FRAMES", "-1"),
        ("OUTPUT_NAMES", "a,,b"),
        ("INPUT_SHAPE", "1,x"),
        ("INPUT_DTYPE", "INT8"),
        ("MM_LAYOUT", "yolo"),
        ("PARSE_NUMPY", "maybe"),
        ("REQ_TIMEOUT_SEC", "0"),
        ("MODEL_NAME", " "),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, value: str) -> None:
    with pytest.raises(UsageError, match=rf"{name} \(--.*\) is '{value}'; expected "):
        read_options(VIDEO_OPTIONS, {}, {"VIDEO_PATH": "v", name: value})


def test_all_wrong_values_are_named_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        read_options(VIDEO_OPTIONS, {}, {"IMG_SIZE": "x", "CONF_THRES": "y"})
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["VIDEO_PATH", "IMG_SIZE", "CONF_THRES"]
