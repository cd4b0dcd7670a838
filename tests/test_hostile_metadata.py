"""Metadata that is damaged or made to harm, written into pictures of other formats: the pixels come back, whatever it says."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from conftest import render

from hcodec.container.attachments import Cicp
from hcodec.errors import HcodecWarning
from hcodec.pixels import exif as tiff
from hcodec.pixels import picture
from hcodec.pixels.picture import Metadata, Picture

PIXELS = render(9, 7)


def entry(tag, value, kind=3):
    """A TIFF structure with one entry."""
    return struct.pack("<4sIHHHIII", b"II*\0", 8, 1, tag, kind, 1, value, 0)


def round_trip(image_format, **metadata):
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        picture.save(picture.to_image(Picture(PIXELS, metadata=Metadata(**metadata))), file, image_format)
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
