"""Whole pictures to files and back."""

from __future__ import annotations

import functools
import io
import warnings
from dataclasses import replace

import numpy as np
import pytest
from conftest import layers_of, render, rewritten
from PIL import Image, ImageCms

import hcodec
from hcodec import container, memory, models, needs
from hcodec.codec import decode, decode_picture, encode
from hcodec.coders import scale_offsets
from hcodec.coding.stack import Stack
from hcodec.coding.tables import SymbolTables
from hcodec.errors import FormatError, HcodecError, HcodecWarning, ModelError, PictureError, TruncatedError
from hcodec.models.photo.prefix import Prefix
from hcodec.pixels.picture import Picture, psnr, read

LEVELS = 3


@pytest.fixture(autouse=True)
def no_warnings():
    """Nothing may warn unless a test says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", HcodecWarning)
        yield


@pytest.fixture(scope="module")
def data(picture) -> bytes:
    return encode(picture, model="tiny")


@pytest.fixture(scope="module")
def layers(data) -> list[list[bytes]]:
    return layers_of(data)


def pixels_of(source, **options) -> np.ndarray:
    return decode_picture(source, **options).pixels


def quality(source, picture, **options) -> float:
    return psnr(pixels_of(source, **options), picture)


def damaged(data, level) -> bytes:
    broken = bytearray(data)
    broken[container.info(data).levels[level - 1].prefix_bytes - 1] ^= 1
    return bytes(broken)


# Round trips

SIZES = [(1, 1), (1, 2000), (2000, 1), (63, 65), (64, 64), (65, 65), (65, 64), (513, 511), (7, 8), (8, 9), (129, 1)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_round_trip_at_any_size(height, width):
    picture = render(height, width)
    data = encode(picture, model="tiny")
    found = [pixels_of(data, levels=level) for level in (1, 2, 3)]
    assert all(pixels.shape == picture.shape and pixels.dtype == np.uint8 for pixels in found)
    assert (pixels_of(data) == found[-1]).all()
    if height * width > 100:  # of a dot, quality is a matter of luck
        values = [psnr(pixels, picture) for pixels in found]
        assert values == sorted(values) and values[-1] > values[0] + 3
    assert container.info(data).complete and (container.info(data).width, container.info(data).height) == (width, height)


def test_encoding_is_repeatable_and_its_container_small(picture, data):
    assert encode(picture, model="tiny") == data
    assert encode(Image.fromarray(picture), model="tiny") == encode(read(picture), model="tiny") == data
    assert container.info(data).container_bytes < 80
    assert len(data) == container.info(data).container_bytes + sum(level.num_bytes for level in container.info(data).levels)


def test_sources_of_every_kind(picture, data, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(picture).save(path)
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes())):
        assert encode(source, model="tiny") == data
    (tmp_path / "x.hcodec").write_bytes(data)
    wanted = np.asarray(decode(data))
    sources = (tmp_path / "x.hcodec", str(tmp_path / "x.hcodec"), io.BytesIO(data), bytearray(data), memoryview(data))
    for source in sources:
        assert (np.asarray(decode(source)) == wanted).all()
    with pytest.raises(FileNotFoundError):
        decode(tmp_path / "none.hcodec")
    with pytest.raises(PictureError):
        encode(b"no image", model="tiny")


def test_layers_are_as_long_as_the_model_estimates():
    data = encode(render(320, 384), model="tiny")
    model, total = models.load("tiny"), 0.0
    tables, prefix = SymbolTables(model.tables), Prefix.empty(model.walk, 320, 384)
    for (layer,) in layers_of(data):
        stack, estimated = Stack(layer), []

        def answer(latent, state, prior, stack=stack, estimated=estimated):
            """Pops the symbols of a latent, and estimates what an encoder puts there."""
            symbols = stack.pop(tables, scale_offsets.pop(tables, stack, prior.index))
            estimated += [tables.estimate(*part) for part in scale_offsets.parts(tables, symbols, prior.index)]
            return symbols.astype(np.float32)

        prefix = prefix.extended(answer)
        assert abs(8 * len(layer) - sum(estimated)) < 0.01 * sum(estimated) + 64
        total += sum(estimated)
    assert abs(8 * (len(data) - container.info(data).container_bytes) - total) < 0.01 * total


# Levels and targets


def test_levels(picture, data):
    for level in range(1, LEVELS + 1):
        part = encode(picture, levels=level, model="tiny")
        assert part == container.truncate(data, levels=level)
        assert (pixels_of(part) == pixels_of(data, levels=level)).all()
    for job in (lambda levels: encode(picture, levels=levels, model="tiny"), lambda levels: decode(data, levels=levels)):
        with pytest.raises(TruncatedError, match="4 levels were asked for, there are 3"):
            job(4)
        for levels in (0, -1):
            with pytest.raises(HcodecError, match="at least 1"):
                job(levels)


def test_target_size_is_met_at_the_byte(picture, data):
    sizes = [level.prefix_bytes for level in container.info(data).levels]
    for target in (*range(sizes[0], sizes[0] + 11), (sizes[1] + sizes[2]) // 2, len(data) - 1, len(data), len(data) + 1000):
        part = encode(picture, model="tiny", target_size=target)
        assert len(part) <= target and (len(part) >= target - 12 or part == data)
        assert pixels_of(part).shape == picture.shape
    for too_small in (1, sizes[0] - 20):
        with pytest.raises(TruncatedError, match="the first level alone"):
            encode(picture, model="tiny", target_size=too_small)
    with pytest.raises(TruncatedError):
        encode(picture, model="tiny", target_bpp=1e-9)


def test_target_bpp_counts_the_whole_file(picture, data):
    for bpp in (0.3, 0.5):
        part = encode(picture, model="tiny", target_bpp=bpp)
        assert bpp - 0.01 < 8 * len(part) / (96 * 128) <= bpp
    assert encode(picture, model="tiny", target_bpp=float("inf")) == data


def test_target_psnr_takes_no_more_than_it_needs(picture, data):
    values = [quality(data, picture, levels=level) for level in (1, 2, 3)]
    for target in (10.0, values[0] - 0.01, (values[0] + values[1]) / 2, (values[1] + values[2]) / 2, values[2] - 0.01):
        part = encode(picture, model="tiny", target_psnr=target)
        assert quality(part, picture) >= target
        if container.info(part).cut:
            shorter = container.truncate(part, num_bytes=len(part) - container.info(part).levels[-1].num_bytes // 12 - 8)
            assert quality(shorter, picture) < target
    assert encode(picture, model="tiny", target_psnr=10.0) == container.truncate(data, levels=1)
    with pytest.warns(HcodecWarning, match="stays below 99 dB"):
        assert encode(picture, model="tiny", target_psnr=99) == data


def test_targets_together_all_hold(picture, data):
    both = encode(picture, model="tiny", target_psnr=15.0, target_size=len(data) // 2, target_bpp=8.0)
    assert both == container.truncate(data, levels=1)
    limited = encode(picture, model="tiny", levels=2, target_size=len(data))
    assert limited == container.truncate(data, levels=2)
    assert len(encode(picture, model="tiny", target_bpp=0.5, target_size=300)) <= 300


@pytest.mark.parametrize("name", ["target_bpp", "target_size", "target_psnr"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_targets_must_be_above_zero(picture, name, value):
    with pytest.raises(HcodecError, match="above 0"):
        encode(picture, model="tiny", **{name: value})


# Prefixes


def test_whole_levels_are_the_same_however_they_arrive(data):
    decoder = hcodec.StreamDecoder()
    ends = {level.prefix_bytes: level.level for level in container.info(data).levels}
    for position, byte in enumerate(data, 1):
        decoder.feed(bytes((byte,)))
        if position in ends:
            level = ends[position]
            wanted = pixels_of(data, levels=level)
            assert (pixels_of(container.truncate(data, levels=level)) == wanted).all()
            assert (np.asarray(decoder.image()) == wanted).all() and decoder.levels_decoded == level
            assert (pixels_of(container.truncate(data, num_bytes=position), levels=level) == wanted).all()
    decoder.close()


def test_every_byte_prefix_decodes_and_more_bytes_are_better(picture, data):
    sizes = [level.prefix_bytes for level in container.info(data).levels]
    values = []
    for length in range(sizes[0], len(data), 40):
        with pytest.warns(HcodecWarning, match="the file ends after"):
            values.append(quality(data[:length], picture))
        decoder = hcodec.StreamDecoder()
        decoder.feed(data[:length])
        assert psnr(np.asarray(decoder.image()), picture) == values[-1]
        assert quality(container.truncate(data[:length]), picture) == values[-1]  # now well-formed: no warning
    values.append(quality(data, picture))
    assert min(np.diff(values)) > -0.15 and values[-1] > values[0] + 5
    for level, length in enumerate(sizes[:-1], 1):
        middle = quality(container.truncate(data, num_bytes=(length + sizes[level]) // 2), picture)
        assert quality(data, picture, levels=level) < middle < quality(data, picture, levels=level + 1)


def test_too_little_of_a_file(data):
    first = container.info(data).levels[0].prefix_bytes
    for length in (0, 1, 7, 8, 20, first - 1):
        for options in ({}, {"levels": 1}, {"strict": True}):
            with pytest.raises(TruncatedError), warnings.catch_warnings():
                warnings.simplefilter("ignore", HcodecWarning)
                decode(data[:length], **options)
    with pytest.raises(TruncatedError, match="2 levels were asked for, there are 1"):
        decode(data[: first + 5], levels=2)
    with pytest.raises(TruncatedError, match="the file ends after"):
        decode(data[: first + 5], strict=True)
    decode(data[: first + 5], levels=1)  # enough for what was asked: no warning


# Kinds of pictures


def test_gray(picture):
    gray = np.asarray(Image.fromarray(picture).convert("L"))
    data = encode(gray, model="tiny")
    found = decode(data)
    assert found.mode == "L" and container.info(data).gray and found.size == (128, 96)
    assert psnr(np.asarray(found), gray) > 20
    assert decode(data, levels=1).mode == "L"
    with pytest.warns(HcodecWarning, match="16-bit samples rounded to 8 bits$"):
        assert encode(Image.fromarray(gray.astype(np.uint16) * 257), model="tiny") == data


def test_alpha_is_kept_without_loss(picture):
    alpha = render(96, 128, 4)[..., 0]
    data = encode(np.dstack([picture, alpha]), model="tiny")
    for levels in (1, None):
        found = decode(data, levels=levels)
        assert found.mode == "RGBA" and (np.asarray(found)[..., 3] == alpha).all()
    assert (np.asarray(decode(container.truncate(data, levels=2)))[..., 3] == alpha).all()
    assert decode(encode(np.dstack([picture[..., 0], alpha]), model="tiny")).mode == "LA"


def test_palette_and_bilevel(picture):
    palette = Image.fromarray(picture).quantize(32)
    found = decode(encode(palette, model="tiny"))
    assert found.mode == "RGB" and psnr(np.asarray(found), np.asarray(palette.convert("RGB"))) > 20
    assert decode(encode(Image.fromarray(picture).convert("1"), model="tiny")).mode == "L"


def test_16_bits_are_rounded():
    samples = (render(40, 40).astype(np.uint16) * 257)[..., :3]
    with pytest.warns(HcodecWarning, match="16-bit samples rounded to 8 bits$"):
        assert encode(samples, model="tiny") == encode(render(40, 40), model="tiny")


def test_orientation_is_applied():
    image = Image.fromarray(render(40, 70))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95)
    assert decode(encode(file.getvalue(), model="tiny")).size == (40, 70)


def test_metadata(picture):
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG", icc_profile=icc(), exif=exif)
    data = encode(file.getvalue(), model="tiny")
    found = decode(data)
    assert found.info["icc_profile"] == icc() and found.getexif()[0x010E] == "a picture"
    kept = decode(encode(file.getvalue(), model="tiny", metadata=("exif",)))
    assert "icc_profile" not in kept.info and kept.getexif()[0x010E] == "a picture"
    assert encode(file.getvalue(), model="tiny", metadata=()) == encode(picture, model="tiny")
    assert decode(container.truncate(data, levels=1)).info["icc_profile"] == icc()
    with pytest.raises(HcodecError, match="unknown metadata colour; choose from icc, color, exif, xmp"):
        encode(picture, model="tiny", metadata=("icc", "colour"))


@functools.cache  # the time of making is in it
def icc() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def test_alpha_that_cannot_be_decoded_is_left_out(data, layers):
    strange = rewritten(data, layers, attachments=container.Attachments(alpha=b"not an alpha channel"))
    with pytest.warns(HcodecWarning):
        assert decode(strange).mode == "RGB"
    with pytest.raises(FormatError):
        decode(strange, strict=True)


# Temperature


def test_temperature_fills_in_what_is_missing(picture, data):
    plain, warm = pixels_of(data, levels=1), pixels_of(data, levels=1, temperature=0.8, seed=3)
    assert (warm != plain).any() and (warm == pixels_of(data, levels=1, temperature=0.8, seed=3)).all()
    assert (warm != pixels_of(data, levels=1, temperature=0.8, seed=4)).any()
    assert psnr(warm, picture) > 10
    assert (pixels_of(data, temperature=0.8) == pixels_of(data)).all()  # nothing is missing
    for temperature in (-0.1, float("nan"), float("inf")):
        with pytest.raises(HcodecError, match="temperature"):
            decode(data, temperature=temperature)


# What goes wrong


def test_a_damaged_layer_gives_the_levels_before_it(data):
    for level in (2, 3):
        broken = damaged(data, level)
        with pytest.warns(HcodecWarning, match=f"layer {level} is damaged"):
            assert (pixels_of(broken) == pixels_of(data, levels=level - 1)).all()
        assert (pixels_of(broken, levels=level - 1) == pixels_of(data, levels=level - 1)).all()
        with pytest.raises(FormatError, match=f"layer {level} is damaged"):
            decode(broken, strict=True)
        with pytest.raises(FormatError, match=f"layer {level} is damaged"):
            decode(broken, levels=level)
    with pytest.raises(FormatError, match="layer 1 is damaged"), warnings.catch_warnings(action="error"):
        decode(damaged(data, 1))


@pytest.mark.parametrize("extra", [b"\1\0\0\0", b"\1"])
def test_a_malformed_layer_under_a_right_checksum_gives_the_levels_before_it(data, layers, extra):
    broken = rewritten(data, [layers[0], [layers[1][0] + extra], layers[2]])
    with pytest.warns(HcodecWarning, match="level 2 is malformed, it was ignored"):
        assert (pixels_of(broken) == pixels_of(data, levels=1)).all()
    assert (pixels_of(broken, levels=1) == pixels_of(data, levels=1)).all()
    with pytest.raises(FormatError):
        decode(broken, strict=True)
    with pytest.raises(FormatError):
        decode(rewritten(data, [[layers[0][0] + extra], layers[1]]))


def test_a_cut_layer_that_begins_wrongly_is_left_out(data, layers):
    broken = rewritten(data, [*layers[:2], [bytes(12)]], cut=True)
    with pytest.warns(HcodecWarning, match="level 3 is malformed"):
        assert (pixels_of(broken) == pixels_of(data, levels=2)).all()


def test_more_layers_than_the_model_has_levels(data, layers):
    with pytest.raises(FormatError, match="4 levels, 2 coarse; its model has others"):
        decode(rewritten(data, [*layers, [b""]]))
    with pytest.raises(FormatError, match="3 levels, 1 coarse; its model has others"):
        decode(rewritten(data, layers, num_coarse=1))


def test_unknown_models(picture, data, layers):
    with pytest.raises(ModelError, match="unknown model 'nobody'"):
        encode(picture, model="nobody")
    with pytest.raises(ModelError, match="no installed model has the fingerprint 00010203"):
        decode(rewritten(data, layers, fingerprint=bytes(range(4))))


def test_memory_is_checked_before_it_is_taken(picture, data, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 96 * 128 * needs._LEAST - 1)
    for job in (lambda: encode(picture, model="tiny"), lambda: decode(data)):
        with pytest.raises(PictureError, match="megapixels need"):
            job()
    narrow = rewritten(data, [[b""]], width=1 << 12, height=1)  # each cell of 8x8 pixels takes memory, also for one pixel
    with pytest.raises(PictureError):
        decode(narrow)
    monkeypatch.setattr(memory, "free_bytes", lambda: 96 * 128 * needs._LEAST)
    decode(data)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)  # a system that does not tell
    decode(data)


def test_free_memory_is_plausible():
    free = memory.free_bytes()
    assert free is None or 1 << 20 < free < 1 << 50


def test_a_picture_can_be_given_directly(picture, data):
    source = Picture(picture, None, False, replace(read(picture).metadata, xmp=b"<x/>"))
    assert decode_picture(encode(source, model="tiny")).metadata.xmp == b"<x/>"
    assert (decode_picture(data).notes, decode_picture(data).alpha) == ((), None)


@pytest.mark.parametrize("levels", [1.5, 2.0, "3"])
def test_levels_must_be_a_whole_number(levels):
    data = encode(render(32, 32), model="tiny")
    for call in (functools.partial(encode, render(32, 32), model="tiny"), functools.partial(decode, data)):
        with pytest.raises(HcodecError, match="whole number"):
            call(levels=levels)
    with pytest.raises(HcodecError, match="whole number"):
        encode(render(32, 32), model="tiny", lossless=True, levels=levels)
