"""Whatever is given to a public function: it is taken, or refused in one line that names it."""

from __future__ import annotations

import io
import warnings
from functools import partial

import numpy as np
import pytest
from conftest import render
from PIL import Image

import hcodec
from hcodec import arguments
from hcodec.codec import encode_lossless
from hcodec.pixels.picture import Picture

PIXELS = render(24, 40)
WRONG = (object(), [], {}, "x", b"x", 1.5, -1, True, float("nan"), 1e400, 10**400, (1, 2, 3), "\0", np.zeros(3))


@pytest.fixture(scope="module")
def data() -> bytes:
    return hcodec.encode(PIXELS, model="tiny")


@pytest.fixture(scope="module")
def archive() -> bytes:
    return hcodec.pack([("a.png", PIXELS)])


CALLS = {  # argument -> what takes it; `d` and `a` are a file and an archive
    "encode": (
        lambda d, a, **wrong: hcodec.encode(**{"image": PIXELS, "model": "tiny"} | wrong),
        "image levels lossless quality target_bpp target_size target_psnr model effort on_progress device backend",
    ),
    "encode_lossless": (
        lambda d, a, **wrong: encode_lossless(**{"image": PIXELS, "model": "tiny"} | wrong),
        "image levels model on_progress device backend",
    ),
    "decode": (
        lambda d, a, **wrong: hcodec.decode(**{"data": d} | wrong),
        "data levels region temperature seed device backend strict on_progress background",
    ),
    "decode_picture": (lambda d, a, **wrong: hcodec.decode_picture(**{"data": d} | wrong), "data levels region strict"),
    "info": (lambda d, a, **wrong: hcodec.info(**{"source": d} | wrong), "source"),
    "truncate": (lambda d, a, **wrong: hcodec.truncate(**{"source": d} | wrong), "source levels num_bytes"),
    "pack": (lambda d, a, **wrong: hcodec.pack(**{"sources": [("a", PIXELS)]} | wrong), "sources restart"),
    "unpack": (lambda d, a, **wrong: list(hcodec.unpack(**{"source": a} | wrong)), "source only strict"),
    "feed": (lambda d, a, **wrong: hcodec.StreamDecoder().feed(**{"data": d} | wrong), "data"),
    "StreamDecoder": (lambda d, a, **wrong: hcodec.StreamDecoder(**wrong).feed(d), "device backend"),
}


@pytest.mark.parametrize(("name", "argument"), [(name, one) for name, (_, all_) in CALLS.items() for one in all_.split()])
def test_no_argument_raises_from_inside(name, argument, data, archive):
    call = CALLS[name][0]
    for value in WRONG:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", hcodec.HcodecWarning)
                call(data, archive, **{argument: value})
        except hcodec.HcodecError as error:
            assert str(error) and "\n" not in str(error)
        except FileNotFoundError:
            assert value == "x"  # a path like any other


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (partial(hcodec.encode, levels=2.0), "levels is 2.0; it must be a whole number"),
        (partial(hcodec.encode, lossless="no"), "lossless is 'no'; it must be True or False"),
        (partial(hcodec.encode, quality=101), "quality is 101; it must be a number from 0 to 100"),
        (partial(hcodec.encode, target_size="forty"), "target_size is 'forty'; it must be a number of bytes above 0"),
        (partial(hcodec.encode, quality=50, levels=2), "quality excludes levels and targets"),
        (partial(hcodec.encode, quality=50, lossless=True), "a quality or target and lossless exclude each other"),
        (partial(hcodec.decode, levels=[2]), "levels is of type list"),
        (partial(hcodec.decode, region=5), "the region 5 is none"),
        (partial(hcodec.decode, temperature="warm"), "temperature is 'warm'; it must be a number from 0 to 1000"),
        (partial(hcodec.decode, background="blurple"), "the background 'blurple' is no color"),
        (lambda _: hcodec.info(PIXELS), "the source is of type ndarray; it must be bytes, a path or an open file"),
        (lambda _: hcodec.pack(PIXELS), "sources has one of type ndarray"),
    ],
)
def test_messages_name_what_is_wrong(call, line, data):
    with pytest.raises(hcodec.HcodecError) as caught:
        call(data)
    assert str(caught.value).startswith(line)


def test_a_file_in_text_mode_is_refused(tmp_path):
    path = tmp_path / "x.hcodec"
    path.write_text("text")
    with open(path) as file, pytest.raises(hcodec.HcodecError, match='must be opened with "rb"'):
        hcodec.info(file)


def test_sources_of_every_kind(tmp_path, data):
    path = tmp_path / "x.hcodec"
    path.write_bytes(data)
    for source in (data, bytearray(data), memoryview(data), path, str(path), io.BytesIO(data)):
        assert hcodec.info(source) == hcodec.info(data)
    for source in (data, bytearray(data), memoryview(data), path, str(path), io.BytesIO(data)):
        assert hcodec.truncate(source, levels=2) == hcodec.truncate(data, levels=2)


def test_views_are_the_bytes_that_they_show(data):
    every_other = memoryview(np.repeat(np.frombuffer(data, np.uint8), 2))[::2]
    padded = data + bytes(len(data) % 2)
    for view in (every_other, memoryview(np.frombuffer(padded, np.uint16))):
        assert hcodec.decode(view) == hcodec.decode(data)
        with hcodec.open(view) as file:
            assert file.image() == hcodec.decode(data)
        decoder = hcodec.StreamDecoder()
        decoder.feed(view)
        assert decoder.image() == hcodec.decode(data) and decoder.close() is None
    png = io.BytesIO()
    Image.fromarray(PIXELS).save(png, "PNG")
    every_other = memoryview(np.repeat(np.frombuffer(png.getvalue(), np.uint8), 2))[::2]
    assert hcodec.encode(every_other, model="tiny") == data


def test_matrices_are_arrays():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        matrix = np.matrix(PIXELS[..., 0])
    assert hcodec.encode(matrix, model="tiny") == hcodec.encode(PIXELS[..., 0], model="tiny")


def test_one_name_or_several(archive):
    assert [name for name, _ in hcodec.unpack(archive, only="a.png")] == ["a.png"]
    with pytest.raises(hcodec.HcodecError, match="there is no picture 'b'"):
        list(hcodec.unpack(archive, only=["b"]))


@pytest.mark.parametrize(
    ("value", "num_bytes"), [("40kB", 40000), ("40 KiB", 40960), (" 1.5mb", 1_500_000), ("7", 7), (7.9, 7), (np.int64(9), 9)]
)
def test_sizes_are_numbers_or_text(value, num_bytes):
    assert arguments.size("size", value) == num_bytes


def test_target_size_as_text(data):
    assert hcodec.encode(PIXELS, model="tiny", target_size="0.3kB") == hcodec.encode(PIXELS, model="tiny", target_size=300)
    assert hcodec.truncate(data, num_bytes="0.3kB") == hcodec.truncate(data, num_bytes=300)


@pytest.mark.parametrize("value", [True, False, np.True_, np.False_])
def test_flags(value):
    assert arguments.flag("strict", value) is bool(value)


def test_closed_files_and_archives(tmp_path, data, archive):
    closed = io.BytesIO(data)
    closed.close()
    for call in (hcodec.encode, hcodec.decode, hcodec.info, hcodec.unpack):
        with pytest.raises(hcodec.HcodecError):
            list(call(closed))
    path = tmp_path / "x.hcodec"
    path.write_bytes(data)
    with pytest.raises(hcodec.HcodecError, match="it is closed"):
        hcodec.open(closed)
    with hcodec.open(path) as file:
        pass
    with pytest.raises(hcodec.HcodecError, match="it is closed"):
        file.image()
    for call in (hcodec.decode, hcodec.info, hcodec.truncate):
        with pytest.raises(hcodec.FormatError, match="this is an archive of pictures"):
            call(archive)


GRAY, DEEP = np.repeat(PIXELS[..., :1], 3, 2), np.zeros((24, 40, 1), np.uint16)


@pytest.mark.parametrize(
    "lossy",
    [
        Picture(PIXELS, gray=True),
        Picture(PIXELS, deep=DEEP),
        Picture(GRAY, gray=True, deep=np.repeat(DEEP, 3, 2)),
        Picture(GRAY, PIXELS[..., 0], gray=True, deep=DEEP),
    ],
)
def test_pictures_that_contradict_themselves_are_refused(lossy):
    for make in (partial(hcodec.encode, lossless=True), lambda one: hcodec.pack([("a", one)])):
        with pytest.raises(hcodec.PictureError, match="a Picture"):
            make(lossy)


def test_what_was_decoded_is_gray_and_encoded_again():
    decoded = hcodec.decode_picture(hcodec.encode(PIXELS[..., 0], model="tiny"))
    assert decoded.gray and not np.ptp(decoded.pixels, axis=2).any()
    assert hcodec.info(hcodec.encode(decoded, model="tiny")).gray
