"""The commands with lossless files, on the tiny model."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from conftest import render
from PIL import Image
from test_cli import hcodec
from test_lossless import drawing, encode_forced

from hcodec import container


@pytest.fixture
def pixels():
    return render(40, 400)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, pixels):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("img.png")
    Image.fromarray(drawing()).save("drawing.png")
    return tmp_path


def fields(*argv):
    result = hcodec(*argv, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_there_and_back(pixels):
    result = hcodec("encode", "img.png", "drawing.png", "--lossless", "--model", "tiny", "-o", "out/")
    assert result.exit_code == 0 and result.stderr.count(", lossless (") == 1 and result.stderr.count(" bpsp") == 2
    assert result.stderr.count(": stored losslessly") == 1
    result = hcodec("decode", "out/img.hcodec", "out/drawing.hcodec")
    assert result.stderr.count(", lossless (") == 1 and result.stderr.count(": stored losslessly") == 1
    for name, wanted in (("img", pixels), ("drawing", drawing())):
        assert (np.asarray(Image.open(f"out/{name}.png")) == wanted).all()
    assert ", lossless" not in hcodec("decode", "out/img.hcodec", "--levels", 1, "-f").stderr


def test_the_report_tells_method_and_level():
    report = fields("encode", "img.png", "--lossless", "--model", "tiny")
    info = container.info("img.hcodec")
    row = info.lossless
    assert report["file_bytes"] == os.path.getsize("img.hcodec") == info.file_bytes
    assert (report["method"], report["start_level"], report["lossless_bytes"]) == (row.method, row.start, row.num_bytes)
    assert report["bpsp"] == 8 * info.file_bytes / (3 * 40 * 400) and report["levels"] == len(info.levels)
    assert "level_cost_bytes" not in report
    stored = fields("encode", "drawing.png", "--lossless", "--model", "tiny")
    assert (stored["method"], stored["start_level"]) == (container.info("drawing.hcodec").stored, 0)
    assert "method" not in fields("encode", "img.png", "--model", "tiny", "-f")


def test_levels_are_carried_whatever_they_cost():
    plain = fields("encode", "img.png", "--lossless", "--model", "tiny", "--level-cost")
    every = fields("encode", "img.png", "--lossless", "--model", "tiny", "--levels", 3, "-o", "all.hcodec", "--level-cost")
    assert every["levels"] == 3 and every["level_cost_bytes"] == 0
    assert plain["level_cost_bytes"] == every["file_bytes"] - plain["file_bytes"]
    assert plain["level_cost_percent"] == pytest.approx(100 * plain["level_cost_bytes"] / plain["file_bytes"])
    shown = hcodec("encode", "img.png", "--lossless", "--model", "tiny", "--level-cost", "-f").stderr
    assert f"all levels would cost {plain['level_cost_bytes']:,} bytes more" in shown
    few = hcodec("encode", "img.png", "--lossless", "--model", "tiny", "--levels", 1, "-f")
    assert few.exit_code == 1 and "builds on level 2 or" in few.stderr


def test_usage_errors_are_one_clear_line():
    for argv, line in (
        (["--lossless", "--target-bpp", "1"], "--target-bpp and --lossless exclude each other."),
        (["--level-cost"], "--level-cost needs --lossless."),
    ):
        result = hcodec("encode", "img.png", *argv)
        assert result.exit_code == 2 and result.stderr.splitlines()[-1] == f"Error: {line}"


def test_info_has_a_row_for_it(pixels):
    data, report = encode_forced(pixels)
    Path("img.hcodec").write_bytes(data)
    row = container.info(data).lossless
    last = hcodec("info", "img.hcodec").stdout.splitlines()[-1]
    assert last.split()[:2] == ["exact", f"{row.num_bytes:,}"]
    assert last.endswith(f"{row.num_bytes * 8 / (3 * 40 * 400):.3f} bpsp, coded from level 2")
    shown = fields("info", "img.hcodec")["lossless"]
    assert (shown["method"], shown["start"], shown["crc_ok"], shown["num_bytes"]) == ("coded", 2, True, len(report.data))
    Path("cut.hcodec").write_bytes(data[:-1])
    Path("bad.hcodec").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    result = hcodec("info", "cut.hcodec", "bad.hcodec", "--json")
    assert [json.loads(line)["lossless"]["crc_ok"] for line in result.stdout.splitlines()] == [None, False]
    assert hcodec("info", "cut.hcodec").stdout.splitlines()[-1].endswith(f"{row.num_bytes - 1:,} bytes present")
    assert hcodec("info", "bad.hcodec").stdout.splitlines()[-1].endswith("corrupt")
    reader = container.Reader()
    reader.feed(data)
    layers = [[layer] for layer in (*reader.coarse, *reader.pieces[0])]
    Path("odd.hcodec").write_bytes(container.write(reader.header, layers, lossless=[b"\7"]))
    assert hcodec("info", "odd.hcodec").stdout.splitlines()[-1].endswith("malformed")


def test_truncate_takes_the_layer_away():
    hcodec("encode", "img.png", "--lossless", "--model", "tiny", "--levels", 2)
    hcodec("encode", "img.png", "--model", "tiny", "--levels", 2, "-o", "two.hcodec")
    assert hcodec("truncate", "img.hcodec", "--levels", 2).exit_code == 0
    assert Path("img-L2.hcodec").read_bytes() == Path("two.hcodec").read_bytes()
    whole = hcodec("truncate", "img.hcodec", "--target-size", "1MB", "-o", "same.hcodec")
    assert ", lossless (" in whole.stderr and Path("same.hcodec").read_bytes() == Path("img.hcodec").read_bytes()


def test_a_damaged_layer_costs_a_warning_and_the_exact_picture():
    hcodec("encode", "img.png", "--lossless", "--model", "tiny")
    data = bytearray(Path("img.hcodec").read_bytes())
    data[-1] ^= 1
    Path("bad.hcodec").write_bytes(data)
    result = hcodec("decode", "bad.hcodec")
    assert result.exit_code == 0 and "Warning: bad.hcodec: the lossless layer is damaged" in result.stderr
    assert "lossless (" not in result.stderr and not fields("decode", "bad.hcodec", "-f")["lossless"]
    assert hcodec("decode", "bad.hcodec", "--strict", "-f").exit_code == 1


def test_documents_are_stored_and_it_is_said():
    said = hcodec("encode", "drawing.png", "--model", "tiny").stderr
    assert "stored losslessly" in said and "looks drawn" not in said
    assert "stored     losslessly, without a model" in hcodec("info", "drawing.hcodec").stdout
    assert hcodec("decode", "drawing.hcodec", "-o", "again.png").exit_code == 0
    assert (np.asarray(Image.open("again.png")) == drawing()).all()
    for options in (("--levels", 2), ("--target-size", "2kB")):
        said = hcodec("encode", "drawing.png", "--model", "tiny", "-f", *options).stderr
        assert "looks drawn" in said and "stored losslessly" not in said
    said = hcodec("encode", "drawing.png", "--model", "tiny", "-f", "--lossy").stderr
    assert "all 3 levels" in said and "looks drawn" not in said
    assert hcodec("encode", "drawing.png", "--lossless", "--target-size", "2kB").exit_code == 2
