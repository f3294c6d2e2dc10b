"""A headless Chromium, driven over plain HTTP by its own chromedriver (W3C WebDriver)."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)


def why_not() -> str | None:
    """What keeps a test from opening a page; None if nothing does."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if not missing:
        return None
    return f"needs {' and '.join(missing)} on the PATH (Debian: apt-get install chromium chromium-driver)"


class Browser:
    """An open browser.

    Args:
        address: of chromedriver.
        session: its number for this browser.
    """

    def __init__(self, address: str, session: str):
        self._address = f"{address}/session/{session}"

    def open(self, page: Path, *, width: int, height: int = 900) -> None:
        """Open a page in a window of this size in CSS pixels; returns when it is loaded."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._devtools("Emulation.setDeviceMetricsOverride", **metrics)
        _ask(f"{self._address}/url", {"url": page.as_uri()})

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return _ask(f"{self._address}/execute/sync", {"script": f"return {expression};", "args": []})

    def click(self, selector: str) -> None:
        """Click the first element of a CSS selector, as a mouse does."""
        found = _ask(f"{self._address}/element", {"using": "css selector", "value": selector})
        _ask(f"{self._address}/element/{next(iter(found.values()))}/click", {})

    def messages(self) -> list[str]:
        """What the console said since it was last asked: errors of scripts, files that did not load."""
        return [entry["message"] for entry in _ask(f"{self._address}/se/log", {"type": "browser"})]

    def show_as(self, medium: str) -> None:
        """Lay the page out for `print`, or for the screen again (an empty text)."""
        self._devtools("Emulation.setEmulatedMedia", media=medium)

    def _devtools(self, command: str, **parameters: Any) -> Any:
        return _ask(f"{self._address}/goog/cdp/execute", {"cmd": command, "params": parameters})


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start a browser, and end it with its driver.

    Args:
        profile: empty folder for what the browser keeps.
    """
    command = [shutil.which("chromedriver"), "--port=0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as driver:
        try:
            address = f"http://127.0.0.1:{_port(driver)}"
            capabilities = {
                "browserName": "chrome",
                "goog:loggingPrefs": {"browser": "ALL"},
                "goog:chromeOptions": {
                    "binary": shutil.which("chromium"),
                    "args": [*OPTIONS, f"--user-data-dir={profile}"],
                },
            }
            session = _ask(f"{address}/session", {"capabilities": {"alwaysMatch": capabilities}})["sessionId"]
            try:
                yield Browser(address, session)
            finally:
                _ask(f"{address}/session/{session}", method="DELETE")
        finally:
            driver.terminate()


def _port(driver: subprocess.Popen[str]) -> str:
    said = []
    for line in driver.stdout:
        said.append(line)
        if found := re.search(r"started successfully on port (\d+)", line):
            return found[1]
    raise RuntimeError(f"chromedriver did not start: {''.join(said)}")


def _ask(address: str, body: dict[str, Any] | None = None, *, method: str = "POST") -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"Content-Type": "application/json"}, method=method)
    # no proxy of the environment stands between this process and the driver beside it
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=120) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{address}: {error.read().decode()}") from error
