"""A real headless Chromium, spoken to over a pipe: pages opened, waited for, clicked, read and photographed."""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
_MOUSE = "primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4"
"""A mouse, which a headless browser has none of: without it charts show the buttons that a person sees on hovering."""
PATIENCE_S = 120.0
"""How long a page may take on a machine that has other work."""


def find_chromium() -> str | None:
    """The browser's program; None where there is none (Debian: apt-get install chromium)."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Page:
    """One tab. Commands and events are JSON between zero bytes, as `--remote-debugging-pipe` has them."""

    def __init__(self, into: int, out: int) -> None:
        self._into, self._out, self._rest = into, out, b""
        self._last, self._session = 0, None
        [target] = [one for one in self._ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        attached = self._ask("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self._ask("Page.enable")

    def _ask(self, method: str, **params: Any) -> Any:
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._into, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._rest:
                got = os.read(self._out, 1 << 20)
                if not got:
                    raise EOFError("the browser has ended")
                self._rest += got
            text, _, self._rest = self._rest.partition(b"\0")
            found = json.loads(text)
            if found.get("id") == self._last:
                if "error" in found:
                    raise RuntimeError(f"{method}: {found['error']['message']}")
                return found["result"]

    def size(self, width: int, height: int) -> None:
        """Make the window so large, in pixels."""
        self._ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression on the page."""
        found = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(found["exceptionDetails"]["exception"].get("description", script))
        return found["result"].get("value")

    def open(self, address: str) -> None:
        """Go to a page as one that was never open: an address that differs behind `#` alone would load nothing."""
        self._ask("Page.navigate", url="about:blank")
        self._ask("Page.navigate", url=address)

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.run("document.body ? document.body.innerText : ''"))

    def wait(self, script: str, what: str) -> Any:
        """The value of an expression as soon as it is true. Raises AssertionError with the page's text."""
        end = time.monotonic() + PATIENCE_S
        while not (found := self.run(script)):
            assert time.monotonic() < end, f"the page never showed {what}:\n{self.text[:4000]}"
            time.sleep(0.1)
        return found

    def wait_for(self, *texts: str) -> None:
        """Wait until the page has all of these texts."""
        for text in texts:
            said = f"document.body.innerText.replace(/\\s+/g, ' ').includes({json.dumps(text)})"
            self.wait(f"!!document.body && {said}", repr(text))

    def click(self, text: str) -> None:
        """Click the innermost element that says just this."""
        found = (
            "[...document.querySelectorAll('*')].filter(e => e.innerText && e.innerText.trim() === "
            f"{json.dumps(text)} && e.getClientRects().length).pop()"
        )
        self.wait(f"!!{found}", repr(text))
        self.run(f"{found}.click()")

    def write(self, into: str, text: str) -> None:
        """Type into the first field that says `into` while it is empty."""
        field = f"document.querySelector('input[placeholder={json.dumps(into)}]')"
        self.wait(f"!!{field}", f"the field {into!r}")
        self.run(f"{field}.focus()")
        self._ask("Input.insertText", text=text)

    def settle(self) -> None:
        """Wait until every image is loaded and the page says the same for a second. Pictures would never be the same:
        an icon moves."""
        self.wait("[...document.images].every(image => image.complete)", "its images")
        end, before = time.monotonic() + PATIENCE_S, ""
        while (now := self.text) != before:
            assert time.monotonic() < end, f"the page never came to rest:\n{now[:4000]}"
            before = now
            self.run("new Promise(done => setTimeout(done, 1000))")

    def picture(self) -> bytes:
        """The window as PNG."""
        return base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """A browser with a new profile in `folder`, and its one tab. It reaches no other machine."""
    program = find_chromium()
    assert program, "no Chromium here: apt-get install chromium"
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    command = [
        program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-dev-shm-usage",
        "--no-first-run", "--disable-background-networking", "--disable-component-update", "--lang=en-US",
        f"--blink-settings={_MOUSE}",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={folder / 'profile'}",
        "--remote-debugging-pipe", "about:blank",
    ]  # fmt: skip
    # The browser reads its descriptor 3 and writes 4: a shell moves ours there, whatever numbers they have here.
    moved = ["bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", *command]
    with (folder / "browser.log").open("wb") as log:
        process = subprocess.Popen(
            moved, pass_fds=(theirs_in, theirs_out), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    try:
        yield Page(ours_out, ours_in)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(ours_out)
        os.close(ours_in)
