"""What people bring along from other codecs: two names, -q, sizes, colors, damaged files, completion, a doctor."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.shell_completion import BashComplete
from conftest import layers_of, render, rewritten
from PIL import Image
from test_cli import hcodec as run

import hcodec
from hcodec import container, models, packing
from hcodec.cli import _selftest, main
from hcodec.errors import PictureError
from hcodec.models import registry
from hcodec.pixels import lenient, picture
from hcodec.pixels.background import on_background, rgb
from hcodec.pixels.picture import Picture

ROOT = Path(__file__).parent.parent
TINY = ("--model", "tiny")
PIXELS = render(48, 64)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A working folder with img.png."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(PIXELS).save("img.png")
    return tmp_path


@pytest.fixture(scope="module")
def data() -> bytes:
    return hcodec.encode(PIXELS, model="tiny")


# Two names


def test_the_second_of_two_names_is_the_output(data):
    assert run("encode", "img.png", "out.hcodec", *TINY).exit_code == 0
    assert Path("out.hcodec").read_bytes() == data and not Path("img.hcodec").exists()
    assert run("decode", "out.hcodec", "out.jpg").exit_code == 0
    assert Image.open("out.jpg").format == "JPEG"
    assert run("truncate", "out.hcodec", "two.hcodec", "--levels", 2).exit_code == 0
    assert Path("two.hcodec").read_bytes() == container.truncate(data, levels=2)
    assert run("pack", "img.png", "out.jpg", "a.hcodec").exit_code == 0
    assert run("unpack", "a.hcodec", "all").exit_code == 0
    assert sorted(os.listdir("all")) == ["img.png", "out.jpg.png"]
    assert run("encode", "img.png", "new/", *TINY).exit_code == 0
    assert Path("new/img.hcodec").read_bytes() == data


def test_what_is_there_stays_there(data):
    for name in ("out.hcodec", "out.jpg", "a.hcodec"):
        Path(name).write_bytes(b"precious")
    Path("x.hcodec").write_bytes(data)
    for argv in (
        ("encode", "img.png", "out.hcodec"),
        ("decode", "x.hcodec", "out.jpg"),
        ("pack", "img.png", "out.jpg", "a.hcodec"),
    ):
        result = run(*argv)
        assert result.exit_code == 1 and result.stderr.endswith(f"{argv[-1]} exists already (--force overwrites it)\n")
        assert Path(argv[-1]).read_bytes() == b"precious"
    assert not Path("img.hcodec").exists()
    assert run("encode", "img.png", "out.hcodec", "--force", *TINY).exit_code == 0
    assert Path("out.hcodec").read_bytes() == data


def test_two_inputs_are_still_two_inputs(data):
    for name in ("a", "b"):
        Path(f"{name}.hcodec").write_bytes(data)
        shutil.copy("img.png", f"{name}.png")
    assert run("decode", "a.hcodec", "b.hcodec", "-o", "out/").exit_code == 0
    assert run("truncate", "a.hcodec", "b.hcodec", "--levels", 1).exit_code == 0
    assert run("encode", "a.png", "b.png", "--force", *TINY).exit_code == 0
    assert {"a-L1.hcodec", "b-L1.hcodec"} <= set(os.listdir()) and sorted(os.listdir("out")) == ["a.png", "b.png"]


def test_a_dash_is_stdout(data):
    assert run("encode", "img.png", "-", *TINY).stdout_bytes == data
    assert run("encode", "-", "-", *TINY, stdin=Path("img.png").read_bytes()).stdout_bytes == data


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (("encode", "img.png", "-o", "out.jxl"), "hcodec"),
        (("truncate", "x.hcodec", "--levels", "1", "-o", "out.png"), "hcodec"),
        (("pack", "img.png", "-o", "out.zip"), "hcodec"),
        (("decode", "x.hcodec", "-o", "out.jpg", "--format", "png"), "PNG"),
        (("decode", "x.hcodec", "-o", "out.hcodec", "--format", "png"), "PNG"),
    ],
)
def test_foreign_suffixes_need_force(argv, name, data):
    Path("x.hcodec").write_bytes(data)
    out = next(word for word in argv if word.startswith("out."))
    result = run(*argv)
    assert result.exit_code == 1 and not Path(out).exists()
    assert result.stderr.endswith(f"{out} is no name for {name} data (--force writes it all the same)\n")
    assert run(*argv, "--force").exit_code == 0 and Path(out).exists()


@pytest.mark.parametrize(
    "argv",
    [
        ("encode", "img.png", "-o", "img.png"),
        ("encode", "img.png", "-o", "./link.hcodec"),
        ("truncate", "x.hcodec", "--levels", "1", "-o", "x.hcodec"),
        ("truncate", "x.hcodec", "x-L1.hcodec", "--levels", "1"),
        ("pack", "img.png", "-o", "img.png"),
        ("pack", ".", "-o", "img.png"),
        ("pack", ".", "-o", "sub/img.png"),
        ("demo", "img.png", "-o", "img.png"),
        ("inspect", "img.png", "-o", "img.png"),
        ("inspect", "img.png", "-o", "link.hcodec"),
        ("unpack", "keep.png", "-o", "."),
        ("unpack", "sub/keep.png", "-o", "."),
    ],
)
def test_no_input_is_written_over_even_with_force(argv, data):
    os.symlink("img.png", "link.hcodec")
    os.symlink(".", "sub")
    for name in ("x.hcodec", "x-L1.hcodec"):
        Path(name).write_bytes(data)
    Path("keep.png").write_bytes(packing.pack([("keep.png", picture.read(PIXELS))]))
    before = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    result = run(*argv, "--force")
    assert result.exit_code == 1 and "is an input itself; name another output\n" in result.stderr
    assert all(path.read_bytes() == content for path, content in before.items())


def test_names_without_suffix_and_devices_will_do(data):
    for name in ("out", "/dev/null"):
        assert run("encode", "img.png", "-o", name, *TINY).exit_code == 0
    assert Path("out").read_bytes() == data


# Messages


@pytest.mark.parametrize(
    "argv", [("encode", "x.png"), ("decode", "x.hcodec"), ("truncate", "x.hcodec", "--levels", "1"), ("info", "x.hcodec")]
)
def test_an_empty_input_is_named_first(argv):
    for name in ("x.png", "x.hcodec", "x-L1.hcodec"):
        Path(name).touch()
    result = run(*argv)
    assert (result.exit_code, result.stderr) == (1, f"Error: {argv[1]}: is empty\n")
    assert run("encode", "missing.png", "-o", "x.hcodec").stderr == "Error: missing.png: No such file or directory\n"
    assert run("list", "x.hcodec").stderr == "Error: x.hcodec: not an hcodec archive: it is empty\n"
    assert run("demo", "x.png").stderr == "Error: x.png: is empty\n"


def test_levels_in_words(data):
    _, second, third = (level.num_bytes for level in container.info(data).levels)
    sizes = [level.prefix_bytes for level in container.info(data).levels]
    Path("x.hcodec").write_bytes(data)

    assert "all 3 levels" in run("encode", "img.png", *TINY).stderr
    for argv, words in (
        (("--levels", 3), "all 3 levels"),
        (("--levels", 2), "levels 1 to 2 of 3"),
        (("--levels", 1), "level 1 of 3"),
        (("--target-size", sizes[0] + second // 2), "level 1 complete, a part of level 2 of 3"),
        (("--target-size", sizes[1] + third // 2), "levels 1 to 2 complete, a part of level 3 of 3"),
    ):
        assert run("truncate", "x.hcodec", "-f", "-o", "cut.hcodec", *argv).stderr.endswith(f"bpp  {words}\n")
        assert f"  {words}  " in run("decode", "cut.hcodec", "-f", "-o", "out.png").stderr
    assert "  levels 1 to 2 of 3  " in run("decode", "x.hcodec", "--levels", 2, "-o", "two.png").stderr


def test_a_malformed_level_is_named_with_its_window(small_windows):
    data = hcodec.encode(render(64, 128), model="tiny")
    layers = layers_of(data)
    broken = rewritten(data, [*layers[:2], [layers[2][0], b"\0\1"]])
    with pytest.warns(hcodec.HcodecWarning, match="level 3 is malformed, it was ignored in the window at 64,0: "):
        hcodec.decode(broken)


# Quality


def test_quality_goes_from_the_first_level_to_all(data):
    files = {quality: hcodec.encode(PIXELS, model="tiny", quality=quality) for quality in range(0, 101, 5)}
    assert files[0] == container.truncate(data, levels=1)
    assert files[50] == container.truncate(data, levels=2)
    assert files[100] == data
    sizes = [len(file) for file in files.values()]
    assert sizes == sorted(sizes)
    values = [picture.psnr(hcodec.decode_picture(file).pixels, PIXELS) for file in files.values()]
    assert min(np.diff(values)) > -0.2 and values[-1] > values[0] + 5
    low, high = len(files[0]), len(files[50])
    assert abs(len(files[25]) - (low + high) / 2) <= 3


def test_quality_on_the_command_line():
    assert run("encode", "img.png", "-q", "12.5", *TINY).exit_code == 0
    assert Path("img.hcodec").read_bytes() == hcodec.encode(PIXELS, model="tiny", quality=12.5)
    for other in (("--levels", 2), ("--target-size", "1kB"), ("--target-psnr", 30), ("--lossless",)):
        assert run("encode", "img.png", "-q", 50, *other).exit_code == 2


def test_the_tables_of_qualities_are_what_was_measured():
    """Those in the help of `encode` and in the guide: where whole levels lie, and what they reach on photographs."""
    measured = json.loads((ROOT / "benchmarks/results/kodak/hcodec.json").read_text())["results"]
    last = models.summary("photo-1").num_levels - 1
    wanted = [
        [str(round(100 * level / last)), str(level + 1), f"{bpp:.2f}", f"{db:.1f}"]
        for level, (bpp, db) in enumerate(zip(measured["bpp"], measured["psnr-rgb"], strict=True))
    ]
    helped = [line.split()[:4] for line in run("encode", "--help").stdout.splitlines() if " dB " in line or line.endswith(" dB")]
    assert helped == wanted
    rows = re.findall(
        r"^\| (?:`-q`|levels|bits a pixel|PSNR, dB) \|(.*)\|$", (ROOT / "docs" / "guide.md").read_text(), re.MULTILINE
    )
    assert [list(row) for row in zip(*([cell.strip() for cell in row.split("|")] for row in rows), strict=True)] == wanted


# Backgrounds and damaged sources


def test_background(folder):
    alpha = np.zeros((48, 64), np.uint8)
    alpha[:, 32:] = 255
    alpha[:, 20] = 128
    data = hcodec.encode(np.dstack([PIXELS, alpha]), model="tiny")
    plain, shown = hcodec.decode_picture(data).pixels, np.asarray(hcodec.decode(data, background="#102030"))
    assert (shown[:, :20] == (16, 32, 48)).all() and (shown[:, 32:] == plain[:, 32:]).all()
    assert (shown[:, 20] == np.rint((plain[:, 20] * 128.0 + np.array([16, 32, 48]) * 127) / 255)).all()
    assert hcodec.decode(data).mode == "RGBA"
    Path("x.hcodec").write_bytes(data)
    result = run("decode", "x.hcodec", "x.jpg")
    assert result.exit_code == 1 and "--background" in result.stderr and not Path("x.jpg").exists()
    assert run("decode", "x.hcodec", "x.jpg", "--background", "white").exit_code == 0
    assert np.asarray(Image.open("x.jpg"))[:, :16].min() > 250
    assert run("decode", "x.hcodec", "y.jpg", "--background", "blurple").exit_code == 2


@pytest.mark.parametrize(("channels", "color", "mode"), [(4, "white", "RGB"), (2, "#808080", "I;16"), (2, "#ff8000", "RGB")])
def test_samples_of_16_bits_stay_such_on_a_background(channels, color, mode, folder):
    samples = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), np.uint16)
    samples[0, :3, -1] = 0, 65535, 1
    data = hcodec.encode(samples, lossless=True)
    shown = on_background(hcodec.decode_picture(data), rgb(color))
    share, behind = samples[..., -1:] / 65535, np.array(rgb(color) if mode == "RGB" else rgb(color)[:1]) * 257
    expected = np.rint(samples[..., :-1] * share + behind * (1 - share))
    assert shown.alpha is None and shown.deep is not None and (shown.deep == expected).all()
    assert shown.gray == (mode != "RGB") and abs(shown.pixels - expected / 257).max() <= 1.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", hcodec.HcodecWarning)
        assert hcodec.decode(data, background=color).mode == mode
    Path("x.hcodec").write_bytes(data)
    assert run("decode", "x.hcodec", "x.png", "--background", color).exit_code == 0
    assert (picture.read(Path("x.png")).deep == expected).all()


def test_gray_stays_gray_on_gray():
    gray = Picture(np.repeat(PIXELS[..., :1], 3, 2), np.full((48, 64), 7, np.uint8), gray=True)
    assert on_background(gray, rgb("white")).gray and not on_background(gray, rgb("red")).gray
    assert on_background(Picture(PIXELS), (0, 0, 0)).pixels is PIXELS
    for color in ((1, 2), (1, 2, 256), 5, None, "#ff000080", "rgb(", (1.5, "a", 2), (np.inf, 0, 0), (0, np.nan, 0)):
        with pytest.raises(hcodec.HcodecError, match="is no color"):
            rgb(color)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif", "bmp"])
def test_damaged_sources(suffix):
    whole = io.BytesIO()
    Image.fromarray(PIXELS).save(whole, picture._choose_format(f"x.{suffix}", None))
    Path(f"cut.{suffix}").write_bytes(whole.getvalue()[: len(whole.getvalue()) * 2 // 3])
    result = run("encode", f"cut.{suffix}", *TINY)
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and "--allow-truncated" in result.stderr
    assert not Path("cut.hcodec").exists()
    result = run("encode", f"cut.{suffix}", "--allow-truncated", *TINY)
    assert result.exit_code == 0 and result.stderr.startswith(f"Warning: cut.{suffix}: the image is damaged: ")
    assert "what could be read was kept\n" in result.stderr
    top, wanted = (
        image[12:20] if suffix != "bmp" else image[28:36] for image in (np.asarray(hcodec.decode("cut.hcodec")), PIXELS)
    )
    assert picture.psnr(top, wanted) > 12
    os.remove("cut.hcodec")
    result = run("encode", f"cut.{suffix}", "--allow-truncated", "--lossless", *TINY)  # that is all the consent it takes
    assert result.exit_code == 0 and result.stderr.count("what could be read was kept\n") == 1
    assert not lenient.ImageFile.LOAD_TRUNCATED_IMAGES


def test_what_is_no_image_is_not_made_one():
    Path("text.png").write_text("no image")
    assert run("encode", "text.png", "--allow-truncated").stderr.startswith("Error: text.png: not a readable image: ")
    assert "Warning" not in run("encode", "img.png", "--allow-truncated", *TINY).stderr


@pytest.mark.parametrize("command", ["encode", "demo", "inspect", "pack"])
def test_files_of_ours_are_no_pictures_to_encode(monkeypatch, data, command):
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HCODEC"])  # if another test brought our plugin
    Path("x.hcodec").write_bytes(data)
    Path("y.hcodec").write_bytes(hcodec.pack([("a", PIXELS)]))
    for name, hint in (("x.hcodec", "is an hcodec file already (hcodec truncate"), ("y.hcodec", "is an archive of hcodec")):
        result = run(command, name, "-o", "out.hcodec" if command != "demo" else "out.png")
        assert result.exit_code == 1 and result.stderr.startswith(f"Error: {name}: {hint}") and result.stderr.count("\n") == 1
    with pytest.raises(PictureError, match="is an hcodec file already"):
        hcodec.encode(data)


# StreamDecoder in a `with` statement


def test_with_closes(data):
    with hcodec.StreamDecoder() as decoder:
        assert decoder.feed(data) == 3
    with pytest.warns(hcodec.HcodecWarning, match="the file ends after"), hcodec.StreamDecoder() as decoder:
        decoder.feed(data[:-1])
    with pytest.raises(ZeroDivisionError), hcodec.StreamDecoder() as decoder:
        raise ZeroDivisionError


# Completion


def completed(*words):
    return [item.value for item in BashComplete(main, {}, "hcodec", "_HCODEC_COMPLETE").get_completions([*words[:-1]], words[-1])]


def test_completion():
    assert completed("en") == ["encode"] and completed("do") == ["doctor"]
    assert "--target-size" in completed("encode", "--ta")
    assert completed("decode", "--device", "c") == ["cpu", "cuda"]
    assert completed("models", "photo") == completed("encode", "--model", "photo") == ["photo-1"]
    items = BashComplete(main, {}, "hcodec", "_HCODEC_COMPLETE").get_completions(["encode"], "im")
    assert [item.type for item in items] == ["file"]  # the shell completes names of files


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_script(shell):
    line = f"_HCODEC_COMPLETE={shell}_source hcodec"
    assert line in run("--help").stdout and line in (ROOT / "docs" / "guide.md").read_text()
    script = "import sys; sys.argv = ['hcodec']; from hcodec.cli import main; main(prog_name='hcodec')"
    env = {**os.environ, "_HCODEC_COMPLETE": f"{shell}_source"}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"_HCODEC_COMPLETE={shell}_complete" in done.stdout


# The doctor


def test_doctor():
    result = run("doctor")
    assert result.exit_code == 0 and result.stdout.endswith("All is well.\n") and "WRONG" not in result.stdout
    for name in ("photo-1", "tiny"):
        assert f"{name} (model) {models.summary(name).fingerprint} verified" in result.stdout
    fields = json.loads(run("doctor", "--json").stdout)
    assert fields["ok"] and {"processor", "threads", "memory", "self-test"} <= {found["name"] for found in fields["findings"]}


def test_doctor_finds_damaged_models(tmp_path, monkeypatch):
    weights = bytearray(registry.PHOTO.path("tiny").read_bytes())
    weights[len(weights) // 4] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(weights)
    monkeypatch.setenv("HCODEC_MODELS", str(tmp_path))
    result = run("doctor")
    assert result.exit_code == 1 and result.stdout.count("WRONG") == 1 and "bad.safetensors is damaged" in result.stdout


def test_doctor_finds_what_does_not_work(monkeypatch):
    monkeypatch.setattr(_selftest, "DIGEST", "0" * 64)
    result = run("doctor")
    assert result.exit_code == 1 and "WRONG: HcodecError: the reference file decodes to other pixels" in result.stdout
    monkeypatch.setattr("hcodec.cli.doctor._version", lambda name: "")
    assert "numpy is missing  WRONG: pip install numpy" in run("doctor").stdout


def test_the_reference_file_exercises_the_exact_path():
    found = hcodec.info(_selftest.REFERENCE)
    assert found.lossless.method == "coded" and found.lossless.start == len(found.levels) == 7


# Inputs that are not there


@pytest.mark.parametrize("argv", [("encode", *TINY), ("decode",), ("truncate", "--levels", 1), ("pack",)])
def test_inputs_that_are_missing_are_seen_before_anything_is_written(folder, data, argv):
    Path("a.hcodec").write_bytes(data)
    there, before = "img.png" if argv[0] in ("encode", "pack") else "a.hcodec", sorted(os.listdir())
    os.symlink("nowhere", "broken.png")
    result = run(*argv, there, "gone.png", "broken.png", "-o", "out" if argv[0] == "pack" else "out/", "--json")
    assert result.exit_code == 1
    assert result.stderr == "".join(
        f"Error: {name}: No such file or directory; nothing was written\n" for name in ("gone.png", "broken.png")
    )
    assert [json.loads(line)["input"] for line in result.stdout.splitlines()] == ["gone.png", "broken.png"]
    os.remove("broken.png")
    assert sorted(os.listdir()) == before


def test_an_output_that_is_taken_for_an_input_is_guessed(folder):
    result = run("encode", "img.png", "out.png", *TINY)
    assert (result.exit_code, os.listdir()) == (1, ["img.png"])
    assert result.stderr == "Error: out.png: No such file or directory; if it is the output, name it with -o\n"
    assert run("pack", "gone").stderr == "Error: gone: No such file or directory\n"
