"""Pictures of more windows: round trips, regions, streams, cuts, and damage that stays in one window."""

from __future__ import annotations

import contextlib
import random
import warnings

import numpy as np
import pytest
from conftest import layers_of, render, rewritten
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_lossless import encode_forced

import hcodec
from hcodec import container, session
from hcodec.codec import decode, decode_picture, encode
from hcodec.coders import levels
from hcodec.container.window import windows
from hcodec.errors import FormatError, HcodecError, HcodecWarning, TruncatedError
from hcodec.exact import _Picture
from hcodec.models.runtime import threads
from hcodec.mosaic import Mosaic, Rectangle
from hcodec.pixels.picture import psnr
from hcodec.session import Decoder

HEIGHT, WIDTH = 130, 150  # three rows and three columns of windows
COARSE, LEVELS = 2, 3

pytestmark = pytest.mark.usefixtures("small_windows")


@pytest.fixture(autouse=True)
def no_warnings():
    """Nothing may warn unless a test says so."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", HcodecWarning)
        yield


@pytest.fixture
def picture() -> np.ndarray:
    return render(HEIGHT, WIDTH)


@pytest.fixture
def data(picture, made={}) -> bytes:  # noqa: B006 (made once, and within small windows)
    if not made:
        made["data"] = encode(picture, model="tiny")
    return made["data"]


@pytest.fixture
def exact(picture, made={}) -> bytes:  # noqa: B006
    if not made:
        made["data"] = encode_forced(picture)[0]
    return made["data"]


def pixels_of(source, **options) -> np.ndarray:
    return decode_picture(source, **options).pixels


def places() -> list[Rectangle]:
    return [Rectangle.of(window) for window in windows(HEIGHT, WIDTH)]


def near(index: int, margin: int = 64) -> np.ndarray:
    """Returns where in the picture a window's own pixels, and those that its state reaches, are."""
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[places()[index].grown(margin, HEIGHT, WIDTH).inside] = True
    return mask


def cropped(pixels: np.ndarray, region: tuple[int, int, int, int]) -> np.ndarray:
    x, y, width, height = region
    return pixels[y : y + height, x : x + width]


regions = st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1)).flatmap(
    lambda corner: st.tuples(
        st.just(corner[0]), st.just(corner[1]), st.integers(1, WIDTH - corner[0]), st.integers(1, HEIGHT - corner[1])
    )
)
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


# Round trips


@pytest.mark.parametrize(("height", "width"), [(65, 64), (64, 65), (65, 65), (128, 129), (1, 300), (300, 1), (129, 70)])
def test_round_trip_at_any_size(height, width):
    pixels = render(height, width)
    data = encode(pixels, model="tiny")
    info = container.info(data)
    assert info.num_windows == len(windows(height, width)) > 1 and info.complete
    values = [psnr(pixels_of(data, levels=level), pixels) for level in range(1, LEVELS + 1)]
    assert values == sorted(values) and (pixels_of(data) == pixels_of(data, levels=LEVELS)).all()
    assert (pixels_of(encode_forced(pixels)[0]) == pixels).all()


def test_windows_cost_little(picture, data, monkeypatch):
    many, coarse = psnr(pixels_of(data), picture), layers_of(data)[:COARSE]
    monkeypatch.setattr(container.window, "EDGE", 1024)
    windows.cache_clear()
    whole = encode(picture, model="tiny")
    assert abs(many - psnr(pixels_of(whole), picture)) < 0.5
    assert coarse == layers_of(whole)[:COARSE]  # which know no windows
    assert len(data) < 1.15 * len(whole) + 10 * 9


def test_one_real_picture_of_two_windows(monkeypatch):
    monkeypatch.setattr(container.window, "EDGE", 1024)
    windows.cache_clear()
    pixels = render(40, 1030)
    data = encode(pixels, model="tiny")
    whole, region = pixels_of(data), (500, 3, 200, 30)
    assert container.info(data).num_windows == 2 and psnr(whole, pixels) > 20
    assert (pixels_of(data, region=region) == cropped(whole, region)).all()
    exact = hcodec.encode(pixels, lossless=True, model="tiny")
    assert (pixels_of(exact) == pixels).all() and (pixels_of(exact, region=region) == cropped(pixels, region)).all()


@pytest.mark.parametrize("count", [1, 2, 64])
def test_bytes_do_not_depend_on_threads(picture, data, exact, count, monkeypatch):
    monkeypatch.setattr(threads, "num_processors", lambda: 64)
    before = threads.count()
    threads.set_threads(count)
    try:
        assert threads.count() == count
        assert encode(picture, model="tiny") == data and encode_forced(picture)[0] == exact
        assert (pixels_of(exact) == picture).all()
    finally:
        threads._POOL.resize(before)


def test_progress_goes_from_0_to_1(picture, data, exact):
    for job in (
        lambda show: encode(picture, model="tiny", on_progress=show),
        lambda show: encode(picture, model="tiny", lossless=True, on_progress=show),
        lambda show: decode(data, on_progress=show),
        lambda show: decode(exact, on_progress=show),
    ):
        shares = []
        job(shares.append)
        assert len(shares) > 3 and shares == sorted(shares) and shares[0] >= 0 and shares[-1] == pytest.approx(1)


# Regions


@few
@given(regions, st.sampled_from([None, 1, 2, 3]))
def test_a_region_is_the_crop_of_the_whole(data, region, count):
    assert (pixels_of(data, region=region, levels=count) == cropped(pixels_of(data, levels=count), region)).all()


@few
@given(regions)
def test_a_region_of_an_exact_picture_is_exact(picture, exact, region):
    found = decode_picture(exact, region=region)
    assert found.exact and (found.pixels == cropped(picture, region)).all()


@few
@given(regions, st.integers(0, 100))
def test_a_region_of_a_cut_file_is_the_crop_of_the_whole(data, region, share):
    first = container.info(data).levels[0].prefix_bytes
    cut = container.truncate(data, num_bytes=first + (len(data) - first) * share // 100)
    assert (pixels_of(cut, region=region) == cropped(pixels_of(cut), region)).all()


def test_a_region_has_its_alpha(picture):
    alpha, region = render(HEIGHT, WIDTH, 4)[..., 0], (60, 50, 20, 70)
    found = decode(encode(np.dstack([picture, alpha]), model="tiny"), region=region)
    assert found.mode == "RGBA" and found.size == (20, 70) and (np.asarray(found)[..., 3] == cropped(alpha, region)).all()


@pytest.mark.parametrize("region", [(0, 0, 0, 5), (0, 0, 5, -1), (-1, 0, 5, 5), (0, 0, WIDTH + 1, 1), (0, HEIGHT, 1, 1)])
def test_a_region_beyond_the_picture_is_refused(data, region):
    with pytest.raises(HcodecError, match="is not within the picture of 150x130 pixels"):
        decode(data, region=region)


@pytest.mark.parametrize("region", [(0, 0, 1), (0, 0, 1, 1, 1), (0.0, 0, 1, 1), "0011", (None, 0, 1, 1)])
def test_what_is_no_region_is_refused(data, region):
    with pytest.raises(HcodecError, match="x, y, width and height in whole pixels"):
        decode(data, region=region)
    assert decode(data, region=tuple(np.uint8([0, 120, 150, 10]))).size == (150, 10)


@few
@given(regions, st.integers(1, 3))
def test_a_sampled_region_is_the_crop_of_the_whole(data, region, count):
    options = {"levels": count, "temperature": 0.7, "seed": 5}
    assert (pixels_of(data, region=region, **options) == cropped(pixels_of(data, **options), region)).all()


@pytest.mark.parametrize(("region", "own"), [((0, 0, 8, 8), [0, 1, 3, 4]), ((140, 129, 5, 1), [4, 5, 7, 8])])
def test_only_the_windows_around_a_region_are_decoded(data, region, own, monkeypatch):
    decoded, true = set(), Decoder.prefix
    monkeypatch.setattr(Decoder, "prefix", lambda self, index: decoded.add(index) or true(self, index))
    decode(data, region=region)
    assert sorted(decoded) == Mosaic(windows(HEIGHT, WIDTH), HEIGHT, WIDTH).touched(
        Rectangle.chosen(region, HEIGHT, WIDTH).grown(64, HEIGHT, WIDTH)
    )
    assert decoded <= set(own)


def test_only_the_windows_of_an_exact_region_are_decoded(exact, monkeypatch):
    asked, true = [], Decoder.finest
    monkeypatch.setattr(Decoder, "finest", lambda self, index, level: asked.append(index) or true(self, index, level))
    decode(exact, region=(70, 3, 10, 100))
    assert sorted(asked) == [1, 4]


# Levels, streams and cuts


def test_levels(picture, data):
    for level in range(1, LEVELS + 1):
        part = encode(picture, levels=level, model="tiny")
        assert part == container.truncate(data, levels=level)
        assert (pixels_of(part) == pixels_of(data, levels=level)).all()
    assert encode(picture, model="tiny", target_psnr=10.0) == container.truncate(data, levels=1)


def test_the_levels_of_a_lossless_file_are_those_of_an_ordinary_one(picture, data):
    exact = encode_forced(picture, levels=LEVELS)[0]
    for level in range(1, LEVELS + 1):
        assert container.truncate(exact, levels=level) == container.truncate(data, levels=level)
    assert (pixels_of(exact) == picture).all()
    assert container.truncate(exact, num_bytes=len(data) - 30) == container.truncate(data, num_bytes=len(data) - 30)


def test_so_many_windows_that_their_features_are_not_kept(picture, data, monkeypatch):
    monkeypatch.setattr(session, "_KEPT", 8)
    again = encode(picture, model="tiny")
    assert layers_of(again)[:COARSE] == layers_of(data)[:COARSE] and abs(len(again) - len(data)) < 0.01 * len(data)
    assert abs(psnr(pixels_of(again), picture) - psnr(pixels_of(data), picture)) < 0.05


def test_a_stream_of_pieces_of_any_size(picture, data, exact):
    for file, wanted in ((data, pixels_of(data)), (exact, picture)):
        for seed in range(2):
            source, decoder, position, completed = random.Random(seed), hcodec.StreamDecoder(), 0, 0
            while position < len(file):
                piece = file[position : position + source.choice((0, 1, 50, 700))]
                completed += decoder.feed(piece)
                position += len(piece)
            assert completed == decoder.levels_decoded == container.info(file).levels[-1].level
            assert (np.asarray(decoder.image()) == wanted).all()
            assert (np.asarray(decoder.image(region=(60, 60, 9, 9))) == cropped(wanted, (60, 60, 9, 9))).all()
            decoder.close()


def test_every_prefix_decodes_and_more_bytes_are_better(picture, data):
    """In the coarse layers, at the edges of pieces, and inside them."""
    sizes = [level.prefix_bytes for level in container.info(data).levels]
    header = container.read_all(data)[1]
    starts = [sum(header.piece_range(LEVELS, index)) for index in range(9)]
    values = []
    for length in sorted({*range(sizes[0], len(data), 401), *starts} - {len(data)}):
        with pytest.warns(HcodecWarning, match="the file ends after"):
            found = pixels_of(data[:length])
        values.append(psnr(found, picture))
        decoder = hcodec.StreamDecoder()
        decoder.feed(data[:length])
        assert (np.asarray(decoder.image()) == found).all()
        lost = (pixels_of(container.truncate(data[:length])) != found).any(2).sum()  # now well-formed: no warning
        assert lost <= (64 if length in starts else 0)  # a whole piece that is marked as cut gives a symbol or two less
    values.append(psnr(pixels_of(data), picture))
    assert min(np.diff(values)) > -0.3 and values[-1] > values[0] + 5


def test_a_cut_file_has_the_first_windows_of_its_last_layer(data):
    header = container.read_all(data)[1]
    start, _ = header.piece_range(LEVELS, 5)
    cut = container.truncate(data, num_bytes=start)
    assert container.info(cut).cut and 5 <= len(container.read_all(cut)[1].layers[-1].pieces) <= 6
    found, whole, less = pixels_of(cut), pixels_of(data), pixels_of(data, levels=2)
    assert (found[:64, :64] == whole[:64, :64])[..., 0].mean() > 0.9 and (found[-1] == less[-1]).all()


@pytest.mark.parametrize("target", ["target_size", "target_bpp"])
def test_targets_are_met_at_the_byte(picture, data, target):
    for num_bytes in (len(data) * 2 // 3, len(data) - 1):
        value = num_bytes if target == "target_size" else 8 * (num_bytes + 0.5) / (HEIGHT * WIDTH)
        assert num_bytes - 20 <= len(encode(picture, model="tiny", **{target: value})) <= num_bytes


# What goes wrong


def damaged(data: bytes, layer: int, index: int) -> bytes:
    start, length = container.read_all(data)[1].piece_range(layer, index)
    broken = bytearray(data)
    broken[start + length // 2] ^= 1
    return bytes(broken)


@pytest.mark.parametrize("index", [0, 4, 8])
def test_a_damaged_piece_harms_one_window_only(data, index):
    broken, whole, less = damaged(data, LEVELS, index), pixels_of(data), pixels_of(data, levels=2)
    place = windows(HEIGHT, WIDTH)[index]
    with pytest.warns(HcodecWarning, match=f"layer 3 is damaged in {place.place}; it .* were ignored there"):
        found = pixels_of(broken)
    assert (found == whole)[~near(index)].all() and (found != whole)[places()[index].inside].any()
    assert (pixels_of(broken, levels=2) == less).all()
    far = places()[8 - index] if index != 4 else None
    if far:
        with pytest.warns(HcodecWarning):
            region = far.left + 32, far.top + 1, 1, 1
            region = (min(region[0], WIDTH - 1), *region[1:])
            assert (pixels_of(broken, region=region) == cropped(whole, region)).all()
    for options in ({"strict": True}, {"levels": 3}):
        with pytest.raises(FormatError, match="layer 3 is damaged"):
            decode(broken, **options)


def test_levels_that_not_all_windows_have(data):
    """A part of the picture needs them in its windows, and in those that its own see."""
    start, length = container.read_all(data)[1].piece_range(LEVELS, 4)
    cut, region = data[: start + length], (0, 0, 60, 60)
    with pytest.raises(TruncatedError, match="3 levels were asked for, there are 2"):
        decode(cut, levels=3)
    assert (pixels_of(cut, levels=3, region=region) == cropped(pixels_of(data), region)).all()
    broken = damaged(data, LEVELS, 8)
    assert (pixels_of(broken, levels=3, region=region) == cropped(pixels_of(data), region)).all()
    with pytest.raises(FormatError, match="layer 3 is damaged"):
        decode(broken, levels=3, region=(128, 128, 2, 2))


def test_a_damaged_coarse_layer_ends_all_windows(data):
    with pytest.warns(HcodecWarning, match="layer 2 is damaged; it and the layers after it were ignored$"):
        assert (pixels_of(damaged(data, 2, 0)) == pixels_of(data, levels=1)).all()
    with pytest.raises(FormatError, match="layer 1 is damaged"):
        decode(damaged(data, 1, 0))


def test_a_malformed_piece_harms_one_window_only(data):
    layers = layers_of(data)
    layers[2][4] += b"\1\0\0\0"
    broken, whole = rewritten(data, layers), pixels_of(data)
    with pytest.warns(HcodecWarning, match="level 3 is malformed, it was ignored"):
        found = pixels_of(broken)
    assert (found == whole)[~near(4)].all() and (found != whole)[places()[4].inside].any()
    with pytest.raises(FormatError, match="level 3 is malformed"):
        decode(broken, strict=True)
    decoder = hcodec.StreamDecoder()
    with pytest.warns(HcodecWarning, match="level 3 is malformed") as caught:
        assert sum(decoder.feed(broken[begin : begin + 500]) for begin in range(0, len(broken), 500)) == 2
        assert (np.asarray(decoder.image()) == found).all()
    assert len(caught) == 1


def test_a_malformed_coarse_layer_ends_all_windows(data):
    layers = layers_of(data)
    layers[1][0] += b"\1\0\0\0"
    with pytest.warns(HcodecWarning, match="level 2 is malformed"):
        assert (pixels_of(rewritten(data, layers)) == pixels_of(data, levels=1)).all()
    layers[0][0] += b"\1\0\0\0"
    with pytest.raises(FormatError, match="level 1 is malformed"):
        decode(rewritten(data, layers))


def test_a_damaged_lossless_piece_leaves_all_other_windows_exact(picture, exact):
    last = len(container.read_all(exact)[1].layers)
    broken, region = damaged(exact, last, 0), (100, 100, 30, 30)
    with pytest.warns(HcodecWarning, match="the lossless layer is damaged in the window at 0,0; it was ignored there"):
        found = decode_picture(broken, region=region)
    assert found.exact and (found.pixels == cropped(picture, region)).all()
    with pytest.warns(HcodecWarning, match="the lossless layer is damaged"):
        found = decode_picture(broken)
    assert not found.exact and (found.pixels == but_for(0, picture, exact)).all()
    for data in (broken, exact[: container.info(exact).levels[-1].prefix_bytes + 50], exact[:-1]):
        decoder = hcodec.StreamDecoder()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HcodecWarning)
            decoder.feed(data)
            with contextlib.suppress(TruncatedError):
                decoder.close()
            assert (np.asarray(decoder.image()) == pixels_of(data)).all()
    with pytest.warns(HcodecWarning, match="the file ends"):
        assert (pixels_of(exact[:-1]) == but_for(-1, picture, exact)).all()


def but_for(index: int, picture: np.ndarray, exact: bytes) -> np.ndarray:
    """Returns a picture with one window as the levels of its file show it."""
    lossy = pixels_of(exact, levels=len(container.read_all(exact)[1].layers) - 1)
    place, found = windows(HEIGHT, WIDTH)[index].inside, picture.copy()
    found[place] = lossy[place]
    return found


def test_a_region_of_a_stream_is_exact_once_its_windows_are(picture, exact):
    header = container.read_all(exact)[1]
    decoder, last, region = hcodec.StreamDecoder(), len(header.layers), (5, 6, 50, 40)
    decoder.feed(exact[: sum(header.piece_range(last, 0))])
    assert (np.asarray(decoder.image(region)) == cropped(picture, region)).all()
    assert (np.asarray(decoder.image()) == pixels_of(exact, levels=last - 1)).all()


def test_a_lossless_layer_on_a_level_of_windows(picture, monkeypatch):
    true = _Picture._candidates
    monkeypatch.setattr(
        _Picture, "_candidates", lambda self, window, pieces: (found for found in true(self, window, pieces) if found.level == 3)
    )
    exact, report = encode_forced(picture)
    assert report.start == container.info(exact).lossless.start == 3 and (pixels_of(exact) == picture).all()
    region, far = (60, 60, 20, 20), (128, 128, 20, 2)
    assert (pixels_of(exact, region=region) == cropped(picture, region)).all()
    layers, lossless = layers_of(exact), container.read_all(exact)[0].lossless
    layers[2][0] += b"\1\0\0\0"
    broken = rewritten(exact, layers, lossless=lossless)
    found = decode_picture(broken, region=far)
    assert found.exact and (found.pixels == cropped(picture, far)).all()
    lost = "the lossless layer builds on level 3, which is not there; it was ignored"
    with pytest.warns(HcodecWarning, match=lost), pytest.warns(HcodecWarning, match="level 3 is malformed, it was ignored"):
        assert not decode_picture(broken, region=region).exact
    with pytest.raises(FormatError, match="the lossless layer builds on level 3"):
        decode(broken, strict=True)
    where = f"{lost} in the window at 0,0"
    with pytest.warns(HcodecWarning, match=where), pytest.warns(HcodecWarning, match="level 3 is malformed, it was ignored"):
        found = decode_picture(broken)
    changed = (found.pixels != picture).any(-1)
    assert not found.exact and changed.any() and not changed[64:].any() and not changed[:, 64:].any()


def test_mutations_of_lossless_pieces_give_a_picture_or_our_exception(picture, exact):
    source, layers = random.Random(6), layers_of(exact)
    for number in range(20):
        pieces = [bytearray(piece) for piece in container.read_all(exact)[0].lossless]
        piece = pieces[number % 9]
        start = source.randrange(min(len(piece), 30 if number % 2 else len(piece)))
        piece[start : start + source.choice((0, 1, 4))] = source.randbytes(source.choice((1, 4)))
        broken = rewritten(exact, layers, lossless=list(map(bytes, pieces)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HcodecWarning)
            found = decode_picture(broken)
        assert found.exact == (found.pixels == picture).all()
        assert found.exact or (found.pixels == but_for(number % 9, picture, exact)).all()


def test_mutations_of_pieces_give_a_picture_or_our_exception(data):
    source = random.Random(5)
    for _ in range(60):
        layers = [[bytearray(piece) for piece in layer] for layer in layers_of(data)]
        for _ in range(source.randint(1, 3)):
            piece = source.choice(source.choice(layers))
            start = source.randrange(len(piece) + 1)
            piece[start : start + source.choice((0, 1, 4))] = source.randbytes(source.choice((0, 1, 4)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HcodecWarning)
            try:
                assert pixels_of(rewritten(data, [list(map(bytes, layer)) for layer in layers])).shape == (HEIGHT, WIDTH, 3)
            except HcodecError as error:
                assert "level 1 is malformed" in str(error)


def test_too_little_of_a_file(data):
    first = container.info(data).levels[0].prefix_bytes
    for length in (0, 7, 60, first - 1):
        with pytest.raises(TruncatedError), warnings.catch_warnings():
            warnings.simplefilter("ignore", HcodecWarning)
            decode(data[:length])


def test_offsets_are_of_each_window(picture, data, monkeypatch):
    """Whether there are any is the file's to say, not the window's: a window may be smaller than what they pay for."""
    monkeypatch.setattr(levels, "_LEAST_PIXELS", 1)
    assert container.read_all(data)[1].offsets == (HEIGHT * WIDTH >= 128 * 128)
    small = render(65, 20)
    assert container.read_all(encode(small, model="tiny"))[1].offsets
    assert psnr(pixels_of(encode(small, model="tiny")), small) > 15
