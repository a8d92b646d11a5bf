from __future__ import annotations

from mm_client_api.descriptions import ModelDescription, ModelStatus, TensorSpec


def test_only_what_is_ready_is_ready() -> None:
    states = ("READY", "UNAVAILABLE", "LOADING", "UNLOADING", "")
    assert [ModelStatus("m", "1", state, "").ready for state in states] == [True, False, False, False, False]


def test_a_description_shows_itself_without_running_what_it_says() -> None:
    script = "<script>alert(1)</script>"
    x = TensorSpec(script, "FP32", (-1, 3), optional=True)
    shown = ModelDescription("m", "1", ("1",), "python", {script: x}, {}, stateful=True, text=script)._repr_html_()
    assert "<script>" not in shown
    assert shown.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 2
    assert "[-1, 3]" in shown
    assert "requests belong to sequences (stateful)" in shown
