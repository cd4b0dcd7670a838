"""Metadata that is damaged or made to harm, written into pictures of other formats: the pixels come back, whatever it says."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import render
from test_golden import golden

from hcodec.cli import main
from hcodec.container.attachments import Chromaticities, Cicp, Density
from hcodec.errors import HcodecWarning
from hcodec.pixels import deep_file, metadata, picture
from hcodec.pixels import exif as tiff
from hcodec.pixels.picture import Metadata, Picture

PIXELS = render(9, 7)


def entry(tag, value, kind=3):
    """A TIFF structure with one entry."""
    return struct.pack("<4sIHHHIII", b"II*\0", 8, 1, tag, kind, 1, value, 0)


def round_trip(image_format, **given):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        picture.save(picture.to_image(Picture(PIXELS, metadata=Metadata(**given))), file, image_format)
        return picture.read(file.getvalue())


@pytest.mark.parametrize("tag", [256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 317, 320, 322, 324, 330, 338, 339, 347])
@pytest.mark.parametrize("value", [0, 2, 3, 65535])
def test_exif_does_not_say_how_a_tiff_file_is_laid_out(tag, value):
    assert (round_trip("TIFF", exif=entry(tag, value)).pixels == PIXELS).all()


@pytest.mark.parametrize("image_format", ["TIFF", "AVIF", "JXL", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [b"II*\0", entry(0x112, 1)[:-8], entry(0x11A, 1 << 31, 5), entry(0x10F, 70, 2), b"MM\0*" + b"\xff" * 60]
)
def test_damaged_exif_does_not_keep_a_picture_from_being_written(image_format, exif):
    pytest.importorskip({"JXL": "pillow_jxl"}.get(image_format, "PIL"))
    shown = round_trip(image_format, exif=exif)
    assert shown.pixels.shape == PIXELS.shape and (
        image_format == "AVIF" or np.abs(shown.pixels.astype(int) - PIXELS).max() < 100
    )


@pytest.mark.parametrize("codes", [(0, 0), (3, 13), (1, 3), (13, 1), (22, 13), (255, 255), (9, 16), (12, 18)])
def test_heic_files_can_be_read_again_whatever_the_code_points(codes):
    pytest.importorskip("pillow_heif")
    shown = round_trip("HEIF", cicp=Cicp(*codes, 0, 1))
    assert shown.pixels.shape == PIXELS.shape
    if codes in ((9, 16), (12, 18)):
        assert shown.metadata.cicp[:2] == codes


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_damaged_pointer_to_the_place_blanks_nothing_else(order):
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    for led_to in (0, 1, 2, 7, 8, 1 << 31):
        entries = struct.pack(f"{order}HHHIIHHIII", 2, 0x10F, 2, 4, 0x41424344, 0x8825, 4, 1, led_to, 0)
        expected = struct.pack(f"{order}HHHIII", 1, 0x10F, 2, 4, 0x41424344, 0)
        after = tiff.without_gps(head + entries)
        assert after[:8] == head and len(after) == len(head + entries)
        if led_to in (0, 8, 1 << 31):
            assert after == head + expected + bytes(12)


def test_16_bit_files_say_what_there_is_and_name_what_they_cannot():
    samples = np.arange(8 * 9 * 3, dtype=np.uint16).reshape(8, 9, 3) * 301
    color = Chromaticities(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6001)
    metadata = Metadata(
        xmp=b"<x/>", cicp=Cicp(9, 16, 0, 1), chromaticities=color, gamma=45000, density=Density(11811, 5906, 1),
        exif=entry(0x112, 1), text=(("a", "b"), ("ä", "漢")),
    )  # fmt: skip
    data, left_out = deep_file.encode(samples, "PNG", metadata)
    found = picture.read(data)
    assert (found.deep == samples).all() and found.metadata == metadata and not left_out
    data, left_out = deep_file.encode(samples, "TIFF", metadata)
    found = picture.read(data)
    assert (found.deep == samples).all() and found.metadata.xmp == metadata.xmp
    assert (found.metadata.density, found.metadata.chromaticities) == (metadata.density, color)
    assert left_out == ["color (CICP 9/16/0/1)", "2 texts"]


@pytest.mark.parametrize("name", ["two.jxl", "two.heic", "two.psd"])
def test_decode_takes_no_picture_for_an_input(tmp_path, name):
    """With --force, the picture beside the file, of which it was made, would be overwritten."""
    (tmp_path / "one.hcodec").write_bytes(golden("levels-65x65"))
    (tmp_path / "one.png").write_bytes(b"precious")
    result = CliRunner().invoke(main, ["decode", "--force", str(tmp_path / "one.hcodec"), str(tmp_path / name)])
    assert (tmp_path / "one.png").read_bytes() == b"precious"
    assert (tmp_path / name).exists() == (result.exit_code == 0)


def test_damaged_exif_says_no_resolution_that_cannot_be_written():
    whole = tiff.of_resolution(11811, 2**31 - 1)
    assert tiff.resolution(whole) == (11811, 2**31 - 1) and len(whole) == tiff.RESOLUTION_BYTES
    damaged = [whole[:place] + bytes([byte]) + whole[place + 1 :] for place in range(len(whole)) for byte in (0, 2, 127, 255)]
    for exif in (*damaged, *(whole[:end] for end in range(len(whole)))):
        found = tiff.resolution(exif)
        assert found is None or all(0 < side < 2**31 for side in found)
        assert metadata.out_of_exif(Metadata(exif=exif)).exif in (exif, b"")
