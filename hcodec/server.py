"""An HTTP server for a viewer on the same machine: the page, pictures, weights, and JPEG files to compare with.

Room: codec, beside the data's path; Python's own `http.server`. It listens on the loopback address alone, answers only who
asks by that name (a page elsewhere cannot reach it through a name of its own), and changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from http import HTTPStatus
from http.client import HTTP_PORT
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, unquote, urlsplit

from hcodec.errors import HcodecError, ModelError
from hcodec.gallery import Gallery
from hcodec.models import registry
from hcodec.models.registry import Family

HOST = "127.0.0.1"
_CHUNK_BYTES = 1 << 16
_IDLE_S = 60.0  # after which a connection is closed
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8"}
_BYTES = "application/octet-stream"
_HEADERS = {
    # both are what a browser wants before it lets threads share memory
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; script-src 'self' 'wasm-unsafe-eval'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


class PictureServer(ThreadingHTTPServer):
    """Serves a gallery at `address` until it is shut down. port: 0 for any that is free. Raises OSError if it is taken."""

    daemon_threads = True

    def __init__(self, gallery: Gallery, port: int = 0) -> None:
        super().__init__((HOST, port), _Handler)
        self.gallery = gallery

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://{HOST}:{self.server_port}/"

    @cached_property
    def names(self) -> set[str]:
        """By which hosts it may be asked."""
        hosts = HOST, "localhost"
        return {f"{host}:{self.server_port}" for host in hosts} | set(hosts if self.server_port == HTTP_PORT else ())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of a browser that has left."""


class _Handler(BaseHTTPRequestHandler):
    server: PictureServer
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S

    def do_GET(self) -> None:
        """Answers a request."""
        try:
            url = urlsplit(self.path)
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST)
            return
        hosts = {self.headers.get("Host", "").lower(), *([url.netloc.lower()] if url.scheme or url.netloc else [])}
        if not hosts <= self.server.names:  # another name that leads here, or a proxy that we are not
            self.send_error(HTTPStatus.FORBIDDEN)
            return
        place, _, name = unquote(url.path).removeprefix("/").partition("/")
        try:
            _ROUTES.get(place, _Handler._nothing)(self, name, parse_qs(url.query))
        except (FileNotFoundError, PermissionError, ModelError):
            self.send_error(HTTPStatus.NOT_FOUND)
        except (HcodecError, ValueError) as error:
            self.send_error(HTTPStatus.BAD_REQUEST, ascii(str(error).partition("\n")[0])[1:-1])

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing of requests."""

    def _nothing(self, _name: str, _query: dict[str, list[str]]) -> None:
        raise FileNotFoundError

    def _page(self, _name: str, query: dict[str, list[str]]) -> None:
        self._file("index.html", query)

    def _file(self, name: str, _query: dict[str, list[str]]) -> None:
        """Gives out a file of the viewer."""
        if not re.fullmatch(r"[a-z_]+\.(html|js|css)", name):
            raise FileNotFoundError
        data = resources.files("hcodec.web").joinpath(name).read_bytes()
        self._bytes(data, _TYPES[Path(name).suffix])

    def _list(self, _name: str, _query: dict[str, list[str]]) -> None:
        entries = [asdict(entry) for entry in self.server.gallery.entries()]
        self._bytes(json.dumps(entries).encode(), "application/json")

    def _picture(self, name: str, _query: dict[str, list[str]]) -> None:
        self._stream(self.server.gallery.path(name))

    def _weights(self, name: str, _query: dict[str, list[str]]) -> None:
        """Gives out the weights file of a model, by its fingerprint in hexadecimal digits."""
        self._model(name, registry.PHOTO)

    def _lossless(self, name: str, _query: dict[str, list[str]]) -> None:
        """Gives out the weights file of a lossless layer, likewise."""
        self._model(name, registry.LOSSLESS)

    def _chain(self, name: str, _query: dict[str, list[str]]) -> None:
        """Gives out the weights file of a chain model, likewise."""
        self._model(name, registry.SMALL)

    def _model(self, name: str, family: Family[Any]) -> None:
        if not re.fullmatch(r"[0-9a-f]{8}", name):
            raise FileNotFoundError
        self._stream(family.path(registry.find(bytes.fromhex(name), family)))

    def _jpeg(self, name: str, query: dict[str, list[str]]) -> None:
        """Gives out the JPEG file that `bytes` of the query buy of a picture."""
        jpeg, origin = self.server.gallery.jpeg(name, int(query.get("bytes", ["0"])[0]))
        said = {"quality": jpeg.quality, "subsampling": jpeg.subsampling, "origin": origin}
        self._bytes(jpeg.data, "image/jpeg", {"X-Jpeg": json.dumps(said)})

    def _source(self, name: str, _query: dict[str, list[str]]) -> None:
        """Gives out what a picture was made from, as far as that lies beside it."""
        self._bytes(self.server.gallery.source(name), "image/png")

    def _bytes(self, data: bytes, kind: str, more: dict[str, str] | None = None) -> None:
        self._head(HTTPStatus.OK, len(data), kind, more or {})
        if self.command != "HEAD":
            self.wfile.write(data)

    def _stream(self, path: Path) -> None:
        """Gives out a file, or the range of it that was asked for."""
        with path.open("rb") as file:
            size = path.stat().st_size
            found = _range(self.headers.get("Range"), size)
            if found is None:
                self._head(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, 0, _BYTES, {"Content-Range": f"bytes */{size}"})
                return
            start, end = found
            status = HTTPStatus.OK if (start, end) == (0, size) else HTTPStatus.PARTIAL_CONTENT
            more = {} if status == HTTPStatus.OK else {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
            self._head(status, end - start, _BYTES, {"Accept-Ranges": "bytes", **more})
            if self.command != "HEAD":
                self._copy(file, start, end)

    def _copy(self, file: BinaryIO, start: int, end: int) -> None:
        file.seek(start)
        while start < end:
            chunk = file.read(min(_CHUNK_BYTES, end - start))
            if not chunk:  # the file became shorter: the browser sees that the answer is, too
                self.close_connection = True
                return
            self.wfile.write(chunk)
            start += len(chunk)

    def _head(self, status: HTTPStatus, length: int, kind: str, more: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **_HEADERS, **more}.items():
            self.send_header(name, value)
        self.end_headers()


_Route = Callable[[_Handler, str, dict[str, list[str]]], None]
_ROUTES: dict[str, _Route] = {
    "": _Handler._page,
    "web": _Handler._file,
    "list": _Handler._list,
    "pictures": _Handler._picture,
    "weights": _Handler._weights,
    "lossless": _Handler._lossless,
    "chain": _Handler._chain,
    "jpeg": _Handler._jpeg,
    "source": _Handler._source,
}


def _range(wanted: str | None, size: int) -> tuple[int, int] | None:
    """Returns begin and end of what a Range header asks for: all where there is none of one range; None if it lies beyond."""
    match = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", (wanted or "").strip())
    if not match or not any(match.groups()):
        return 0, size
    first, last = match.groups()
    start = int(first) if first else max(size - int(last), 0)
    end = min(int(last) + 1, size) if first and last else size
    if first and last and int(last) < int(first):
        return 0, size
    return (start, end) if start < end else None
