"""A real browser, driven over Chromium's remote debugging port: what a person would click and see."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run", "--hide-scrollbars",
    "--remote-debugging-port=0",
)  # fmt: skip
START_S = 40


def installed() -> str | None:
    """The browser's path, if this machine has one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One tab."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self.said: list[str] = []
        """Errors the page reported, and addresses it asked for."""

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are noted."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            message = json.loads(self._socket.recv(timeout=30))
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return dict(message.get("result", {}))
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.said.append(f"exception: {params['exceptionDetails']['text']}")
            case "Log.entryAdded":
                self.said.append(f"log: {params['entry']['text']}")
            case "Network.requestWillBeSent":
                self.said.append(f"request: {params['request']['url'][:100]}")

    def open(self, url: str) -> None:
        """Go to an address and wait until it is there."""
        for domain in ("Page", "Runtime", "Log", "Network", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)
        there = f"document.readyState === 'complete' && location.href === {json.dumps(url)}"
        until(lambda: self.run(there))

    def run(self, script: str) -> Any:
        """The value of an expression."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element, as a person does."""
        self.run(
            f"document.querySelector({json.dumps(selector)}).scrollIntoView({{block:'center',behavior:'instant'}})"
        )
        box = self.run(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getClientRects()[0])"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1], button="left", clickCount=1)

    def press(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)
        if key == "Enter":
            self.call("Input.dispatchKeyEvent", type="char", key=key, text="\r")

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Be so large; a phone has touch and a viewport of its own."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=phone,
        )  # fmt: skip

    def prefer(self, media: str = "", **features: str) -> None:
        """``prefer(prefers_color_scheme="dark")``; `media` may be ``print``."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.call("Emulation.setEmulatedMedia", media=media, features=named)

    def scripts(self, *, on: bool) -> None:
        """Run the pages' scripts, or do not."""
        self.call("Emulation.setScriptExecutionDisabled", value=not on)

    def picture(self, path: Path, *, top: int = 0, height: int | None = None) -> None:
        """A screenshot of a part of the page."""
        width = self.run("document.documentElement.clientWidth")
        whole = self.run("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": top, "width": width, "height": min(height or whole, whole - top), "scale": 1}
        shot = self.call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


def until(holds: Any, *, for_s: float = 20) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + for_s
    while not holds():
        if time.monotonic() > give_up:
            raise TimeoutError(f"it did not come to hold within {for_s} s")
        time.sleep(0.05)


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with a fresh profile in a folder, and its one tab."""
    binary = installed()
    assert binary is not None, "no chromium on this machine"
    profile = folder / "profile"
    process = subprocess.Popen(
        [binary, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        told = profile / "DevToolsActivePort"
        until(lambda: told.exists() and "\n" in told.read_text(), for_s=START_S)
        port = told.read_text().splitlines()[0]
        until(lambda: _tabs(port), for_s=START_S)
        with connect(_tabs(port)[0]["webSocketDebuggerUrl"], max_size=None) as socket:
            yield Page(socket)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _tabs(port: str) -> list[dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as reply:
        return [tab for tab in json.load(reply) if tab["type"] == "page"]
