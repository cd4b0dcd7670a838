"""`hcodec inspect`: the bits it counts are those that files hold, it sees what is strange, and it writes a sheet."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import render
from PIL import Image

import hcodec
from hcodec import inspection, models
from hcodec.cli import main

SIZE = (192, 256)


@pytest.fixture(scope="module")
def photo():
    return models.load("photo-1")


def seen(pixels, photo):
    return inspection.inspect(pixels, photo)


@pytest.mark.parametrize("windows", ["one", "several"])
def test_bits_are_those_of_the_file(windows, photo, request):
    if windows == "several":
        request.getfixturevalue("small_windows")
    pixels = render(*SIZE)
    views = seen(pixels, photo)
    levels = hcodec.info(hcodec.encode(pixels)).levels
    assert [view.number for view in views] == [level.level for level in levels] == [1, 2, 3, 4, 5, 6, 7]
    for view, level in zip(views, levels, strict=True):
        # scale offsets save a little, and every piece ends with a whole word
        assert view.bits == pytest.approx(8 * level.num_bytes, rel=0.06, abs=800 if windows == "several" else 200)
        assert view.rate.shape == (24, 32) and view.bpp == view.bits / pixels[..., 0].size
        np.testing.assert_allclose(64 * view.rate.sum(), view.bits, rtol=1e-4)


def test_bits_go_where_something_happens(photo):
    pixels = np.full((*SIZE, 3), 128, np.uint8)
    pixels[:, 128:] = render(192, 128)
    for view in seen(pixels, photo)[3:]:
        assert view.rate[:, 20:].mean() > 5 * view.rate[:, :12].mean()


def test_noise_surprises_and_turning_does_not(photo):
    pixels = render(*SIZE)
    random = np.random.default_rng(0)

    def most(picture):
        return max(view.surprise for view in seen(np.ascontiguousarray(picture), photo))

    usual, noise = most(pixels), random.integers(0, 256, pixels.shape, dtype=np.uint8)
    assert most(noise) > 1.1 * usual
    assert most(pixels[::-1]) == pytest.approx(usual, rel=0.2)


def test_any_size_can_be_inspected(photo):
    for height, width in ((1, 1), (7, 130), (65, 9)):
        views = seen(render(height, width), photo)
        assert len(views) == 7 and all(np.isfinite([view.bits, view.surprise]).all() for view in views)


def test_the_command_shows_a_table_and_writes_a_sheet(tmp_path):
    source, target = tmp_path / "in.png", tmp_path / "sheet.png"
    Image.fromarray(render(*SIZE)).save(source)
    run = CliRunner().invoke
    result = run(main, ["inspect", str(source), "-o", str(target)])
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 9 and "Most surprising: level" in result.stdout
    with Image.open(target) as sheet:
        assert sheet.size == (8 + 7 * (256 + 8), 44 + 3 * (192 + 8))
    again = run(main, ["inspect", str(source), "-o", str(target)])
    assert again.exit_code == 1 and "exists" in again.stderr and again.stderr.count("\n") == 1
    levels = json.loads(run(main, ["inspect", str(source), "--json"]).stdout)["levels"]
    assert [level["level"] for level in levels] == [1, 2, 3, 4, 5, 6, 7] and levels[0]["bits"] > 0


def test_drawings_and_16_bits_have_a_sheet_too(tmp_path):
    drawing, deep = tmp_path / "drawing.png", tmp_path / "deep.png"
    Image.fromarray(np.kron(np.eye(13, dtype=np.uint8) * 255, np.ones((10, 10), np.uint8))).save(drawing)
    Image.fromarray(np.linspace(0, 65535, 2000).astype(np.uint16).reshape(40, 50)).save(deep)
    for source, warned in ((drawing, ""), (deep, f"Warning: {deep}: 16-bit samples rounded to 8 bits\n")):
        result = CliRunner().invoke(main, ["inspect", str(source), "-o", str(source.with_suffix(".sheet.png"))])
        assert result.exit_code == 0 and result.stderr == warned


def test_what_is_no_picture_gets_one_line(tmp_path):
    (tmp_path / "x.png").write_bytes(b"none")
    result = CliRunner().invoke(main, ["inspect", str(tmp_path / "x.png"), "-o", str(tmp_path / "y.png")])
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and not (tmp_path / "y.png").exists()
