"""Commands on files that hold a picture as a whole, without levels, alone and among others."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import render
from PIL import Image
from test_cli import hcodec as run
from test_whole import page

import hcodec

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


def test_levels_of_a_mixed_folder_are_kept():
    result = run("truncate", "-r", "mixed", "-o", "out/", "--levels", 2)
    assert result.exit_code == 0 and result.stderr.count("Warning") == 2
    for name in STORED:
        assert Path(f"out/{name}-L2.hcodec").read_bytes() == Path(f"mixed/{name}.hcodec").read_bytes()
    result = run("truncate", "-r", "mixed", "-o", "short/", "--target-size", 400)
    assert result.exit_code == 1 and sorted(os.listdir("short")) == ["deep-400B.hcodec", "photo-400B.hcodec"]
    assert "page.hcodec: the picture, which is stored as a whole, needs" in result.stderr
