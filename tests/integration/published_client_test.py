"""An existing client, in a process of its own, works unchanged."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from serving import KEY, Proxy

CLIENT = "tests/integration/published_client_main"


def run(serving: Proxy, *options: str) -> list[dict[str, Any]]:
    done = subprocess.run([CLIENT, serving.address, KEY, *options], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(answers: list[dict[str, Any]], frames: int) -> None:
    assert [answer["cid"] for answer in answers] == [f"cam-001-{seq}" for seq in range(frames)]
    for answer in answers:
        assert answer["status"] == 0
        assert answer["lasted"]
        assert answer["message"] == {
            "backend": "triton",
            "cid": answer["cid"],
            "model": "yolov8n",
            "model_version": "1",
        }
        assert answer["names"] == ["output0", "nothing"]
        assert answer["nothing"] == {"error": "missing"}
        assert (answer["dtype"], answer["shape"], answer["bytes"]) == ("FP32", [1, 84, 8400], 4 * 84 * 8400)
        assert answer["version"] == "1"
        assert answer["bytes_seen"] > 4 * 3 * 640 * 640
        assert answer["total_ms"] > answer["infer_ms"] > 0


def test_one_tiny_stream_for_each_frame(serving: Proxy) -> None:
    check(run(serving, "--frames", "5"), 5)


def test_pings_without_calls_are_allowed(serving: Proxy) -> None:
    """Four pings, 10.5 s apart (grpc sends none closer): a server with grpc's defaults cuts off at the third."""
    check(run(serving, "--frames", "1", "--ping-ms", "10500", "--idle-secs", "45"), 1)
