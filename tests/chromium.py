"""A headless Chromium that a test drives, through the pipes of its DevTools protocol; no library is needed."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Chromium:
    """One page of a browser, as a context."""

    def __init__(self, width=1200, height=800):
        self.size, self.number, self.pending = (width, height), 0, b""

    def __enter__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        their_input, self.output = os.pipe()
        self.input, their_output = os.pipe()
        os.dup2(their_input, 103)  # out of the way of what is 3 and 4 here
        os.dup2(their_output, 104)
        size = f"--window-size={self.size[0]},{self.size[1]}"
        options = f'--headless --no-sandbox --disable-gpu --disable-dev-shm-usage {size} --user-data-dir="$1"'
        command = f'exec "$0" {options} --remote-debugging-pipe about:blank 3<&103 4>&104 103<&- 104>&-'
        arguments = ["bash", "-c", command, PROGRAM, self.profile.name]
        self.process = subprocess.Popen(arguments, pass_fds=(103, 104), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for pipe in (103, 104, their_input, their_output):
            os.close(pipe)
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        return self

    def __exit__(self, *_):
        os.close(self.output)
        os.close(self.input)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.profile.cleanup()

    session = None

    def call(self, method, timeout=120, **parameters):
        """Returns the answer to a call of the protocol."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.output, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while True:
            answer = self.read(end)
            if answer.get("id") == self.number:
                assert "result" in answer, answer
                return answer["result"]

    def read(self, end):
        """Returns the next message."""
        while b"\0" not in self.pending:
            ready, _, _ = select.select([self.input], [], [], max(end - time.monotonic(), 0))
            assert ready, "the browser does not answer"
            data = os.read(self.input, 1 << 20)
            assert data, "the browser has gone"
            self.pending += data
        message, _, self.pending = self.pending.partition(b"\0")
        return json.loads(message)

    def open(self, address):
        """Goes to a page."""
        self.call("Page.navigate", url=address)

    def run(self, script, timeout=120):
        """Returns what a JavaScript expression becomes, a promise's value included."""
        found = self.call("Runtime.evaluate", timeout, expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, condition, timeout=60):
        """Waits until a JavaScript expression is true, and returns its value."""
        end = time.monotonic() + timeout
        while True:
            value = self.run(condition)
            if value:
                return value
            assert time.monotonic() < end, f"{condition} is not so: {self.run('document.body.innerText')}"
            time.sleep(0.05)

    def screenshot(self, path):
        """Writes what the page looks like as PNG."""
        Path(path).write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))
