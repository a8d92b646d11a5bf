"""One page of a browser, by the Chrome DevTools Protocol over a WebSocket."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import aiohttp

# Longest wait for anything, on the busiest machine.
PATIENCE_SECS = 120.0
_MOST_BYTES = 256 * 1024 * 1024
# Resolves once a condition holds; asks at each change of the page, and now and then.
_UNTIL = """
new Promise((resolve) => {
  const condition = () => { try { return (%s); } catch { return false; } };
  const look = () => {
    const found = condition();
    if (!found) return;
    observer.disconnect();
    clearInterval(timer);
    resolve(found);
  };
  const observer = new MutationObserver(look);
  observer.observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
  const timer = setInterval(look, 100);
  look();
})
"""


class BrowserError(Exception):
    """A script of the test failed in the page, or what it waits for did not come."""


class Page:
    """A page. Close it.

    Attributes:
        complaints: what the page's scripts threw and what the browser refused, by its Content-Security-Policy say.
        requested: addresses that it asked for.
    """

    def __init__(self, devtools: str) -> None:
        """Open an empty page.

        Args:
            devtools: address of the browser's DevTools.
        """
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._answers: dict[int, Future[dict[str, Any]]] = {}
        self._number = 0
        self._loaded = threading.Event()
        self._await(self._connect(devtools))
        self._reader = asyncio.run_coroutine_threadsafe(self._read(), self._loop)
        target = self._call("Target.createTarget", {"url": "about:blank"})["targetId"]
        self._session: str | None = None
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Network", "DOM", "Log"):
            self._call(f"{domain}.enable", {})

    def open(self, address: str) -> None:
        """Go to an address, and wait until it is loaded."""
        self._loaded.clear()
        self._call("Page.navigate", {"url": address})
        self._wait_for_load()

    def look_like(self, width: int, *, dark: bool, height: int = 900) -> None:
        """Be so many CSS pixels wide, of a person that wants it light or dark."""
        self._call(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600},
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", {"features": [scheme]})

    def run(self, script: str) -> Any:
        """Evaluate an expression in the page, and wait for it where it is a promise; returns its value as JSON."""
        answer = self._call(
            "Runtime.evaluate", {"expression": script, "awaitPromise": True, "returnByValue": True, "userGesture": True}
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def until(self, condition: str) -> Any:
        """Wait until a JavaScript expression is true of the page; returns its value."""
        try:
            return self.run(_UNTIL % condition)
        except TimeoutError:
            text = self.run("document.body.innerText")
            raise BrowserError(f"{condition} did not come true of:\n{text}") from None

    def text(self, selector: str = "main") -> str:
        """The text of an element as people see it."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        """Click on an element."""
        self.run(f"document.querySelector({json.dumps(selector)}).click()")

    def go(self, selector: str) -> None:
        """Click on what leads to another page, and wait until that is loaded."""
        self._loaded.clear()
        self.click(selector)
        self._wait_for_load()

    def fill(self, selector: str, text: str) -> None:
        """Write into a field, in place of what is there."""
        self.run(f"document.querySelector({json.dumps(selector)}).value = {json.dumps(text)}")

    def choose(self, selector: str, *files: Path) -> None:
        """Choose files in a field for them."""
        root = self._call("DOM.getDocument", {})["root"]["nodeId"]
        node = self._call("DOM.querySelector", {"nodeId": root, "selector": selector})["nodeId"]
        self._call("DOM.setFileInputFiles", {"nodeId": node, "files": [str(file) for file in files]})

    def press(self, key: str) -> None:
        """Press a key, by its name in JavaScript, such as Tab or Enter."""
        text = {"text": "\r"} if key == "Enter" else {}
        code = {"Tab": 9, "Enter": 13}[key]
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self._call(
                "Input.dispatchKeyEvent", {"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, **more}
            )

    def screenshot(self, file: Path) -> None:
        """Write a picture of all of the page, as PNG."""
        size = self._call("Page.getLayoutMetrics", {})["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        shot = self._call("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
        file.write_bytes(base64.b64decode(shot["data"]))

    def close(self) -> None:
        """Let go of the browser."""
        self._await(self._socket.close())
        self._await(self._http.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _wait_for_load(self) -> None:
        if not self._loaded.wait(PATIENCE_SECS):
            raise BrowserError("the page was not loaded")

    async def _connect(self, devtools: str) -> None:
        self._http = aiohttp.ClientSession()
        self._socket = await self._http.ws_connect(devtools, max_msg_size=_MOST_BYTES)

    async def _read(self) -> None:
        async for message in self._socket:
            self._take(json.loads(message.data))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.pop(message["id"]).set_result(message)
            return
        method, parameters = message["method"], message["params"]
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requested.append(parameters["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            details = parameters["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.complaints.append(parameters["entry"]["text"])

    def _call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if getattr(self, "_session", None):
            message["sessionId"] = self._session
        answer: Future[dict[str, Any]] = Future()
        self._answers[self._number] = answer
        self._await(self._socket.send_json(message))
        found = answer.result(PATIENCE_SECS)
        if "error" in found:
            raise BrowserError(f"{method}: {found['error']['message']}")
        result: dict[str, Any] = found["result"]
        return result

    def _await(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_SECS)


def serious(violations: Sequence[dict[str, Any]]) -> list[str]:
    """What axe-core calls serious or critical, in a line each."""
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {'; '.join(node['html'] for node in each['nodes'])[:600]}"
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]
