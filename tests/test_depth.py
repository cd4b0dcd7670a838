"""Depth and types of samples: exact, or said, or refused; the same for arrays, Pillow images, files and commands."""

from __future__ import annotations

import io
import itertools
import struct
import warnings

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import render
from PIL import Image
from test_picture import RGB, as_file, sixteen_bit_png

from hcodec import decode, decode_picture, encode, pack, unpack
from hcodec.cli import main
from hcodec.errors import HcodecError, HcodecWarning, PictureError
from hcodec.pixels import jxl_header
from hcodec.pixels.picture import Metadata, Picture, read

DEEP = np.random.default_rng(5).integers(0, 65536, (20, 24, 3), np.uint16)


def tiff(samples, bits, photometric=1, fmt=1):
    """A TIFF file of packed samples, (H, W) or (H, W, C), in little-endian byte order and one strip."""
    height, width = samples.shape[:2]
    count = 1 if samples.ndim == 2 else samples.shape[2]
    data = np.ascontiguousarray(samples).tobytes() if bits != 12 else packed_12_bits(samples)
    tags = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, count, bits), (259, 3, 1, 1), (262, 3, 1, photometric)]
    tags += [(273, 4, 1, 0), (277, 3, 1, count), (278, 3, 1, height), (279, 4, 1, len(data)), (339, 3, 1, fmt)]
    outside = 8 + 2 + 12 * len(tags) + 4
    values = {258: outside if count > 2 else bits, 273: outside + 2 * count}
    rows = b"".join(struct.pack("<HHII", tag, kind, number, values.get(tag, value)) for tag, kind, number, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + rows + bytes(4) + struct.pack("<H", bits) * count + data


def packed_12_bits(samples):
    first, second = samples[:, ::2].astype(int), samples[:, 1::2].astype(int)
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=-1).astype(np.uint8).tobytes()


def sgi(samples):
    height, width, channels = samples.shape
    head = struct.pack(">hbbHHHHll", 474, 0, 2, 3, width, height, channels, 0, 65535).ljust(512, b"\0")
    return head + np.ascontiguousarray(samples[::-1].transpose(2, 0, 1)).astype(">u2").tobytes()


def bmp_565(samples):
    """A BMP file with 5, 6 and 5 bits a pixel; samples: uint16 (H, W), W even."""
    height, width = samples.shape
    head = b"BM" + struct.pack("<IHHI", 66 + samples.nbytes, 0, 0, 66)
    head += struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, samples.nbytes, 0, 0, 0, 0)
    return head + struct.pack("<III", 0xF800, 0x07E0, 0x001F) + samples[::-1].tobytes()


GRAY16, GRAY12 = DEEP[..., 0], DEEP[..., 0] >> 4
CHANGED = {  # what -> source, the 8-bit samples that are nearest (None: whatever Pillow makes), and what is said
    "array": (DEEP, DEEP, "16-bit samples rounded to 8 bits"),
    "array, big-endian": (DEEP.astype(">u2"), DEEP, "16-bit samples rounded to 8 bits"),
    "I;16": (Image.fromarray(GRAY16), GRAY16, "16-bit samples rounded to 8 bits"),
    "I": (Image.fromarray(GRAY16.astype(np.int32)), GRAY16, "16-bit samples rounded to 8 bits"),
    "PNG": (as_file(Image.fromarray(GRAY16), "PNG"), GRAY16, "16-bit samples rounded to 8 bits"),
    "PNG, RGB": (sixteen_bit_png(2, DEEP), None, "16-bit samples cut to 8 bits"),
    "TIFF": (tiff(GRAY16, 16), GRAY16, "16-bit samples rounded to 8 bits"),
    "TIFF, RGB": (tiff(DEEP, 16, 2), None, "16-bit samples cut to 8 bits"),
    "TIFF, 12 bits": (tiff(GRAY12, 12), GRAY12 * (65535 / 4095), "12-bit samples rounded to 8 bits"),
    "TIFF, CMYK": (tiff(np.dstack([DEEP, GRAY16]), 16, 5), None, "16-bit samples cut to 8 bits; CMYK converted to RGB"),
    "PPM": (b"P6 24 20 65535\n" + DEEP.astype(">u2").tobytes(), None, "16-bit samples cut to 8 bits"),
    "PPM, 10 bits": (b"P6 24 20 1023\n" + (DEEP >> 6).astype(">u2").tobytes(), None, "10-bit samples cut to 8 bits"),
    "PGM, 10 bits": (b"P5 24 20 1023\n" + (GRAY16 >> 6).astype(">u2").tobytes(), None, "10-bit samples rounded to 8 bits"),
    "SGI": (sgi(DEEP), None, "16-bit samples cut to 8 bits"),
    "JPEG 2000": (as_file(Image.fromarray(GRAY16), "JPEG2000"), GRAY16, "16-bit samples rounded to 8 bits"),
    "CMYK": (Image.fromarray(RGB).convert("CMYK"), None, "CMYK converted to RGB"),
    "YCbCr": (Image.fromarray(RGB).convert("YCbCr"), None, "YCbCr converted to RGB"),
    "premultiplied": (
        Image.new("RGBA", (4, 4), (9, 8, 7, 100)).convert("RGBa"),
        None,
        "colors divided by their alpha, which they were premultiplied with",
    ),
}

KEPT = ["array", "array, big-endian", "I;16", "PNG", "PNG, RGB", "TIFF", "TIFF, RGB", "JPEG 2000"]  # of these, without loss


@pytest.mark.parametrize("kind", CHANGED)
def test_what_is_changed_is_said_once_and_refused_without_loss(kind):
    source, nearest, line = CHANGED[kind]
    picture = read(source)
    assert picture.notes == (line,)
    if nearest is not None:
        assert np.array_equal(picture.pixels, np.round(np.atleast_3d(nearest) / 257) + np.zeros(3))
    with pytest.warns(HcodecWarning) as caught:
        encode(source, model="tiny", levels=1)
    assert [str(warning.message) for warning in caught] == [line] and caught[0].filename == __file__
    if kind in KEPT:
        return
    for exactly in (lambda: encode(source, model="tiny", lossless=True), lambda: pack([("a", source)])):
        with pytest.raises(PictureError, match=r"cannot be coded without loss: .*convert=True"):
            exactly()


@pytest.mark.parametrize("kind", KEPT)
def test_16_bits_are_exact_without_loss_and_without_a_word(kind):
    source, samples = CHANGED[kind][0], DEEP if kind.endswith("RGB") or kind.startswith("array") else GRAY16[..., None]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(decode_picture(encode(source, model="tiny", lossless=True)).deep, samples)
        assert np.array_equal(dict(unpack(pack([("a", source)], strip="text")))["a"].deep, samples)


@pytest.mark.parametrize("kind", ["TIFF, 12 bits", "PPM", "CMYK"])
def test_convert_allows_the_change(kind):
    source, _, line = CHANGED[kind]
    with pytest.warns(HcodecWarning, match=line):
        data = encode(source, model="tiny", lossless=True, convert=True)
    assert np.array_equal(np.asarray(decode(data).convert("RGB")), read(source).pixels)
    with pytest.warns(HcodecWarning, match=f"^a.png: {line}$"):
        archive = pack([("a.png", source)], convert=True)
    assert np.array_equal(dict(unpack(archive))["a.png"].pixels, read(source).pixels)


def test_16_bits_in_jpeg_2000_and_jpeg_xl_are_seen():
    """Pillow cuts color of JPEG 2000 without a word, and its plugin color of JPEG XL; only headers are looked at here."""
    from hcodec.pixels.facts import _codestream_bits

    size = b"\xff\x4f\xff\x51" + struct.pack(">HHIIIIIIIIH", 47, 0, 24, 20, 0, 0, 24, 20, 0, 0, 3)
    assert _codestream_bits(size + bytes([15, 1, 1, 11, 1, 1, 7, 1, 1])) == 16
    assert _codestream_bits(size + bytes([7, 1, 1] * 3)) == 0
    headers = {  # beginnings of files with 10-bit and 8-bit samples, and of an animation
        "ff0a3a1f00010a285a0408020100a404": (10, False),
        "ff0a580920089a00404c0804010071f8": (8, True),
    }
    for beginning, expected in headers.items():
        assert jxl_header.parse(bytes.fromhex(beginning)) == expected


def test_8_bits_in_16_are_asked_about():
    """As a picture whose samples are meant as 8 bits, but were stored in 16, comes out nearly black."""
    picture = read(np.arange(256, dtype=np.uint16).reshape(16, 16))
    assert picture.notes == ("16-bit samples rounded to 8 bits (none is above 255 of 65535: are 8 bits meant?)",)


@pytest.mark.parametrize("pages", [False, True])
def test_mode_i_of_8_bits_is_not_divided(pages):
    gray = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
    image = Image.fromarray(gray).convert("I")
    source = as_file(image, "TIFF") if pages else image
    assert np.array_equal(read(source).pixels[..., 0], gray)
    with pytest.raises(PictureError, match="mode I, of 0 to 255, taken as 8 bits"):
        encode(source, model="tiny", lossless=True)
    with pytest.warns(HcodecWarning, match="mode I, of 0 to 255, taken as 8 bits"):
        data = encode(source, model="tiny", lossless=True, convert=True)
    assert np.array_equal(np.asarray(decode(data)), gray)


@pytest.mark.parametrize(
    "source",
    [
        np.eye(9, dtype=bool),
        render(9, 8),
        Image.fromarray(render(9, 8)).quantize(8),
        as_file(Image.fromarray(np.eye(9, dtype=bool)), "PNG"),
        as_file(Image.fromarray(render(9, 8)[..., 0]), "PNG", bits=4),
        b"P5 24 20 15\n" + bytes(range(16)) * 30,
        bmp_565(GRAY16),
    ],
    ids=["bool", "uint8", "palette", "1 bit", "4 bits", "PGM of 4 bits", "BMP of 5 and 6 bits"],
)
def test_what_8_bits_hold_is_exact_and_without_a_word(source):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = encode(source, model="tiny", lossless=True)
        assert np.array_equal(np.asarray(decode(data).convert("RGB")), read(source).pixels)
        pack([("a", source)])


def test_bool_is_black_and_white():
    mask = render(9, 8) > 128
    assert np.array_equal(read(mask).pixels, np.where(mask, 255, 0))
    assert np.array_equal(read(mask[..., 0]).pixels[..., 0], np.where(mask[..., 0], 255, 0)) and read(mask[..., 0]).gray


@pytest.mark.parametrize("lossless", [False, True])
def test_the_range_of_floats_is_guessed_only_if_that_is_allowed(lossless):
    plane = render(9, 8)[..., 0]
    for full in (1, 255, 65535):
        floats = (plane / 255 * full).astype(np.float32)
        for source in (Image.fromarray(floats), tiff(floats, 32, fmt=3), floats, floats.astype(np.float64)[..., None]):
            with pytest.raises(PictureError, match=f"the range of its samples is a guess: .* 0 to {full}, .*convert=True"):
                encode(source, model="tiny", lossless=lossless)
            with pytest.warns(HcodecWarning, match=f"taken as those of 0 to {full}, rounded to 8 bits"):
                data = encode(source, model="tiny", lossless=lossless, convert=True)
            same = np.array_equal(np.asarray(decode(data)), plane)
            assert same or not lossless
    with pytest.raises(PictureError, match="p: the range of its samples is a guess"):
        pack([("p", floats)])


@pytest.mark.parametrize("samples, why", [
    ([-0.5, 0.5], r"floats of -0\.5 to 0\.5; bring them to 0 to 1"),
    ([0, 65536], "floats of 0 to 65536; bring"),
    ([0, np.nan], "not finite"),
    ([-np.inf, 0], "not finite"),
])  # fmt: skip
def test_floats_of_other_ranges_are_refused(samples, why):
    floats = np.full((4, 4), samples[0], np.float32)
    floats[0, 0] = samples[1]
    for source in (floats, Image.fromarray(floats), tiff(floats, 32, fmt=3)):
        with pytest.raises(PictureError, match=why):
            encode(source, model="tiny", convert=True)


PIXELS = np.zeros((8, 8, 3), np.uint8)
WRONG = {
    "metadata": [7, None, b"icc", [1], ("icc", None), "colour", "none"],
    "strip": [7, None, b"icc", [1], ("icc", None), "colour"],
    "convert": [1, "yes", None],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_wrong_arguments_are_named(name, value):
    for call in (lambda: encode(PIXELS, model="tiny", **{name: value}), lambda: pack([("a", PIXELS)], **{name: value})):
        with pytest.raises(HcodecError, match=rf"^(unknown )?{name} "):
            call()


@pytest.mark.parametrize("value", ["icc", ["icc"], {"icc"}, "all", ()])
def test_one_name_of_metadata_is_enough(value):
    assert encode(PIXELS, model="tiny", metadata=value, strip=value) == encode(PIXELS, model="tiny")


WRONG_PICTURES = [
    Picture(PIXELS.astype(float)),
    Picture(PIXELS[..., 0]),
    Picture(None),
    Picture(PIXELS, alpha=np.zeros((2, 2), np.uint8)),
    Picture(PIXELS, alpha=np.zeros((8, 8))),
    Picture(PIXELS, deep=np.zeros((8, 8, 3))),
    Picture(PIXELS, deep=np.zeros((4, 8, 3), np.uint16)),
    Picture(PIXELS, metadata=None),
    Picture(PIXELS, metadata=Metadata(icc="profile")),
    Picture(PIXELS, metadata=Metadata(text=(("key",),))),
    Picture(PIXELS, metadata=Metadata(text=(("a", "b"), ("a", "c")))),
    *[np.zeros((4, 4, 3), kind) for kind in (np.int64, np.uint32, np.complex64, object)],
    *(None, 7, [[1, 2]], {}, object(), io.StringIO("text"), np.array("text")),
]


@pytest.mark.parametrize("source", WRONG_PICTURES, ids=itertools.count())
def test_what_is_no_picture_is_refused(source):
    with pytest.raises(HcodecError):
        encode(source, model="tiny")


# The command line


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a 12-bit TIFF file alone in a folder, and one beside others."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tif").write_bytes(tiff(GRAY12, 12))
    Image.fromarray(render(20, 24)).save("in/b.png")
    return tmp_path


def hcodec(*argv):
    return CliRunner().invoke(main, argv)


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["encode", "--model", "tiny", "--lossless", "in/a.tif"], "in/a.tif"),
        (["pack", "in/a.tif"], "in/a.tif"),
        (["pack", "in"], "in: a.tif"),
    ],
)
def test_commands_refuse_in_one_line_and_write_nothing(folder, argv, name):
    result = hcodec(*argv, "-o", "out.hcodec")
    why = "cannot be coded without loss: 12-bit samples rounded to 8 bits; --convert (convert=True) codes that"
    end = "; nothing was written (see --keep-going)" if argv == ["pack", "in"] else ""
    assert result.exit_code == 1 and result.stderr == f"Error: {name}: {why}{end}\n" and result.stdout == ""
    assert [path.name for path in folder.iterdir()] == ["in"]
    result = hcodec(*argv, "-o", "out.hcodec", "--convert", "--quiet")
    assert result.exit_code == 0 and result.stderr == f"Warning: {name}: 12-bit samples rounded to 8 bits\n"
    assert (folder / "out.hcodec").exists()


def test_lossy_commands_warn(folder):
    result = hcodec("encode", "--model", "tiny", "in/a.tif", "--quiet")
    assert result.exit_code == 0 and result.stderr == "Warning: in/a.tif: 12-bit samples rounded to 8 bits\n"
