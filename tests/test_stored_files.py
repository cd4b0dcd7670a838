"""Commands on files that hold a picture as a whole, without levels, alone and among others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import render
from PIL import Image
from test_cli import hcodec as run
from test_whole import page

import hcodec
from hcodec.container.archive import listing

STORED = ("deep", "page")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with `mixed`: a document, 16 bits and a photograph, as hcodec files."""
    monkeypatch.chdir(tmp_path)
    Path("mixed").mkdir()
    deep = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 21
    Path("mixed/deep.hcodec").write_bytes(hcodec.encode(deep, lossless=True))
    Path("mixed/page.hcodec").write_bytes(hcodec.encode(page(), model="tiny"))
    Path("mixed/photo.hcodec").write_bytes(hcodec.encode(render(48, 64), model="tiny"))


def test_levels_of_a_mixed_folder_are_decoded():
    result = run("decode", "-r", "mixed", "-o", "out/", "--levels", 2)
    assert result.exit_code == 0 and sorted(os.listdir("out")) == ["deep.png", "page.png", "photo.png"]
    for name in STORED:
        assert result.stderr.count(f"Warning: mixed/{name}.hcodec: the picture is stored as a whole, it has no levels") == 1
    assert result.stderr.count("Warning") == 2 and "levels 1 to 2 of 3" in result.stderr
    assert np.asarray(Image.open("out/deep.png")).max() == 21 * (48 * 64 - 1)


def test_more_levels_than_a_lossless_file_has_are_all_of_it():
    data = hcodec.encode(render(48, 64), model="tiny", lossless=True, levels=2)
    Path("exact.hcodec").write_bytes(data)
    for line in (("decode", "exact.hcodec", "-o", "out.png"), ("truncate", "exact.hcodec", "-o", "out.hcodec")):
        result = run(*line, "--levels", 3)
        assert result.exit_code == 0 and result.stderr.count("fewer levels below its lossless layer") == 1
    assert (np.asarray(Image.open("out.png")) == render(48, 64)).all() and Path("out.hcodec").read_bytes() == data
    result = run("decode", "-", "-o", "cut.png", "--levels", 3, stdin=data[:-1])
    assert result.exit_code == 1 and "3 levels were asked for" in result.stderr


def test_levels_of_a_mixed_folder_are_kept():
    result = run("truncate", "-r", "mixed", "-o", "out/", "--levels", 2)
    assert result.exit_code == 0 and result.stderr.count("Warning") == 2
    for name in STORED:
        assert Path(f"out/{name}-L2.hcodec").read_bytes() == Path(f"mixed/{name}.hcodec").read_bytes()
    result = run("truncate", "-r", "mixed", "-o", "short/", "--target-size", 400)
    assert result.exit_code == 1 and sorted(os.listdir("short")) == ["deep-400B.hcodec", "photo-400B.hcodec"]
    assert "page.hcodec: the picture, which is stored as a whole, needs" in result.stderr


def test_alpha_of_16_bits_is_shown(tmp_path):
    noise = np.random.default_rng(0).integers(0, 65536, (8, 9, 4), dtype=np.uint16)
    smooth = np.add.outer(np.arange(300), np.arange(400)).astype(np.uint16)
    large = np.dstack([smooth * 90 + noise[..., 0].repeat(38, 0)[:300].repeat(45, 1)[:, :400] // 80] * 4)  # it has a preview
    pictures = [(f"{channels}.png", noise[..., :channels]) for channels in (1, 2, 3, 4)]
    archive = hcodec.pack([*pictures, ("large.png", large), ("plain.png", render(8, 8))])
    Path("a.hcodec").write_bytes(archive)
    lines = {line.split()[-1]: line for line in run("list", "a.hcodec").stdout.splitlines()[5:]}
    assert [name for name, line in lines.items() if "with alpha" in line] == ["2.png", "4.png", "large.png"]
    shown = json.loads(run("list", "a.hcodec", "--json").stdout)["pictures"]
    assert [(one["has_alpha"], one["depth"]) for one in shown] == [
        (False, 16), (True, 16), (False, 16), (True, 16), (True, 16), (False, 8)
    ]  # fmt: skip
    for channels, samples in enumerate((noise[..., :1], noise[..., :2], noise[..., :3], noise), start=1):
        Path("one.hcodec").write_bytes(hcodec.encode(samples, lossless=True))
        assert ("with alpha" in run("info", "one.hcodec").stdout) == (channels in (2, 4))
        assert json.loads(run("info", "one.hcodec", "--json").stdout)["has_alpha"] == (channels in (2, 4))


def test_damage_among_16_bits_does_not_keep_a_list_from_being_shown():
    noise = np.random.default_rng(0).integers(0, 65536, (8, 9, 4), dtype=np.uint16)
    archive = hcodec.pack([("a.png", noise), ("b.png", noise)])
    start = listing(archive).directory_bytes
    for at in range(start, len(archive), 7):
        for harmed in (archive[:at] + b"\xff\xff\xff\x7f" + archive[at + 4 :], archive[:at]):
            assert len(listing(harmed).pictures) == 2


def test_reports_say_how_a_picture_is_stored():
    Image.fromarray(np.asarray(page())).save("page.png")
    made = json.loads(run("encode", "page.png", "--json").stdout)
    decoded = json.loads(run("decode", "page.hcodec", "out.png", "--json").stdout)
    kept = json.loads(run("truncate", "page.hcodec", "--levels", 1, "--json").stdout)
    assert made["stored"] == decoded["stored"] == kept["stored"] == "bilevel"
    assert json.loads(run("truncate", "mixed/photo.hcodec", "--levels", 1, "--json").stdout)["stored"] == ""


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_black_and_white_comes_back_as_one_bit(suffix):
    """Of files that hold the picture as a whole, of lossless ones and of archives; but not what only looks so, after a loss."""
    bits = page().point(lambda value: 255 * (value > 127)).convert("1", dither=Image.Dither.NONE)
    bits.save("a.png", dpi=(200, 200))
    Path("whole.hcodec").write_bytes(hcodec.encode("a.png"))
    Path("levels.hcodec").write_bytes(hcodec.encode("a.png", levels=2, lossless=True, model="tiny"))
    for name in ("whole", "levels"):
        assert run("decode", f"{name}.hcodec", f"{name}.{suffix}", "--quiet").exit_code == 0
    hcodec_archive = hcodec.pack([(f"page.{suffix}", "a.png")])
    assert run("unpack", "-", ".", stdin=hcodec_archive).exit_code == 0
    for name in ("whole", "levels", "page"):
        with Image.open(f"{name}.{suffix}") as found:
            assert found.mode == "1" and found.tobytes() == bits.tobytes()
            assert found.info["dpi"] == pytest.approx((200, 200), abs=0.01)
            assert found.info["compression"] == "group4" if suffix == "tif" else True
    white = hcodec.encode(Image.new("L", (64, 48), 255), lossless=False, model="tiny")
    for source, options in ((white, ()), (Path("levels.hcodec").read_bytes(), ("--levels", 2))):
        Path("lossy.hcodec").write_bytes(source)
        assert run("decode", "lossy.hcodec", f"lossy.{suffix}", "--force", *options).exit_code == 0
        assert Image.open(f"lossy.{suffix}").mode == "L"
    assert hcodec.decode("whole.hcodec").mode == "L"


def test_other_pictures_keep_their_bits():
    gray = np.full((8, 8), 255, np.uint8)
    for name, pixels in (("gray", gray - np.eye(8, dtype=np.uint8)), ("color", np.dstack([gray] * 3)), ("alpha", gray)):
        image = Image.fromarray(pixels)
        if name == "alpha":
            image.putalpha(Image.fromarray(gray // 2))
        Path(f"{name}.hcodec").write_bytes(hcodec.encode(image, lossless=True))
        assert run("decode", f"{name}.hcodec").exit_code == 0
        assert Image.open(f"{name}.png").mode == image.mode


def test_it_is_said_what_a_cut_file_shows():
    noise = np.random.default_rng(0).integers(0, 50, (300, 400))
    deep = (np.add.outer(np.arange(300), np.arange(400)) * 70 + noise).astype(np.uint16)
    for name, data, said in (
        ("deep", hcodec.encode(deep, lossless=True), "only a small preview of it is there, of 8 bits"),
        ("page", Path("mixed/page.hcodec").read_bytes(), "the first pixels of it are there"),
    ):
        Path(f"{name}.hcodec").write_bytes(data[:-40])
        result = run("decode", f"{name}.hcodec")
        ends = f"the file ends after {len(data) - 40} of {len(data)} bytes"
        assert result.exit_code == 0 and f"Warning: {name}.hcodec: {ends}, inside its picture: {said}\n" in result.stderr
        assert "stored losslessly, but cut, so this is not exact" in result.stderr


@pytest.mark.parametrize("tags", [{0x8769: {0x9003: "2020:01:01 00:00:00"}}, {0x8825: {1: "N", 2: (1.0, 2.0, 3.0)}}])
def test_black_and_white_with_directories_of_exif_is_written_as_tiff(tags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exif = Image.Exif()
    exif.update(tags)
    bits = page().point(lambda value: 255 * (value > 127)).convert("1", dither=Image.Dither.NONE)
    bits.save("a.png", exif=exif)
    Path("a.hcodec").write_bytes(hcodec.encode("a.png"))
    assert run("decode", "a.hcodec", "a.tif", "--quiet").exit_code == 0
    with Image.open("a.tif") as found:
        assert found.mode == "1" and found.tobytes() == bits.tobytes()
        (directory,) = tags
        assert found.getexif().get_ifd(directory) == tags[directory]


@pytest.mark.parametrize("shape", [(20_000, 1), (1, 20_000)])
def test_lines_of_few_colors_are_stored(shape):
    runs = np.random.default_rng(3).random(20_000) < 0.05
    colors = np.random.default_rng(4).integers(0, 256, (8, 3), dtype=np.uint8)
    pixels = colors[np.cumsum(runs) % 8].reshape(*shape, 3)
    data = hcodec.encode(pixels)
    assert hcodec.info(data).stored == "8 colors" and np.array_equal(np.asarray(hcodec.decode(data)), pixels)


def test_a_flat_picture_is_stored_without_trying_levels(monkeypatch):
    """Its repeated rows make an image file shorter than a stack of few colors, and levels are hopeless."""
    monkeypatch.setattr("hcodec.codec.encode_exact_layers", lambda *_args: pytest.fail("levels were tried"))
    text = np.random.default_rng(0).integers(0, 2, (8, 256)).astype(bool)
    data = hcodec.encode(np.tile(text, (64, 1)), lossless=True)
    assert hcodec.info(data).stored in ("image file", "bilevel") and 8 * len(data) < 0.25 * 512 * 256


MADE = """
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from PIL import Image
import hcodec

page = Image.open("page.png")
deep = np.arange(48 * 64 * 4, dtype=np.uint16).reshape(48, 64, 4) * 5

def made(_=None):
    pictures = [("deep.png", deep), ("page.png", page)]
    return [hcodec.encode(deep, lossless=True), hcodec.encode(page), hcodec.pack(pictures)]

first = made()
assert all(hcodec.info(data).stored for data in first[:-1])
with ThreadPoolExecutor(2) as pool:
    assert list(pool.map(made, range(2))) == [first] * 2
with multiprocessing.get_context("fork").Pool(2) as forks:
    assert forks.map(made, range(2)) == [first] * 2
"""


def test_threads_and_forks_make_the_same_bytes():
    page().save("page.png")
    subprocess.run([sys.executable, "-c", MADE], check=True, timeout=120)


@pytest.mark.parametrize("command", [("list",), ("unpack", "-o", "out/"), ("truncate", "--levels", 1), ("encode",)])
def test_what_reads_no_addresses_says_so(command):
    result = run(*command, "http://127.0.0.1:1/a.hcodec")
    assert result.exit_code == 1 and "the source is an address; `hcodec info`, `hcodec decode`" in result.stderr
    with pytest.raises(hcodec.HcodecError, match="is an address"):
        hcodec.info("http://127.0.0.1:1/a.hcodec")
