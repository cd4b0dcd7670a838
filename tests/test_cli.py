"""The command line as its users meet it: names, pipes, folders, failures, exit codes, and what is left on the disk."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from hcodec import container
from hcodec.cli import _sample, main
from hcodec.cli._options import Kinds, Size
from hcodec.container import Attachments
from hcodec.container.attachments import METADATA_KINDS, Chromaticities, Cicp, Density
from hcodec.models.runtime import threads


def hcodec(*argv, stdin=b""):
    """Runs a command in this process; nothing but SystemExit may come out of it."""
    result = CliRunner().invoke(main, [str(word) for word in argv], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture(scope="session")
def pixels():
    return _sample.render()[360:424, 540:636]


@pytest.fixture(scope="session")
def png(pixels):
    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG")
    return target.getvalue()


@pytest.fixture(scope="session")
def stream(png):
    return hcodec("encode", "-", stdin=png).stdout_bytes


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch, png, stream):
    """A working folder with img.png and img.hcodec."""
    monkeypatch.chdir(tmp_path)
    Path("img.png").write_bytes(png)
    Path("img.hcodec").write_bytes(stream)
    return tmp_path


def psnr(path, pixels):
    difference = np.asarray(Image.open(path)).astype(float) - pixels
    return 10 * np.log10(255**2 / np.mean(difference**2))


def num_levels(stream):
    return len(container.info(stream).levels)


# ---- names, places, overwriting


def test_names_come_from_the_input(stream, pixels):
    Path("img.png").rename("a.b.png")
    assert hcodec("encode", "a.b.png").exit_code == 0
    assert Path("a.b.hcodec").read_bytes() == stream
    Path("a.b.png").unlink()
    assert hcodec("decode", "a.b.hcodec").exit_code == 0
    assert psnr("a.b.png", pixels) > 20


def test_nothing_is_overwritten_without_force(stream):
    Path("img.hcodec").write_bytes(b"precious")
    result = hcodec("encode", "img.png")
    assert result.exit_code == 1
    assert result.stderr == "Error: img.png: img.hcodec exists already (--force overwrites it)\n"
    assert Path("img.hcodec").read_bytes() == b"precious"
    assert hcodec("encode", "img.png", "--force").exit_code == 0
    assert Path("img.hcodec").read_bytes() == stream


def test_a_folder_as_output_is_made():
    assert hcodec("encode", "img.png", "-o", "new/").exit_code == 0
    assert hcodec("decode", "img.hcodec", "-o", "new", "--format", "webp").exit_code == 0
    assert sorted(os.listdir("new")) == ["img.hcodec", "img.webp"]


def test_folders_keep_their_tree():
    Path("in/sub/.hidden").mkdir(parents=True)
    for path in ("in/a.png", "in/sub/B.PNG", "in/sub/.hidden/c.png", "in/notes.txt"):
        Path(path).write_bytes(Path("img.png").read_bytes())
    assert hcodec("encode", "-r", "in", "-o", "out").exit_code == 0
    assert sorted(str(path) for path in Path("out").rglob("*.*")) == ["out/a.hcodec", "out/sub/B.hcodec"]
    assert hcodec("decode", "-r", "out").exit_code == 0
    assert Path("out/sub/B.png").exists()


def test_folders_need_recursive(folder):
    result = hcodec("encode", ".", "img.png", "-o", "out/")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: .: is a folder (-r takes the files in it)\n")
    assert Path("out/img.hcodec").exists()
    for command in ("info", "list", "unpack", "demo", "inspect"):  # which have no -r
        argv = ["-o", "out"] if command == "unpack" else []
        assert hcodec(command, "out", *argv).stderr == "Error: out: is a folder\n"
    Path("empty").mkdir()
    assert "nothing to read in empty" in hcodec("encode", "-r", "empty").stderr


def test_two_inputs_for_one_output():
    Image.open("img.png").save("img.bmp")
    result = hcodec("encode", "img.png", "img.bmp", "--force")
    assert result.exit_code == 1
    assert "Error: img.bmp: img.hcodec was just written from another input" in result.stderr


@pytest.mark.parametrize("other", ["/real/img.bmp", "sub/img.bmp", "sub/sub/img.bmp", "x.bmp"])
def test_two_inputs_for_one_output_under_two_names(folder, other):
    """Of two pictures whose outputs are one file, the first is kept, however the second leads there."""
    Path("sub").symlink_to(".")
    Path("x.hcodec").symlink_to("img.hcodec")
    other = Path(other.replace("/real", str(folder)))
    Image.new("RGB", (9, 9)).save(other)
    result = hcodec("encode", "img.png", other, "--force")
    assert result.exit_code == 1 and result.stderr.endswith(" was just written from another input\n")
    assert container.info(Path("img.hcodec").read_bytes()).width > 9


def test_links_and_devices_are_written_through(stream):
    os.symlink("img.hcodec", "link.hcodec")
    assert hcodec("encode", "img.png", "-o", "link.hcodec", "--force").exit_code == 0
    assert os.path.islink("link.hcodec")
    assert Path("img.hcodec").read_bytes() == stream
    os.mkfifo("pipe")
    reader = subprocess.Popen([sys.executable, "-c", "print(len(open('pipe', 'rb').read()))"], stdout=subprocess.PIPE)
    assert hcodec("truncate", "img.hcodec", "--levels", 1, "-o", "pipe").exit_code == 0
    assert int(reader.communicate(timeout=60)[0]) > 0
    assert not os.path.isfile("pipe")


@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_broken_write_leaves_nothing(monkeypatch, folder, stream, failure):
    def fail(*_paths):
        raise failure

    before = sorted(os.listdir())
    monkeypatch.setattr(os, "replace", fail)
    assert hcodec("truncate", "img.hcodec", "--levels", 1, "-o", "new.hcodec").exit_code == 1
    assert hcodec("truncate", "img.hcodec", "--levels", 1, "-o", "img.hcodec", "--force").exit_code == 1
    assert sorted(os.listdir()) == before
    assert Path("img.hcodec").read_bytes() == stream


# ---- pipes and reports


def test_any_number_of_threads_is_safe():
    before = threads.count()
    try:
        for count in (1, 100_000):
            assert hcodec("decode", "img.hcodec", "-o", f"{count}.png", "-j", count).exit_code == 0
    finally:
        threads.set_threads(before)
    assert Path("1.png").read_bytes() == Path("100000.png").read_bytes()


def test_pipes(png, pixels, stream):
    encoded = hcodec("encode", "-", stdin=png)
    assert encoded.stdout_bytes == stream
    assert encoded.stderr.startswith("stdin -> stdout  96x64  ")
    decoded = hcodec("decode", "-", "--format", "bmp", stdin=stream)
    assert Image.open(io.BytesIO(decoded.stdout_bytes)).format == "BMP"
    assert Path("img.png").read_bytes() == png


def test_reports_go_to_stderr_and_quiet_ends_them():
    loud, silent = hcodec("encode", "img.png", "-f"), hcodec("encode", "img.png", "-f", "--quiet")
    assert loud.stdout == silent.stdout == silent.stderr == ""
    assert loud.stderr.count("\n") == 1


def test_json_is_one_object_a_line():
    Path("empty.png").touch()
    result = hcodec("encode", "img.png", "empty.png", "-f", "-o", "out/", "--json")
    good, bad = map(json.loads, result.stdout.splitlines())
    assert good["output"] == "out/img.hcodec"
    assert good["file_bytes"] == os.path.getsize("out/img.hcodec")
    assert good["bpp"] == 8 * good["file_bytes"] / (96 * 64)
    assert bad == {"input": "empty.png", "error": "is empty"}


def test_json_leaves_stdout_to_data(stream):
    result = hcodec("truncate", "-", "--levels", 1, "--json", stdin=stream)
    assert container.info(result.stdout_bytes).levels[0].crc_ok
    assert json.loads(result.stderr)["levels"] == 1


def test_progress_is_for_terminals_only():
    import pty

    argv = [sys.executable, "-m", "hcodec", "truncate", "img.hcodec", "b.hcodec", "-o", "out/", "--levels", "1"]
    Path("b.hcodec").write_bytes(Path("img.hcodec").read_bytes())
    terminal, child = pty.openpty()
    done = subprocess.Popen(argv, stderr=child, close_fds=True)
    os.close(child)
    shown = b""
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        try:
            while piece := screen.read(4096):
                shown += piece
        except OSError:
            pass  # how Linux says that the other end of a terminal is closed
    assert done.wait(timeout=60) == 0
    assert b"2/2" in shown
    assert shown.count(b" -> out/") == 2
    assert "2/2" not in hcodec(*argv[3:], "--force").stderr


def test_a_closed_pipe_is_no_error():
    argv = [sys.executable, "-m", "hcodec", "info", *["img.hcodec"] * 2]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child.stdout.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    child.wait(timeout=60)


# ---- failures


def test_one_failure_does_not_stop_the_others():
    Path("text.png").write_text("not an image")
    Path("empty.png").touch()
    result = hcodec("encode", "empty.png", "text.png", "img.png", "-o", "out/")
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[0] == "Error: empty.png: is empty"
    assert lines[1].startswith("Error: text.png: ")
    assert lines[2].startswith("img.png -> out/img.hcodec")
    assert os.listdir("out") == ["img.hcodec"]


_EARLY_ENDS = {10: "the file ends after 10 bytes, inside its header", 100: "the file ends inside layer 1"}


@pytest.mark.parametrize(("num_bytes", "line"), _EARLY_ENDS.items())
def test_a_file_without_its_first_level_costs_one_line(stream, num_bytes, line):
    Path("cut.hcodec").write_bytes(stream[:num_bytes])
    for argv in ([], ["--levels", 1], ["--strict"]):
        result = hcodec("decode", "cut.hcodec", *argv)
        assert (result.exit_code, result.stderr) == (1, f"Error: cut.hcodec: {line}\n")


@pytest.mark.parametrize(
    "argv",
    [
        ["encode"],
        ["encode", "img.png", "img.png", "-o", "one.hcodec"],
        ["encode", "-", "-", "-o", "out/"],
        ["encode", "img.png", "--target-bpp", "1", "--target-size", "40kB"],
        ["encode", "img.png", "--target-size", "forty"],
        ["encode", "img.png", "--levels", "0"],
        ["encode", "img.png", "--lossless", "--target-psnr", "40"],
        ["encode", "img.png", "--lossless", "--target-size", "40kB"],
        ["encode", "img.png", "--level-cost"],
        ["encode", "img.png", "--metadata", "gps"],
        ["decode", "img.hcodec", "-o", "out.xyz"],
        ["decode", "img.hcodec", "--format", "xyz"],
        ["decode", "img.hcodec", "--region", "1,2,3"],
        *(["decode", "img.hcodec", "--region", f"0,0,{'9' * length},1"] for length in (19, 4300, 5000)),
        ["decode", "img.hcodec", "--backend", "abacus"],
        ["truncate", "img.hcodec"],
        ["truncate", "img.hcodec", "--levels", "1", "--target-size", "9kB"],
        ["unknown"],
    ],
)
def test_usage_errors(argv):
    before = sorted(os.listdir())
    result = hcodec(*argv)
    assert result.exit_code == 2
    assert result.stderr
    assert sorted(os.listdir()) == before


def damaged(stream, index):
    return stream[:index] + bytes([stream[index] ^ 1]) + stream[index + 1 :]


def failing_inputs(stream):
    first_layer = container.info(stream).levels[0].prefix_bytes - 1
    return {
        "empty": b"",
        "not ours": b"GIF89a" + bytes(100),
        "newer version": damaged(stream, 8 - 1),
        "header": damaged(stream, 12),
        "header cut": stream[:20],
        "first level": damaged(stream, first_layer),
    }


@pytest.mark.parametrize("kind", ["empty", "not ours", "newer version", "header", "header cut", "first level"])
def test_what_cannot_be_decoded(stream, kind):
    Path("bad.hcodec").write_bytes(failing_inputs(stream)[kind])
    result = hcodec("decode", "bad.hcodec", "--quiet")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if not line.startswith("Warning: ")]
    assert len(errors) == 1
    assert errors[0].startswith("Error: bad.hcodec: ")
    assert not Path("bad.png").exists()


def test_cut_and_corrupt_files_decode_with_a_warning(stream, pixels):
    levels = container.info(stream).levels
    Path("cut.hcodec").write_bytes(stream[: levels[1].prefix_bytes])
    Path("bad.hcodec").write_bytes(damaged(stream, levels[2].prefix_bytes - 1))
    result = hcodec("decode", "cut.hcodec", "bad.hcodec")
    assert result.exit_code == 0, result.stderr
    assert "Warning: cut.hcodec: " in result.stderr
    assert "Warning: bad.hcodec: " in result.stderr
    assert hcodec("decode", "img.hcodec", "--levels", 2, "-o", "two.png").exit_code == 0
    assert Path("cut.png").read_bytes() == Path("bad.png").read_bytes() == Path("two.png").read_bytes()
    strict = hcodec("decode", "cut.hcodec", "bad.hcodec", "--strict", "--force")
    assert strict.exit_code == 1
    assert strict.stderr.count("Error: ") == 2


def test_unknown_model():
    result = hcodec("encode", "img.png", "--model", "nosuch", "-f")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: img.png: ")
    assert "nosuch" in result.stderr
    assert hcodec("models", "nosuch").exit_code == 1


# ---- what the commands do


def test_targets_hold(stream):
    size = len(stream) // 2
    hcodec("encode", "img.png", "-o", "size.hcodec", "--target-size", size)
    hcodec("encode", "img.png", "-o", "bpp.hcodec", "--target-bpp", 8 * size / (96 * 64))
    hcodec("truncate", "img.hcodec", "-o", "cut.hcodec", "--target-size", size)
    assert size * 0.9 < os.path.getsize("size.hcodec") <= size
    assert Path("size.hcodec").read_bytes() == Path("bpp.hcodec").read_bytes() == Path("cut.hcodec").read_bytes()


def test_target_psnr_takes_the_bytes_it_needs(stream, pixels):
    assert hcodec("encode", "img.png", "-o", "psnr.hcodec", "--target-psnr", 25).exit_code == 0
    hcodec("decode", "psnr.hcodec")
    assert 25 <= psnr("psnr.png", pixels) < 27
    assert os.path.getsize("psnr.hcodec") < len(stream)


def test_levels_mean_the_same_everywhere(stream):
    hcodec("encode", "img.png", "--levels", 3, "-o", "a.hcodec")
    hcodec("truncate", "img.hcodec", "--levels", 3, "-o", "b.hcodec")
    hcodec("decode", "img.hcodec", "--levels", 3, "-o", "c.png")
    assert Path("a.hcodec").read_bytes() == Path("b.hcodec").read_bytes()
    hcodec("decode", "a.hcodec")
    assert Path("a.png").read_bytes() == Path("c.png").read_bytes()
    assert hcodec("truncate", "img.hcodec", "--levels", num_levels(stream) + 1).exit_code == 1


def test_a_region_is_a_part_of_the_picture(pixels):
    assert hcodec("decode", "img.hcodec").exit_code == 1  # img.png is there
    assert hcodec("decode", "img.hcodec", "-o", "whole.png").exit_code == 0
    result = hcodec("decode", "img.hcodec", "-o", "part.png", "--region", "60,10,30,20", "--json")
    fields = json.loads(result.stdout)
    assert (fields["width"], fields["height"]) == (30, 20)
    assert (np.asarray(Image.open("part.png")) == np.asarray(Image.open("whole.png"))[10:30, 60:90]).all()
    beyond = hcodec("decode", "img.hcodec", "-o", "beyond.png", "--region", "90,10,30,20")
    assert beyond.exit_code == 1 and "is not within the picture of 96x64 pixels" in beyond.stderr
    assert not Path("beyond.png").exists()


def test_backends_agree(stream):
    """On files but for the rounding of floats that symbols are made of, and on pictures but for one step of it."""
    for backend in ("onnx", "torch"):
        assert hcodec("encode", "img.png", "-o", f"{backend}.hcodec", "--backend", backend).exit_code == 0
        assert hcodec("decode", "img.hcodec", "-o", f"{backend}.png", "--backend", backend).exit_code == 0
    assert Path("onnx.hcodec").read_bytes() == stream
    assert abs(len(Path("torch.hcodec").read_bytes()) - len(stream)) < 100  # posteriors are floats
    one, other = (np.asarray(Image.open(f"{backend}.png")).astype(int) for backend in ("onnx", "torch"))
    assert np.abs(one - other).max() <= 1


@pytest.mark.parametrize("text", ["nan", "inf", "1e400", "1e308"])
def test_targets_that_are_no_usual_numbers(stream, text):
    """The same ones are refused, and the same taken, whether a file is encoded or cut to them."""
    for argv in (["encode", "img.png", "--lossy"], ["truncate", "img.hcodec"]):
        result = hcodec(*argv, "--target-bpp", text, "-o", "out.hcodec", "--force")
        if text == "nan":
            assert result.exit_code == 1 and result.stderr.count("\n") == 1 and not Path("out.hcodec").exists()
        else:
            assert result.exit_code == 0 and Path("out.hcodec").read_bytes() == stream


def test_truncate_names_what_it_kept():
    hcodec("truncate", "img.hcodec", "--levels", 2)
    hcodec("truncate", "img.hcodec", "--target-bpp", 0.5)
    hcodec("truncate", "img.hcodec", "--target-size", "0.5kB")
    assert {"img-L2.hcodec", "img-0.5bpp.hcodec", "img-500B.hcodec"} < set(os.listdir())


def test_temperature_and_seed(stream):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        argv = ("--levels", 1, "--temperature", 1, "--seed", seed, "-o", f"{name}.png")
        assert hcodec("decode", "img.hcodec", *argv).exit_code == 0
    assert Path("a.png").read_bytes() == Path("b.png").read_bytes() != Path("c.png").read_bytes()


def test_metadata_is_kept_or_dropped(png):
    exif = Image.Exif()
    exif[0x010E] = "a lake"
    Image.open("img.png").save("exif.png", exif=exif)
    for kinds, kept in (("all", True), ("icc,exif", True), ("icc", False), ("none", False)):
        hcodec("encode", "exif.png", "-f", "--metadata", kinds)
        assert (container.info("exif.hcodec").exif_bytes > 0) == kept
    hcodec("encode", "exif.png", "-f")
    hcodec("decode", "exif.hcodec", "-o", "again.jpg")
    assert Image.open("again.jpg").getexif()[0x010E] == "a lake"


def test_what_cannot_be_kept_is_said():
    Image.new("I;16", (20, 10), 40000).save("deep.png")
    result = hcodec("encode", "deep.png", "--quiet")
    assert result.exit_code == 0
    assert result.stderr.startswith("Warning: deep.png: 16-bit")
    assert result.stderr.count("\n") == 1


def test_info(stream):
    text = hcodec("info", "img.hcodec").stdout
    assert "96x64" in text
    assert f"{len(stream):,} bytes" in text
    assert hcodec("info", "-", stdin=stream).stdout.splitlines()[1:] == text.splitlines()[1:]
    fields = json.loads(hcodec("info", "img.hcodec", "--json").stdout)
    assert sum(level["num_bytes"] for level in fields["levels"]) + fields["container_bytes"] == len(stream)
    Path("cut.hcodec").write_bytes(stream[: container.info(stream).levels[0].prefix_bytes])
    result = hcodec("info", "cut.hcodec", "missing.hcodec")
    assert result.exit_code == 1
    assert "missing" in result.stdout
    assert result.stderr == "Error: missing.hcodec: No such file or directory\n"


def test_info_shows_what_came_along(stream):
    frame = container.Frame(width=2000, height=5, model="other-1", fingerprint=b"1234", num_coarse=1)
    color = {"cicp": Cicp(9, 16, 0, 1), "gamma": 45455, "chromaticities": Chromaticities(*range(8))}
    attached = Attachments(**color, density=Density(2, 3, 1), orientation=6, text=(("a", "\x1b[31m"), ("b", "")))
    Path("other.hcodec").write_bytes(container.write(frame, [[b"0"], [b"1", b"2"]], attached))
    text = hcodec("info", "other.hcodec").stdout
    assert "2000x5, RGB, 2 windows from level 2 on\n" in text and "\x1b" not in text
    assert "other-1 31323334 (not installed)" in text
    assert "CICP 9/16/0/1, chromaticities, gamma 0.45455, 2x3 pixels per meter, orientation 6 in the source, 2 texts" in text
    assert f"photo-1 {container.info(stream).fingerprint}, file format 1" in hcodec("info", "img.hcodec").stdout


def test_models_and_version(stream):
    fingerprint = container.info(stream).fingerprint
    assert fingerprint in hcodec("models").stdout
    assert json.loads(hcodec("models", "--json").stdout.splitlines()[0])["name"] == "photo-1"
    assert hcodec("models", "photo-1").stdout.startswith("# ")
    assert hcodec("-V").stdout == hcodec("--version").stdout
    assert fingerprint in hcodec("--version").stdout


def test_demo_on_a_picture(stream):
    result = hcodec("demo", "img.png", "-o", "strip.png")
    assert result.exit_code == 0
    assert result.stdout.rstrip().endswith("Wrote strip.png: all levels side by side, the original last.")
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] and line.split()[0].isdigit()]
    assert [int(row[0]) for row in rows] == list(range(1, num_levels(stream) + 1))
    qualities = [float(row[3]) for row in rows]
    assert qualities == sorted(qualities)
    assert Image.open("strip.png").width > 96 * len(rows)
    assert hcodec("demo", "img.png", "-o", "strip.png").exit_code == 1
    assert hcodec("demo", "missing.png").stderr == "Error: missing.png: No such file or directory\n"


def test_the_sample_is_always_the_same():
    first = _sample.render()
    assert first.shape == (512, 768, 3)
    assert first.std() > 40
    assert np.array_equal(first, _sample.render())


# ---- values of options


@pytest.mark.parametrize(
    ("text", "num_bytes"),
    [("40000", 40000), ("40kB", 40000), ("40KiB", 40960), ("1.5MB", 1_500_000), ("2 MiB", 2 << 20), ("7B", 7)],
)
def test_sizes(text, num_bytes):
    assert Size().convert(text, None, None) == num_bytes


@pytest.mark.parametrize(("text", "kinds"), [("all", METADATA_KINDS), ("none", ()), ("XMP, icc", ("xmp", "icc"))])
def test_metadata_kinds(text, kinds):
    assert Kinds(METADATA_KINDS).convert(text, None, None) == kinds


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")
def test_what_is_no_file_in_a_folder_stays_out_with_a_warning(folder):
    Path("in").mkdir()
    os.mkfifo("in/pipe.png")  # read, it would be waited for
    Path("in/gone.png").symlink_to("nowhere")
    Path("in/circle.png").symlink_to("circle.png")
    Path("in/around").symlink_to("..")
    Path("in/notes.txt").symlink_to("pipe.png")  # no picture by its name
    Path("in/linked.png").symlink_to("../img.png")
    result = hcodec("encode", "-r", "in", "-o", "out", "--levels", "1")
    assert result.exit_code == 0 and Path("out/linked.hcodec").exists()
    assert [line for line in result.stderr.splitlines() if "skipped" in line] == [
        "Warning: in/circle.png: skipped: a link that leads nowhere",
        "Warning: in/gone.png: skipped: a link that leads nowhere",
        "Warning: in/pipe.png: skipped: not a regular file",
        "Warning: in/around: skipped: a link to a folder",
    ]


def test_names_cannot_command_a_terminal(folder):
    for name in ("a\nError: b.png", "c\x1b[2J.png", "d\x85\u2028.png"):
        Path("img.png").rename(name)
        for command in (["encode", name, "--levels", "1"], ["encode", name], ["info", name]):
            result = hcodec(*command)
            text = (result.stdout + result.stderr).strip()
            assert text and "\n" not in text and all(char.isprintable() for char in text), command
        Path(name).rename("img.png")


def test_names_with_spaces_of_macos_are_shown_as_they_are(folder):
    name = "Screenshot at 3.45\u202fPM.png"
    Path("img.png").rename(name)
    assert name in hcodec("info", name).stderr  # that it is a picture
