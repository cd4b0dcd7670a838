"""Whole pictures: what is stored in place of levels, exactly, whatever of it has arrived; and what stays as it was."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import render
from PIL import Image, ImageDraw

import hcodec
from hcodec import codec, container
from hcodec.coders import whole as coder
from hcodec.container import whole
from hcodec.errors import FormatError, HcodecError, HcodecWarning, TruncatedError
from hcodec.pixels.look import look
from hcodec.pixels.picture import Metadata, Picture


def page(mode="1", size=(300, 150), ink=0):
    """Lines of text, of one bit or with smooth edges."""
    image = Image.new(mode, size, "white" if mode != "1" else 1)
    draw = ImageDraw.Draw(image)
    for row in range(size[1] // 14):
        draw.text((10, 14 * row), f"{row}: the {row * 37 % 101} pages of a file, {row * 7919 % 1009}", ink)
    return image


def screen():
    """A window of several colors, with smooth edges and a gradient."""
    image = page("RGB", ink=(20, 60, 120))
    shade = np.linspace(90, 200, 300).astype(np.uint8)
    image.paste(Image.fromarray(np.repeat(np.stack([shade, shade, 255 - shade], 1)[None], 25, axis=0)), (0, 100))
    return image


def pixels_of(image):
    return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def letter():
    return hcodec.encode(page())


@pytest.mark.parametrize("image", [page(), page("L"), page("RGB"), screen(), page("RGB").quantize(8), page("RGBA")])
def test_documents_are_stored_exactly_and_are_short(image):
    data = hcodec.encode(image, model="tiny")
    decoded = codec.decode_picture(data)
    assert decoded.exact and (decoded.pixels == pixels_of(image)).all()
    assert hcodec.decode(data).mode == {"1": "L", "P": "RGB"}.get(image.mode, image.mode)
    plain = image.convert("RGB")
    best = min(
        len(saved(plain, format="WEBP", lossless=True, quality=100, method=6)), len(saved(image, format="PNG", optimize=True))
    )
    alpha = hcodec.info(data).alpha_bytes
    assert len(data) - alpha < 1.05 * best + 100  # of pictures as small as this, header and preview tell
    assert data == hcodec.encode(image, model="tiny")


def saved(image, **options):
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def test_info_names_it(letter):
    info = hcodec.info(letter)
    assert (info.stored, info.model, info.depth, len(info.levels), info.lossless) == ("bilevel", "stored", 8, 1, None)
    assert info.levels[0].crc_ok and info.levels[0].prefix_bytes == len(letter)
    assert info.levels[0].num_bytes + info.container_bytes == len(letter)
    assert hcodec.info(hcodec.encode(page("RGB").quantize(8), model="tiny")).stored.endswith(" colors")
    cut = hcodec.info(letter[:-100])
    assert (cut.levels[0].present_bytes, cut.levels[0].crc_ok) == (info.levels[0].num_bytes - 100, None)
    assert hcodec.info(letter[:40]).stored == "unknown"


def test_what_comes_along_is_kept():
    rgba = np.dstack([pixels_of(page()), np.tile(np.arange(300) % 256, (150, 1))]).astype(np.uint8)
    source = Picture(rgba[..., :3], rgba[..., 3], metadata=Metadata(exif=b"MM\0*\0\0\0\x08\0\0\0\0\0\0", xmp=b"<x/>"))
    shown = codec.decode_picture(hcodec.encode(source, model="tiny"))
    assert (shown.alpha == rgba[..., 3]).all() and shown.metadata.xmp == b"<x/>" and shown.metadata.exif == source.metadata.exif


@pytest.mark.parametrize("options", [{"levels": 2}, {"lossless": False}, {"target_bpp": 0.5}, {"target_size": 5000}])
def test_what_was_asked_for_is_respected(options):
    assert hcodec.info(hcodec.encode(page(), model="tiny", **options)).stored == ""


def test_photographs_are_not_looked_at_twice(monkeypatch):
    assert not look(render(160, 200), 4096).is_drawn
    noise = np.random.default_rng(0).integers(0, 256, (150, 150, 3), dtype=np.uint8)
    assert not look(noise, 4096).is_drawn and not look(pixels_of(page())[:20, :20], 4096).is_drawn
    monkeypatch.setattr(coder, "encode", None)  # not called
    assert hcodec.info(hcodec.encode(render(160, 200), model="tiny")).stored == ""


def test_levels_are_kept_where_they_are_shorter():
    """A flat frame around noise."""
    picture = np.full((160, 160, 3), 255, dtype=np.uint8)
    picture[30:130, 30:130] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    assert look(picture, 4096).is_drawn and hcodec.info(hcodec.encode(picture, model="tiny")).stored == ""
    exact = hcodec.encode(picture, lossless=True, model="tiny")
    assert (pixels_of(hcodec.decode(exact)) == picture).all()


@pytest.mark.parametrize("image", [page(), screen()])
def test_every_prefix_shows_something_or_says_why_not(image):
    data, wanted = hcodec.encode(image, lossless=True, model="tiny"), pixels_of(image)
    header = hcodec.info(data).container_bytes
    for end in [*range(0, header + 40, 7), *range(header + 40, len(data), 797), len(data) - 1]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HcodecWarning)
            try:
                shown = codec.decode_picture(data[:end])
            except TruncatedError as error:
                assert end < header + 1200, error
                continue
        assert shown.pixels.shape == wanted.shape and not shown.exact
    same = (shown.pixels == wanted).all(axis=2).mean()
    assert same > (0.8 if hcodec.info(data).stored == "bilevel" else 0)
    with pytest.raises(TruncatedError):
        codec.decode_picture(data[:-1], strict=True)


def test_a_region_is_the_same_part(letter):
    part = codec.decode_picture(letter, region=(30, 40, 100, 50))
    assert part.exact and (part.pixels == pixels_of(page())[40:90, 30:130]).all()
    half = letter[: len(letter) // 2]
    with pytest.warns(HcodecWarning, match="the file ends after"):
        assert codec.decode_picture(half, region=(0, 0, 20, 20)).exact  # this corner has arrived


def test_a_stream_shows_it_while_it_arrives(letter):
    decoder = hcodec.StreamDecoder()
    found = [decoder.feed(letter[at : at + 500]) for at in range(0, len(letter), 500)]
    assert sum(found) == decoder.levels_decoded == 1 and found[-1] == 1
    assert (pixels_of(decoder.image()) == pixels_of(page())).all()
    decoder.close()
    begun = hcodec.StreamDecoder()
    begun.feed(letter[: len(letter) // 2])
    assert begun.levels_decoded == 0 and begun.image().size == (300, 150)
    assert begun.image((0, 0, 10, 10)).size == (10, 10)
    with pytest.raises(TruncatedError):
        begun.close()


def test_truncate_keeps_all_or_refuses(letter):
    assert hcodec.truncate(letter) == hcodec.truncate(letter, num_bytes=len(letter)) == letter
    with pytest.raises(TruncatedError, match="the picture, which is stored as a whole, needs"):
        hcodec.truncate(letter, num_bytes=300)
    with pytest.raises(TruncatedError, match="ends inside its picture"):
        hcodec.truncate(letter[:-5], levels=1)
    with pytest.raises(FormatError, match="damaged"):
        hcodec.truncate(letter[:-5] + bytes(5))


@pytest.mark.parametrize("levels", [1, 2, 7])
def test_levels_of_what_has_none_are_all_of_it_with_one_warning(letter, levels):
    for one in (letter, hcodec.encode(np.arange(6000, dtype=np.uint16).reshape(60, 100), lossless=True)):
        with pytest.warns(HcodecWarning, match="no levels") as caught:
            assert (codec.decode_picture(one, levels=levels, strict=True).pixels == codec.decode_picture(one).pixels).all()
        assert len(caught) == 1
        with pytest.warns(HcodecWarning, match="no levels") as caught, hcodec.open(one) as file:
            assert file.image(levels=levels).tobytes() == hcodec.decode(one).tobytes()
        assert len(caught) == 1
        with pytest.warns(HcodecWarning, match="no levels") as caught:
            assert hcodec.truncate(one, levels=levels) == one
        assert len(caught) == 1
    with pytest.raises(HcodecError, match="levels"):
        codec.decode_picture(letter, levels=0)
    with pytest.warns(HcodecWarning, match="the file ends after"), pytest.warns(HcodecWarning, match="no levels"):
        codec.decode_picture(letter[:-9], levels=levels)


@pytest.mark.parametrize("lossless", [True, None])
def test_damage_is_told(letter, lossless):
    for at in range(60, len(letter), 511):
        harmed = bytearray(letter)
        harmed[at] ^= 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HcodecWarning)
            with pytest.raises(FormatError):
                hcodec.decode(bytes(harmed))


def forged(payload, size=(40, 30), **options):
    frame = container.Frame(
        width=size[0], height=size[1], model=whole.MODEL, fingerprint=whole.FINGERPRINT, num_coarse=1, **options
    )
    return container.write(frame, [[b""]], container.Attachments(whole=payload))


PALETTE = whole.Palette(1, 2, b"\0\xff")


@pytest.mark.parametrize(
    "payload",
    [
        b"\0", b"\0\5", b"\0\3", b"\0\3\1\2\1x", b"\0\3\2\1\3abc", b"\0\0" + bytes(1199), b"\0\1" + bytes(3601), b"\0\2\1R",
        b"\0\4", b"\0\4\5", b"\0\4\1\2\1", b"\0\4\1\0\0", b"\xff\xff\3",
        whole.Whole(b"", whole.COLORS, PALETTE, bytes(4)).pack(),
        whole.Whole(b"", whole.COLORS, PALETTE, b"\1\0\0").pack(),
        whole.Whole(b"", whole.DEEP, None, b"\1\0\1\0" + bytes(1199)).pack(),
    ],
)  # fmt: skip
def test_strange_payloads_are_refused(payload):
    for data in (forged(payload), forged(payload, gray=True), forged(payload, depth=16)):
        with pytest.raises(FormatError):
            hcodec.decode(data)
        assert hcodec.info(data).complete


def test_long_pictures_take_another_way():
    """A wave takes its time, even one of a single pixel."""
    ribbon = np.zeros((1, (1 << 17) + 1, 3), np.uint8)
    ribbon[0, ::7] = 255
    payload = coder.encode(ribbon[..., 0], np.array([0, 255], np.uint8))
    assert whole.parse(payload).form != whole.COLORS
    assert (codec.decode_picture(forged(payload, size=(ribbon.shape[1], 1))).pixels == ribbon).all()
    claimed = whole.Whole(b"", whole.COLORS, PALETTE, bytes(4)).pack()
    with pytest.raises(FormatError, match="too large for this way"):
        hcodec.decode(forged(claimed, size=(1 << 24, 1)))


def test_what_the_header_says_must_be_true():
    samples = np.zeros((30, 40, 3), np.uint8)
    samples[3, 4] = 1, 2, 3
    payload = coder.encode(samples, np.array([[0, 0, 0], [1, 2, 3]], np.uint8))
    assert (codec.decode_picture(forged(payload)).pixels == samples).all()
    for options in ({"gray": True}, {"depth": 16}, {"size": (30, 41)}):
        with pytest.raises(FormatError):
            hcodec.decode(forged(payload, **options))
    with pytest.raises(HcodecError, match="needs a newer"):
        container.Frame  # noqa: B018
        container.Header(
            width=1, height=1, model="tiny", fingerprint=bytes(4), depth=16, layers=(container.Layer.of([b""]),)
        )  # fmt: skip


@pytest.mark.parametrize("levels", [2, 200])
def test_gray_that_repeats_itself_is_an_image_file(levels):
    """WebP, which has no gray, is the shortest way for it."""
    tile = np.random.default_rng(0).integers(0, levels, (40, 50), dtype=np.uint8) * (255 // (levels - 1))
    picture = np.tile(np.repeat(tile, 2, axis=1), (8, 4))
    data = hcodec.encode(picture, model="tiny", lossless=True)
    assert hcodec.info(data).stored == "image file" and hcodec.info(data).gray
    assert (np.asarray(hcodec.decode(data)) == picture).all() and hcodec.decode(data).mode == "L"


def test_one_color_needs_no_pixels():
    flat = np.full((200, 300, 3), 77, np.uint8)
    data = hcodec.encode(flat)
    assert len(data) < 80 and (codec.decode_picture(data).pixels == flat).all()
    assert hcodec.decode(hcodec.encode(flat[..., 0])).mode == "L"


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "RGBA"])
def test_drawings_come_back_from_an_archive(mode):
    """Also those of color that have gray pixels alone, which are coded as one plane."""
    image = page(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [(_, shown)] = hcodec.unpack(hcodec.pack([("page", image)]))
    assert (shown.pixels == pixels_of(image)).all() and shown.gray == (mode in "1L")


# Golden files: made once, never again

GOLDEN = Path(__file__).parent / "golden-whole"
SAMPLES = {  # SHA-256 of the samples that each gave when it was made
    "bilevel": "3326b9b4fa786653",
    "colors": "d60aa2760a1f0a69",
    "smooth-edges": "390df03b5f2733bf",
    "one-color": "af0b8020498a1010",
    "image-file": "f27bcf93367f600f",
    "deep-gray": "0803cff7a177d212",
    "deep-color-alpha": "3f1c462a77a04b0a",
}


@pytest.mark.parametrize("name", SAMPLES)
def test_golden_files_give_the_same_samples(name):
    shown = codec.decode_picture((GOLDEN / f"{name}.hcodec").read_bytes(), strict=True)
    samples = shown.pixels if shown.deep is None else shown.deep.astype("<u2")
    assert shown.exact and hashlib.sha256(samples.tobytes()).hexdigest()[:16] == SAMPLES[name]


def test_there_is_a_golden_file_of_every_form():
    forms = [whole.parse(container.read_all(path.read_bytes())[0].whole).form for path in sorted(GOLDEN.glob("*.hcodec"))]
    assert set(forms) == {whole.FILE, whole.COLORS, whole.DEEP} and len(forms) == len(SAMPLES)
