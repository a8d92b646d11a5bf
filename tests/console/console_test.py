"""Headless Chromium on each page of the console, against the real proxy, Triton and scale service.

Screenshots of each page, light and dark, wide and narrow, are in the test's undeclared outputs for a person to look at.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from console_browser.front import PREFIX
from console_browser.page import Page, serious
from devstack import language_models, models
from devstack import video as devstack_video
from devstack.stack import Stack
from mm_console.samples import recording
from scaler_testing.api_server import TRITON, ApiServer

WIDE, NARROW = 1280, 400
ANSWERED = "document.querySelector('.status').textContent === 'Done.' && document.querySelector('.answer .card')"
REFUSED = "document.querySelector('.answer .problem')"


class Looks:
    """Looks at a page as people with different screens do."""

    def __init__(self, page: Page, axe: str) -> None:
        self._page = page
        self._axe = axe
        self._folder = Path(os.environ.get("TEST_UNDECLARED_OUTPUTS_DIR", os.environ.get("TEST_TMPDIR", ".")))

    def at(self, name: str) -> None:
        """Take screenshots, and find no serious fault and nothing that sticks out to the right."""
        self._page.run(f"{self._axe};0")
        for width in (WIDE, NARROW):
            for dark in (False, True):
                look = f"{name}-{width}-{'dark' if dark else 'light'}"
                self._page.look_like(width, dark=dark)
                self._page.screenshot(self._folder / f"{look}.png")
                # Colours change with the scheme, everything else with the width.
                rules = "{ runOnly: ['color-contrast'] }" if dark else "{}"
                found = self._page.run(f"axe.run(document, {rules}).then((found) => found.violations)")
                assert serious(found) == [], look
                assert self._page.run("document.documentElement.scrollWidth <= innerWidth"), look
        self._page.look_like(WIDE, dark=False)


@pytest.fixture
def looks(page: Page, axe: str) -> Looks:
    page.look_like(WIDE, dark=False)
    return Looks(page, axe)


@pytest.fixture
def root(page: Page, root_address: str) -> str:
    """The console's address, in a browser that has been let in with the rights of an administrator."""
    page.open(root_address)
    return root_address.partition("?")[0]


@pytest.fixture(autouse=True)
def _nothing_from_elsewhere(page: Page) -> object:
    """No page asks for anything of another host, nor has a script that fails."""
    yield
    hosts = {urlsplit(address).hostname for address in page.requested if address.startswith("http")}
    assert hosts <= {"127.0.0.1"}
    # The browser itself notes each answer with an error.
    assert [text for text in page.complaints if not text.startswith("Failed to load resource")] == []


def rows(page: Page, caption: str) -> list[list[str]]:
    """The cells of a table's body."""
    found: list[list[str]] = page.run(
        "[...[...document.querySelectorAll('table')]"
        f".find((table) => table.caption.textContent === {caption!r}).tBodies[0].rows]"
        ".map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    return found


def test_a_browser_without_the_key_sees_nothing(page: Page, root_address: str) -> None:
    page.open(root_address.partition("?")[0] + "models")
    assert "This browser has not been let in." in page.text()
    assert page.run("document.querySelector('nav')") is None
    assert models.DETECTOR not in page.text("body")


@pytest.mark.usefixtures("root")
def test_models_and_code_to_call_them(page: Page, looks: Looks, stack: Stack) -> None:
    assert page.run("location.search") == ""
    found = page.text()
    assert f"{models.DETECTOR}\nversion 1\nReady\nTakes\nimages FP32 [1, 3, 640, 640]" in found.replace("\n\n", "\n")
    looks.at("models")
    page.go(f"a[href^='model?name={models.DETECTOR}']")
    assert page.run("[...document.querySelectorAll('h3')].map((each) => each.textContent)") == [
        "Python", "curl", "tritonclient",
    ]  # fmt: skip
    assert f"client = TritonClient('{stack.proxy.addr}')" in page.text("#code-1")
    assert page.run("getComputedStyle(document.querySelector('button.copy')).display") != "none"
    looks.at("model")


def test_a_picture_gets_its_boxes(page: Page, looks: Looks, root: str, tmp_path: Path) -> None:
    devstack_video.write(tmp_path / "street.mp4", tmp_path / "truth.jsonl")
    capture = cv2.VideoCapture(str(tmp_path / "street.mp4"))
    capture.set(cv2.CAP_PROP_POS_FRAMES, 130)
    cv2.imwrite(str(tmp_path / "street.png"), capture.read()[1])
    page.open(f"{root}try?model={models.DETECTOR}")
    page.choose("#file", tmp_path / "street.png")
    page.click("button[name=go]")
    page.until(ANSWERED)
    labels = sorted(row[0] for row in rows(page, "Detections"))
    assert labels == ["banana", "car", "frisbee", "potted plant", "stop sign", "umbrella"]
    assert "6 objects found; 960 × 540 pixels, sent as FP32 [1, 3, 640, 640]" in page.text(".answer")
    assert page.until("document.querySelector('.answer img').naturalWidth") == 960
    looks.at("image")
    page.choose("#file", tmp_path / "truth.jsonl")
    page.click("button[name=go]")
    page.until(REFUSED)
    said = page.text(".answer").splitlines()
    assert said[0] == "truth.jsonl cannot be decoded as a picture: it is damaged or of another format."
    assert said[said.index("Expected") + 1] == "JPEG, PNG or WebP."
    assert said[said.index("What to do") + 1] == "Correct the input and try again."
    looks.at("refused")


def test_a_video_is_counted_over_time(page: Page, looks: Looks, root: str) -> None:
    page.open(f"{root}try?model={models.DETECTOR}&kind=video")
    page.fill("#frames", "24")
    page.click("button[name=sample]")
    page.until("document.querySelector('.status').textContent.endsWith('frames done …')")
    page.until(ANSWERED)
    assert ["stop sign", "1", "24", "1.00"] in rows(page, "Objects by label")
    assert page.until("document.querySelector('video').readyState === 4")
    legend = page.run("[...document.querySelectorAll('.legend li')].map((each) => each.textContent)")
    assert legend == ["stop sign", "car"]
    assert page.run("document.querySelectorAll('.plot path.line').length") == 2
    downloads = page.run("[...document.querySelectorAll('.downloads a')].map((each) => each.textContent)")
    assert downloads == ["annotated.mp4", "frame_counts.jsonl"]
    video = "fetch(document.querySelector('.downloads a').href).then((answer) => answer.arrayBuffer())"
    assert page.run(f"{video}.then((bytes) => bytes.byteLength)") > 10_000
    looks.at("video")


def test_a_recording_shows_its_waves(page: Page, looks: Looks, root: str, tmp_path: Path) -> None:
    recording(tmp_path / "tones.wav")
    page.open(f"{root}try?model={models.AUDIO}")
    page.choose("#file", tmp_path / "tones.wav")
    page.click("button[name=go]")
    page.until(ANSWERED)
    assert {row[0]: row[2] for row in rows(page, "Outputs")}["PEAK"].startswith("0.7")
    pictures = page.run("[...document.querySelectorAll('svg.plot')].map((each) => each.getAttribute('aria-label'))")
    assert pictures == ["Waveform of 2.00 s at 16000 Hz", "Spectrogram up to 8000 Hz"]
    looks.at("sound")


def test_texts_come_back(page: Page, looks: Looks, root: str) -> None:
    page.open(f"{root}try?model={models.TEXT}")
    page.fill("#text", "  Hello   World \nÄ  b")
    page.click("button[name=go]")
    page.until(ANSWERED)
    assert page.text(".said") == "hello world\nä b"
    assert {row[0]: row[2] for row in rows(page, "Outputs")}["WORD_COUNT"] == "2, 2"
    looks.at("text")


def test_scores_are_bars(page: Page, looks: Looks, root: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "blue.png"), np.full((90, 160, 3), (255, 51, 0), np.uint8))
    page.open(f"{root}try?model={models.IMAGE_MEAN}")
    page.choose("#file", tmp_path / "blue.png")
    page.click("button[name=go]")
    page.until(ANSWERED)
    assert re.sub(r"\s+", " ", page.text("table.bars tbody")) == "MEAN[2] 1.000 MEAN[1] 0.200 MEAN[0] 0.000"
    looks.at("bars")


def test_a_language_model_is_talked_to(page: Page, looks: Looks, root: str) -> None:
    page.open(f"{root}try?model={language_models.CHAT}")
    page.fill("#max_tokens", "12")
    page.click("button[name=go]")
    # The answer comes piece by piece.
    page.until("document.querySelector('.said-by-model span:last-child')?.textContent")
    page.until("document.querySelector('.status').textContent === 'Done.'")
    assert "picnic" in page.text(".said-by-model")
    assert page.run("JSON.parse(document.querySelector('form.try').elements.history.value).length") == 1
    assert page.run("document.querySelector('#prompt').value") == ""
    looks.at("chat")


def test_arrays_are_sent_by_keyboard_alone(page: Page, looks: Looks, root: str) -> None:
    page.open(f"{root}try?model={models.ADD_SUB}")
    page.fill("#value-1", "[[1, 2, 3]]")
    page.fill("#value-2", "[[10, 20, 30]]")
    for _ in range(40):
        page.press("Tab")
        if page.run("document.activeElement.name") == "go":
            break
    page.press("Enter")
    page.until(ANSWERED)
    assert {row[0]: row[2] for row in rows(page, "Outputs")} == {"SUM": "11, 22, 33", "DIFFERENCE": "-9, -18, -27"}
    looks.at("arrays")


def test_how_it_is_doing_and_scaling_by_an_administrator(
    page: Page, looks: Looks, root: str, cluster: ApiServer
) -> None:
    page.open(f"{root}operations")
    # A sample is taken every few seconds.
    page.until("document.querySelectorAll('figure .plot').length === 4")
    assert models.DETECTOR in [row[0] for row in rows(page, "Requests by model")]
    assert [row[:3] for row in rows(page, "Pods of inference-server")] == [[f"{TRITON}-abc-0", "Running", "yes"]]
    looks.at("operations")
    page.fill("#replicas-inference-server", "3")
    page.go("form.inline:has(#replicas-inference-server) button")
    assert "Scale inference-server to 3?" in page.text()
    assert f"inference/{TRITON} goes from 1 pod to 3." in page.text()
    looks.at("confirm")
    assert not cluster.changes()
    page.fill("#reason", "a demonstration")
    page.go("button.danger")
    assert "inference-server is being scaled to 3." in page.text()
    cluster.rolled_out(TRITON)
    page.open(f"{root}operations")
    assert "3 of 3 replicas are ready" in page.text()
    page.go("form.inline:has([value=restart]) button")
    assert "Restart inference-server?" in page.text()
    page.go("button.danger")
    assert "inference-server is being restarted." in page.text()
    assert len(cluster.changes()) == 2
    page.open(f"{root}confirm?what=inference-server&verb=scale&replicas=0")
    assert "Nobody can use a model of this installation until somebody scales it up again." in page.text()


def test_below_the_path_of_a_domino_app_all_works(page: Page, seen_by: Callable[[str], str]) -> None:
    app = seen_by("bob")
    page.open(app)
    assert page.run("location.href") == f"{app}models"
    page.go(f"a[href^='try?model={models.TEXT}']")
    page.click("button[name=go]")
    page.until(ANSWERED)
    page.open(f"{app}try?model={models.DETECTOR}&kind=video")
    page.fill("#frames", "3")
    page.click("button[name=sample]")
    page.until(ANSWERED)
    assert page.until("document.querySelector('video').readyState === 4")
    assert {urlsplit(address).path.startswith(PREFIX) for address in page.requested if "http" in address} == {True}


def test_a_domino_app_shows_nothing_to_other_users(page: Page, seen_by: Callable[[str], str], app_of_ann: str) -> None:
    for address in (seen_by("eve"), seen_by("Anonymous"), f"{app_of_ann}/"):
        page.open(f"{address}models")
        assert "You may not open this console." in page.text()
        assert models.DETECTOR not in page.text("body")


def test_without_the_role_nothing_can_be_scaled(
    page: Page, looks: Looks, seen_by: Callable[[str], str], cluster: ApiServer
) -> None:
    ann = seen_by("ann")
    page.open(f"{ann}operations")
    assert "Your role does not allow to scale or restart it." in page.text()
    assert page.run("document.querySelectorAll('.deployment button').length") == 0
    looks.at("no-role")
    page.open(f"{ann}confirm?what=inference-server&verb=scale&replicas=2")
    assert "You may not scale inference-server." in page.text()
    # Not by a request of one's own either: the scale service says no.
    before = len(cluster.changes())
    page.open(f"{ann}try?model={models.ADD_SUB}")
    said = page.run(
        "(() => { const form = new FormData(document.querySelector('form.try'));"
        " form.set('what', 'inference-server'); form.set('replicas', '2');"
        " return fetch('scale', { method: 'POST', body: form }).then((answer) => answer.text()); })()"
    )
    assert "nn may not scale inference-server: the scale policy does not allow it." in said
    assert len(cluster.changes()) == before
