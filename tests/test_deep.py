"""Samples of 16 bits: exact from arrays and files through files and archives, and told of where they are rounded."""

from __future__ import annotations

import io
import json
import struct

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from test_picture import sixteen_bit_png

import hcodec
from hcodec import codec
from hcodec.cli import main
from hcodec.coders import deep as coder
from hcodec.container.attachments import Chromaticities, Density
from hcodec.errors import FormatError, HcodecWarning, PictureError
from hcodec.pixels import deep_file, picture
from hcodec.pixels.metadata import Metadata


def smooth(channels, height=40, width=60, seed=0):
    """Gradients with a little noise, uint16 (H, W, C), all of the range."""
    random = np.random.default_rng(seed)
    rows, columns = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    planes = 65535 * (rows * columns + (1 - columns) * np.arange(channels) / 4) / 2 + random.normal(
        0, 9, (height, width, channels)
    )
    found = np.clip(np.rint(planes), 0, 65535).astype(np.uint16)
    found[0, 0], found[-1, -1] = 0, 65535
    return found


def read_by_pillow(data):
    """Samples that are known to be read right: those of gray."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("image_format", deep_file.FORMATS)
def test_files_of_16_bits_there_and_back(channels, image_format):
    samples = smooth(channels)
    data, _ = deep_file.encode(samples, image_format, Metadata())
    if channels == 1:
        assert (read_by_pillow(data) == samples[..., 0]).all()
    if (channels, image_format) == (2, "TIFF"):  # as Pillow reads no TIFF files of gray and alpha
        samples, channels = samples[..., [0, 0, 0, 1]], 4
    found = picture.read(data)
    assert found.deep is not None and (found.deep == samples).all() and found.deep.shape == samples.shape
    assert abs(found.pixels[..., 0] - samples[..., 0] / 257).max() <= 1 and found.gray == (channels < 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("image_format", deep_file.FORMATS)
def test_what_comes_along_is_written_back_or_named(channels, image_format):
    exif = Image.Exif()
    exif[270], exif.get_ifd(0x8825)[1] = "A mountain", "N"
    colors = Chromaticities(*range(31270, 39270, 1000))
    given = Metadata(
        icc=b"any", exif=exif.tobytes()[6:], xmp=b"<x/>", gamma=45455, chromaticities=colors, density=Density(5906, 5906, 1),
        text=(("Title", "16 bits"),),
    )  # fmt: skip
    data, left_out = deep_file.encode(smooth(channels), image_format, given)
    found = picture.read(data)
    assert found.deep is not None and (found.deep == smooth(channels)).all()
    assert (found.metadata.icc, found.metadata.xmp, found.metadata.density) == (b"any", b"<x/>", given.density)
    read = Image.open(io.BytesIO(data)).getexif()
    assert read[270] == "A mountain" and read.get_ifd(0x8825)[1] == "N"
    assert found.metadata.chromaticities == colors
    assert left_out == ([] if image_format == "PNG" else ["1 text"])
    if image_format == "PNG":
        assert (found.metadata.gamma, found.metadata.text) == (45455, given.text)


def test_gray_files_of_others():
    samples = smooth(1)[..., 0]
    for image_format, options in (("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})):
        file = io.BytesIO()
        Image.fromarray(samples).save(file, image_format, **options)
        found = picture.read(file.getvalue())
        assert found.deep is not None and (found.deep[..., 0] == samples).all()
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(samples).save(file, "PNG", exif=turned)
    found = picture.read(file.getvalue())
    assert found.deep is not None and (found.deep[..., 0] == np.rot90(samples, -1)).all()
    color, _ = deep_file.encode(smooth(3), "PNG", Metadata(exif=turned.tobytes()[6:]))
    assert (picture.read(color).deep == np.rot90(smooth(3), -1)).all()


def test_eight_bits_are_not_deep():
    assert picture.read(np.zeros((3, 4, 3), np.uint8)).deep is None
    assert picture.read(Image.new("RGB", (5, 6))).deep is None


def test_what_the_guide_says_of_formats():
    """Gray JPEG 2000 is kept; PGM, PPM, SGI and JPEG 2000 of colors are refused."""
    samples, jpeg2000 = smooth(1)[..., 0], io.BytesIO()
    Image.fromarray(samples).save(jpeg2000, "JPEG2000")
    assert (codec.decode_picture(hcodec.encode(jpeg2000.getvalue(), lossless=True)).deep[..., 0] == samples).all()
    wide = smooth(3).astype(">u2")
    netpbm = [b"P%d\n60 40\n65535\n" % kind + body.tobytes() for kind, body in ((5, wide[..., 0]), (6, wide))]
    sgi = struct.pack(">HBBHHHHII", 474, 0, 2, 3, 60, 40, 3, 0, 65535).ljust(512, b"\0") + wide.transpose(2, 0, 1).tobytes()
    for data in (*netpbm, sgi):
        with pytest.raises(PictureError, match="--convert"):
            hcodec.encode(data, lossless=True)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_color_of_16_bits_becomes_alpha(channels):
    samples = smooth(channels)
    samples[3:5, 7:9] = samples[3, 7]
    key = (b"tRNS", samples[3, 7].astype(">u2").tobytes())
    found = picture.read(sixteen_bit_png(channels - 1, samples, key))
    alpha = np.where((samples == samples[3, 7]).all(axis=2), 0, 65535)
    assert found.deep is not None and (found.deep == np.dstack([samples, alpha])).all()
    assert found.alpha is not None and (found.alpha == alpha >> 8).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_lossless_is_exact(channels):
    samples = smooth(channels)
    for source in (samples, deep_file.encode(samples, "PNG", Metadata(xmp=b"<x/>"))[0]):
        data = hcodec.encode(source, lossless=True)
        info = hcodec.info(data)
        assert (info.depth, info.stored, info.gray, info.alpha_bytes) == (16, "16-bit", channels < 3, 0)
        found = codec.decode_picture(data)
        assert found.exact and found.deep is not None and (found.deep == samples).all()
        assert (found.alpha is not None) == (channels % 2 == 0)
        part = codec.decode_picture(data, region=(5, 6, 7, 8)).deep
        assert part is not None and (part == samples[6:14, 5:12]).all()
    assert hcodec.encode(samples[..., 0] if channels == 1 else samples, lossless=True) == hcodec.encode(samples, lossless=True)


def test_gray_is_an_image_of_16_bits_and_color_is_told_of():
    image = hcodec.decode(hcodec.encode(smooth(1), lossless=True))
    assert image.mode == "I;16" and (np.asarray(image) == smooth(1)[..., 0]).all()
    with pytest.warns(HcodecWarning, match="decode_picture has them"):
        assert hcodec.decode(hcodec.encode(smooth(3), lossless=True)).mode == "RGB"


def test_all_ways_to_a_color_image_tell_of_it():
    data = hcodec.encode(smooth(3), lossless=True)
    with pytest.warns(HcodecWarning, match="rounded to 8 bits"), hcodec.open(data) as file:
        file.image()
    with hcodec.StreamDecoder() as decoder:
        decoder.feed(data)
        with pytest.warns(HcodecWarning, match="rounded to 8 bits"):
            decoder.image()


def test_levels_take_8_bits():
    assert hcodec.info(hcodec.encode(smooth(3), model="tiny")).depth == 8
    with pytest.raises(PictureError, match="without levels only"):
        hcodec.encode(smooth(3), model="tiny", lossless=True, levels=3)


@pytest.mark.parametrize("step", [1, 16, 257])
def test_what_fewer_bits_hold_is_short(step):
    samples = smooth(3, 100, 120) // step * step
    data = coder.encode(samples)
    assert (coder.decode(data, 100, 120) == samples).all()
    png = len(deep_file.encode(samples, "PNG", Metadata())[0])
    assert len(data) < png


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2)])
def test_any_size_and_extreme_samples(size):
    for seed in range(6):
        samples = (
            np.random.default_rng(seed).choice([0, 1, 255, 256, 32767, 32768, 65535], (*size, 1 + seed % 4)).astype(np.uint16)
        )
        assert (coder.decode(coder.encode(samples), *size) == samples).all()


def test_damage_is_told():
    data = coder.encode(smooth(3))
    for harmed in (
        data[:-1],
        data + b"\0",
        b"\5" + data[1:],
        data[:1] + b"\2" + data[2:],
        data[:2] + b"\xff\xff\3" + data[3:],
        b"",
    ):
        with pytest.raises(FormatError):
            coder.decode(harmed, 40, 60)


def run(*argv):
    return CliRunner().invoke(main, [str(word) for word in argv])


def test_the_command_line_keeps_16_bits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, channels in (("gray.tif", 1), ("color.png", 3), ("alpha.png", 4)):
        image_format = "TIFF" if name.endswith("tif") else "PNG"
        (tmp_path / name).write_bytes(deep_file.encode(smooth(channels), image_format, Metadata(icc=b""))[0])
    result = run("encode", "gray.tif", "color.png", "alpha.png", "--lossless", "-o", "out/")
    assert result.exit_code == 0 and "Warning" not in result.stderr and result.stderr.count("16-bit: stored losslessly") == 3
    assert json.loads(run("info", "--json", "out/color.hcodec").stdout)["depth"] == 16
    assert "RGB of 16 bits" in run("info", "out/color.hcodec").stdout
    for ending in ("png", "tif"):
        assert run("decode", "out/gray.hcodec", "out/color.hcodec", "--format", ending, "-o", "back/").exit_code == 0
        assert (picture.read(f"back/gray.{ending}").deep == smooth(1)).all()
        assert (picture.read(f"back/color.{ending}").deep == smooth(3)).all()
    assert "rounded to 8 bits" in run("decode", "out/color.hcodec", "-o", "c.jpg").stderr
    assert "16-bit samples" in run("encode", "color.png", "--lossy", "--model", "tiny").stderr


def test_archives_keep_16_bits_and_drawings(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "color.png").write_bytes(deep_file.encode(smooth(3), "PNG", Metadata())[0])
    (tmp_path / "alpha.png").write_bytes(deep_file.encode(smooth(4), "PNG", Metadata())[0])
    page = np.where(np.random.default_rng(0).random((150, 200)) < 0.01, 0, 255).astype(np.uint8)
    Image.fromarray(page).convert("1").save("page.png")
    result = run("pack", "color.png", "alpha.png", "page.png", "-o", "a.hcodec")
    assert result.exit_code == 0 and "16-bit" not in result.stderr
    shown = run("list", "a.hcodec", "--check").stdout
    assert shown.count("16-bit ") == 2 and "drawn" in shown
    assert run("unpack", "a.hcodec", "-o", "out").exit_code == 0
    assert (picture.read("out/color.png").deep == smooth(3)).all() and (picture.read("out/alpha.png").deep == smooth(4)).all()
    assert (picture.read("out/page.png").pixels[..., 0] == page).all()
