"""Orientation, ICC, EXIF and XMP: applied once, kept byte for byte, nothing lost in silence."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo
from test_picture import ALPHA, GRAY, RGB, as_file, exif_bytes, reopen, reopen_bytes

from hcodec.container.attachments import Cicp
from hcodec.errors import HcodecWarning
from hcodec.pixels.picture import Metadata, Picture, read, to_image

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/>\xc3\xa9</x:xmpmeta>'


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_all_orientations_are_applied_once(orientation, image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = as_file(Image.fromarray(RGB), image_format, exif=exif_bytes(orientation), **options)
    with Image.open(io.BytesIO(data)) as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored))
    picture = read(data)
    assert np.array_equal(picture.pixels, expected)
    assert picture.pixels.shape[:2] == ((7, 11) if orientation < 5 else (11, 7))
    exif = Image.Exif()
    exif.load(picture.metadata.exif)
    assert exif.get(0x0112, 1) == 1 and exif[0x010F] == "Maker"
    assert exif.get_ifd(0x8769)[0x9003] == "2026:11:22 10:11:12"
    assert np.array_equal(read(reopen(to_image(picture), "PNG")).pixels, expected)


@pytest.mark.parametrize("mode", ["L", "RGBA", "I;16", "P"])
def test_orientation_turns_alpha_and_every_mode(mode):
    image = Image.fromarray(np.dstack([RGB, ALPHA]))
    image = Image.fromarray(GRAY.astype(np.uint16) * 257) if mode == "I;16" else image.convert(mode)
    data = as_file(image, "PNG", exif=exif_bytes(6))
    upright, stored = read(data), read(as_file(image, "PNG"))
    assert np.array_equal(upright.pixels, np.rot90(stored.pixels, -1))
    assert (upright.alpha is None) == (stored.alpha is None)
    assert upright.alpha is None or np.array_equal(upright.alpha, np.rot90(stored.alpha, -1))


@pytest.mark.parametrize("kind", [1, 3, 4])
@pytest.mark.parametrize("order", ["little", "big"])
def test_exif_is_changed_in_the_orientation_only(kind, order):
    """The rest, maker notes with their absolute offsets for one, would not survive a rewriting."""

    def integer(value, size):
        return value.to_bytes(size, order)

    size = {1: 1, 3: 2, 4: 4}[kind]
    value = integer(8, size).ljust(4, b"\0")
    tiff = (b"II*\0" if order == "little" else b"MM\0*") + integer(12, 4) + b"gap!" + integer(2, 2)
    tiff += integer(0x0100, 2) + integer(4, 2) + integer(1, 4) + integer(7, 4)
    tiff += integer(0x0112, 2) + integer(kind, 2) + integer(1, 4) + value + bytes(4) + b"maker note"
    picture = read(as_file(Image.fromarray(RGB), "PNG", exif=tiff))
    assert np.array_equal(picture.pixels, np.rot90(RGB))
    assert picture.metadata.exif == tiff.replace(value + bytes(4), integer(1, size).ljust(4, b"\0") + bytes(4))


def test_orientation_from_xmp_alone():
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    picture = read(as_file(Image.fromarray(RGB), "PNG", pnginfo=info))
    assert np.array_equal(picture.pixels, np.rot90(RGB, -1))
    assert picture.metadata == Metadata(xmp=XMP.replace(b'"6"', b'"1"'))
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    both = read(as_file(Image.fromarray(RGB), "PNG", pnginfo=info, exif=exif_bytes(1)))
    assert np.array_equal(both.pixels, RGB)  # EXIF has the word


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("gray", [False, True])
def test_metadata_goes_round(image_format, gray):
    xmp = XMP.replace(b'"6"', b'"1"')
    exif = exif_bytes(1).removeprefix(b"Exif\0\0")
    picture = Picture(np.repeat(RGB[..., :1], 3, axis=2), None, gray, Metadata(ICC, exif, xmp))
    image = to_image(picture)
    assert image.info == {"icc_profile": ICC, "exif": b"Exif\0\0" + exif, "xmp": xmp}
    again = read(reopen_bytes(image, image_format))
    assert again.metadata.icc == ICC and again.metadata.xmp == xmp
    if image_format in ("PNG", "JPEG", "WEBP"):
        assert again.metadata.exif == exif
    else:  # Pillow rewrites it
        kept = Image.Exif()
        kept.load(again.metadata.exif)
        assert kept[0x010F] == "Maker" and kept.get_ifd(0x8769)[0x9003] == "2026:11:22 10:11:12"


def test_a_picture_without_metadata_has_none():
    assert to_image(read(RGB)).info == {}
    for image_format in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "BMP"):
        expected = Metadata(cicp=Cicp(1, 13, 6, 1)) if image_format == "AVIF" else Metadata()  # it always says sRGB
        assert read(reopen_bytes(to_image(read(RGB)), image_format)).metadata == expected


def test_the_old_exif_of_png_text_is_kept():
    raw = exif_bytes(6)
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(raw):8}\n{raw.hex()}\n")
    picture = read(as_file(Image.fromarray(RGB), "PNG", pnginfo=info))
    assert np.array_equal(picture.pixels, np.rot90(RGB, -1))
    exif = Image.Exif()
    exif.load(picture.metadata.exif)
    assert exif[0x010F] == "Maker" and exif[0x0112] == 1


def test_damaged_exif_is_dropped_and_said():
    picture = read(as_file(Image.fromarray(RGB), "PNG", exif=b"rubbish"))
    assert picture.metadata.exif == b"" and picture.notes == ("left out: Exif (it is damaged)",)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([b"II*\0", b"MM\0*"]))
def test_any_exif_is_survived(noise, start):
    image = Image.fromarray(RGB)
    image.info["exif"] = start + noise
    picture = read(image)
    assert len(picture.metadata.exif) == 4 + len(noise)


def test_metadata_too_long_for_jpeg_is_dropped_with_a_warning():
    exif, xmp = b"MM\0*" + bytes(65530), b"x" * 65530
    image = to_image(Picture(RGB, metadata=Metadata(ICC * 40, exif, xmp)))
    with pytest.warns(HcodecWarning) as caught:
        again = read(reopen_bytes(image, "JPEG"))
    assert [str(warning.message) for warning in caught] == ["left out (JPEG has no place for it): Exif, XMP"]
    assert again.metadata == Metadata(icc=ICC * 40)
