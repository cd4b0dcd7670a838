"""Pictures through the lossless layer and back: every pixel, whatever the picture, the way and the machine's settings."""

from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import render
from PIL import Image, ImageDraw
from test_tiles import SIZES, noise

import hcodec
from hcodec import codec, container
from hcodec.coders import lossless, tiles
from hcodec.errors import HcodecError, HcodecWarning, ModelError, TruncatedError
from hcodec.models import registry
from hcodec.pixels.picture import Picture


@pytest.fixture(autouse=True)
def no_warnings():
    """Nothing may warn unless a test says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", HcodecWarning)
        yield


def encode_forced(pixels, model="tiny", **options):
    """Returns file and report of a picture coded by the network, from the first start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "estimate", lambda *_: 1.0)
        patch.setattr(lossless, "_stored", lambda *_: None)
        return codec.encode_lossless(pixels, model=model, **options)


def decoded(data, **options):
    return np.asarray(hcodec.decode(data, **options))


def drawing(height=120, width=200):
    """Returns something like a screenshot: flat areas, lines, letters."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((10, 10, width // 2, 40), fill=(30, 60, 120))
    draw.text((15, 18), "lossless 0123456789", fill="white")
    for i in range(5):
        draw.line((0, 50 + 12 * i, width, 50 + 12 * i), fill=(200, 200, 205))
        draw.text((12, 52 + 12 * i), f"row {i}: {i * 37 % 101}", fill="black")
    return np.asarray(image)


# Every pixel


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip_at_any_size(height, width):
    pixels = render(height, width)
    data = hcodec.encode(pixels, lossless=True, model="tiny")
    assert (decoded(data) == pixels).all()
    assert (decoded(encode_forced(pixels)[0]) == pixels).all()


@pytest.mark.parametrize("name", ["black", "white", "one color", "noise", "drawing", "extremes"])
def test_round_trip_of_any_content(name):
    pixels = {
        "black": np.zeros((60, 400, 3), np.uint8),
        "white": np.full((60, 400, 3), 255, np.uint8),
        "one color": np.tile(np.uint8([13, 200, 77]), (60, 400, 1)),
        "noise": noise(24, 400),
        "drawing": drawing(),
        "extremes": np.uint8(255) * (noise(24, 400) & 1),
    }[name]
    data = hcodec.encode(pixels, lossless=True, model="tiny")
    assert (decoded(data) == pixels).all()
    assert (decoded(encode_forced(pixels)[0]) == pixels).all()
    assert len(data) <= len(codec.encode(pixels, levels=1, model="tiny")) + pixels.size + 12


def test_noise_costs_hardly_more_than_its_samples():
    pixels = noise(512, 512)
    data, report = codec.encode_lossless(pixels, model="tiny")
    assert report.method == "stored" and (decoded(data) == pixels).all()
    assert len(data) <= 1.01 * pixels.size


def test_gray_pictures_code_one_plane():
    plane = render(40, 400)[..., 1]
    data, report = encode_forced(plane)
    assert container.info(data).gray and (decoded(data) == plane).all() and report.method == "coded"
    assert (decoded(hcodec.encode(plane, lossless=True, model="tiny")) == plane).all()
    color = encode_forced(np.repeat(plane[..., None], 3, 2).copy())[1]
    assert 1.2 * len(report.data) < len(color.data)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_and_what_it_hides_are_kept(mode):
    rgba = np.dstack([drawing(40, 60), np.arange(60, dtype=np.uint8) * np.ones((40, 1), np.uint8) * 4])
    image = Image.fromarray(rgba, "RGBA").convert(mode)
    data = hcodec.encode(image, lossless=True, model="tiny")
    found = hcodec.decode(data)
    assert found.mode == mode and (np.asarray(found) == np.asarray(image)).all()


def test_metadata_stay():
    image, file, exif = Image.fromarray(drawing()), io.BytesIO(), Image.Exif()
    exif[0x010E] = "hello"
    image.save(file, "PNG", exif=exif)
    data = hcodec.encode(file.getvalue(), lossless=True, model="tiny")
    assert hcodec.decode(data).getexif()[0x010E] == "hello" and (decoded(data) == drawing()).all()


# Levels and prefixes


def test_the_levels_are_those_of_an_ordinary_file():
    pixels = render(40, 400)
    plain = hcodec.encode(pixels, model="tiny")
    for levels in (2, 3):
        data, report = encode_forced(pixels, levels=levels)
        assert report.start == 2 and len(container.info(data).levels) == levels
        for level in range(1, levels + 1):
            assert container.truncate(data, levels=level) == container.truncate(plain, levels=level)
            assert (decoded(data, levels=level) == decoded(plain, levels=level)).all()
        limit = container.info(plain).levels[levels - 1].prefix_bytes - 30
        assert container.truncate(data, num_bytes=limit) == container.truncate(container.truncate(plain, levels=levels),
                                                                               num_bytes=limit)  # fmt: skip
        assert container.truncate(data) == container.truncate(data, num_bytes=len(data)) == data


def test_levels_none_keeps_those_that_the_layer_needs():
    pixels = render(40, 400)
    data, report = encode_forced(pixels)
    assert len(container.info(data).levels) == report.start == 2
    data, report = codec.encode_lossless(np.zeros((64, 64, 3), np.uint8), model="tiny")
    assert (report.method, report.start, len(container.info(data).levels)) == ("stored", 1, 1)
    assert codec.encode_lossless(noise(32, 32), levels=3, model="tiny")[1].start == 1  # stored needs no level


def test_levels_that_cannot_be(monkeypatch):
    pixels = render(16, 16)
    with pytest.raises(HcodecError, match="builds on level 2 or"):
        hcodec.encode(pixels, lossless=True, levels=1, model="tiny")
    with pytest.raises(TruncatedError, match="4 levels were asked for, there are 3"):
        hcodec.encode(pixels, lossless=True, levels=4, model="tiny")
    for target in ("target_bpp", "target_size", "target_psnr"):
        with pytest.raises(HcodecError, match="exclude each other"):
            hcodec.encode(pixels, lossless=True, model="tiny", **{target: 5})
    data = encode_forced(pixels)[0]
    with pytest.warns(HcodecWarning, match="fewer levels below its lossless layer"):
        assert (decoded(data, levels=3) == pixels).all()
    monkeypatch.setattr(registry, "LOSSLESS", replace(registry.LOSSLESS, folder="nowhere"))
    with pytest.raises(ModelError, match="no lossless layer is installed for the model"):
        hcodec.encode(pixels, lossless=True, model="tiny")
    with pytest.warns(HcodecWarning, match="no lossless layer with the fingerprint .* it was ignored"):
        assert (decoded(data) == decoded(data, levels=2)).all()
    with pytest.raises(ModelError):
        decoded(data, strict=True)


def test_the_picture_grows_exact_as_the_file_arrives():
    pixels = render(24, 400)
    data, _ = encode_forced(pixels, levels=3)
    decoder, ends = hcodec.StreamDecoder(), [level.prefix_bytes for level in container.info(data).levels]
    for begin, end in zip([0, *ends, (ends[-1] + len(data)) // 2], [*ends, (ends[-1] + len(data)) // 2, len(data)], strict=True):
        decoder.feed(data[begin:end])
        level = decoder.levels_decoded
        wanted = pixels if end == len(data) else decoded(data, levels=level)
        assert (np.asarray(decoder.image()) == wanted).all()
    decoder.close()
    with pytest.warns(HcodecWarning, match="the file ends after"):
        assert (decoded(data[:-1]) == decoded(data, levels=3)).all()
    assert container.truncate(data[:-1]) == container.truncate(data, levels=3)


def test_info_tells_of_the_layer():
    pixels = render(24, 400)
    data, report = encode_forced(pixels)
    info = container.info(data)
    row = info.lossless
    assert (row.method, row.start, row.crc_ok) == (report.method, 2, True)
    assert row.num_bytes == row.present_bytes == len(report.data) and row.prefix_bytes == len(data)
    assert row.bpp == 8 * row.num_bytes / (24 * 400)
    cut = container.info(data[:-5]).lossless
    assert (cut.method, cut.start, cut.crc_ok, cut.present_bytes) == ("", 0, None, row.num_bytes - 5)
    assert container.info(hcodec.encode(pixels, model="tiny")).lossless is None
    assert container.info(hcodec.encode(np.zeros((9, 9, 3), np.uint8), lossless=True, model="tiny")).lossless.method == "stored"


def test_a_picture_object_can_be_given():
    pixels = render(20, 30)
    data, _ = codec.encode_lossless(Picture(pixels), model="tiny")
    assert (codec.decode_picture(data).pixels == pixels).all()
