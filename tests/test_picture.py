"""Pictures: every kind of image in, the same image out, nothing lost in silence."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from hcodec.errors import HcodecError, PictureError
from hcodec.pixels.picture import Picture, equal_planes, psnr, read, save, to_image

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (7, 11, 3), np.uint8)
GRAY = RGB[..., 0]
ALPHA = RNG.integers(0, 256, (7, 11), np.uint8)


def exif_bytes(orientation=None, **tags):
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    if orientation is not None:
        exif[0x0112] = orientation
    exif.get_ifd(0x8769)[0x9003] = "2026:11:22 10:11:12"
    return exif.tobytes()


def as_file(image, image_format, **options):
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def writable():
    Image.init()
    return Image.SAVE.keys() - {"HCODEC"}


def reopen_bytes(image, image_format):
    file = io.BytesIO()
    save(image, file, image_format)
    return file.getvalue()


def reopen(image, image_format):
    file = io.BytesIO()
    save(image, file, image_format)
    file.seek(0)
    reopened = Image.open(file)
    reopened.load()
    return reopened


# Kinds of images


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("size", [(11, 7), (1, 1), (1, 200), (65, 1)])
def test_plain_modes_come_back_exactly(mode, size):
    image = Image.frombytes(mode, size, RNG.bytes(size[0] * size[1] * len(mode)))
    for source in (image, as_file(image, "PNG"), np.asarray(image)):
        picture = read(source)
        assert picture.pixels.dtype == np.uint8 and picture.pixels.shape == (size[1], size[0], 3)
        assert picture.gray == mode.startswith("L") and (picture.alpha is not None) == mode.endswith("A")
        assert picture.notes == ()
        back = to_image(picture)
        assert back.mode == mode and back.tobytes() == image.tobytes()


def test_every_way_to_name_a_source(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(RGB).save(path)
    data = path.read_bytes()
    with open(path, "rb") as file:
        for source in (path, str(path), data, bytearray(data), memoryview(data), file, io.BytesIO(data)):
            assert np.array_equal(read(source).pixels, RGB)


def test_a_stream_that_cannot_seek_is_read():
    class Pipe(io.RawIOBase):
        def __init__(self, data):
            self.source = io.BytesIO(data)

        def read(self, size=-1):
            return self.source.read(size)

        def seekable(self):
            return False

    assert np.array_equal(read(Pipe(as_file(Image.fromarray(RGB), "PNG"))).pixels, RGB)


def test_bilevel_images_are_gray():
    image = Image.fromarray(GRAY > 128)
    assert image.mode == "1"
    back = to_image(read(image))
    assert back.mode == "L" and np.array_equal(np.asarray(back), np.where(GRAY > 128, 255, 0))


@pytest.mark.parametrize("palette_alpha", [None, 1, bytes([0, 128, 255])])
def test_palettes(palette_alpha):
    image = Image.fromarray(GRAY % 3).convert("P")
    image.putpalette([250, 0, 0, 0, 240, 0, 0, 0, 230])
    options = {} if palette_alpha is None else {"transparency": palette_alpha}
    data = as_file(image, "PNG", **options)
    picture = read(data)
    expected = np.array([[250, 0, 0], [0, 240, 0], [0, 0, 230]])[GRAY % 3]
    assert np.array_equal(picture.pixels, expected) and not picture.gray and picture.notes == ()
    table = {None: None, 1: [255, 0, 255], bytes([0, 128, 255]): [0, 128, 255]}[palette_alpha]
    assert picture.alpha is None if table is None else np.array_equal(picture.alpha, np.array(table)[GRAY % 3])
    assert to_image(picture).mode == ("RGB" if table is None else "RGBA")


@pytest.mark.parametrize(
    ("image", "key", "transparent"),
    [
        (Image.fromarray(GRAY), int(GRAY[2, 3]), GRAY[2, 3] == GRAY),
        (Image.fromarray(RGB), tuple(map(int, RGB[2, 3])), (RGB[2, 3] == RGB).all(axis=2)),
        (Image.fromarray(GRAY > 128), 1, GRAY > 128),
        (Image.fromarray(GRAY.astype(np.uint16) * 257), int(GRAY[2, 3]) * 257, GRAY[2, 3] == GRAY),
    ],
    ids=["gray", "rgb", "bilevel", "16-bit"],
)
def test_a_transparent_color_becomes_alpha(image, key, transparent):
    picture = read(as_file(image, "PNG", transparency=key))
    assert np.array_equal(picture.alpha, np.where(transparent, 0, 255))
    assert picture.gray == (image.mode != "RGB")


@pytest.mark.parametrize("byte_order", ["<u2", ">u2"])
def test_16_bits_are_rounded_and_said(byte_order):
    samples = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    expected = np.round(samples / 257)
    sources = [samples.astype(byte_order), Image.fromarray(samples)]
    sources += [as_file(sources[1], "PNG"), as_file(sources[1], "TIFF"), Image.fromarray(samples.astype(np.int32))]
    for source in sources[byte_order == ">u2" :] if byte_order == ">u2" else sources:
        picture = read(source)
        assert picture.gray and np.array_equal(picture.pixels[..., 1], expected)
        assert picture.notes == ("16-bit samples rounded to 8 bits",)


def sixteen_bit_png(color_type, samples, *before):
    """A PNG file with 16-bit samples, (H, W, C), that Pillow cannot write."""
    import struct
    import zlib

    height, width, _ = samples.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, color_type, 0, 0, 0)), *before]
    chunks += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(c)) + t + c + struct.pack(">I", zlib.crc32(t + c)) for t, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.mark.parametrize(("color_type", "channels", "mode"), [(2, 3, "RGB"), (4, 2, "LA"), (6, 4, "RGBA")])
def test_16_bit_color_is_cut_and_said(color_type, channels, mode):
    samples = RNG.integers(0, 65536, (5, 6, channels), np.uint16)
    picture = read(sixteen_bit_png(color_type, samples))
    assert picture.notes == ("16-bit samples cut to 8 bits",)
    image = to_image(picture)
    assert image.mode == mode
    assert np.array_equal(np.asarray(image), samples >> 8)


def test_large_integers_and_other_modes_are_refused():
    with pytest.raises(PictureError, match="16 bits"):
        read(Image.fromarray(np.full((2, 2), 65536, np.int32)))
    with pytest.raises(PictureError, match="mode LAB"):
        read(Image.new("LAB", (2, 2)))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros((4, 4, 5), np.uint8),
        np.zeros(4, np.uint8),
        np.zeros((1, 4, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.complex64),
        np.zeros((4, 4, 3), np.int64),
        np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1 << 16, (1 << 15) + 1), (0, 0)),
        np.lib.stride_tricks.as_strided(np.zeros(1, np.uint8), (1, (1 << 24) + 1), (0, 0)),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_pictures_are_refused(array):
    with pytest.raises(PictureError):
        read(array)


def test_empty_images_are_refused():
    with pytest.raises(PictureError, match="empty"):
        read(Image.new("RGB", (0, 5)))


def test_cmyk_is_converted_and_said():
    cmyk = Image.new("CMYK", (4, 4), (255, 0, 0, 0))
    picture = read(as_file(cmyk, "TIFF", icc_profile=b"no profile"))  # a profile that does not fit is not used, nor kept
    assert picture.notes == ("CMYK converted to RGB",) and picture.metadata.icc == b""
    assert picture.pixels[0, 0].tolist() == [0, 255, 255] and not picture.gray


@pytest.mark.parametrize(("mode", "note"), [("YCbCr", True), ("HSV", True), ("RGBX", False)])
def test_other_color_modes_become_rgb(mode, note):
    image = Image.fromarray(RGB).convert(mode)
    picture = read(image)
    assert picture.notes == ((f"{mode} converted to RGB",) if note else ())
    assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(("mode", "plain"), [("RGBa", "RGBA"), ("La", "LA"), ("PA", "RGBA")])
def test_other_alpha_modes_become_plain_alpha(mode, plain):
    source = Image.fromarray(np.dstack([RGB, ALPHA])).convert(plain)
    image = source.convert("P").convert("PA") if mode == "PA" else source.convert(mode)
    assert to_image(read(image)).tobytes() == image.convert(plain).tobytes()


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_of_several_pictures_the_first_is_read_and_said(image_format):
    frames = [Image.fromarray(RGB + step) for step in (0, 40, 90)]
    data = as_file(frames[0], image_format, save_all=True, append_images=frames[1:])
    picture = read(data)
    assert picture.notes == (f"left out: 2 more {'pictures' if image_format == 'TIFF' else 'frames'}",)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(picture.pixels, np.asarray(image.convert("RGB")))


# Writing


@pytest.mark.parametrize("image_format", ["PNG", "WEBP", "TIFF", "TGA", "JPEG2000"])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_lossless_formats_keep_every_sample(image_format, mode):
    image = Image.fromarray(np.dstack([RGB, ALPHA])).convert(mode)
    reopened = reopen(image, image_format)
    assert reopened.convert(mode).tobytes() == image.tobytes()


@pytest.mark.parametrize("image_format", ["JPEG", "PPM", "BMP", "GIF", "ICNS", "PDF"])
def test_alpha_is_never_dropped_in_silence(image_format):
    with pytest.raises(PictureError, match="alpha"):
        save(Image.new("RGBA", (4, 4)), io.BytesIO(), image_format)


NOT_READ = ("EPS", "PDF")  # by Pillow alone
SMOOTH = np.stack([*np.meshgrid(np.arange(192), np.arange(128))[::-1], np.full((128, 192), 90)], -1).astype(np.uint8)


@pytest.mark.parametrize("image_format", sorted(writable() - {*NOT_READ}))
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_every_format_holds_the_picture_or_refuses(image_format, mode):
    image = Image.fromarray(np.dstack([SMOOTH, SMOOTH[..., 1]])).convert(mode)
    with warnings.catch_warnings(), contextlib.suppress(PictureError):
        warnings.simplefilter("ignore")  # IM is deprecated, GIF has few colors
        again = reopen(image, image_format)
        assert again.size == image.size
        assert psnr(np.asarray(again.convert("RGBA")), np.asarray(image.convert("RGBA"))) > 35


@pytest.mark.parametrize("size", [(256, 9), (257, 9), (300, 300)])
def test_icons_hold_256_pixels_a_side(size):
    image = Image.new("RGBA", size, (1, 2, 3, 4))
    if max(size) <= 256:
        assert reopen(image, "ICO").tobytes() == image.tobytes()
    else:
        with pytest.raises(PictureError, match="ICO holds at most 256 pixels a side"):
            save(image, io.BytesIO(), "ICO")


@pytest.mark.parametrize(("mode", "size", "image_format"), [("RGB", (512, 512), "ICNS"), ("RGB", (8, 8), "SPIDER")])
def test_what_pillow_would_change_is_refused(mode, size, image_format):
    with pytest.raises(PictureError, match="PNG can"):
        save(Image.new(mode, size), io.BytesIO(), image_format)


@pytest.mark.parametrize("image_format", ["MPO", "PDF"])
def test_what_holds_a_jpeg_file_holds_the_same(image_format):
    image = Image.fromarray(SMOOTH)
    scan = reopen_bytes(image, "JPEG").partition(b"\xff\xdb")[2]
    assert scan in reopen_bytes(image, image_format)


def test_the_suffix_chooses_the_format(tmp_path):
    image = Image.fromarray(RGB)
    for suffix, image_format in {"png": "PNG", "JPG": "JPEG", "tif": "TIFF", "webp": "WEBP", "jp2": "JPEG2000"}.items():
        save(image, tmp_path / f"a.{suffix}")
        with Image.open(tmp_path / f"a.{suffix}") as written:
            assert written.format == image_format
    save(image, str(tmp_path / "b"), "jpg")
    with open(tmp_path / "c.png", "wb") as file:
        save(image, file)
    assert np.array_equal(read(tmp_path / "c.png").pixels, RGB)


def test_formats_that_do_not_exist_are_named(tmp_path):
    image = Image.fromarray(RGB)
    for target, image_format in (("a.xyz", None), ("a", None), ("a.png", "XYZ"), ("a.psd", None), (io.BytesIO(), None)):
        with pytest.raises(PictureError):
            save(image, tmp_path / target if isinstance(target, str) else target, image_format)
    with pytest.raises(OSError, match="nowhere"):
        save(image, tmp_path / "nowhere" / "a.png")
    with pytest.raises(PictureError, match="WEBP"):
        save(Image.new("L", (20_000, 1)), io.BytesIO(), "webp")


def test_gray_comes_from_the_mean_of_the_planes():
    decoded = np.array([[[10, 11, 11], [0, 0, 1], [255, 255, 255], [254, 255, 255]]], np.uint8)
    image = to_image(Picture(equal_planes(decoded), gray=True))
    assert image.mode == "L" and np.asarray(image).tolist() == [[11, 0, 255, 255]]


# Files that are no images


@pytest.mark.parametrize("data", [b"", b"text", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0" + bytes(40)])
def test_files_that_are_no_images_are_refused(data):
    with pytest.raises(PictureError):
        read(data)


def test_sources_that_are_no_sources_are_refused():
    for source in (None, 7, [[1, 2]]):
        with pytest.raises(PictureError):
            read(source)
    with pytest.raises(HcodecError, match="gives str and not bytes"):
        read(io.StringIO("text"))
    with pytest.raises(FileNotFoundError):
        read("nowhere.png")


def test_an_oversized_image_is_refused_and_a_large_one_not_warned_of(monkeypatch):
    data = as_file(Image.fromarray(RGB), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read(data).pixels.shape == (7, 11, 3)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(PictureError, match="exceeds limit"):
        read(data)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "GIF"])
def test_damaged_files_are_refused_or_read(image_format):
    rng = random.Random(3)
    whole = as_file(Image.fromarray(RGB), image_format, exif=exif_bytes(6))
    damaged = [whole[:length] for length in range(0, len(whole), 7)]
    for _ in range(100):
        data = bytearray(whole)
        for _ in range(4):
            data[rng.randrange(len(data))] = rng.randrange(256)
        damaged.append(bytes(data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for data in damaged:
            with contextlib.suppress(PictureError):
                assert read(data).pixels.dtype == np.uint8


# Tensors


def test_psnr():
    assert psnr(RGB, RGB) == float("inf")
    assert psnr(np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)) == 0
    assert psnr(np.zeros((2, 2, 3), np.uint8), np.ones((2, 2, 3), np.uint8)) == pytest.approx(48.1308, abs=1e-4)
    with pytest.raises(PictureError):
        psnr(RGB, RGB[:3])


def test_the_module_is_imported_without_torch():
    code = "import sys, hcodec.pixels.picture; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
