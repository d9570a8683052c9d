"""Drive a page in a headless Chromium, over its DevTools protocol on a pipe."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium and no google-chrome is installed")


def built_page(url: str, folder: Path, *, seconds: int) -> str:
    """The page as its scripts have built it after so many seconds of its own clock, which runs faster than ours.

    Args:
        folder: for the browser's own files.
    """
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    command = [CHROMIUM, *options, f"--virtual-time-budget={1000 * seconds}", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False).stdout


class Browser:
    """One tab. Use it in a with statement; what the page's script throws fails the block.

    Args:
        folder: for the browser's own files.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.number, self.errors = folder, 0, []

    def __enter__(self) -> "Browser":
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        moved = [os.dup(to_browser), os.dup(from_browser)]  # above 4, so that neither dup2 closes the other

        def as_three_and_four() -> None:
            os.dup2(moved[0], 3)
            os.dup2(moved[1], 4)

        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command = [CHROMIUM, *options, f"--user-data-dir={self.folder}", "about:blank"]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, preexec_fn=as_three_and_four, close_fds=False, **quiet)
        for descriptor in (to_browser, from_browser, *moved):
            os.close(descriptor)
        self._buffer, self._session = b"", None
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        self._process.terminate()
        self._process.wait(timeout=30)
        os.close(self._in)
        os.close(self._out)
        assert kind is not None or not self.errors, self.errors

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a command of the protocol."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        os.write(
            self._out, json.dumps(message | ({"sessionId": self._session} if self._session else {})).encode() + b"\0"
        )
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 20)
            assert part, "the browser ended"
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer = json.loads(message)
        if answer.get("method") == "Runtime.exceptionThrown":
            self.errors.append(answer["params"]["exceptionDetails"])
        return answer

    def look(self, width: int = 1280, height: int = 900, *, dark: bool = False, mobile: bool = False) -> None:
        """Set the size of the window and what the system prefers."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=mobile)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def open(self, page: Path, state: str = "") -> None:
        """Load a page, with its state in the address."""
        self.call("Page.navigate", url="about:blank")  # else another state alone would not load it again
        self.call("Page.navigate", url=f"{page.as_uri()}{'#' * bool(state)}{state}")
        while self("document.readyState") != "complete" or self("location.href") == "about:blank":
            pass

    def __call__(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the first element that a CSS selector finds."""
        self(f"document.querySelector({json.dumps(selector)}).click()")

    def enter(self, selector: str, text: str) -> None:
        """Type a text into a field, or choose it in a list."""
        self(
            f"(() => {{ const field = document.querySelector({json.dumps(selector)}); field.value = {json.dumps(text)};"
            " field.dispatchEvent(new Event('input', {bubbles: true})); })()"
        )

    def picture(self, file: Path) -> None:
        """Save the whole page as a PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(answer["data"]))

    def printed(self, file: Path) -> None:
        """Save the page as it is printed, as a PDF."""
        file.write_bytes(base64.b64decode(self.call("Page.printToPDF", printBackground=False)["data"]))
