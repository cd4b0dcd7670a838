"""The benchmarks measure what they say, and catch a codec that is wrong.

Runs on pictures rendered here, or on the first three of the folder that HCODEC_BENCHMARK_IMAGES names.
"""

from __future__ import annotations

import ast
import io
import json
import math
import os
import sys
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]  # worker processes import adapters from here

for needed in ("bjontegaard", "matplotlib", "pytorch_msssim", "scipy"):
    pytest.importorskip(needed, reason="needs the extra `bench`")

from benchmarks import images, metrics, results  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.curves import bdrate  # noqa: E402
from benchmarks.curves.best_jpeg import best_jpeg  # noqa: E402
from benchmarks.curves.curve import COLUMNS, Curve, averaged  # noqa: E402
from benchmarks.measurements import cache as measurements_cache  # noqa: E402
from benchmarks.measurements import clock, codecs, inside, verify  # noqa: E402
from benchmarks.measurements.promises.quality import rate_honesty, rate_range, streamed  # noqa: E402
from benchmarks.measurements.workers import start_workers  # noqa: E402
from benchmarks.peers import Absent, NothingYetError, Peer, bridge, codestream, jxl_tools, modern, own  # noqa: E402
from benchmarks.peers import jpeg as jpeg_peers  # noqa: E402
from benchmarks.reports import pages, parts, plots, promises, rate_distortion  # noqa: E402

PEERS = "jpeg-420,jpeg-444,jpeg-progressive-420,jpeg-progressive-444,jpeg2000,jpeg2000-layers"


def render(seed: int, width: int = 208, height: int = 176) -> images.Pixels:
    """A picture with edges, gradients and grain, uint8 (H, W, 3)."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    wave = np.sin(x / (7 + seed)) * np.cos(y / 11) + (np.hypot(x - width / 3, y - height / 2) < 40)
    planes = [128 + 60 * wave * gain + offset * x / width for gain, offset in ((1, 60), (0.6, -40), (-0.8, 20))]
    grain = random.normal(0, 4, (height, width, 1))
    return np.clip(np.stack(planes, -1) + grain, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("pictures")
    given = os.environ.get("HCODEC_BENCHMARK_IMAGES")
    if given:
        for photo in images.folder(Path(given), 3):
            (target / photo.path.name).symlink_to(photo.path)
    else:
        for seed in range(3):
            Image.fromarray(render(seed)).save(target / f"picture{seed}.png")
    return target


@pytest.fixture(scope="session")
def measured(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A results folder of real JPEG and JPEG 2000 files, and the cache beside it."""
    target = tmp_path_factory.mktemp("measured") / "results" / "set"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measurements_cache, "CACHE", target.parent / "cache")
        (target.parent / "output").parent.mkdir(parents=True)
        (target.parent / "output").write_text(run("rd", folder, "--results", target, "--peers", PEERS))
    return target


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(measurements_cache, "CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def run(*arguments: str | Path) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output + str(result.exception)
    return result.output


# --- wrong codecs are caught. Adapters: at the top of a module, since they are sent to other processes.


def png(pixels: images.Pixels, _: float) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def unpng(data: bytes) -> images.Pixels:
    return np.asarray(Image.open(io.BytesIO(data)))


class SmallLooking(bytes):
    """Bytes that say that they are fewer."""

    def __len__(self) -> int:
        return 100


HIDDEN: dict[bytes, images.Pixels] = {}


def lie_about_size(pixels: images.Pixels, _: float) -> bytes:
    return SmallLooking(png(pixels, 0))


def hide(pixels: images.Pixels, _: float) -> bytes:
    HIDDEN[b"key"] = pixels
    return b"key"


def unhide(data: bytes) -> images.Pixels:
    return HIDDEN[data]


def shifted(data: bytes) -> images.Pixels:
    return np.roll(unpng(data), 1, axis=1)


def mirrored(data: bytes) -> images.Pixels:
    return unpng(data)[:, ::-1]


def swapped(data: bytes) -> images.Pixels:
    return unpng(data)[..., ::-1]


def cropped(data: bytes) -> images.Pixels:
    return unpng(data)[:-1]


def almost(data: bytes) -> images.Pixels:
    return unpng(data) ^ 1


def crash(data: bytes) -> images.Pixels:
    raise RuntimeError("out of order")


def peer(encode=png, decode=unpng, lossless: bool = False) -> Peer:
    return Peer("test", "test", "1", (0,), 0, encode, decode, lossless=lossless)


WRONG = {
    "says 100 bytes, the file has": peer(encode=lie_about_size),
    "KeyError": peer(encode=hide, decode=unhide),
    "better when shifted by (1, 0) pixels": peer(decode=shifted),
    "better when mirrored": peer(decode=mirrored),
    "better when red and blue are swapped": peer(decode=swapped),
    "not uint8": peer(decode=cropped),
    "is not lossless": peer(decode=almost, lossless=True),
    "out of order": peer(decode=crash),
}


def test_wrong_codecs_are_flagged_and_left_out(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = images.folder(folder)[0]
    with start_workers(2) as workers:
        for number, (fault, wrong) in enumerate(WRONG.items()):
            monkeypatch.setattr(measurements_cache, "CACHE", tmp_path / str(number))
            (found,) = workers.measure([(photo, wrong)])
            assert len(found.faults) == 1 and fault in found.faults[0], (fault, found)
            assert codecs.collect(wrong, [found]).settings == ()
        monkeypatch.setattr(measurements_cache, "CACHE", tmp_path / "honest")
        (found,) = workers.measure([(photo, peer(lossless=True))])
    assert not found.faults
    assert found.points[0].num_bytes == len(png(images.read(photo.path), 0))


def test_wrong_codec_makes_the_command_fail(folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.peers.rate_distortion", lambda: [peer(decode=shifted)])
    result = CliRunner().invoke(main, ["rd", str(folder), "--results", str(tmp_path / "out"), "--limit", "1"])
    assert result.exit_code == 1
    assert "WRONG: test" in result.output and "shifted" in result.output
    assert json.loads((tmp_path / "out" / "test.json").read_text())["faults"]


def test_bad_quality_is_no_fault() -> None:
    for seed in range(3):
        original = render(seed)
        for quality in (1, 5, 20):
            data = jpeg_peers.found()[0].encode(original, quality)
            decoded = unpng(data)
            assert not verify.faults(original, decoded, claimed_bytes=1, file_bytes=1, lossless=False)


# --- the commands, end to end


def test_rd_end_to_end(folder: Path, measured: Path) -> None:
    document = json.loads((measured / "jpeg-444.json").read_text())
    columns = document["results"]
    assert set(columns) == {"bpp", "psnr-rgb", "ms-ssim-rgb", "encoding_time", "decoding_time"}
    photo = images.folder(folder)[1]
    pixels = images.read(photo.path)
    index = document["settings"].index(50)
    data = next(p for p in jpeg_peers.found() if p.name == "jpeg-444").encode(pixels, 50)
    table = document["images"][photo.name]
    assert table["bpp"][index] == pytest.approx(8 * len(data) / photo.num_px, abs=1e-5)
    assert table["psnr-rgb"][index] == pytest.approx(metrics.psnr(pixels, unpng(data)), abs=1e-3)
    means = np.mean([columns["psnr-rgb"] for columns in document["images"].values()], 0)
    assert columns["psnr-rgb"] == pytest.approx(means.tolist(), abs=1e-3)
    assert "JPEG, best of" in (measured.parent / "output").read_text()
    for name in ("rd.svg", "rd-ms-ssim.svg"):
        assert (measured / name).stat().st_size > 10_000


def test_second_run_measures_nothing(folder: Path, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = measured.parent / "cache"
    monkeypatch.setattr(measurements_cache, "CACHE", cache)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}
    assert len(before) == 3 * len(PEERS.split(","))
    text = run("rd", folder, "--results", measured, "--peers", PEERS)
    assert text == (measured.parent / "output").read_text()
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}


def test_progressive_end_to_end(folder: Path, tmp_path: Path, cache: Path) -> None:
    run("progressive", folder, "--results", tmp_path / "set", "--peers", "jpeg-scans,jpeg2000-layers")
    curve = results.load_curves(tmp_path / "set" / "progressive")["jpeg2000-layers"]
    assert curve.psnr == sorted(curve.psnr)
    num_px = max(photo.num_px for photo in images.folder(folder))
    assert all(bpp * num_px / 8 <= budget + 1 for bpp, budget in zip(curve.bpp, curve.settings, strict=True))
    with Image.open(tmp_path / "set" / "strip.png") as strip:
        assert strip.width > 1000


def test_lossless_end_to_end(folder: Path, tmp_path: Path, cache: Path) -> None:
    text = run("lossless", folder, "--results", tmp_path / "set", "--peers", "png,jpeg2000-lossless")
    assert "PNG (optimized)" in text and "bits per sub-pixel" in text


def test_speed_end_to_end(folder: Path, tmp_path: Path) -> None:
    options = ("--limit", "1", "--sizes", "0.02,0.05", "--peers", "jpeg-420,jpeg2000")
    text = run("speed", folder, "--results", tmp_path / "set", *options)
    document = json.loads((tmp_path / "set" / "speed.json").read_text())
    assert len(document["warm"]["jpeg-420"]["encode_s"]) == 5
    assert document["cold"]["jpeg2000"][0]["encode"]["peak_mib"] > 5
    assert document["growth"]["jpeg-420"]["0.05"]["decode"]["work_s"] > 0
    assert "new process" in text


def test_operation_end_to_end(folder: Path, tmp_path: Path) -> None:
    options = ("--rounds", "1", "--edge", "48", "--sizes", "0.01", "--seconds", "0.3", "--count", "8")
    text = run("operation", folder, "--results", tmp_path / "set", *options)
    document = json.loads((tmp_path / "set" / results.OPERATION).read_text())
    assert document["callers"]["wrong"] == document["soak"]["wrong"] == 0
    assert all(rate > 0 for rate in document["callers"]["pictures a second"].values())
    assert document["load"]["seconds"]["hcodec, 1 thread"]["encode"] and "2 busy, ratio" in text
    assert document["growth"]["costs"]["hcodec"]["0.01"]["decode"]["peak_mib"] > 20
    run("operation", folder, "--results", tmp_path / "set", "--parts", "soak", "--count", "2")
    later = json.loads((tmp_path / "set" / results.OPERATION).read_text())
    assert later["soak"]["count"] == 2 and later["load"] == document["load"]


def test_hcodec_levels_and_cuts(folder: Path, cache: Path) -> None:
    found = {entry.name: entry for entry in own.found()}
    if "hcodec-cuts" not in found:
        pytest.skip(str(found["hcodec"]))
    photo = images.folder(folder)[0]
    adapters = [found[name] for name in ("hcodec", "hcodec-cuts")]
    with start_workers(1) as workers:
        measured = workers.measure([(photo, adapter) for adapter in adapters])
    for measurement_ in measured:
        assert not measurement_.faults
        sizes = [point.num_bytes for point in measurement_.points]
        assert len(sizes) > 2 and sizes == sorted(sizes)
    ends = {point.setting: point.num_bytes for point in measured[0].points}
    assert all(ends[point.setting // 1] < point.num_bytes < ends[point.setting // 1 + 1] for point in measured[1].points)


def test_absent_codecs_are_named(folder: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # what importing it then raises is ImportError
    monkeypatch.setattr(jxl_tools.shutil, "which", lambda name: None)
    absent = {entry.name for entry in (*modern.found(), *jxl_tools.found()) if isinstance(entry, Absent)}
    assert absent == {"heic", "jxl-progressive"}
    result = CliRunner().invoke(main, ["rd", str(folder), "--results", str(tmp_path), "--limit", "1", "--peers", "heic,png"])
    assert result.exit_code == 2 and "png" in result.output  # not a lossy codec
    text = run("rd", folder, "--results", tmp_path, "--limit", "1", "--peers", "heic,jpeg-420")
    assert "absent: heic" in text


# --- cutting the peers' files


def stream_of(name: str) -> Peer:
    return next(entry for entry in jpeg_peers.found() if entry.name == name)


@pytest.mark.parametrize("name", ["jpeg2000-layers", "jpeg-scans"])
def test_cut_files_fit_and_get_better(name: str) -> None:
    adapter, pixels = stream_of(name), render(1)
    whole = adapter.encode(pixels, adapter.typical)
    qualities = []
    for num_bytes in (*adapter.stream.steps(whole).values(), len(whole)):
        data = adapter.stream.cut(whole, num_bytes)
        assert len(data) <= num_bytes
        qualities.append(metrics.psnr(pixels, adapter.decode(data)))
    assert qualities == sorted(qualities) and qualities[-1] > qualities[0] + 10
    assert np.array_equal(adapter.decode(whole), adapter.decode(adapter.stream.cut(whole, len(whole))))


def test_every_cut_of_jpeg_decodes() -> None:
    adapter, pixels = stream_of("jpeg-scans"), render(2, 64, 48)
    whole = adapter.encode(pixels, adapter.typical)
    with pytest.raises(NothingYetError):
        codestream.cut_jpeg(whole, 100)
    first = codestream.scan_ends(whole)[0]
    for num_bytes in range(first, len(whole) + 1):
        data = codestream.cut_jpeg(whole, num_bytes)
        assert len(data) <= num_bytes
        assert adapter.decode(data).shape == pixels.shape


def test_every_cut_of_jpeg2000_decodes() -> None:
    adapter, pixels = stream_of("jpeg2000-layers"), render(2, 64, 48)
    whole = adapter.encode(pixels, adapter.typical)
    with pytest.raises(NothingYetError):
        codestream.cut_packets(whole, 50)
    for num_bytes in range(220, len(whole), 37):
        data = codestream.cut_packets(whole, num_bytes)
        assert len(data) <= num_bytes
        assert adapter.decode(data).shape == pixels.shape


# --- curves


def curve(bpp: list[float], psnr: list[float], name: str = "x") -> Curve:
    columns = dict.fromkeys(COLUMNS, [0.5] * len(bpp)) | {"bpp": bpp, "psnr-rgb": psnr}
    return averaged(Curve(name, name, "1", tuple(range(len(bpp))), {"a": columns}))


def test_bd_rate() -> None:
    from bjontegaard import bd_rate

    rates, qualities = [0.1, 0.2, 0.5, 1.0, 1.8], [26.0, 28.5, 32.0, 35.5, 39.0]
    anchor = bdrate.line(rates, qualities)
    half = bdrate.line([rate / 2 for rate in rates], qualities)
    assert bdrate.delta(anchor, anchor).percent == pytest.approx(0)
    for band in (*bdrate.BANDS_DB.values(), (-math.inf, math.inf)):
        assert bdrate.delta(half, anchor, band).percent == pytest.approx(-50, abs=0.01)
    other = [rate * (0.6 + 0.1 * index) for index, rate in enumerate(rates)]
    reference = bd_rate(rates, qualities, other, qualities, method="pchip")
    assert bdrate.delta(bdrate.line(other, qualities), anchor).percent == pytest.approx(reference, abs=0.05)
    assert bdrate.delta(bdrate.line([1, 2], [40, 45]), anchor) is None
    assert bdrate.rate_at(anchor, 28.5) == pytest.approx(0.2)
    assert math.isnan(bdrate.rate_at(anchor, 45))


def test_line_leaves_out_what_is_no_gain() -> None:
    rates, qualities = bdrate.line([0.3, 0.1, 0.2, 0.4], [30, 25, 24, math.inf])
    assert rates.tolist() == [0.1, 0.3] and qualities.tolist() == [25, 30]


def test_best_jpeg_is_the_best(measured: Path) -> None:
    curves = {name: curve for name, curve in results.load_curves(measured).items() if name.startswith("jpeg-")}
    best = best_jpeg(curves)
    for photo, table in best.images.items():
        ours = bdrate.line(table["bpp"], table["psnr-rgb"])
        for other in curves.values():
            theirs = bdrate.line(other.images[photo]["bpp"], other.images[photo]["psnr-rgb"])
            assert bdrate.delta(ours, theirs).percent <= 0.5
    assert best_jpeg({"jpeg-420": curves["jpeg-420"]}) is None


def test_results_are_read_back(tmp_path: Path) -> None:
    written = curve([0.1, 0.2], [30.0, math.inf])
    loaded = results.load_curve(results.write_curve(written, tmp_path))
    assert loaded.bpp == written.bpp and loaded.settings == (0, 1)
    assert loaded.psnr[0] == 30 and math.isnan(loaded.psnr[1])


def test_published_figures_name_their_source() -> None:
    found = results.published("kodak", 24)
    assert {"bpg-444", "vtm-18", "qarv", "qres-vae", "ctc", "dpict", "mbt2018-mean"} <= set(found)
    for published in found.values():
        assert published.source.startswith("github ") and published.bpp == sorted(published.bpp)
    for path in (results.PUBLISHED / "kodak").glob("*.json"):
        assert set(json.loads(path.read_text())) <= {"name", "source", "bpp", "psnr", "ms_ssim"}
    assert results.published("kodak", 2) == {}


def test_range_of_rates_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad = curve([0.05, 1.0], [22.0, 38.5]), curve([0.07, 1.0], [22.0, 37.0])
    verdicts = rate_range(good) + rate_range(bad)
    assert [verdict.kept for verdict in verdicts] == [True, True, False, False]
    results.write([asdict(verdict) for verdict in verdicts], tmp_path / results.CHECK)
    parts.show(promises.parts(tmp_path))
    assert capsys.readouterr().out.count("**no**") == 2


def test_streams_are_compared_where_they_end() -> None:
    import hcodec

    data = hcodec.encode(render(3, 264, 256), lossless=False)  # large enough for quicker pictures of a stream that goes on
    shown = streamed(data)
    assert sorted(shown) == list(range(1, 8))
    assert all(np.array_equal(shown[level], np.asarray(hcodec.decode(data, levels=level))) for level in shown)


def test_tables_show_wins_and_losses() -> None:
    anchor = curve([0.1, 0.2, 0.5, 1.0], [26.0, 28.5, 33.0, 37.5], "anchor")
    better = curve([0.08, 0.16, 0.4, 0.8], [26.0, 28.5, 33.0, 37.5], "ours")
    assert "| anchor | −20.0 % |" in rate_distortion.bd_rates(better, [anchor])
    assert "| ours | +25.0 % |" in rate_distortion.bd_rates(anchor, [better])


# --- behind hcodec's public names


def test_layers_are_as_long_as_estimated(folder: Path) -> None:
    verdict = rate_honesty(images.folder(folder)[:1])
    assert verdict.kept and len(verdict.details) == 1


def test_lossless_layer_by_level() -> None:
    rates = inside.lossless_layer(render(0, 64, 48))
    assert [rate.level for rate in rates] == sorted(rate.level for rate in rates) and len(rates) > 1
    for rate in rates:
        assert 0 < rate.level_bits < rate.layer_bits


def test_time_is_told_by_module() -> None:
    import hcodec

    data = hcodec.encode(render(0, 64, 48))
    found = clock.seconds_by_module(lambda: hcodec.decode(data))
    assert {"codec", "coding.stack"} <= set(found) and min(found.values()) >= 0
    assert list(found.values()) == sorted(found.values(), reverse=True)


# --- plots and README


def test_labels_keep_apart() -> None:
    placed = plots._push_apart([0.1, 0.11, 0.12, 0.5, 0.51])
    gaps = np.diff(placed)
    assert (gaps > 0.999 * plots._LABEL_GAP).all() and placed[2] < 0.25


def test_plot_knows_its_results(tmp_path: Path) -> None:
    frame = plots.Frame("t", "x", "y", (0, 1), (0, 1))
    plot, other = (
        plots.Plot(tmp_path / "plot.svg", "a line", (plots.Series("a", ((0.0, 0.0), (1.0, end)), "#000000"),), frame)
        for end in (1.0, 0.9)
    )
    assert not plots.is_current(plot)
    plots.draw(plot)
    assert plots.is_current(plot) and not plots.is_current(other)
    assert parts.markdown([plot], tmp_path) == "![a line](plot.svg)"


def test_blocks_replace_only_themselves(measured: Path) -> None:
    root = measured.parents[1]
    paths = root / "README.md", root / "RESULTS.md"
    for page in paths:
        page.write_text(f"before\n{pages.BEGIN}\nold\n{pages.END}\nafter\n")
    assert len(pages.differences(measured, *paths)) == 2
    options = ("--results", measured, "--readme", paths[0], "--report", paths[1])
    run("readme", *options)
    for page in paths:
        text = page.read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text and "results/set/rd.svg" in text
    run("readme", "--check", *options)
    for page in paths:
        text = page.read_text()
        page.write_text(text.replace("3 pictures (set)", "4 pictures (set)"))
        assert pages.differences(measured, *paths) == [f"the benchmark block of {page.name} is not what the results say"]
        page.write_text(text)


def test_page_without_markers_changes_nothing(measured: Path) -> None:
    page, bare = measured.parents[1] / "MARKED.md", measured.parents[1] / "BARE.md"
    page.write_text(f"{pages.BEGIN}\n{pages.END}\n")
    bare.write_text("no markers\n")
    with pytest.raises(pages.MarkersError, match=r"BARE\.md"):
        pages.write(measured, page, bare)
    assert page.read_text() == f"{pages.BEGIN}\n{pages.END}\n" and bare.read_text() == "no markers\n"


def test_pages_are_what_the_results_say() -> None:
    paths = ROOT / "README.md", ROOT / "benchmarks" / "RESULTS.md"
    assert pages.differences(results.RESULTS / "kodak", *paths) == [], "run `python -m benchmarks readme`"


def test_readme_has_one_table_and_one_plot() -> None:
    block = parts.markdown(pages.summary(results.RESULTS / "kodak"), ROOT)
    assert block.count("\n| ---") == 1 and block.count(".svg)") == 1 and block.count("![") <= 2
    assert block.count("\n| ") == 1 + len(rate_distortion.TELLING) + 1  # head, rule, one row for each peer


# --- rooms

ARROWS = {
    "": set(),
    "images": set(),
    "metrics": {"images"},
    "curves": set(),
    "results": {"curves"},
    "peers": {"images"},
    "drawn": set(),
    "measurements": {"images", "metrics", "curves", "results", "peers", "drawn"},
    "reports": {"metrics", "curves", "results"},
    "__main__": {"images", "results", "measurements", "reports"},
}
SOURCES = sorted((ROOT / "benchmarks").rglob("*.py"))
REACH_INSIDE = {"measurements/inside.py", "measurements/chains.py", "measurements/documents.py"}


def room(path: Path) -> str:
    parts = path.relative_to(ROOT / "benchmarks").with_suffix("").parts
    return "" if parts == ("__init__",) else parts[0]


def full_names(path: Path) -> set[str]:
    """Everything that a file imports, whole or by name."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {f"{n.module}.{alias.name}" for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_arrows_only_downwards(path: Path) -> None:
    imported = {name.split(".")[1] for name in full_names(path) if name.startswith("benchmarks.")}
    assert imported - {room(path)} <= ARROWS[room(path)]


def test_few_files_reach_inside_of_hcodec() -> None:
    import hcodec

    public = {f"hcodec.{name}" for name in hcodec.__all__} | {"hcodec", "hcodec.models"}
    found = {path for path in SOURCES if any(n.startswith("hcodec") and n not in public for n in full_names(path))}
    assert {path.relative_to(ROOT / "benchmarks").as_posix() for path in found} == REACH_INSIDE


def test_files_and_functions_stay_short() -> None:
    for path in SOURCES:
        text = path.read_text()
        assert text.count("\n") <= 350, path
        functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
        assert all(node.end_lineno - node.lineno < 40 for node in functions), path


# --- compressai


def test_only_the_bridge_imports_compressai() -> None:
    sources = [path for folder in ("benchmarks", "hcodec", "models", "cli") for path in (ROOT / folder).rglob("*.py")]
    importers = {
        path.relative_to(ROOT).as_posix()
        for path in sources
        if any(name.split(".")[0] == "compressai" for name in full_names(path))
    }
    assert importers <= {"benchmarks/peers/bridge.py"}


@pytest.mark.skipif(find_spec("compressai") is None, reason="compressai is not installed")
@pytest.mark.filterwarnings("ignore")
def test_bridge_brings_compressai_and_leaves_no_stand_in() -> None:
    from benchmarks.peers import learned

    adapter = next(entry for entry in learned.found() if entry.name == "compressai-bmshj2018-hyperprior")
    pixels = render(0, 100, 70)
    assert adapter.decode(adapter.encode(pixels, adapter.typical)).shape == pixels.shape
    left = sys.modules.get("torchvision")
    assert left is None or getattr(left, "__file__", None), "a stand-in was left behind"
    assert bridge.version().startswith("compressai 1.")
