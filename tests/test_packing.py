"""Archives of pictures: exact round trips, access to single pictures and damage that stays where it is."""

from __future__ import annotations

import inspect
import io
import random
import subprocess
import sys
import warnings
import zlib
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import render
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hcodec import memory, models, packing, photo_chain
from hcodec.coders import small_chain, stored
from hcodec.container.archive import Entry, listing, seal, write
from hcodec.container.attachments import Attachments, Density
from hcodec.container.directory import STORED
from hcodec.container.fields import pack_varint
from hcodec.errors import FormatError, HcodecError, HcodecWarning, PictureError, TruncatedError
from hcodec.kinds import KINDS, Coder, Kind, Small, Stored
from hcodec.models import registry
from hcodec.pixels import image_file
from hcodec.pixels.metadata import Metadata
from hcodec.pixels.picture import Picture, read


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def gray(plane, alpha=None):
    return Picture(np.repeat(plane[..., None], 3, axis=2), alpha, gray=True)


PICTURES = {
    "photo.png": Picture(render(64, 96)),
    "sub/gray.png": gray(render(64, 96, 1)[..., 0]),
    "sub/alpha.png": Picture(render(30, 41, 2), render(30, 41, 3)[..., 0]),
    "sub/gray alpha.png": gray(render(30, 41, 4)[..., 0], render(30, 41, 5)[..., 1]),
    "meta.png": Picture(render(20, 20), metadata=Metadata(b"icc" * 50, b"II*\0\x08\0\0\0\0\0", b"<x/>")),
    "black.png": Picture(np.zeros((70, 50, 3), np.uint8)),
    "white.png": gray(np.full((50, 70), 255, np.uint8)),
    "noise.png": Picture(noise(33, 57, 3)),
    "gray noise.png": gray(noise(33, 57)),
    "dot.png": Picture(noise(1, 1, 3)),
    "row.png": gray(noise(1, 300)),
    "column.png": Picture(noise(300, 1, 3), np.full((300, 1), 9, np.uint8)),
}


def same(a, b):
    planes = (np.array_equal(a.pixels, b.pixels), (a.alpha is None) == (b.alpha is None))
    alpha = a.alpha is None or b.alpha is None or np.array_equal(a.alpha, b.alpha)
    return all(planes) and alpha and a.gray == b.gray and a.metadata == b.metadata


def unpacked(data, **options):
    """The pictures of an archive, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = dict(packing.unpack(data, **options))
    assert all(entry.category is HcodecWarning for entry in caught)
    return found, [str(entry.message) for entry in caught]


@pytest.fixture(scope="module", autouse=True)
def no_models():
    """Everything is stored: what is tested here does not depend on the models, which take their time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "KINDS", (Stored(),))
        yield


@pytest.fixture(scope="module")
def packed():
    return packing.pack(PICTURES.items(), restart=3)


# Round trips


def test_every_pixel_comes_back(packed):
    found, lost = unpacked(packed)
    assert lost == [] and set(found) == set(PICTURES)
    for name, one in PICTURES.items():
        assert same(found[name], one), name
        assert found[name].notes == ()


def test_the_listing_keeps_the_order(packed):
    shown = listing(packed, check=True)
    assert [one.name for one in shown.pictures] == list(PICTURES)
    assert shown.warnings == ()
    for one in shown.pictures:
        height, width = PICTURES[one.name].pixels.shape[:2]
        assert (one.width, one.height, one.gray) == (width, height, PICTURES[one.name].gray)
    assert all(segment.num_pictures <= 3 for segment in shown.segments)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 9))
def test_any_pictures_come_back(data, restart):
    pictures = {}
    for index in range(data.draw(st.integers(1, 12))):
        height, width = data.draw(st.tuples(st.integers(1, 20), st.integers(1, 20)))
        make = data.draw(st.sampled_from([noise, lambda *shape, seed: np.full(shape, seed, np.uint8)]))
        alpha = make(height, width, seed=index + 50) if data.draw(st.booleans()) else None
        if data.draw(st.booleans()):
            pictures[f"{index}"] = gray(make(height, width, seed=index), alpha)
        else:
            pictures[f"{index}"] = Picture(make(height, width, 3, seed=index), alpha)
    found, lost = unpacked(packing.pack(pictures.items(), restart=restart))
    assert lost == [] and set(found) == set(pictures)
    assert all(same(found[name], one) for name, one in pictures.items())


def test_the_same_pictures_make_the_same_bytes(packed):
    assert packing.pack(PICTURES.items(), restart=3) == packed


def test_sources_of_all_kinds(tmp_path):
    image = Image.fromarray(render(20, 30))
    image.save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    sources = {"1": tmp_path / "a.png", "2": data, "3": io.BytesIO(data), "4": image, "5": np.asarray(image), "6": read(image)}
    packed = packing.pack(sources.items())
    found, _ = unpacked(packed)
    assert all(same(one, found["1"]) for one in found.values()) and len(found) == 6
    (tmp_path / "a.hcodec").write_bytes(packed)
    assert len(unpacked(tmp_path / "a.hcodec")[0]) == 6
    with open(tmp_path / "a.hcodec", "rb") as file:
        assert len(unpacked(file)[0]) == 6


def test_noise_costs_no_more_than_itself():
    for one in (noise(64, 64, 3), noise(64, 64)):
        data = packing.pack([(f"{index}", one) for index in range(16)])
        assert len(data) < 16 * one.size * 1.01


def test_large_pictures_have_segments_of_their_own():
    sizes = {"a": (8, 8), "large": (512, 513), "b": (9, 9), "c": (300, 600), "d": (300, 601)}
    shown = listing(packing.pack((name, render(*size)) for name, size in sizes.items()))
    members = [{one.name for one in shown.pictures if one.segment == index} for index in range(len(shown.segments))]
    assert {"large"} in members and {"a", "b"} <= next(names for names in members if "a" in names)
    assert not any({"c", "d"} <= names for names in members)


def test_metadata_is_kept_or_dropped():
    found, _ = unpacked(packing.pack([("meta", PICTURES["meta.png"])], metadata=["xmp"]))
    assert found["meta"].metadata == Metadata(xmp=b"<x/>")


@pytest.mark.parametrize(
    ("sources", "options"),
    [
        ([], {}),
        ([("../a", "dot.png")], {}),
        ([("a", "dot.png"), ("a", "row.png")], {}),
        ([("a", "dot.png")], {"restart": 0}),
        ([("a", "dot.png")], {"metadata": ["gps"]}),
    ],
)
def test_what_cannot_be_packed(sources, options):
    with pytest.raises(HcodecError):
        packing.pack([(name, PICTURES[key]) for name, key in sources], **options)


# Random access


def test_one_picture_needs_one_segment(packed, monkeypatch):
    decoded = []
    monkeypatch.setattr(stored, "decode_chain", lambda *args, real=stored.decode_chain: decoded.append(1) or real(*args))
    found, lost = unpacked(packed, only=["sub/gray.png"])
    assert list(found) == ["sub/gray.png"] and lost == [] and len(decoded) == 1
    assert same(found["sub/gray.png"], PICTURES["sub/gray.png"])


def test_only_what_is_there():
    with pytest.raises(HcodecError, match="no picture 'b'"):
        unpacked(packing.pack([("a", render(4, 4))]), only=["a", "b"])


# Damage


def segment_bounds(data):
    shown = listing(data)
    bounds = [shown.directory_bytes]
    for segment in shown.segments:
        bounds.append(bounds[-1] + segment.chain_bytes + segment.extras_bytes)
    return bounds


def test_a_damaged_segment_leaves_the_others(packed):
    shown, bounds = listing(packed), segment_bounds(packed)
    assert len(shown.segments) > 3
    for index in range(len(shown.segments)):
        broken = bytearray(packed)
        broken[bounds[index]] ^= 1
        found, lost = unpacked(bytes(broken))
        inside = {one.name for one in shown.pictures if one.segment == index}
        assert set(found) == set(PICTURES) - inside
        assert all(same(one, PICTURES[name]) for name, one in found.items())
        assert len(lost) == 1 and lost[0].startswith(f"segment {index} is damaged") and lost[0].endswith("lost")
        with pytest.raises(FormatError):
            unpacked(bytes(broken), strict=True)


def test_damaged_extras_leave_the_pixels(packed):
    shown, bounds = listing(packed), segment_bounds(packed)
    index = next(one.segment for one in shown.pictures if one.name == "sub/alpha.png")
    broken = bytearray(packed)
    broken[bounds[index] + shown.segments[index].chain_bytes] ^= 1
    found, lost = unpacked(bytes(broken))
    assert set(found) == set(PICTURES) and len(lost) == 1
    one = found["sub/alpha.png"]
    assert one.alpha is None and one.notes and np.array_equal(one.pixels, PICTURES["sub/alpha.png"].pixels)


def test_every_cut_keeps_the_whole_segments(packed):
    shown, bounds = listing(packed), segment_bounds(packed)
    for length in {*bounds, *(bound - 1 for bound in bounds), *range(bounds[0], len(packed), 997)}:
        if length < bounds[0]:
            with pytest.raises(TruncatedError):
                unpacked(packed[:length])
            continue
        found, lost = unpacked(packed[:length])
        whole = {one.name for one in shown.pictures if bounds[one.segment + 1] <= length}
        assert whole <= set(found)
        assert all(same(found[name], PICTURES[name]) for name in whole)
        assert bool(lost) == (length < len(packed))


def test_flipped_bits_never_give_wrong_pixels(packed):
    rng = random.Random(3)
    start = segment_bounds(packed)[0]
    for _ in range(150):
        broken = bytearray(packed)
        broken[rng.randrange(start, len(packed))] ^= 1 << rng.randrange(8)
        found, lost = unpacked(bytes(broken))
        assert lost
        assert all(np.array_equal(one.pixels, PICTURES[name].pixels) for name, one in found.items())


def archive_of(coded, pictures, kind=STORED, fingerprint=b""):
    """An archive as a stranger may write it: a chain under right checksums, said to hold these pictures."""
    entries = [Entry(f"{index}", width, height, 0, crc) for index, (width, height, crc) in enumerate(pictures)]
    return write(entries, [seal(kind, fingerprint, coded, [Attachments()] * len(entries))])


def test_wrong_pixels_are_noticed():
    one = render(9, 9)
    for coded in (stored.encode(one), stored.encode(one[..., 0])):
        found, lost = unpacked(archive_of(coded, [(9, 9, 123)]))
        assert not found and "the pixels differ from their checksum" in lost[0]


def test_unknown_kinds_and_models_lose_their_segment_only():
    found, lost = unpacked(archive_of(b"whatever", [(9, 9, 123)], 200, b"mod1"))
    assert not found and "unknown kind 200" in lost[0]


def test_hostile_chains_survive():
    """Stored pictures under right checksums, changed at random."""
    rng = random.Random(4)
    images = [render(40, 30), noise(20, 20, 3), render(25, 25)[..., 0]]
    sizes = [image.shape[:2] for image in images]
    whole = stored.encode_chain(images)
    for _ in range(600):
        chain = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            start = rng.randrange(len(chain) + 1)
            chain[start : start + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
        try:
            pictures = stored.decode_chain(bytes(chain), sizes)
        except FormatError:
            continue
        assert [one.shape[:2] for one in pictures] == sizes


@pytest.mark.parametrize("form", ["WEBP", "PNG"])
def test_files_of_another_size_are_refused_before_they_are_decoded(form, monkeypatch):
    target = io.BytesIO()
    Image.fromarray(render(64, 64)).save(target, form, **({"lossless": True} if form == "WEBP" else {}))
    data = target.getvalue()
    chain = b"\x02" + pack_varint(len(data)) + data
    assert stored.decode_chain(chain, [(64, 64)])[0].shape == (64, 64, 3)
    monkeypatch.setattr(image_file, "PngImageFile", None)
    monkeypatch.setattr(image_file, "WebPImageFile", None)
    for size in ((64, 65), (1 << 24, 1), (1, 1)):
        with pytest.raises(FormatError, match="another size"):
            stored.decode_chain(chain, [size])


@pytest.mark.parametrize("chain", [b"", b"\x03", b"\x01", b"\x02", b"\x02\xff\xff\xff\xff\xff", b"\x02\x05GIF89", b"\x02\x00"])
def test_absurd_chains_are_refused(chain):
    with pytest.raises(FormatError):
        stored.decode_chain(chain, [(1 << 15, 1 << 16)])


def test_memory_is_asked_for_first(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000_000)
    found, lost = unpacked(archive_of(b"\x02", [(1 << 15, 1 << 15, 0)]))
    assert not found and "of memory" in lost[0]
    with pytest.raises(PictureError):
        memory.check(1 << 30, 24)
    monkeypatch.setattr(memory, "free_bytes", lambda: None)
    memory.check(1 << 30, 24)


# Chains with a model

FACE = ("fits", "fingerprint", "find", "encode_chain", "decode_chain")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_all_coders_have_one_face(kind):
    coder = kind.coder()
    assert coder.fits([]) is None
    expected = {name: list(inspect.signature(getattr(Coder, name)).parameters)[1:] for name in FACE}
    assert {name: list(inspect.signature(getattr(coder, name)).parameters) for name in FACE} == expected


def test_kinds_have_numbers_of_their_own():
    assert [kind.number for kind in KINDS] == [4, 3, 1, 2, 0] and KINDS[-1].coder() is stored


def test_storing_listing_and_unpacking_load_no_network():
    """With all kinds there, a stored archive is read without torch; with that kind alone, it is written without."""
    code = """
import sys, numpy as np
from hcodec import packing
everything, packing.KINDS = packing.KINDS, packing.KINDS[-1:]
data = packing.pack([("a", np.zeros((9, 9, 3), np.uint8))])
packing.KINDS = everything
assert packing.listing(data, check=True).pictures and dict(packing.unpack(data))["a"].pixels.shape == (9, 9, 3)
assert not {"torch", "constriction", "safetensors"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.fixture
def coder(monkeypatch):
    """A kind that codes everything with the tiny model, and drawings, too."""
    module = SimpleNamespace(**{name: getattr(photo_chain, name) for name in FACE})
    module.fits = lambda pictures: None if pictures[0].gray and pictures[0].pixels.shape[0] == 1 else "tiny"

    class Tiny(Kind):
        number, name, bytes_per_pixel = 9, "tiny", 260

        def coder(self):
            return module

    monkeypatch.setattr(packing, "KINDS", (Tiny(), Stored()))
    monkeypatch.setattr(stored, "fast_size", lambda pixels: pixels.size)  # of no use: what can be coded is coded
    return module


def test_chains_with_a_model(coder):
    photos = {name: one for name, one in PICTURES.items() if name in ("photo.png", "sub/gray.png", "sub/alpha.png", "row.png")}
    packed = packing.pack(photos.items())
    shown = listing(packed)
    assert {(one.kind, one.fingerprint) for one in shown.segments} == {(0, b""), (9, models.load("tiny").fingerprint)}
    found, lost = unpacked(packed)
    assert lost == [] and all(same(found[name], one) for name, one in photos.items())


@pytest.mark.skipif("mnist-1" not in registry.names(registry.SMALL), reason="the models of small pictures are not installed")
def test_small_pictures_are_chained_with_the_models_that_are_shipped(monkeypatch):
    monkeypatch.setattr(packing, "KINDS", (Small(),))
    monkeypatch.setattr(stored, "encode_chain", lambda pixels: bytes(1_000_000))
    pictures = {f"gray {seed}": gray(render(28, 28, seed)[..., 0]) for seed in range(3)}
    pictures |= {f"color {seed}": Picture(render(20 + seed, 30, seed)) for seed in range(3)}
    packed = packing.pack(pictures.items())
    assert {(one.kind, one.fingerprint) for one in listing(packed).segments} == {
        (1, small_chain.fingerprint("mnist-1")),
        (1, small_chain.fingerprint("small-1")),
    }
    found, lost = unpacked(packed)
    assert lost == [] and all(same(found[name], one) for name, one in pictures.items())


def test_stored_is_taken_where_it_is_shorter(coder, monkeypatch):
    pictures = [(f"{index}", PICTURES["black.png"]) for index in range(3)]
    monkeypatch.setattr(stored, "fast_size", lambda pixels: 40)
    assert [one.kind for one in listing(packing.pack(pictures)).segments] == [STORED]
    coder.encode_chain = lambda pixels, model: b"short"
    assert [one.kind for one in listing(packing.pack(pictures)).segments] == [9]


def test_a_model_that_is_missing_loses_its_segment_only(coder, monkeypatch):
    packed = packing.pack((name, PICTURES[name]) for name in ("photo.png", "row.png"))
    monkeypatch.delenv("HCODEC_MODELS")
    found, lost = unpacked(packed)
    assert list(found) == ["row.png"]
    assert len(lost) == 1 and lost[0].startswith("no installed model has the fingerprint")


def test_hostile_chains_with_a_model_survive(coder):
    """Under right checksums: what comes out has the size that was asked for, or it is our error."""
    rng, tiny = random.Random(5), models.load("tiny").fingerprint
    images = [render(16, 24), render(9, 30)[..., 0]]
    whole = photo_chain.encode_chain(images, "tiny")
    expected = [zlib.crc32(np.ascontiguousarray(one)) for one in (images[0], np.repeat(images[1][..., None], 3, 2))]
    entries = [(24, 16, expected[0]), (30, 9, expected[1])]
    assert len(unpacked(archive_of(whole, entries, 9, tiny))[0]) == 2
    for _ in range(40):
        broken = bytearray(whole[: rng.choice((len(whole), rng.randrange(len(whole))))])
        for _ in range(rng.randint(1, 3)):
            broken[rng.randrange(len(broken))] ^= rng.randrange(1, 256)
        found, lost = unpacked(archive_of(bytes(broken), entries, 9, tiny))
        assert len(found) < 2 and lost


def test_memory_is_asked_for_before_a_model_runs(coder, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 10_000_000)
    found, lost = unpacked(archive_of(b"", [(400, 300, 0)], 9, models.load("tiny").fingerprint))
    assert not found and "of memory" in lost[0]


def test_wide_pictures_and_pillow_without_webp_are_stored_as_png(monkeypatch):
    wide = np.zeros((1, 20_000, 3), np.uint8)
    assert np.array_equal(stored.decode_chain(stored.encode(wide), [(1, 20_000)])[0], wide)
    monkeypatch.setattr(image_file.features, "check", lambda _: False)
    for one in (render(40, 50), render(40, 50)[..., 0]):
        assert stored.encode(one)[:10].find(b"PNG") > 0
        assert np.array_equal(stored.decode_chain(stored.encode(one), [(40, 50)])[0], one)


def test_what_many_pictures_lose_is_said_once():
    gray, cmyk = Image.new("L", (8, 8)), Image.new("CMYK", (8, 8))
    gray.info["text"] = {"Author": "me"}
    sources = [(f"{index}.png", gray) for index in range(7)]
    with pytest.warns(HcodecWarning) as caught:
        packing.pack(sources)
    assert [str(one.message) for one in caught] == ["0.png, 1.png, 2.png, 3.png, 4.png and 2 more: left out: 1 text"]
    looked_at = []

    def mixed():
        for pair in [*sources, ("a", cmyk), *sources[:1], ("b", cmyk), ("c", cmyk.convert("HSV")), ("d", b"no picture")]:
            looked_at.append(pair[0])
            yield pair

    with pytest.raises(PictureError) as refused:
        packing.pack(mixed())
    assert looked_at[-1] == "d"
    hint = "--convert (convert=True) codes that"
    assert str(refused.value) == (
        f"a, b: cannot be coded without loss: CMYK converted to RGB; {hint}; "
        f"c: cannot be coded without loss: HSV converted to RGB; {hint}; "
        "d: not a readable image: its format is unknown"
    )


def test_the_resolution_is_kept_as_exif_where_there_is_no_other():
    plain = replace(read(render(8, 9)), metadata=Metadata(density=Density(11811, 7874, 1)))
    camera = Image.Exif()
    camera.update({282: 300.0, 283: 200.0, 296: 2, 271: "maker"})
    agreeing = replace(plain, metadata=replace(plain.metadata, exif=camera.tobytes().removeprefix(b"Exif\0\0")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = packing.pack([("plain", plain), ("agreeing", agreeing)])
    found = {name: one.metadata for name, one in packing.unpack(data)}
    assert found == {"plain": plain.metadata, "agreeing": replace(agreeing.metadata, density=None)}
    camera[282] = 72.0
    differing = replace(plain, metadata=replace(plain.metadata, exif=camera.tobytes().removeprefix(b"Exif\0\0")))
    for one in (differing, replace(plain, metadata=Metadata(density=Density(2, 1, 0)))):  # the second is a mere ratio
        with pytest.warns(HcodecWarning, match="left out: resolution"):
            packing.pack([("a", one)])
    for strip in ("resolution", "all"):
        bare = packing.pack([("a", plain)], strip=strip)
        assert not any(entry.attached_bytes.exif for entry in packing.listing(bare).pictures)
