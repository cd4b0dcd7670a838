"""open(): of a file somewhere else, only what is asked for is read."""

import io
import json
import re
import warnings
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY, render
from PIL import Image
from test_whole import page
from web_server import serving

import hcodec
from hcodec import container, stores
from hcodec.cli import main
from hcodec.container import EVERYWHERE
from hcodec.errors import FormatError, HcodecError, HcodecWarning, TruncatedError
from hcodec.parts import PartialFile
from hcodec.remote import needed

ICC, XMP = b"profile" * 40, b"<x:xmpmeta/>" * 3


@cache
def encoded(lossless):
    image = Image.fromarray(np.dstack([render(120, 180), render(120, 180, 1)[..., 0]]))
    image.info |= {"icc_profile": ICC, "xmp": XMP}
    return hcodec.encode(image.convert("RGB") if lossless else image, model=TINY, lossless=lossless)


@pytest.fixture
def data(small_windows):
    """A file of 3x2 windows, with alpha and metadata on both sides of its layers."""
    return encoded(lossless=False)


@pytest.fixture
def exact(small_windows):
    """The same with a lossless layer and without alpha."""
    return encoded(lossless=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The first read is of few bytes, so that small files are read in parts; second tries come at once."""
    monkeypatch.setattr("hcodec.parts._HEAD_BYTES", 256)
    monkeypatch.setattr(stores, "_PAUSES_S", (0.0, 0.01, 0.01))


def same(a, b):
    return a.mode == b.mode and a.info == b.info and np.array_equal(np.asarray(a), np.asarray(b))


def wanted_bytes(data, levels, region):
    """How many bytes header, metadata and the pieces of these levels and windows take."""
    header = container.read_all(data)[1]
    wants, total = needed(header, levels, region), header.header_bytes + header.front_bytes + header.back_bytes
    for number, layer in enumerate(header.layers, 1):
        first = EVERYWHERE if header.is_coarse(number) else 0
        total += sum(piece.num_bytes for window, piece in enumerate(layer.pieces, first) if wants(number, window))
    return total


REGIONS = [None, (0, 0, 10, 10), (130, 70, 40, 40), (60, 60, 8, 8)]


@pytest.mark.parametrize("levels", [1, 2, 3, None])
@pytest.mark.parametrize("region", REGIONS)
def test_picture_and_bytes(data, exact, levels, region):
    for whole in (data, exact):
        if levels is not None and levels > container.info(whole).levels[-1].level:
            continue
        with serving({"a.hcodec": whole}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
            assert same(file.image(levels=levels, region=region), hcodec.decode(whole, levels=levels, region=region))
            least = wanted_bytes(whole, levels, region)
            assert least <= file.num_bytes_read <= least + 256
            assert file.num_bytes_read == site.num_bytes
            file.image(levels=levels, region=region)
            assert file.num_bytes_read == site.num_bytes <= least + 256  # what was read is kept


def test_windows_that_are_not_asked_for_stay_where_they_are(exact):
    with serving({"a.hcodec": exact}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        file.image(region=(0, 0, 10, 10))
        header = file.header
        last = len(header.layers)
        corner, other = (header.piece_range(last, window) for window in (0, 5))
        spans = [tuple(map(int, re.findall(r"\d+", asked))) for asked in site.sent]
        assert any(first <= corner[0] and sum(corner) <= end + 1 for first, end in spans)
        assert not any(first < sum(other) and other[0] <= end for first, end in spans)


def test_levels_come_one_by_one(data):
    with serving({"a.hcodec": data}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        for levels in (1, 2, 3):
            file.image(levels=levels)
            assert file.num_bytes_read <= wanted_bytes(data, levels, None) + 256
        assert file.num_bytes_read == site.num_bytes == len(data)
        assert len(site.sent) <= 7  # neighbors come together


def test_info_reads_no_layers(data, exact):
    for whole in (data, exact):
        header = container.read_all(whole)[1]
        with serving({"a.hcodec": whole}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
            found, local = file.info, container.info(whole)
            assert site.num_bytes <= max(256, header.header_bytes + header.front_bytes) + header.back_bytes + 256
        assert {level.crc_ok for level in found.levels} == {None}
        for name in (
            "width",
            "height",
            "model",
            "icc_bytes",
            "xmp_bytes",
            "alpha_bytes",
            "file_bytes",
            "total_bytes",
            "complete",
        ):
            assert getattr(found, name) == getattr(local, name)
        for a, b in zip(found.levels, local.levels, strict=True):
            assert (a.num_bytes, a.present_bytes, a.prefix_bytes) == (b.num_bytes, b.present_bytes, b.prefix_bytes)


def test_paths_and_open_files(data, tmp_path):
    path = tmp_path / "a.hcodec"
    path.write_bytes(data)
    file = io.BytesIO(data)
    for source in (path, str(path), file, path.as_uri(), data, bytearray(data)):
        with hcodec.open(source) as opened:
            assert same(opened.image(levels=2), hcodec.decode(data, levels=2))
            assert opened.num_bytes_read <= wanted_bytes(data, 2, None) + 256
    assert not file.closed
    with pytest.raises(FileNotFoundError):
        hcodec.open(tmp_path / "none.hcodec")


def test_sources_of_other_types(data, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("text")
    with path.open() as text:
        for source in (5, None, text):
            with pytest.raises(HcodecError, match="the source"):
                hcodec.open(source)
    with pytest.raises(IsADirectoryError):
        hcodec.open(tmp_path)


def test_other_file_systems(data):
    import fsspec

    fsspec.filesystem("memory").pipe("/a.hcodec", data)
    with hcodec.open("memory://a.hcodec") as file:
        assert same(file.image(), hcodec.decode(data))


@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("region", [None, (0, 0, 10, 10)])
def test_cut_files(data, share, region):
    """They give what they give locally, warnings included."""
    cut = data[: int(len(data) * share)]
    with serving({"a.hcodec": cut}) as site:
        outcomes = []
        for source in (cut, f"{site.address}/a.hcodec"):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    if source is cut:
                        image = hcodec.decode(source, region=region)
                    else:
                        with hcodec.open(source) as file:
                            image = file.image(region=region)
                    outcomes.append((image.info, image.tobytes(), *(str(one.message) for one in caught)))
                except HcodecError as error:
                    outcomes.append((type(error), str(error)))
        assert outcomes[0] == outcomes[1]


def test_damage(data):
    header = container.read_all(data)[1]
    start, num_bytes = header.piece_range(3, 0)
    bad = bytearray(data)
    bad[start + num_bytes // 2] ^= 1
    with serving({"a.hcodec": bytes(bad)}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        with pytest.raises(FormatError, match="damaged"):
            file.image(strict=True)
        with pytest.warns(HcodecWarning, match="layer 3 is damaged"):
            assert same(file.image(), hcodec.decode(bytes(bad)))
        assert file.image(levels=2)


@pytest.mark.parametrize(
    ("name", "whole", "error"),
    [
        ("text", b"hello", FormatError),
        ("empty", b"", TruncatedError),
        ("archive", b"\x89HCA\r\n\x1a\1", FormatError),
    ],
)
def test_strange_files(name, whole, error):
    with serving({name: whole}) as site, pytest.raises(error):
        hcodec.open(f"{site.address}/{name}")


def test_options_are_checked_before_layers_are_read(data):
    with serving({"a.hcodec": data}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        before = site.num_bytes
        with pytest.raises(TruncatedError, match="9 levels"):
            file.image(levels=9)
        with pytest.raises(HcodecError, match="not within the picture"):
            file.image(region=(0, 0, 1000, 10))
        assert site.num_bytes == before
        for levels in (0, "2"):
            with pytest.raises(HcodecError, match="levels is"):
                file.image(levels=levels)


@pytest.mark.parametrize("conduct", [{"ranges": False}, {"length": False}, {"length": False, "head": False}])
def test_servers_without_ranges(data, conduct):
    """The whole file comes, once, with a warning."""
    with serving({"a.hcodec": data}, **conduct) as site:
        with pytest.warns(HcodecWarning, match="all .* bytes were read"), hcodec.open(f"{site.address}/a.hcodec") as file:
            assert same(file.image(levels=2), hcodec.decode(data, levels=2))
            assert same(file.image(), hcodec.decode(data))
        assert file.num_bytes_read == len(data)
        assert site.num_bytes <= 2 * len(data)  # the size is looked for, too, where it is not told


def test_server_without_head(data):
    with serving({"a.hcodec": data}, head=False) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        assert same(file.image(levels=1), hcodec.decode(data, levels=1))


def test_slow_server(data):
    with serving({"a.hcodec": data}, pause_s=0.05) as site, hcodec.open(f"{site.address}/a.hcodec", timeout_s=0.5) as file:
        assert same(file.image(), hcodec.decode(data))


def test_second_tries(data):
    with serving({"a.hcodec": data}, fail=[503, 500]) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        assert same(file.image(levels=1), hcodec.decode(data, levels=1))


@pytest.mark.parametrize(
    ("conduct", "error", "message"),
    [
        ({"fail": [503] * 9}, OSError, "status 503"),
        ({"fail": [403] * 9}, PermissionError, "Permission denied"),
        ({"short": 3}, OSError, "bytes came where"),
        ({"broken": 100}, OSError, "cannot be read"),
        ({"silent": True}, TimeoutError, "silent"),
    ],
)
def test_broken_servers(data, conduct, error, message):
    with serving({"a.hcodec": data}, **conduct) as site, pytest.raises(error, match=message):
        hcodec.open(f"{site.address}/a.hcodec", timeout_s=0.3)


def test_server_that_breaks_later(data):
    with serving({"a.hcodec": data}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        first = hcodec.decode(data, levels=1)
        assert same(file.image(levels=1), first)
        site.files.clear()
        with pytest.raises(FileNotFoundError):
            file.image()
        assert same(file.image(levels=1), first)


def test_file_that_becomes_shorter(data, tmp_path):
    path = tmp_path / "a.hcodec"
    path.write_bytes(data)
    with hcodec.open(path) as file:
        path.write_bytes(data[: len(data) // 2])
        with pytest.raises(TruncatedError, match="shorter"):
            file.image()
    with serving({"a.hcodec": data}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        site.files["/a.hcodec"] = data[: len(data) // 2]
        with pytest.raises(OSError, match="bytes came where"):
            file.image()


def test_nothing_there(data):
    with serving({"a.hcodec": data}) as site, pytest.raises(FileNotFoundError):
        hcodec.open(f"{site.address}/b.hcodec")
    with pytest.raises(ConnectionRefusedError):
        hcodec.open(f"{site.address}/a.hcodec")


def test_addresses_of_no_kind(tmp_path, monkeypatch):
    with pytest.raises(HcodecError, match="cannot be opened"):
        hcodec.open("nonsense://x")
    with pytest.raises(HcodecError, match="token is an option of addresses"):
        hcodec.open(tmp_path / "a.hcodec", token="x")
    monkeypatch.setitem(__import__("sys").modules, "fsspec", None)
    with pytest.raises(HcodecError, match=r"hcodec\[remote\]"):
        hcodec.open("https://example.org/a.hcodec")


def test_closes_what_it_opened(tmp_path, data):
    path = tmp_path / "a.hcodec"
    path.write_bytes(data)
    with PartialFile(stores.opened(path)) as file:
        assert file.header.width == 180
    with pytest.raises(HcodecError, match="closed"):
        file.reader(lambda _layer, _window: True)


def cli(*arguments):
    return CliRunner().invoke(main, [*map(str, arguments)])


def test_commands(data, exact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with serving({"x/a%20b.hcodec": data, "e.hcodec": exact}) as site:
        address = f"{site.address}/x/a%20b.hcodec"
        told = cli("info", address)
        assert told.exit_code == 0
        assert "complete" in told.output and "corrupt" not in told.output and "lost" not in told.output
        fields = json.loads(cli("info", address, "--json").stdout)
        assert fields["read_bytes"] < fields["file_bytes"] == len(data)
        told = cli("decode", address, "--levels", "2")
        assert told.exit_code == 0
        assert "2 of 3" in told.stderr and "bytes read" in told.stderr
        assert np.array_equal(np.asarray(Image.open("a b.png")), np.asarray(hcodec.decode(data, levels=2)))
        told = cli("decode", f"{site.address}/e.hcodec", "--region", "0,0,20,20", "-o", "part.png")
        assert "lossless" in told.stderr
        assert np.array_equal(np.asarray(Image.open("part.png")), render(120, 180)[:20, :20])
        told = cli("decode", f"{site.address}/none.hcodec")
        assert told.exit_code == 1
        assert told.stderr == f"Error: {site.address}/none.hcodec: No such file or directory\n"


@pytest.mark.parametrize("name", ["x%00y.hcodec", "%00", "x/"])
def test_addresses_without_a_name_for_a_file(data, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with serving({name: data}) as site:
        for argv in (["--levels", "1"], ["--force"]):
            assert cli("decode", f"{site.address}/{name}", *argv).exit_code == 0
            assert [path.name for path in tmp_path.iterdir()] == ["remote.png"]


def test_malformed_addresses_cost_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in ("decode", "info"):
        told = cli(command, "http://[x/a.hcodec")
        assert told.exit_code == 1 and told.stderr == "Error: http://[x/a.hcodec: cannot be read: Invalid IPv6 URL\n"


def test_no_input_is_written_over_by_its_address(data, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(data)
    told = cli("decode", path.as_uri(), "-o", path, "--force")
    assert told.exit_code == 1 and "is an input itself" in told.stderr and path.read_bytes() == data


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("length", [True, False])
def test_an_endless_answer_is_not_read_for_ever(data, monkeypatch, ranges, length):
    monkeypatch.setattr(stores, "_MOST_BYTES", 1 << 20)
    with (
        serving({"a.hcodec": data}, endless=True, ranges=ranges, length=length) as site,
        pytest.raises(OSError, match="sends more than was asked for"),
    ):
        hcodec.open(f"{site.address}/a.hcodec")


@cache
def stored(bits):
    """A picture that is stored as a whole, with alpha and metadata on both sides of it."""
    noise = np.random.default_rng(0).integers(0, 256, (150, 300), np.uint8)
    if bits == 16:
        return hcodec.encode(np.dstack([noise.astype(np.uint16) * 257] * 4), lossless=True)
    image = page("RGB")
    image.putalpha(Image.fromarray(noise))
    image.info |= {"icc_profile": ICC, "xmp": XMP}
    return hcodec.encode(image, model=TINY)


@pytest.mark.parametrize("bits", [8, 16])
def test_info_of_a_stored_picture_reads_neither_it_nor_its_alpha(bits):
    whole = stored(bits)
    local = container.info(whole)
    assert local.stored == {8: "195 colors", 16: "16-bit"}[bits] and local.has_alpha and len(whole) > 2000
    with serving({"a.hcodec": whole}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
        found = file.info
        assert site.num_bytes <= 1000 and len(site.sent) < 5
        level = replace(local.levels[0], crc_ok=None)
        assert found == replace(local, levels=(level,))
        assert same(file.image(region=(5, 6, 7, 8)), hcodec.decode(whole, region=(5, 6, 7, 8)))
    with serving({"a.hcodec": whole}) as site:
        result = CliRunner().invoke(main, ["info", f"{site.address}/a.hcodec"])
        assert result.exit_code == 0 and f"{local.stored}, file format" in result.stdout and "with alpha" in result.stdout
        assert f"{site.num_bytes} bytes read" in result.stdout and site.num_bytes <= 1000


def test_info_of_levels_does_not_read_alpha(monkeypatch):
    monkeypatch.setattr("hcodec.parts._HEAD_BYTES", 128)
    image = Image.fromarray(np.dstack([render(60, 60), np.random.default_rng(0).integers(0, 256, (60, 60), np.uint8)]))
    whole = hcodec.encode(image, model=TINY, lossless=False)
    for end in (len(whole), 900):  # and where alpha is not there as a whole
        with serving({"a.hcodec": whole[:end]}) as site, hcodec.open(f"{site.address}/a.hcodec") as file:
            assert file.info.has_alpha and file.info.alpha_bytes == container.info(whole).alpha_bytes > 3000
            assert file.info.complete == (end == len(whole)) and site.num_bytes <= 512


@pytest.mark.parametrize("at", range(0, 60, 3))
@pytest.mark.parametrize("chunk", [b"alph", b"PICT"])
def test_harmed_beginnings_of_stored_pictures(chunk, at):
    """Chunk heads that promise too much, and previews that are none."""
    good = stored(8)
    at += good.index(chunk)
    harmed = good[:at] + b"\xff\xff\xff\x7f" + good[at + 4 :]
    for data in (harmed, harmed[: at + 5]):
        with PartialFile(stores.opened(data)) as file:
            assert file.info.stored in ("195 colors", "unknown") and file.info.total_bytes == len(good)
            assert not file.info.levels[0].crc_ok
