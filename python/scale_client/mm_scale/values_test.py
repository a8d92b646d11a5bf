from __future__ import annotations

from mm_scale import Deployment, Deployments, Pod, Pods, Problem
from mm_scale.errors import StuckError

SCRIPT = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
DEPLOYMENT = Deployment(
    what="inference-server",
    name=SCRIPT,
    namespace="n",
    state="progressing",
    desired=2,
    current=2,
    updated=2,
    ready=1,
    available=1,
    resource_version="7",
    problems=(Problem("Unschedulable", SCRIPT, "p"),),
    verbs=("view", "scale"),
)
POD = Pod("p", "Pending", SCRIPT, ready=False, restarts=3, problems=(Problem("Unschedulable", ""),))


def test_deployments_show_themselves_as_a_table_with_their_problems() -> None:
    shown = Deployments([DEPLOYMENT])._repr_html_()
    assert shown == DEPLOYMENT._repr_html_()
    for text in ("YOU MAY", ">1/2<", f">n/{ESCAPED}<", "view, scale", f"inference-server: p: Unschedulable: {ESCAPED}"):
        assert text in shown
    assert "<script>" not in shown


def test_pods_show_themselves_as_a_table() -> None:
    shown = Pods([POD])._repr_html_()
    assert shown == POD._repr_html_()
    for text in ("RESTARTS", ">Pending<", ">no<", ">3<", f">{ESCAPED}<", ">Unschedulable<"):
        assert text in shown
    assert "<script>" not in shown


def test_an_error_shows_its_name_and_its_lines() -> None:
    shown = StuckError(f"it is stuck:\n  - {SCRIPT}")._repr_html_()
    assert shown == f"<div><b>StuckError: it is stuck:</b></div><div>  - {ESCAPED}</div>"
