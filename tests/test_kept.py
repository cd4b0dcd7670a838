"""Resolution, texts, place and the rest of what comes along: kept, stripped when that is asked for, or named in one warning."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import render
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from test_metadata import ICC
from test_picture import GRAY, RGB, as_file, reopen_bytes

from hcodec import decode, encode, info, pack, truncate, unpack
from hcodec.cli import main
from hcodec.codec import decode_picture
from hcodec.container.attachments import METADATA_KINDS, Density
from hcodec.errors import HcodecWarning
from hcodec.pixels import exif as tiff
from hcodec.pixels.metadata import keep
from hcodec.pixels.picture import Metadata, Picture, read, to_image

XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description exif:GPSLatitude="47,22.5N" dc:title="t" '
    b"drone-dji:GpsLongitude = '8.5'><exif:GPSLongitude>8,32E</exif:GPSLongitude><exif:GPSStatus/><dc:x>y</dc:x>"
    b"</rdf:Description></x:xmpmeta>"
)
XMP_WITHOUT = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description dc:title="t"><dc:x>y</dc:x></rdf:Description></x:xmpmeta>'
DPI_300 = Density(11811, 11811, 1)


def camera_exif(byte_order="MM"):
    """EXIF as of a camera: maker, date, maker note, place."""
    exif = Image.Exif()
    exif.endian = ">" if byte_order == "MM" else "<"
    exif[0x010F], exif[0x0110], exif[0x0131] = "Maker", "Model", "Software"
    exif.get_ifd(0x8769).update({0x9003: "2026:11:22 10:11:12", 0x927C: b"maker note " * 9})
    exif.get_ifd(0x8825).update({1: "N", 2: (47.0, 22.0, 33.5), 3: "E", 4: (8.0, 32.0, 1.25), 29: "2026:11:22"})
    return exif.tobytes().removeprefix(b"Exif\0\0")


def photo(**options):
    return as_file(Image.fromarray(RGB), "JPEG", exif=b"Exif\0\0" + camera_exif(), quality=95, **options)


def noted(call):
    """What a call gives, and what it warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    assert all(issubclass(warning.category, HcodecWarning) for warning in caught)
    return result, [str(warning.message) for warning in caught]


# Resolution


@pytest.mark.parametrize(
    ("image_format", "options", "density"),
    [
        ("PNG", {"dpi": (300, 300)}, DPI_300),
        ("JPEG", {"dpi": (300, 150)}, Density(11811, 5906, 1)),
        ("TIFF", {"dpi": (300, 300)}, DPI_300),
        ("BMP", {"dpi": (300, 300)}, DPI_300),
        ("PNG", {}, None),
        ("JPEG", {}, None),
        ("TIFF", {}, None),
    ],
)
def test_resolution_comes_back(image_format, options, density):
    ours, warned = noted(lambda: encode(as_file(Image.fromarray(RGB), image_format, **options), model="tiny", levels=1))
    assert info(ours).density == density and not warned
    assert decode_picture(truncate(ours, levels=1)).metadata.density == density
    for target in ("PNG", "JPEG", "TIFF", *(["BMP"] if image_format != "TIFF" else [])):  # it is in Exif, too, if from TIFF
        again, warned = noted(lambda target=target: reopen_bytes(decode(ours), target))
        dpi = Image.open(io.BytesIO(again)).info.get("dpi")
        assert not warned and (
            density is None or np.allclose(np.array(dpi, float), (density.x * 0.0254, density.y * 0.0254), atol=0.1)
        )
    for target in ("WEBP", "AVIF", "GIF", "TGA"):
        warned = noted(lambda target=target: reopen_bytes(to_image(Picture(RGB, metadata=Metadata(density=density))), target))[1]
        assert warned == ([f"left out ({target} has no place for it): resolution"] if density else [])


def test_a_ratio_is_a_resolution_too():
    data = bytearray(as_file(Image.fromarray(RGB), "JPEG", dpi=(2, 1)))
    data[13] = 0  # the unit
    picture = read(bytes(data))
    assert picture.metadata.density == Density(2, 1, 0) and to_image(picture).info["aspect"] == (2, 1)
    assert noted(lambda: reopen_bytes(to_image(picture), "PNG"))[1] == ["left out (PNG has no place for it): resolution"]


def test_centimeters_are_exact():
    data = bytearray(as_file(Image.fromarray(RGB), "JPEG", dpi=(118, 118)))
    data[13] = 2
    assert read(bytes(data)).metadata.density == Density(11800, 11800, 1)


def test_resolution_in_exif_is_not_said_to_be_lost():
    exif = Image.Exif()
    exif[0x011A], exif[0x011B], exif[0x0128] = 300.0, 300.0, 2
    picture = Picture(RGB, metadata=Metadata(exif=exif.tobytes()[6:], density=DPI_300))
    assert noted(lambda: reopen_bytes(to_image(picture), "WEBP"))[1] == []
    assert noted(lambda: reopen_bytes(to_image(picture), "TGA"))[1][0].endswith(": Exif, resolution")


# Texts


def test_texts_of_png_come_back():
    texts = PngInfo()
    texts.add_text("Title", "plain")
    texts.add_text("Packed", "long " * 50, zip=True)
    texts.add_itxt("Comment", "größer 图", "de", "Kommentar")
    data = as_file(Image.fromarray(RGB), "PNG", pnginfo=texts)
    expected = (("Title", "plain"), ("Packed", "long " * 50), ("Comment", "größer 图"))
    ours, warned = noted(lambda: encode(data, model="tiny", levels=1))
    assert decode_picture(ours).metadata.text == info(ours).text == expected and not warned
    again, warned = noted(lambda: reopen_bytes(decode(ours), "PNG"))
    assert read(again).metadata.text == expected and not warned
    again, warned = noted(lambda: reopen_bytes(decode(ours), "JPEG"))
    assert read(again).metadata.text == (("Comment", "größer 图"),)
    assert warned == ["left out (JPEG has no place for it): 2 texts"]


@pytest.mark.parametrize("image_format", ["JPEG", "GIF", "JPEG2000"])
def test_comments_come_back(image_format):
    picture = read(as_file(Image.fromarray(GRAY), image_format, comment="grüezi"))
    assert picture.metadata.text == (("Comment", "grüezi"),) and picture.notes == ()
    again, warned = noted(lambda: reopen_bytes(to_image(picture), image_format))
    assert read(again).metadata.text == picture.metadata.text and not warned


def test_several_comments_and_other_encodings():
    data = photo(comment=b"gr\xfcezi")
    second = b"\xff\xfe\x00\x08second"
    assert read(data[:2] + second + data[2:]).metadata.text == (("Comment", "second"), ("Comment 2", "grüezi"))


def test_texts_of_an_animated_png_are_of_its_first_frame():
    texts = PngInfo()
    texts.add_text("Title", "t")
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    picture = read(as_file(frames[0], "PNG", save_all=True, append_images=frames[1:], pnginfo=texts))
    assert picture.metadata.text == (("Title", "t"),) and np.array_equal(picture.pixels, RGB)
    assert picture.notes == ("left out: 1 more frame",)


def test_texts_for_which_there_is_no_place():
    texts = PngInfo()
    for number in range(260):
        texts.add_text(f"key {number}", "value")
    texts.add_text("ü" * 60, "120 bytes")
    texts.add_text("Raw profile type iptc", "\niptc\n4\n00000000\n")
    data = as_file(Image.fromarray(RGB), "PNG", pnginfo=texts)
    picture = read(data)
    assert (
        len(picture.metadata.text) == 256 and len(picture.metadata.other) == 6 and "raw profile 'iptc'" in picture.metadata.other
    )
    encode(picture, model="tiny", levels=1, strip="other")


def test_texts_whose_keys_are_those_of_pillow_are_texts_only():
    keys = ("comment", "gamma", "srgb", "cicp", "text", "icc_profile", "chromaticity", "aspect", "resolution")
    texts = PngInfo()
    for key in keys:
        texts.add_text(key, "0.5")
    data = as_file(Image.fromarray(RGB), "PNG", pnginfo=texts)
    assert read(data).metadata == Metadata(text=tuple((key, "0.5") for key in keys))
    with Image.open(io.BytesIO(data)) as image:  # one that has forgotten its format
        assert read(image.copy()).metadata == Metadata(text=(("Comment", "0.5"),))


@pytest.mark.parametrize("key", ["", " blank", "two\nlines", "図", "x" * 80])
def test_keys_that_png_cannot_have_are_said(key):
    picture = Picture(RGB, metadata=Metadata(text=((key, "value"), ("Comment", "kept"))))
    again, warned = noted(lambda: reopen_bytes(to_image(picture), "PNG"))
    assert read(again).metadata.text == (("Comment", "kept"),)
    assert warned == (["left out (PNG has no place for it): 1 text"] if 0 < len(key) < 80 else [])  # no file of ours has others


def test_a_comment_that_is_too_long_for_jpeg_is_said():
    picture = Picture(RGB, metadata=Metadata(text=(("Comment", "x" * 70_000),)))
    assert noted(lambda: reopen_bytes(to_image(picture), "JPEG"))[1] == ["left out (JPEG has no place for it): 1 text"]


# What has no place


def segment(marker, content):
    return bytes((0xFF, marker)) + struct.pack(">H", 2 + len(content)) + content


def png_chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def test_one_warning_lists_what_has_no_place():
    jpeg = photo()
    jpeg = jpeg[:2] + segment(0xED, b"Photoshop 3.0\0") + segment(0xEB, b"JP\0") + segment(0xEB, b"JP\0") + jpeg[2:]
    jpeg = jpeg[:2] + segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0") + jpeg[2:]
    png = as_file(Image.fromarray(RGB), "PNG")
    png = png[:33] + png_chunk(b"tIME", bytes(7)) + png_chunk(b"mDCV", bytes(24)) + png_chunk(b"prVt", bytes(900)) + png[33:]
    page = Image.fromarray(RGB)
    pages = as_file(page, "TIFF", save_all=True, append_images=[page], tiffinfo={33723: b"iptc", 65123: 7, 270: "described"})
    lists = {
        jpeg: "extended XMP, IPTC and Photoshop data, APP11 segment",
        png: "time of change, mastering display, chunk prVt",
        pages: "1 more picture, TIFF tag IptcNaaInfo, TIFF tag 65123",
    }
    for data, listed in lists.items():
        warned = noted(lambda data=data: encode(data, model="tiny", levels=1))[1]
        assert warned == [f"left out: {listed}"]
        assert noted(lambda data=data: pack([("n", data)]))[1] == [f"n: left out: {listed}"]
        for quiet in ({"strip": "other"}, {"strip": "all"}, {"metadata": ()}, {"metadata": "exif"}):
            warned = noted(lambda data=data, quiet=quiet: encode(data, model="tiny", levels=1, **quiet))[1]
            assert warned == (["left out: 1 more picture"] if data == pages else [])


def test_the_list_is_one_line_that_ends():
    names = [bytes((97 + number // 26, 98, 65, 97 + number % 26)) for number in range(300)]
    data = as_file(Image.fromarray(RGB), "PNG")
    data = data[:33] + b"".join(png_chunk(name, b"") for name in names) + data[33:]
    texts = PngInfo()
    texts.add_text("Raw profile type \x1b[2J", "x")
    for source in (data, as_file(Image.fromarray(RGB), "PNG", pnginfo=texts)):
        (note,) = read(source).notes
        assert note.isprintable() and len(note) < 300
    assert read(data).notes[0].endswith("chunk abAl, 88 more")


def test_archives_keep_three_kinds_and_name_the_rest():
    archive, warned = noted(lambda: pack([("a.jpg", photo(comment="c", dpi=(300, 300), icc_profile=ICC, xmp=XMP))]))
    assert warned == ["a.jpg: left out: 1 text, resolution"]
    found = dict(unpack(archive))["a.jpg"].metadata
    assert (found.icc, found.exif, found.xmp) == (ICC, camera_exif(), XMP)
    assert noted(lambda: pack([("a.jpg", photo(comment="c"))], strip="text"))[1] == []


# Strip


EVERYTHING = Metadata(ICC, camera_exif(), XMP, (1, 13, 0, 1), None, 45455, DPI_300, (("Comment", "c"),), ("more",))


def test_each_kind_is_kept_or_stripped_alone():
    for kind in METADATA_KINDS:
        only, rest = keep(EVERYTHING, kind), keep(EVERYTHING, strip=kind)
        for name in ("icc", "exif", "xmp", "cicp", "gamma", "density", "text", "other"):
            belongs = {"color": ("cicp", "gamma"), "resolution": ("density",)}.get(kind, (kind,))
            assert bool(getattr(only, name)) == (name in belongs) == (not getattr(rest, name))
    assert keep(EVERYTHING, strip="all") == keep(EVERYTHING, ()) == Metadata()
    assert keep(EVERYTHING, "all") == keep(EVERYTHING) == EVERYTHING


@pytest.mark.parametrize("byte_order", ["MM", "II"])
def test_the_place_goes_and_all_else_stays_where_it_is(byte_order):
    before, after = camera_exif(byte_order), tiff.without_gps(camera_exif(byte_order))
    assert len(before) == len(after) and tiff.without_gps(after) == after
    old, new = Image.Exif(), Image.Exif()
    old.load(before)
    new.load(after)
    place = old.get_ifd(0x8825)
    assert place and not new.get_ifd(0x8825) and 0x8825 not in new
    assert {tag: new[tag] for tag in new if tag != 0x8769} == {tag: old[tag] for tag in old if tag not in (0x8769, 0x8825)}
    assert new.get_ifd(0x8769) == old.get_ifd(0x8769)
    assert after.count(b"maker note ") == 9 and after.index(b"maker note ") == before.index(b"maker note ")
    order = ">" if byte_order == "MM" else "<"
    for number in (33.5, 1.25):  # as they are stored
        numerator, denominator = number.as_integer_ratio()
        assert struct.pack(f"{order}II", numerator, denominator) in before
        assert struct.pack(f"{order}II", numerator, denominator) not in after
    assert after.count(b"2026:11:22\0") == 0 and before.count(b"2026:11:22\0") == 1


def test_the_place_of_the_thumbnail_goes_too():
    """In a structure of two directories in a row, each with a place between two other entries."""

    def entry(tag, value):
        return struct.pack("<HHII", tag, 4, 1, value)

    def directory(at, place, following):
        entries = entry(0x100, 7) + entry(0x8825, place) + entry(0xFFFF, at)
        return struct.pack("<H", 3) + entries + struct.pack("<I", following)

    place = struct.pack("<H", 1) + struct.pack("<HHI4s", 1, 2, 2, b"N\0\0\0") + bytes(4)
    data = b"II*\0" + struct.pack("<I", 8) + directory(8, 92, 50) + directory(50, 110, 0) + place + place
    after = tiff.without_gps(data)
    bare = struct.pack("<H", 2) + entry(0x100, 7)
    first, second = bare + entry(0xFFFF, 8) + struct.pack("<I", 50), bare + entry(0xFFFF, 50) + bytes(4)
    assert after == data[:8] + first + bytes(12) + second + bytes(12) + bytes(36)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_place_inside_the_exif_directory_goes_too(order):
    head = struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, 8)
    main = struct.pack(f"{order}HHHIII", 1, 0x8769, 4, 1, 26, 0)
    inner, rest = struct.pack(f"{order}HHII", 0x8827, 3, 1, 7), struct.pack(f"{order}HHII", 0x8825, 4, 1, 56)
    place = struct.pack(f"{order}HHHI4sI", 1, 1, 2, 2, b"N\0\0\0", 0)
    count, end = struct.pack(f"{order}H", 2), bytes(4)
    after = tiff.without_gps(head + main + count + inner + rest + end + place)
    assert after == head + main + struct.pack(f"{order}H", 1) + inner + end + bytes(12) + bytes(len(place))


def test_the_place_goes_from_texts():
    texts = (("exif:GPSLatitude", "47/1"), ("Title", "by GPS"), ("Composite:gpsposition", "47 N"), ("a", "b"))
    assert keep(Metadata(text=texts), strip="gps").text == (texts[1], texts[3])


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=120), st.sampled_from(tiff.STARTS), st.binary(max_size=8), st.integers(0, 300))
def test_any_exif_is_survived(noise, start, damage, place):
    whole = camera_exif()
    for data in (start + noise, whole[:place] + damage + whole[place + len(damage) :], whole[:place]):
        after = tiff.without_gps(data)
        assert len(after) == len(data)
        assert tiff.set_upright(data)[0] in (None, *range(1, 9))


def test_the_place_goes_from_xmp():
    assert tiff.xmp_without_gps(XMP) == XMP_WITHOUT and tiff.xmp_without_gps(XMP_WITHOUT) == XMP_WITHOUT
    assert tiff.xmp_without_gps(b"<exif:GPSTrack><rdf:Seq/></exif:GPSTrack>") == b""  # it cannot be told what belongs to it
    assert tiff.xmp_without_gps(XMP.decode().encode("utf-16")) == b""
    assert tiff.xmp_without_gps(b"<dc:title>GPS</dc:title>") == b"<dc:title>GPS</dc:title>"
    assert tiff.xmp_without_gps(b"<exif:GPSTrack>" * 10_000) == b""  # in no time


def test_strip_in_python_and_on_the_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.jpg").write_bytes(photo(comment="c", dpi=(300, 300), icc_profile=ICC, xmp=XMP))
    for strip in ("gps", "gps,exif", "all", "text,resolution,color"):
        names = tuple(strip.split(","))
        argv = ["encode", "--model", "tiny", "a.jpg", "-o", "a.hcodec", "--force", "--quiet", "--strip", strip]
        result = CliRunner().invoke(main, argv)
        assert (result.exit_code, result.stderr) == (0, "")
        ours = (tmp_path / "a.hcodec").read_bytes()
        assert ours == encode("a.jpg", model="tiny", strip=names)
        found = decode_picture(ours).metadata
        assert found == keep(read("a.jpg").metadata, strip=names)
        assert (b"47,22" in ours) == (not {"gps", "all"} & set(names))
    archive = CliRunner().invoke(main, ["pack", "a.jpg", "-o", "-", "--strip", "gps,text,resolution"])
    assert archive.exit_code == 0 and "Warning" not in archive.stderr
    assert dict(unpack(archive.stdout_bytes))["a.jpg"].metadata.exif == tiff.without_gps(camera_exif())
    wrong = CliRunner().invoke(main, ["encode", "a.jpg", "--strip", "place"])
    assert wrong.exit_code == 2 and "gps,icc,color,exif,xmp,text,resolution,other" in wrong.stderr


def test_colors_that_gif_has_no_room_for_are_said():
    assert noted(lambda: reopen_bytes(Image.fromarray(render(40, 40)), "GIF"))[1] == ["colors reduced to the 256 that GIF holds"]
    few = Image.fromarray(render(40, 40) // 128 * 255)
    again, warned = noted(lambda: reopen_bytes(few, "GIF"))
    assert warned == [] and np.array_equal(read(again).pixels, np.asarray(few))
    assert noted(lambda: reopen_bytes(Image.fromarray(render(40, 40)[..., 0]), "GIF"))[1] == []


def test_command_and_python_warn_alike(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frames = [Image.fromarray(render(20, 24, seed)) for seed in range(3)]
    frames[0].save("a.gif", save_all=True, append_images=frames[1:], comment=b"c")
    result = CliRunner().invoke(main, ["encode", "--model", "tiny", "a.gif", "--quiet"])
    assert result.stderr == "Warning: a.gif: left out: 2 more frames\n"
    assert noted(lambda: encode("a.gif", model="tiny"))[1] == ["left out: 2 more frames"]
    result = CliRunner().invoke(main, ["decode", "a.hcodec", "-o", "a.webp", "--quiet"])
    assert result.exit_code == 0
    assert result.stderr == "Warning: a.hcodec: left out (WEBP has no place for it): 1 text\n"
