"""What files say of color: kept in ours, written back where the other format can say it, and warned of where it cannot."""

from __future__ import annotations

import importlib.util
import io
import struct
import warnings
import zlib
from dataclasses import replace

import numpy as np
import pytest
from conftest import render
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from test_metadata import ICC
from test_picture import GRAY, RGB, as_file, reopen_bytes

from hcodec import decode, encode, info, pack
from hcodec.codec import decode_picture
from hcodec.container.attachments import Chromaticities, Cicp
from hcodec.errors import HcodecWarning, PictureError
from hcodec.pixels import plugins
from hcodec.pixels.facts import Facts, facts_of
from hcodec.pixels.metadata import SRGB
from hcodec.pixels.picture import Metadata, Picture, read, save, to_image

PQ = Cicp(9, 16, 0, 1)
ADOBE = Chromaticities(31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)
SRGB_CHROMATICITIES = Chromaticities(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
STATEMENTS = {
    "cicp": Metadata(cicp=PQ),
    "srgb": Metadata(cicp=SRGB),
    "gamma": Metadata(gamma=100_000),
    "chromaticities": Metadata(chromaticities=ADOBE, gamma=45455),
    "all": Metadata(ICC, b"", b"", PQ, ADOBE, 45455),
}
heif = pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")


def png(image=None, icc=None, **chunks):
    """A PNG file with chunks as they are in the standard."""
    listed = PngInfo()
    for name, data in chunks.items():
        listed.add(name.encode(), data)
    options = {"icc_profile": icc} if icc else {}
    return as_file(Image.fromarray(RGB) if image is None else image, "PNG", pnginfo=listed, **options)


def chunks(data):
    """The chunks of a PNG file before the pixels, by name."""
    found, position = {}, 8
    while (name := data[position + 4 : position + 8]) != b"IDAT":
        size = int.from_bytes(data[position : position + 4], "big")
        found[name.decode()] = data[position + 8 : position + 8 + size]
        position += size + 12
    return found


def written(metadata, image_format):
    """A picture with metadata in a file of a format, and the warnings that it took."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data = reopen_bytes(to_image(Picture(RGB, metadata=metadata)), image_format)
    return data, [str(warning.message) for warning in caught]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"cICP": bytes(PQ)}, Metadata(cicp=PQ)),
        ({"sRGB": b"\0"}, Metadata(cicp=SRGB)),
        ({"gAMA": struct.pack(">I", 100_000)}, Metadata(gamma=100_000)),
        ({"cHRM": struct.pack(">8I", *ADOBE), "gAMA": struct.pack(">I", 45455)}, Metadata(chromaticities=ADOBE, gamma=45455)),
        ({"cICP": bytes(PQ), "gAMA": struct.pack(">I", 45455)}, Metadata(cicp=PQ, gamma=45455)),
        ({"gAMA": bytes(4)}, Metadata()),
        ({"cICP": bytes((9, 16, 0, 7))}, Metadata()),
        ({"cICP": bytes(3)}, Metadata()),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("gray", [False, True])
def test_png_says_the_same_again(said, expected, gray):
    data = png(Image.fromarray(GRAY if gray else RGB), **said)
    ours = encode(data, model="tiny", levels=1)
    assert decode_picture(ours).metadata == read(data).metadata == expected
    again = reopen_bytes(decode(ours), "PNG")
    assert read(again).metadata == expected and read(again).gray == gray
    if expected != Metadata():
        assert {name: value for name, value in chunks(again).items() if name not in ("IHDR", "PLTE")} == said
    shown = info(ours)
    assert (shown.cicp, shown.gamma, shown.chromaticities) == (expected.cicp, expected.gamma, expected.chromaticities)


def test_a_profile_goes_before_the_srgb_chunk():
    """In PNG; in our files code points would go first, so they are not made of that chunk then."""
    data = png(sRGB=b"\0", gAMA=struct.pack(">I", 45455))
    position = data.index(b"gAMA") - 4
    profile = chunks(png(icc=ICC))["iCCP"]
    chunk = struct.pack(">I", len(profile)) + b"iCCP" + profile + struct.pack(">I", zlib.crc32(b"iCCP" + profile))
    both = data[:position] + chunk + data[position:]
    assert read(both).metadata == Metadata(icc=ICC, gamma=45455)


@pytest.mark.parametrize("kind", STATEMENTS)
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "JPEG2000", "TGA", "PPM"])
def test_what_a_format_cannot_say_is_warned_of_once(kind, image_format):
    metadata = STATEMENTS[kind]
    data, warned = written(metadata, image_format)
    found = read(data).metadata
    can = {"PNG": {"icc", "cicp", "gamma", "chromaticities"}, "TIFF": {"icc", "chromaticities"}}
    holds = can.get(image_format, {"icc"} if image_format in ("JPEG", "WEBP", "AVIF") else set())
    for name in ("icc", "chromaticities", "gamma"):
        assert getattr(found, name) == getattr(metadata if name in holds else Metadata(), name)
    words = " ".join(warned)
    assert ("CICP 9/16/0/1" in words) == (metadata.cicp == PQ and image_format != "PNG")
    assert ("ICC profile" in words) == (bool(metadata.icc) and "icc" not in holds)
    assert ("gamma 1" in words) == (kind == "gamma" and image_format != "PNG")
    assert ("chromaticities" in words) == (kind == "chromaticities" and image_format not in ("PNG", "TIFF"))
    assert len(warned) <= 1 and (kind != "srgb" or not warned)


def test_what_everybody_takes_for_granted_is_no_loss():
    assert written(Metadata(gamma=45455, chromaticities=SRGB_CHROMATICITIES), "JPEG")[1] == []
    assert written(Metadata(gamma=45455), "WEBP")[1] == []
    assert written(Metadata(icc=ICC, gamma=100_000), "JPEG")[1] == []  # the profile goes first, and is kept


def test_archives_have_no_place_for_color():
    with pytest.warns(HcodecWarning) as caught:
        pack([("a.png", png(gAMA=struct.pack(">I", 100_000))), ("b.png", png(cICP=bytes(PQ))), ("c.png", RGB)])
    assert [str(one.message) for one in caught] == ["a.png: left out: gamma 1", "b.png: left out: color (CICP 9/16/0/1)"]


def test_an_archive_needs_no_place_for_the_color_that_everybody_assumes():
    plain = Cicp(1, 13, 6, 1)  # as Pillow writes it into every AVIF file
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pack([("a", Picture(RGB, metadata=Metadata(cicp=plain))), ("b", Picture(RGB, metadata=Metadata(icc=ICC, gamma=45455)))])
    with pytest.warns(HcodecWarning, match="left out: color"):  # without it, the profile would go first
        pack([("a", Picture(RGB, metadata=Metadata(cicp=plain, icc=ICC)))])


def test_images_that_are_open_are_looked_into_and_left_as_they_were():
    data = png(cICP=bytes(PQ))
    with Image.open(io.BytesIO(data)) as image:
        assert read(image).metadata.cicp == PQ and np.array_equal(np.asarray(image), RGB)
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        assert np.array_equal(read(image).pixels, RGB)


def test_what_came_out_goes_in_again():
    metadata = replace(STATEMENTS["all"], text=(("Comment", "ü"), ("Title", "t")))
    ours = encode(Picture(RGB, metadata=metadata), model="tiny", levels=1)
    assert decode_picture(encode(decode(ours), model="tiny", levels=1)).metadata == metadata


# AVIF, HEIC, JPEG 2000, TIFF


def box(kind, *content):
    body = b"".join(content)
    return struct.pack(">I", 8 + len(body)) + kind + body


def avif(*properties, primary=2):
    """What of an AVIF file tells of its items: the first has a property of its own, the second all the others."""
    wrong = box(b"colr", b"nclx", struct.pack(">HHHB", 1, 13, 6, 128))
    numbers = bytes(range(2, 2 + len(properties)))
    associations = struct.pack(">II", 0, 2) + b"\0\1\1\1" + b"\0\2" + bytes((len(numbers),)) + numbers
    inner = box(b"iprp", box(b"ipco", wrong, *properties), box(b"ipma", associations))
    meta = box(b"meta", bytes(4), box(b"pitm", bytes(4), struct.pack(">H", primary)), inner)
    return box(b"ftyp", b"avif", bytes(4)) + meta + box(b"mdat", bytes(100))


def facts(data):
    image = Image.new("RGB", (1, 1))
    image.fp = io.BytesIO(data)
    image.fp.seek(3)
    found = facts_of(image)
    assert image.fp.tell() == 3
    return found


def test_the_primary_picture_of_avif_and_heic_counts():
    color, depth = box(b"colr", b"nclx", struct.pack(">HHHB", *PQ[:3], 128)), box(b"pixi", bytes(4), bytes((3, 10, 10, 10)))
    assert facts(avif(color, depth)) == Facts(10, PQ)
    assert facts(avif(color, depth, primary=1)) == Facts(0, Cicp(1, 13, 6, 1))
    assert facts(avif(color, depth, primary=3)) == Facts()
    assert facts(avif(box(b"av1C", b"\x81\0\x60"))) == Facts(12)
    assert facts(avif(box(b"av1C", b"\x81\0\0"))) == Facts()
    assert facts(avif(box(b"colr", b"nclx", struct.pack(">HHHB", 300, 1, 1, 0)))) == Facts()
    assert facts(avif(box(b"colr", b"prof", b"profile"))) == Facts(icc=b"profile")


@pytest.mark.parametrize("length", [0, 24, 1])
@pytest.mark.parametrize(("kind", "number"), [(b"jxlc", b""), (b"jxlp", bytes(4))])
def test_the_codestream_of_jpeg_xl_is_found(length, kind, number):
    content = number + bytes.fromhex("ff0a3a1f00010a285a0408020100a404")[: 16 - len(number)]
    long = (24 + len(content) - 8).to_bytes(8, "big") if length == 1 else b""
    packed = box(b"xml ", b"<x/>") + struct.pack(">I", length) + kind + long + content
    assert facts(b"\0\0\0\x0cJXL \r\n\x87\n" + packed) == Facts(10, xmp=b"<x/>")


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["png", "avif", "jp2", "jxl", "j2k"]), st.integers(0, 300))
def test_any_bytes_are_survived(noise, kind, place):
    start = {
        "png": png(cICP=bytes(PQ)),
        "avif": avif(box(b"colr", b"nclx", bytes(7))),
        "jp2": as_file(Image.fromarray(RGB), "JPEG2000"),
        "jxl": b"\0\0\0\x0cJXL \r\n\x87\n" + box(b"jxlc", bytes(60)),
        "j2k": b"\xff\x4f\xff\x51",
    }[kind]
    assert isinstance(facts(start[:place] + noise + start[place + len(noise) :]), Facts)


def test_avif_says_srgb_unless_it_has_a_profile():
    plain, profiled = as_file(Image.fromarray(RGB), "AVIF"), as_file(Image.fromarray(RGB), "AVIF", icc_profile=ICC)
    assert read(plain).metadata == Metadata(cicp=Cicp(1, 13, 6, 1)) and read(plain).metadata.is_srgb
    assert read(profiled).metadata == Metadata(icc=ICC)
    assert chunks(reopen_bytes(to_image(read(plain)), "PNG"))["sRGB"] == b"\0"


@heif
def test_heic_is_read_and_written(tmp_path):
    path = tmp_path / "a.heic"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(to_image(Picture(render(64, 64), metadata=Metadata(cicp=PQ, exif=b"MM\0*" + bytes(8)))), path)
    found = read(path)
    assert found.metadata.cicp[:2] == PQ[:2] and found.notes == ()
    assert np.abs(found.pixels.astype(int) - render(64, 64)).mean() < 8


@pytest.mark.parametrize(("start", "name"), [(b"\0\0\0\x18ftypheic", "HEIC"), (b"\xff\x0a", "JPEG XL"), (b"BM", "")])
def test_a_package_that_is_missing_is_named(start, name, monkeypatch):
    monkeypatch.setattr(plugins, "_register", lambda: False)
    monkeypatch.setattr(Image, "open", lambda _file: (_ for _ in ()).throw(UnidentifiedImageError))
    with pytest.raises(PictureError, match=rf"{name} file, or the package .*\[formats\]" if name else "its format is unknown"):
        read(start + bytes(30))


@heif
def test_10_bits_of_heic_are_said(tmp_path):
    import pillow_heif

    deep = pillow_heif.from_bytes("RGB;16", (64, 64), render(64, 64).astype(np.uint16).repeat(2).tobytes()[: 64 * 64 * 6])
    deep.save(tmp_path / "a.heic")
    assert read(tmp_path / "a.heic").notes == ("10-bit samples cut to 8 bits",)


@pytest.mark.skipif(importlib.util.find_spec("pillow_jxl") is None, reason="pillow-jxl-plugin is not installed")
def test_jpeg_xl_is_read(tmp_path):
    save(Image.fromarray(render(20, 30)), tmp_path / "a.jxl")
    found = read(tmp_path / "a.jxl")
    assert np.array_equal(found.pixels, render(20, 30)) and found.notes == () and found.metadata.icc


def test_the_profile_of_jpeg_2000_is_kept():
    plain = as_file(Image.fromarray(RGB), "JPEG2000")
    old = box(b"colr", b"\1\0\0", struct.pack(">I", 16))
    start = plain.index(old)
    header = plain.index(b"jp2h") - 4
    new = box(b"colr", b"\2\0\0", ICC)
    grown = int.from_bytes(plain[header : header + 4], "big") + len(new) - len(old)
    data = plain[:header] + struct.pack(">I", grown) + plain[header + 4 : start] + new + plain[start + len(old) :]
    assert read(data).metadata.icc == ICC and np.array_equal(read(data).pixels, RGB)


def test_exif_and_xmp_of_jpeg_2000_are_kept():
    exif, xmp = b"MM\0*" + bytes(8), b"<x/>"
    data = as_file(Image.fromarray(RGB), "JPEG2000") + box(b"uuid", b"JpgTiffExif->JP2", exif)
    data += box(b"uuid", bytes.fromhex("be7acfcb97a942e89c71999491e3afac"), xmp)
    assert (read(data).metadata.exif, read(data).metadata.xmp) == (exif, xmp) and read(data).notes == ()
    assert read(data + box(b"uuid", bytes(20))).notes == ("left out: data with a UUID",)
    assert read(data + box(b"free") + bytes(4) + b"uuid" + bytes(20)).notes == ("left out: data with a UUID",)  # to the end


# CMYK


def cmyk_profile():
    """A small profile of a printer: a table of the 16 corners of CMYK in Lab, inverse to what a screen does."""
    corners = [(c, m, y, k) for c in (0, 1) for m in (0, 1) for y in (0, 1) for k in (0, 1)]
    table = bytes(
        value
        for c, m, y, k in corners
        for value in (0 if k else 255 - 60 * (c + m + y), 128 + 20 * (m - c) * (1 - k), 128 + 20 * (y - m) * (1 - k))
    )
    ramp, one = bytes(range(256)), struct.pack(">i", 1 << 16)
    identity = (one + bytes(12)) * 2 + one
    lut = b"mft1" + bytes(4) + bytes((4, 3, 2, 0)) + identity + ramp * 4 + table + ramp * 3
    lut += bytes(-len(lut) % 4)
    white = b"XYZ " + bytes(4) + struct.pack(">iii", 63190, 65536, 54061)
    offset = 128 + 4 + 2 * 12
    tags = struct.pack(">I4sII4sII", 2, b"A2B0", offset, len(lut), b"wtpt", offset + len(lut), len(white))
    head = struct.pack(
        ">I4sI4s4s4s12s4s", offset + len(lut) + len(white), b"", 0x02100000, b"prtr", b"CMYK", b"Lab ", b"", b"acsp"
    )
    return (head + bytes(28) + struct.pack(">iii", 63190, 65536, 54061)).ljust(128, b"\0") + tags + lut + white


@pytest.mark.parametrize("image_format", ["JPEG", "TIFF"])
def test_cmyk_goes_through_its_profile(image_format):
    cmyk = Image.fromarray(np.repeat(np.eye(4, dtype=np.uint8) * 255, 8, axis=0)[None].repeat(8, axis=0), "CMYK")
    options = {"quality": 100, "subsampling": 0} if image_format == "JPEG" else {}
    data = as_file(cmyk, image_format, icc_profile=cmyk_profile(), **options)
    picture = read(data)
    assert picture.notes == ("CMYK converted to RGB (sRGB, by its color profile)",) and picture.metadata.icc == b""
    assert picture.metadata.is_srgb
    plain = np.asarray(cmyk.convert("RGB"))
    assert np.abs(picture.pixels.astype(int) - plain).max() > 60  # the profile is no mere inversion
    lab = ImageCms.createProfile("LAB")
    to_lab = ImageCms.profileToProfile(cmyk, io.BytesIO(cmyk_profile()), lab, outputMode="LAB")
    expected = np.asarray(ImageCms.profileToProfile(to_lab, lab, ImageCms.createProfile("sRGB"), outputMode="RGB"))
    assert np.abs(picture.pixels.astype(int) - expected).max() <= 4


def test_the_profile_of_ycbcr_stays():
    image = Image.fromarray(RGB).convert("YCbCr")
    image.info["icc_profile"] = ICC
    assert read(image).metadata.icc == ICC
