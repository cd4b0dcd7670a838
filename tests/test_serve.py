"""`hcodec serve`: bytes and ranges, names that must not lead anywhere, who may ask, and JPEG files of equal bytes."""

from __future__ import annotations

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
from urllib.parse import quote

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import interruptible, render
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from test_golden import FOLDER, golden

from hcodec import models
from hcodec.cli import main
from hcodec.errors import PictureError
from hcodec.gallery import Gallery
from hcodec.models import registry
from hcodec.pixels.equal_jpeg import equal_jpeg
from hcodec.server import PictureServer, _range

NAME = "sub folder/ä#?.hcodec"
DATA = golden("levels-96x128")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served") / "pictures"
    (folder / "sub folder").mkdir(parents=True)
    (folder / NAME).write_bytes(DATA)
    (folder / "with source.hcodec").write_bytes(golden("levels-130x150"))
    Image.fromarray(render(130, 150)).save(folder / "with source.png")
    (folder / "notes.txt").write_text("private")
    (folder / "damaged.hcodec").write_bytes(b"no picture")
    (folder / "many.hcodec").write_bytes(golden("archive"))
    (folder / ".hidden.hcodec").write_bytes(DATA)
    (folder.parent / "outside.hcodec").write_bytes(DATA)
    (folder / "link.hcodec").symlink_to(folder.parent / "outside.hcodec")
    with PictureServer(Gallery(folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def ask(server, path, method="GET", **headers):
    """Returns status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=30)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, answer.headers, answer.read()
    connection.close()
    return found


def place(name, folder="pictures"):
    return f"/{folder}/{quote(name)}"


def test_the_page_and_its_files_are_given_out(server):
    status, headers, page = ask(server, "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html") and b"/web/page.js" in page
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    for name, kind in (("page.js", "text/javascript"), ("worker.js", "text/javascript"), ("style.css", "text/css")):
        status, headers, data = ask(server, f"/web/{name}")
        assert status == 200 and headers["Content-Type"].startswith(kind) and data


def test_the_list_has_all_pictures_and_says_what_is_none(server):
    entries = {entry["name"]: entry for entry in json.loads(ask(server, "/list")[2])}
    assert set(entries) == {NAME, "with source.hcodec", "damaged.hcodec", "many.hcodec"}
    assert entries["many.hcodec"]["num_pictures"] == 18 and not entries["many.hcodec"]["fault"]
    assert (entries[NAME]["width"], entries[NAME]["height"], entries[NAME]["num_bytes"]) == (128, 96, len(DATA))
    assert "not an hcodec file" in entries["damaged.hcodec"]["fault"] and not entries[NAME]["fault"]


@pytest.mark.parametrize(
    ("wanted", "status", "expected"),
    [
        ("bytes=0-7", 206, DATA[:8]),
        ("bytes=100-", 206, DATA[100:]),
        ("bytes=-10", 206, DATA[-10:]),
        ("bytes=4000-99999999", 206, DATA[4000:]),
        (f"bytes={len(DATA)}-", 416, b""),
        ("bytes=9-3", 200, DATA),
        ("bytes=0-1,4-5", 200, DATA),
        ("lines=1-2", 200, DATA),
    ],
)
def test_ranges(server, wanted, status, expected):
    found, headers, data = ask(server, place(NAME), Range=wanted)
    assert (found, data) == (status, expected)
    if status == 206:
        start = DATA.index(expected)
        assert headers["Content-Range"] == f"bytes {start}-{start + len(expected) - 1}/{len(DATA)}"


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 20))
def test_a_range_is_a_slice(first, last, size):
    found = _range(f"bytes={first}-{last}", size)
    expected = bytes(range(size))[first : last + 1] if first <= last else bytes(range(size))
    assert (bytes(range(size))[slice(*found)] if found else b"") == expected


def test_head_gives_no_body(server):
    status, headers, data = ask(server, place(NAME), "HEAD")
    assert (status, headers["Content-Length"], data) == (200, str(len(DATA)), b"")


@pytest.mark.parametrize(
    "path",
    [
        "/pictures/../outside.hcodec",
        "/pictures/%2e%2e/outside.hcodec",
        "/pictures/..%2foutside.hcodec",
        "/pictures/..%5coutside.hcodec",
        "/pictures//etc/passwd",
        "//etc/passwd",
        "/pictures/link.hcodec",
        "/pictures/.hidden.hcodec",
        "/pictures/notes.txt",
        "/pictures/with%20source.png",
        "/pictures/sub%20folder",
        "/pictures/%00.hcodec",
        "/pictures/",
        "/web/../server.py",
        "/web/__init__.py",
        "/web/none.js",
        "/weights/..",
        "/weights/00000000",
        "/lossless/zzzzzzzz",
        "/jpeg/../outside.hcodec?bytes=1000",
        "/nothing",
        "/favicon.ico",
    ],
)
def test_nothing_else_is_given_out(server, path):
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", ""])
def test_only_those_are_answered_who_ask_by_its_name(server, host):
    assert ask(server, "/list", Host=host)[0] == 403
    assert ask(server, "/list", Host=f"localhost:{server.server_port}")[0] == 200


def test_at_the_port_of_http_a_browser_names_none(tmp_path):
    with PictureServer(Gallery(tmp_path)) as server:
        assert "localhost" not in server.names
        del server.names
        server.server_port = 80
        assert {"127.0.0.1", "localhost", "localhost:80"} <= server.names


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_changed(server, method):
    assert ask(server, place(NAME), method)[0] == 501


def test_weights_are_those_that_are_installed(server):
    summary = models.summary("photo-1")
    status, headers, data = ask(server, f"/weights/{summary.fingerprint}", Range="bytes=0-99")
    path = registry.PHOTO.path("photo-1")
    assert (status, data) == (206, path.read_bytes()[:100])
    assert headers["Content-Range"].endswith(f"/{summary.num_bytes}")


def test_a_jpeg_file_is_made_of_the_source_or_of_the_last_level(server):
    for name, origin in (("with source.hcodec", "with source.png"), (NAME, "ä#?.hcodec")):
        status, headers, data = ask(server, place(name, "jpeg") + "?bytes=3000")
        said = json.loads(headers["X-Jpeg"])
        assert status == 200 and len(data) <= 3000 and said["origin"] == origin
        assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert ask(server, place("damaged.hcodec", "jpeg") + "?bytes=3000")[0] == 400
    assert ask(server, place(NAME, "jpeg") + "?bytes=many")[0] == 400


def test_the_source_beside_a_picture_is_given_out_as_it_is(server):
    status, headers, data = ask(server, place("with source.hcodec", "source"))
    assert status == 200 and headers["Content-Type"] == "image/png"
    assert (np.asarray(Image.open(io.BytesIO(data))) == render(130, 150)).all()
    assert ask(server, place(NAME, "source"))[0] == 404


@pytest.mark.parametrize("num_bytes", [1, 1500, 3000, 9000, 10**6])
def test_the_best_jpeg_file_of_so_many_bytes(num_bytes):
    pixels = render(90, 120)
    jpeg = equal_jpeg(pixels, num_bytes)
    again = {}
    for quality in (jpeg.quality, min(jpeg.quality + 1, 100)):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=jpeg.subsampling, optimize=True)
        again[quality] = file.getvalue()
    assert jpeg.data == again[jpeg.quality]
    if num_bytes == 1:
        assert jpeg.quality == 1 and len(jpeg.data) > 1
    else:
        assert len(jpeg.data) <= num_bytes and (jpeg.quality == 100 or len(again[jpeg.quality + 1]) > num_bytes)
    shown = np.asarray(Image.open(io.BytesIO(jpeg.data))).astype(float)
    assert jpeg.psnr_db == pytest.approx(10 * np.log10(255**2 / ((shown - pixels) ** 2).mean()), abs=1e-6)


def test_what_no_jpeg_file_can_hold_is_refused():
    with pytest.raises(PictureError, match="a JPEG file holds at most 65500 pixels a side, the picture has 65501"):
        equal_jpeg(np.zeros((1, 65_501, 3), np.uint8), 1000)


def test_the_command_serves_until_it_is_interrupted(tmp_path):
    (tmp_path / "one.hcodec").write_bytes(DATA)
    command = [sys.executable, "-m", "hcodec", "serve", str(tmp_path), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=interruptible) as process:
        assert process.stdout.readline().startswith("1 picture at http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0 and "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_one_line(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        found = CliRunner().invoke(main, ["serve", str(tmp_path), "--port", str(taken.getsockname()[1])])
    assert found.exit_code == 1 and "cannot listen on port" in found.output and len(found.output.splitlines()) == 1
    assert CliRunner().invoke(main, ["serve", str(FOLDER / "none")]).exit_code == 2


def test_links_lead_to_pictures_of_the_folder_only(tmp_path):
    folder = tmp_path / "pictures"
    (folder / ".hidden").mkdir(parents=True)
    for name in ("a.hcodec", ".hidden/b.hcodec"):
        (folder / name).write_bytes(DATA)
    (folder / "notes.txt").write_text("private")
    Image.fromarray(render(96, 128)).save(tmp_path / "private.png")
    (folder / "a.png").symlink_to(tmp_path / "private.png")
    (folder / "a.tif").write_bytes(b"damaged")
    for name, target in (("notes", "notes.txt"), ("hidden", ".hidden/b.hcodec"), ("loop", "loop.hcodec"), ("good", "a.hcodec")):
        (folder / f"{name}.hcodec").symlink_to(target)
    gallery = Gallery(folder)
    assert [entry.name for entry in gallery.entries()] == ["a.hcodec", "good.hcodec"]
    for name in ("notes.hcodec", "hidden.hcodec", "loop.hcodec", f"{'a' * 300}.hcodec"):
        with pytest.raises(FileNotFoundError):
            gallery.path(name)
    with pytest.raises(FileNotFoundError, match="no source"):
        gallery.source("a.hcodec")
    assert gallery.jpeg("a.hcodec", 1000)[1] == "a.hcodec"


def test_names_that_are_no_text_are_listed_as_such(tmp_path):
    try:
        (tmp_path / "caf\udce9.hcodec").write_bytes(DATA)
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no such names")
    assert [(entry.name, entry.fault) for entry in Gallery(tmp_path).entries()] == [("caf?.hcodec", "its name is not UTF-8")]


def test_what_is_wrong_is_said_in_ascii(server):
    assert ask(server, f"{place(NAME, 'jpeg')}?bytes=%E6%BC%A2")[0] == 400


@pytest.mark.parametrize(
    "target, status",
    [
        ("http://127.0.0.1:{port}/list", 200),  # as proxies are asked, and every server must understand
        ("HTTP://LocalHost:{port}/list", 200),
        ("http://127.0.0.1:{port}", 200),
        ("http://example.org/list", 403),
        ("http://127.0.0.1:x/list", 403),
        ("http:/list", 403),
        ("http://[::1/list", 400),
    ],
)
def test_targets_in_absolute_form(server, target, status):
    assert ask(server, target.format(port=server.server_port), Host=f"LOCALHOST:{server.server_port}")[0] == status
