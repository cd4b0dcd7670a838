"""The lab from the command line: every command in small, its files, its one-line errors, and the tour of its README."""

from __future__ import annotations

import csv
import gzip
import json
import re
import shlex
import shutil
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from hcodec.cli import main
from hcodec.errors import FormatError, ModelError, PictureError
from hcodec.models.lab import data, families, hlab, inspect, measure, model_file, pictures, studies
from hcodec.models.runtime import threads
from hcodec.models.small import thumbnails

ROOT = Path(__file__).parent.parent
INSTALLED = ROOT / "models/lab/weights"
QUICK = ["--tiny", "--minutes", "0.003", "--batch", "8"]


def lab(*arguments, code=0):
    done = CliRunner().invoke(main, ["lab", *map(str, arguments)])
    assert done.exit_code == code, done.output
    if code == 0:
        assert done.exception is None
    else:
        assert done.output.strip().splitlines()[-1].startswith(("Error: ", "Try ")) and "Traceback" not in done.output
    return done.output


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with one tiny model of each family, trained on glyphs for a moment."""
    folder = tmp_path_factory.mktemp("lab")
    for family in families.FAMILIES:
        lab("train", family, *QUICK, "--models", folder)
    return folder


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with six glyphs as PNGs."""
    folder = tmp_path_factory.mktemp("digits")
    for number, glyph in enumerate(data.glyphs("0123456789", 6, data.GLYPH, 5)):
        Image.fromarray(glyph[0]).save(folder / f"digit{number}.png")
    return folder


def read(folder):
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.iterdir())}


def test_training_writes_weights_that_say_what_they_are(models):
    for family in families.FAMILIES:
        trained = model_file.load(models / f"{family}.safetensors")
        assert trained.family == family and trained.facts["data"] == "glyphs" and trained.facts["steps"] > 0
        assert trained.config == families.configure(family, 1, tiny=True)
        with (models / f"{family}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert float(rows[-1]["step"]) <= trained.facts["steps"]
        assert {"bpd", "norm", "skipped", "seconds"} < set(rows[0]) and any(key.startswith("kl_") for key in rows[0])


def test_options_of_training_override_the_familys(tmp_path):
    lab("train", "resnet", *QUICK, "--models", tmp_path, "--free-bits", 0, "--warmup", 0.5, "--balance", "--name", "mine")
    options = model_file.load(tmp_path / "mine.safetensors").facts["options"]
    assert options == {"warmup": 0.5, "free_bits": 0.0, "balance": True, "skip": 0.0}


def test_balance_without_warm_up_would_do_nothing(tmp_path):
    lab("train", "vae", *QUICK, "--models", tmp_path, "--balance", code=2)
    assert not list(tmp_path.iterdir())


def test_every_family_fits_a_mebibyte():
    for family, entry in families.FAMILIES.items():
        for channels in (1, 3):
            network = entry.network(families.configure(family, channels))
            assert 4 * sum(p.numel() for p in network.parameters()) < 1000 * 1024, family


def test_measuring_makes_one_table(models, tmp_path):
    output = lab("measure", "--models", models, "-o", tmp_path, "--pictures", 8, "--samples", 2, "--weighted", 4, "--coded", 2)
    results = json.loads((tmp_path / "results.json").read_text())
    assert [result["name"] for result in results] == sorted(families.FAMILIES)
    for result in results:
        active, units = zip(*result["active_units"].values(), strict=True)
        assert all(0 <= a <= u for a, u in zip(active, units, strict=True)) and sum(units) > 0
        expected = result["pixels_bpd"] + sum(result["kl_bits"].values()) / data.GLYPH**2
        assert result["elbo_bpd"] == pytest.approx(expected, abs=2e-3)
        assert result["file_bpd"] > result["net_bpd"] > 0
    table = (tmp_path / "results.md").read_text()
    assert output.strip().endswith(table.strip())
    assert "1,000 times the compute" in table and "arXiv 2011.10650" in table


def test_seeds_share_a_row_and_nothing_is_measured_twice(models, tmp_path, monkeypatch):
    for name in ("vae", "vae.1", "vae.2", "ladder"):
        shutil.copy(models / f"{name.partition('.')[0]}.safetensors", tmp_path / f"{name}.safetensors")
    measured = ("measure", "--models", tmp_path, "--pictures", 8, "--samples", 2, "--weighted", 4, "--coded", 2)
    rows = [line.split(" | ") for line in lab(*measured).splitlines() if " ± " in line]
    assert {(row[0], row[2]) for row in rows[-2:]} == {("| VAE", "3"), ("| Ladder VAE", "1")}
    before = json.loads((tmp_path / "results.json").read_text())
    elbos = [one["elbo_bpd"] for one in before if one["family"] == "vae"]
    assert any(f"{np.mean(elbos):.3f} ± {np.std(elbos, ddof=1):.3f}" in row[1] for row in rows)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "bounds", None)
        lab(*measured)
    assert json.loads((tmp_path / "results.json").read_text()) == before
    (tmp_path / "results.json").write_text('{"of": "somebody else"}')
    lab(*measured)


def test_results_survive_an_interruption(models, tmp_path, monkeypatch):
    for name in ("ladder", "vae"):
        shutil.copy(models / f"{name}.safetensors", tmp_path)
    measured = ("measure", "--models", tmp_path, "--pictures", 8, "--samples", 2, "--weighted", 4, "--coded", 2)
    lab(*measured)
    before = (tmp_path / "results.json").read_text()
    shutil.copy(models / "biva.safetensors", tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "bounds", lambda *_: (_ for _ in ()).throw(FormatError("interrupted")))
        lab(*measured, code=1)
    assert (tmp_path / "results.json").read_text() == before


def test_the_table_says_what_was_measured_on_and_the_kl_of_each_level(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/results.json").write_text("of models trained here")
    output = lab("measure", "--models", "mnist", "--pictures", 2, "--samples", 1, "--weighted", 9, "--coded", 3)
    assert "Warning: models trained on mnist are shown pictures of glyphs" in output
    assert "Bits per dimension on glyphs, 2 test pictures" in output and "over the first 2 pictures" in output
    results = json.loads((tmp_path / "lab/installed/mnist/results.json").read_text())
    assert {one["coded"] for one in results} == {2} and {one["data"] for one in results} == {"glyphs"}
    assert (tmp_path / "lab/results.json").read_text() == "of models trained here"
    levels = next(one for one in results if one["name"] == "ladder")["kl_bits"]
    assert f"| Ladder VAE | {', '.join(f'{name} {bits:.1f}' for name, bits in levels.items())} |" in output


def test_models_are_measured_on_pictures_of_the_users_own(tmp_path):
    shutil.copy(INSTALLED / "color/biva.safetensors", tmp_path / "biva.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    sizes = ("--pictures", 9, "--samples", 1, "--weighted", 1, "--coded", 1)
    lab("measure", "--models", tmp_path, "--test", tmp_path / "noise.png", *sizes)
    result = json.loads((tmp_path / "tested/results.json").read_text())[0]
    assert result["data"] == "tiles of noise.png" and result["effort"]["pictures"] == 2
    tiles = data.test_tiles([tmp_path / "noise.png"])
    assert {tile.tobytes() for tile in tiles} == {tile.transpose(2, 0, 1).tobytes() for tile in thumbnails.tiles([pixels])}
    assert len(tiles) == 2 and result["test"] == zlib.crc32(tiles.tobytes())
    Image.fromarray(pixels[:, :64]).save(tmp_path / "one.png")  # of which no error can be estimated
    lab("measure", "--models", tmp_path, "--test", tmp_path / "one.png", *sizes, code=1)
    Image.fromarray(pixels[:32]).save(tmp_path / "low.png")
    lab("measure", "--models", tmp_path, "--test", tmp_path / "low.png", *sizes, code=1)
    lab("measure", "--models", tmp_path, "--test", tmp_path / "none.png", *sizes, code=1)


@pytest.mark.parametrize(("name", "edge", "channels"), [("mnist", 28, 1), ("color", 32, 3)])
def test_installed_models_code_pictures_and_are_those_that_were_measured(name, edge, channels, tmp_path, monkeypatch):
    results = json.loads((ROOT / f"benchmarks/results/lab/{name}/results.json").read_text())
    folder = INSTALLED / name
    assert {one["name"]: one["model"] for one in results if "." not in one["name"]} == {  # without further seeds
        path.stem: model_file.load(path).digest for path in folder.glob("*.safetensors")
    }
    card = (folder.parent / f"{name}.md").read_text()
    assert all(families.FAMILIES[one["family"]].title in card for one in results)
    (tmp_path / "pictures").mkdir()
    for number, glyph in enumerate(data.glyphs("0123456789", 3, edge, 5)):
        Image.fromarray(np.repeat(glyph.transpose(1, 2, 0), channels, 2).squeeze()).save(tmp_path / f"pictures/{number}.png")
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).mkdir()  # where people have the pictures themselves
    lab("code", "small", tmp_path / "pictures", "-o", tmp_path / "x.hlab", "--models", name)
    lab("decode", tmp_path / "x.hlab", "-o", tmp_path / "out")
    before, after = read(tmp_path / "pictures"), read(tmp_path / "out")
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_files_come_back(family, models, digits, tmp_path):
    output = lab("code", family, digits, "-o", tmp_path / "x.hlab", "--models", models)
    assert "6 pictures" in output and "initial" in output
    lab("decode", tmp_path / "x.hlab", "-o", tmp_path / "out", "--models", models)
    before, after = read(digits), read(tmp_path / "out")
    assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)


def encoded(models, count=3):
    trained = model_file.load(models / "vae.safetensors")
    pixels = data.glyphs("0123456789", count, data.GLYPH, 6)
    return trained, pixels, hlab.encode(pixels, [f"{i}.png" for i in range(count)], trained)


def test_the_report_counts_every_bit(models):
    _, pixels, (file, report) = encoded(models)
    assert report.file_bits == 8 * len(file) and report.num_values == pixels.size
    words_bits = report.file_bits - report.header_bits
    assert words_bits == 8 * (len(file) - hlab.read_header(file).end)
    assert abs(words_bits - (report.net_bits + report.initial_bits)) <= 64


def changed(file, **fields):
    header = hlab.read_header(file)
    text = json.dumps({**header.fields, **fields}).encode()
    return hlab.MAGIC + len(text).to_bytes(4, "little") + text + file[header.end :]


@pytest.mark.parametrize("key", ["torch", "machine", "capability", "threads", "model"])
def test_decoding_elsewhere_is_refused(models, tmp_path, key):
    trained, _, (file, _) = encoded(models)
    with pytest.raises(FormatError, match=f"{key}: there 'elsewhere', here "):
        hlab.decode(changed(file, **{key: "elsewhere"}), trained)
    (tmp_path / "x.hlab").write_bytes(changed(file, **{key: "elsewhere"}))
    lab("decode", tmp_path / "x.hlab", "-o", tmp_path / "out", "--models", models, code=1)
    assert not (tmp_path / "out").exists()


def test_files_are_made_with_as_many_threads_as_were_asked_for(models, digits, tmp_path, monkeypatch):
    """But never with more than there are processors."""
    monkeypatch.setattr(threads, "num_processors", lambda: 2)
    for count in (64, 2, 1):
        lab("code", "vae", digits, "-o", tmp_path / f"{count}.hlab", "--models", models, "-j", count)
        assert hlab.read_header((tmp_path / f"{count}.hlab").read_bytes()).fields["threads"] == min(count, 2)
    lab("decode", tmp_path / "2.hlab", "-o", tmp_path / "out", "--models", models, code=1)
    lab("decode", tmp_path / "1.hlab", "-o", tmp_path / "out", "--models", models)


def test_decoding_finds_the_model_and_overwrites_nothing(models, digits, tmp_path):
    lab("code", "vae", digits, "-o", tmp_path / "x.hlab", "--models", models)
    lab("code", "vae", digits, "-o", tmp_path / "x.hlab", "--models", models, code=1)
    (tmp_path / "none").mkdir()
    assert "the model that wrote" in lab(
        "decode", tmp_path / "x.hlab", "-o", tmp_path / "out", "--models", tmp_path / "none", code=1
    )
    (tmp_path / "none/a.safetensors").write_text("of something else")
    shutil.copy(models / "vae.safetensors", tmp_path / "none/mine.safetensors")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/digit3.png").write_text("mine")
    decoding = ("decode", tmp_path / "x.hlab", "-o", tmp_path / "out", "--models", tmp_path / "none")
    lab(*decoding, code=1)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["digit3.png"]
    lab(*decoding, "--force")
    assert read(tmp_path / "out").keys() == read(digits).keys()
    lab("decode", tmp_path, "-o", tmp_path / "out", code=2)


def test_no_input_is_written_over_even_with_force(models, digits, tmp_path):
    shutil.copytree(digits, tmp_path / "in")
    shutil.copy(models / "vae.safetensors", tmp_path)
    coding = ("code", "vae", tmp_path / "in", "--models", tmp_path)
    lab(*coding, "-o", tmp_path / "in/digit0.hlab")
    (tmp_path / "in/digit0.hlab").rename(tmp_path / "digit0.png")  # a lab file that holds a picture of its own name
    (tmp_path / "link.hlab").symlink_to("in/digit5.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for argv in (
        *((*coding, "-o", tmp_path / name) for name in ("in/digit1.png", "link.hlab", "vae.safetensors")),
        ("code", "vae", *sorted((tmp_path / "in").iterdir()), "-o", tmp_path / "in/digit2.png", "--models", tmp_path),
        ("decode", tmp_path / "digit0.png", "-o", tmp_path, "--models", tmp_path),
    ):
        assert "is an input itself" in lab(*argv, "--force", code=1)
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_without_torch_the_lab_says_what_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install hcodec[torch]" in lab("measure", code=1)


def test_damaged_files_are_refused(models):
    trained, _, (file, _) = encoded(models)
    end = hlab.read_header(file).end
    broken = [b"", file[:5], file[: end - 3], file[:-1], file[:-4], file[: end + 4], b"x" + file]
    broken += [file[:8] + b"\xff" * 4 + file[12:]]
    broken += [file[:position] + bytes([file[position] ^ 64]) + file[position + 1 :] for position in range(end, len(file), 37)]
    shapes = ([1, 0, 4], [1, 16, 9999], [1, 16.0, 16], ["1", 16, 16], 3)
    senseless = {"untouched": (-1, 1 << 40, "5"), "shape": shapes, "names": (3, [], "abc", [1]), "crc": (None, "0")}
    headers = [changed(file, **{key: value}) for key, values in senseless.items() for value in values]
    headers.append(hlab.MAGIC + (200_000).to_bytes(4, "little") + b"[" * 200_000)
    for bad in (*broken, *headers):
        with pytest.raises((FormatError, ModelError)):
            hlab.decode(bad, trained)


@pytest.mark.parametrize("names", [["a\0.png", "b", "c"], ["a.png", "b/a.png", "c.png"]])
def test_pictures_without_names_of_their_own_are_not_written(models, tmp_path, names):
    (tmp_path / "x.hlab").write_bytes(changed(encoded(models)[2][0], names=names))
    assert "no names" in lab("decode", tmp_path / "x.hlab", "-o", tmp_path / "out", "--models", models, "--force", code=1)
    assert not (tmp_path / "out").exists()


def test_pictures_that_do_not_fit_are_refused(models, digits, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "color.png")
    Image.new("L", (15, 16)).save(tmp_path / "narrow.png")
    Image.new("L", (16, 16)).convert("P").save(tmp_path / "palette.png")  # whose numbers are no grays
    (tmp_path / "cut.png").write_bytes((digits / "digit1.png").read_bytes()[:60])
    (tmp_path / "text.png").write_text("no picture")
    shutil.copy(digits / "digit0.png", tmp_path)
    for name in ("color", "narrow", "text", "digit0", "palette", "cut"):
        lab("code", "vae", digits, tmp_path / f"{name}.png", "-o", tmp_path / "x.hlab", "--models", models, code=1)
    lab("code", "vae", tmp_path / "none.png", "-o", tmp_path / "x.hlab", "--models", models, code=2)
    assert "there are biva, diffusion" in lab("code", "gan", digits, "-o", tmp_path / "x.hlab", "--models", models, code=1)
    (tmp_path / "empty").mkdir()
    lab("code", "vae", tmp_path / "empty", "-o", tmp_path / "x.hlab", "--models", models, code=1)
    assert not (tmp_path / "x.hlab").exists()


def test_bad_models_and_data_are_refused(models, tmp_path):
    lab("train", "gan", *QUICK, "--models", tmp_path, code=1)
    lab("train", "vae", *QUICK, "--data", tmp_path / "nowhere", code=1)
    lab("measure", "--models", tmp_path, code=1)
    (tmp_path / "bad.safetensors").write_bytes(b"\0" * 100)
    lab("measure", "--models", tmp_path, code=1)
    lab("measure", "--models", models, "--data", "drawn", code=1)
    lab("study", "nothing", *QUICK, "--models", tmp_path, code=1)
    for bad in (
        ("--minutes", "nan"),
        ("--minutes", "inf"),
        ("--free-bits", "nan"),
        ("--seed", -1),
        ("--batch", 10**23),
        ("--name", ""),
        ("--name", "a/b"),
    ):
        lab("train", "vae", *QUICK, *bad, "--models", tmp_path / "none", code=2)
    lab("train", "vae", *QUICK, "--models", tmp_path / "bad.safetensors", code=1)
    assert not (tmp_path / "none").exists()
    with pytest.raises(PictureError):
        data.open_set([str(tmp_path)])


def write_mnist(folder, count):
    for part, seed in (("train", 1), ("t10k", 2)):
        pixels = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        raw = np.array([2051, count, 28, 28], dtype=">u4").tobytes() + pixels.tobytes()
        (folder / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(raw))
    return pixels


def test_mnist_is_read_and_cut_files_are_not(tmp_path):
    test = write_mnist(tmp_path, 5)
    found = data.open_set([str(tmp_path)])
    assert found.name == "mnist" and np.array_equal(found.test[:, 0], test)
    assert found.batch(3).shape == (3, 1, 28, 28)
    taken, names = pictures.read([tmp_path / "t10k-images-idx3-ubyte.gz"], 1, 2)
    assert np.array_equal(taken[:, 0], test[:2]) and names == ["00000.png", "00001.png"]
    plain = tmp_path / "cut-idx3-ubyte"
    plain.write_bytes(gzip.decompress((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())[:-1])
    with pytest.raises(PictureError, match="cut"):
        data.read_idx(plain)
    compressed = (tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "t10k-images-idx3-ubyte.gz").unlink()
    with pytest.raises(PictureError, match="not complete"):
        data.open_set([str(tmp_path)])
    for path in (tmp_path / "train-images-idx3-ubyte.gz", tmp_path / "cut.tar"):
        path.write_bytes(compressed[:-20])
        source = tmp_path if path.suffix == ".gz" else path
        assert str(path) in lab("train", "vae", *QUICK, "--data", source, "--models", tmp_path / "out", code=1)


def test_color_sets_hold_out_whole_pictures():
    flat = [np.full((128, 128, 3), number, dtype=np.uint8) for number in range(32)]
    found = data._crops("flat", flat, 0)
    seen = set(np.unique(found.draw(500)))
    assert set(np.unique(found.test)) == {0, 16} and not seen & {0, 16} and len(seen) == 30
    assert found.channels == 3 and found.batch(2).shape == (2, 3, 32, 32)


def test_embedded_sets():
    glyphs = data.open_set(["glyphs"])
    assert glyphs.test.shape == (1000, 1, 16, 16) and glyphs.test.max() > 200
    assert np.array_equal(data.glyphs("01", 4, 16, 0), data.glyphs("01", 4, 16, 0))
    assert not any((glyphs.draw(50)[:, None] == glyphs.test[None, :50]).all((2, 3, 4)).any(1))
    digits = pytest.importorskip("sklearn.datasets", reason="needs scikit-learn").load_digits().images
    assert len(data.open_set(["digits"]).test) == len(digits) - 1500


def test_scores_tell_foreign_pictures_apart():
    usual, foreign = np.array([1.0, 2, 3, 4]), np.array([3.0, 5, 6])
    pairs = [(f > u) + 0.5 * (f == u) for f in foreign for u in usual]
    assert inspect.auroc(usual, foreign) == pytest.approx(np.mean(pairs))
    false, true = inspect.roc(usual, foreign)
    assert false[0] == true[0] == 0 and false[-1] == true[-1] == 1
    assert bool((np.diff(false) >= 0).all() and (np.diff(true) >= 0).all())
    area = (np.diff(false) * (true[1:] + true[:-1]) / 2).sum()
    assert area == pytest.approx(np.mean(pairs))
    kinds = inspect.foreign_sets(data.glyphs("01", 4, 16, 0))
    assert all(kind.shape == (4, 1, 16, 16) and kind.dtype == np.uint8 for kind in kinds.values())
    assert inspect.foreign_sets(np.zeros((2, 3, 32, 32), np.uint8))["drawn"].shape == (2, 3, 32, 32)


@pytest.mark.parametrize("family", families.FAMILIES)
def test_levels_can_be_exchanged_drawn_and_mixed(family, models):
    network = model_file.load(models / f"{family}.safetensors").network
    x, y = torch.from_numpy(data.glyphs("0123456789", 4, data.GLYPH, 7)).float().split(2)
    names = inspect.levels(network, x.shape)
    assert inspect.redrawn(network, x, names[0]).shape == inspect.exchanged(network, x, y, names[-1]).shape == x.shape
    assert torch.equal(inspect.mixed(network, x, y, 0.0), inspect.mixed(network, x, x, 0.5))
    assert torch.equal(inspect.mixed(network, x, y, 1.0), inspect.mixed(network, y, y, 0.0))
    assert torch.equal(inspect.prefix(network, x, 0), inspect.prefix(network, y, 0))


def test_studies_differ_in_one_thing():
    for study, kinds in studies.STUDIES.items():
        runs = studies.runs(study, 1, True, 1.0, 8, 2)
        assert len(runs) == 2 * len(kinds) == len({run.name for run in runs})
        assert len({(run.config, run.options) for run in runs}) == len(kinds)
        assert {run.family for run in runs} == {runs[0].family}


# the tour

README = (ROOT / "models" / "lab" / "README.md").read_text(encoding="utf-8")
EXERCISE = r"^## Exercise (\d).*?^```\n(.*?)^```\n.*?!\[[^\]]*\]\((exercises/[^)]+)\).*?`(lab/[^`]+\.png)`"
EXERCISES = re.findall(EXERCISE, README, re.M | re.S)


def in_small(command, folder):
    """The arguments of one line of the tour, with the smallest network, next to no time, and its own folder."""
    words = shlex.split(command)
    assert words[:2] == ["hcodec", "lab"]
    words = words[2:]
    for option, value in (("--minutes", "0.003"), ("--seeds", "1"), ("--pictures", "4")):
        if option in words:
            words[words.index(option) + 1] = value
    more = ["--models", str(folder)]
    return words + more + {"train": QUICK, "study": QUICK, "report": ["--pictures", "4"]}[words[0]]


def test_the_tour_has_five_exercises_with_pictures():
    assert [number for number, *_ in EXERCISES] == list("12345")
    for _, _, picture, _ in EXERCISES:
        assert (ROOT / "models" / "lab" / picture).is_file()


@pytest.mark.parametrize(("number", "commands", "picture", "made"), EXERCISES, ids=lambda value: value[:12])
def test_the_tour_runs(number, commands, picture, made, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra `bench`")
    for command in commands.strip().splitlines():
        lab(*in_small(command, tmp_path))
    assert (tmp_path / Path(made).relative_to("lab")).stat().st_size > 1000
    assert picture


def test_the_commands_of_bits_back_run(tmp_path, monkeypatch):
    commands = re.search(r"^## Bits back\n\n```\n(.*?)^```\n", README, re.M | re.S)[1]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mnist").mkdir()
    pixels = write_mnist(tmp_path / "mnist", 3)
    for command in commands.strip().splitlines():
        lab(*shlex.split(command)[2:])
    assert [picture.tolist() for picture in read(tmp_path / "back").values()] == pixels.tolist()


def test_the_report_is_one_page_with_all_its_pictures(models, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the extra `bench`")
    shown = ("biva", "pixelvae", "vdvae")
    for family in shown:
        for ending in ("safetensors", "csv"):
            shutil.copy(models / f"{family}.{ending}", tmp_path)
    lab("report", "--models", tmp_path, "--pictures", 4)
    page = (tmp_path / "report" / "index.html").read_text()
    named = set(re.findall(r'src="([^"]+)"', page))
    assert named == {path.name for path in (tmp_path / "report").glob("*.png")}
    assert {f"{family}-{section}.png" for family in shown for section in ("samples", "prefix", "anomaly")} <= named


def test_nothing_that_was_trained_is_lost_unasked(tmp_path):
    trained = ("train", "vae", *QUICK, "--models", tmp_path)
    lab(*trained)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert "--resume" in lab(*trained, code=1)
    lab(*trained, "--force", "--resume", code=2)
    others = (["--seed", 1], ["--batch", 9], ["--free-bits", 1], ["--data", "drawn"])
    for other in others:
        assert "that differs in its" in lab(*trained, "--minutes", 1, *other, "--resume", code=1)
    assert "its family, " in lab("train", "ladder", *QUICK, "--name", "vae", "--models", tmp_path, "--resume", code=1)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    lab(*trained, "--name", "other")
    (tmp_path / "vae.safetensors").unlink()
    lab(*trained, code=1)  # a checkpoint is worth something, too
    lab(*trained, "--resume")
    lab(*trained, "--force")
    for junk in (b"", b"junk", before["vae.pt"][:-100], before["vae.safetensors"]):
        (tmp_path / "vae.pt").write_bytes(junk)
        assert "vae.pt is not the checkpoint of" in lab(*trained, "--resume", code=1)
    (tmp_path / "vae.pt").unlink()
    assert "no checkpoint" in lab(*trained, "--resume", code=1)


def test_runs_of_a_study_are_not_mixed_with_those_of_an_earlier_one(tmp_path):
    study = ("study", "skips", *QUICK, "--models", tmp_path)
    lab(*study, "--seeds", 2)
    (tmp_path / "studies/collapse.plain.0.csv").write_text("of another study")
    lab(*study, "--seeds", 1, code=1)
    lab(*study, "--seeds", 1, "--force")
    logs = {path.name for path in (tmp_path / "studies").glob("*.csv")}
    assert logs == {"skips.with skip connections.0.csv", "skips.without.0.csv", "collapse.plain.0.csv"}


def test_few_pictures_are_enough_for_a_training_and_a_report(tmp_path, recwarn):
    pytest.importorskip("matplotlib", reason="needs the extra `bench`")
    (tmp_path / "few").mkdir()
    for number in range(17):
        pixels = np.random.default_rng(number).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"few/{number:02}.png")
    given = ("--data", tmp_path / "few", "--models", tmp_path)
    lab("train", "vae", *QUICK, *given)
    lab("report", *given)
    assert (tmp_path / "report/vae-mixed.png").exists() and not recwarn.list
    (tmp_path / "few/16.png").unlink()
    lab("report", *given, code=1)


def test_a_run_goes_on_where_it_left_off(tmp_path):
    lab("train", "vae", *QUICK, "--models", tmp_path)
    first = model_file.load(tmp_path / "vae.safetensors").facts["steps"]
    lab("train", "vae", *QUICK[:1], "--minutes", "0.01", "--batch", "8", "--models", tmp_path, "--resume")
    assert model_file.load(tmp_path / "vae.safetensors").facts["steps"] > first
    with (tmp_path / "vae.csv").open() as file:
        steps = [float(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(steps) and steps[0] <= first < steps[-1]
