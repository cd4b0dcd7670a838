"""A small HTTP server with ranges, for tests, which counts what it sends and misbehaves when told to."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Site:
    """What a server has and does.

    files: path -> bytes; ranges: whether it knows ranges; head: whether it answers HEAD; length: whether it tells the size;
    fail: statuses to answer GET with, one after the other, before it works; short: bytes to leave out of each answer but tell
    of none; broken: bytes to send of each answer before the connection ends; pause_s: before each 1000 bytes; silent: it
    takes connections and answers nothing; endless: answers to GET do not end. `sent`: the ranges that were asked for; `num_bytes`
    in the bodies of answers.
    """

    files: dict[str, bytes]
    ranges: bool = True
    head: bool = True
    length: bool = True
    fail: list[int] = field(default_factory=list)
    short: int = 0
    broken: int | None = None
    pause_s: float = 0.0
    silent: bool = False
    endless: bool = False
    sent: list[str] = field(default_factory=list)
    num_bytes: int = 0
    address: str = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_HEAD(self) -> None:
        data = self.site.files.get(self.path)
        if self.site.silent:
            time.sleep(5)
        elif not self.site.head:
            self.send_error(405)
        elif data is None:
            self.send_error(404)
        else:
            self._begin(200, len(data))

    def do_GET(self) -> None:
        data, asked = self.site.files.get(self.path), self.headers.get("Range", "")
        if self.site.silent:
            time.sleep(5)
        if data is None or self.site.fail:
            self.send_error(404 if data is None else self.site.fail.pop(0))
            return
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", asked)
        part = data[int(match[1]) : int(match[2]) + 1] if match and self.site.ranges else data
        part = part[: len(part) - self.site.short] if match else part
        self.site.sent.append(asked)
        self._begin(206 if match and self.site.ranges else 200, len(part))
        self._send(part)
        with suppress(ConnectionError):  # the reader has enough
            while self.site.endless:
                self.wfile.write(bytes(1 << 16))

    def _begin(self, status: int, num_bytes: int) -> None:
        self.send_response(status)
        if self.site.length and not (self.site.endless and self.command == "GET"):
            self.send_header("Content-Length", str(num_bytes))
        else:
            self.send_header("Connection", "close")
        self.end_headers()

    def _send(self, part: bytes) -> None:
        if self.site.broken is not None:
            part, self.close_connection = part[: self.site.broken], True
        for start in range(0, len(part), 1000):
            time.sleep(self.site.pause_s)
            self.site.num_bytes += len(part[start : start + 1000])  # before they are seen
            try:
                self.wfile.write(part[start : start + 1000])
            except ConnectionError:  # the reader has enough
                self.close_connection = True
                return

    def log_message(self, *_args: object) -> None:
        """Says nothing."""


@contextmanager
def serving(files: dict[str, bytes], **conduct: object) -> Iterator[Site]:
    """A server on this machine, for as long as the context lasts."""
    site = Site({f"/{name}": data for name, data in files.items()}, **conduct)  # type: ignore[arg-type]
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    server.daemon_threads = True
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield site
    finally:
        server.shutdown()
        server.server_close()
