"""The commands pack, unpack and list as their users meet them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import render
from PIL import Image
from test_packing import PICTURES, noise, same, segment_bounds

from hcodec import packing
from hcodec.cli import main
from hcodec.container import archive
from hcodec.container.archive import listing
from hcodec.kinds import Stored
from hcodec.pixels.picture import read


@pytest.fixture(scope="module", autouse=True)
def no_models():
    """Everything is stored: the commands are tested here, not the coders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "KINDS", (Stored(),))
        yield


def hcodec(*argv, stdin=b""):
    result = CliRunner().invoke(main, [str(word) for word in argv], input=stdin)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert "Traceback" not in result.stderr
    return result


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with in/a.png, in/sub/b.jpg, in/sub/c.tif, and things that are no pictures."""
    monkeypatch.chdir(tmp_path)
    Path("in/sub/.hidden").mkdir(parents=True)
    Image.fromarray(render(40, 50)).save("in/a.png")
    Image.fromarray(render(40, 50, 1)).save("in/sub/b.jpg")
    Image.fromarray(noise(40, 50, 4)).save("in/sub/c.tif")
    Path("in/sub/.hidden/d.png").write_bytes(Path("in/a.png").read_bytes())
    return tmp_path


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in Path(folder).rglob("*") if path.is_file())


def test_pack_list_unpack(folder):
    result = hcodec("pack", "in")
    assert result.exit_code == 0 and result.stdout == "" and result.stderr.startswith("in -> in.hcodec  3 pictures in ")
    shown = hcodec("list", "in.hcodec", "--check")
    assert shown.exit_code == 0 and shown.stderr == ""
    assert [line.split()[-1] for line in shown.stdout.splitlines()[-3:]] == ["a.png", "sub/b.jpg", "sub/c.tif"]
    assert hcodec("unpack", "in.hcodec", "-o", "out").exit_code == 0
    assert files("out") == ["a.png", "sub/b.jpg.png", "sub/c.tif"]
    for before, after in (("a.png", "a.png"), ("sub/b.jpg", "sub/b.jpg.png"), ("sub/c.tif", "sub/c.tif")):
        assert same(read(f"in/{before}"), read(f"out/{after}"))
    Path("in").rename("gone")
    assert hcodec("unpack", "in.hcodec").exit_code == 0
    assert files("in") == files("out")


def test_what_is_no_picture_stays_out_with_a_warning(folder):
    Path("in/notes.txt").write_text("no")
    os.symlink("/etc/passwd", "in/passwd.png")
    os.symlink("/etc", "in/etc")
    os.mkfifo("in/pipe.png")
    result = hcodec("pack", "in", "-o", "a.hcodec", "--quiet")
    assert result.exit_code == 0
    assert sorted(result.stderr.splitlines()) == [
        "Warning: in/etc: skipped: a symbolic link",
        "Warning: in/notes.txt: skipped: not a picture",
        "Warning: in/passwd.png: skipped: a symbolic link",
        "Warning: in/pipe.png: skipped: not a regular file",
    ]
    assert len(listing("a.hcodec").pictures) == 3


FAULTS = ["a.png", "empty.png", "in/back\\slash.png", "in/bad.png", "in/cut.png", "in/x.tif"]


@pytest.fixture
def faulty(folder):
    """The working folder with pictures that cannot be packed, each for another reason."""
    Path("in/bad.png").write_text("not a picture")
    Path("in/back\\slash.png").write_bytes(Path("in/a.png").read_bytes())
    Path("in/cut.png").write_bytes(Path("in/a.png").read_bytes()[:200])
    Image.new("CMYK", (8, 8)).save("in/x.tif")
    Path("empty.png").touch()
    Path("a.png").write_bytes(Path("in/a.png").read_bytes())


def test_all_that_cannot_be_packed_is_named_before_anything_is_coded(faulty, monkeypatch):
    monkeypatch.setattr(packing, "pack", lambda *_args, **_options: pytest.fail("coded"))
    result = hcodec("pack", "in", "empty.png", "a.png", "-o", "a.hcodec", "--json")
    assert result.exit_code == 1 and not Path("a.hcodec").exists()
    *errors, last = result.stderr.splitlines()
    assert sorted(line.split(": ")[1] for line in errors) == FAULTS
    assert [line for line in errors if line.endswith("'a.png' is taken by in/a.png")] == errors[-1:]
    wanted = "6 of 9 pictures cannot be packed; nothing was written (see --keep-going)"
    assert last == f"Error: 3 inputs: {wanted}"
    assert sorted(json.loads(line)["input"] for line in result.stdout.splitlines()) == sorted([*FAULTS, "3 inputs"])


def test_pictures_that_fail_are_left_out_if_that_is_wanted(faulty):
    result = hcodec("pack", "in", "empty.png", "a.png", "-o", "a.hcodec", "--json", "--keep-going")
    assert result.exit_code == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 6 and "'a.png' is taken by in/a.png" in errors[-1]
    *failed, report = map(json.loads, result.stdout.splitlines())
    assert [entry["input"] for entry in failed] == report["failed"] and sorted(report["failed"]) == FAULTS
    assert report["pictures"] == 3 and report["file_bytes"] == os.path.getsize("a.hcodec")
    assert [one.name for one in listing("a.hcodec").pictures] == ["a.png", "sub/b.jpg", "sub/c.tif"]


def test_what_can_be_read_once_is_named_when_it_fails(folder):
    for content, code, said in ((b"no picture", 1, "not a readable image"), (Path("in/a.png").read_bytes(), 0, "")):
        reading, writing = os.pipe()
        os.write(writing, content)
        os.close(writing)
        result = hcodec("pack", f"/dev/fd/{reading}", "in", "-o", "a.hcodec")
        os.close(reading)
        assert result.exit_code == code and Path("a.hcodec").exists() is (not code)
        assert not code or result.stderr.startswith(f"Error: 2 inputs: /dev/fd/{reading}: {said}")


def test_what_fails_alone_says_so_once(folder):
    result = hcodec("pack", "missing.png", "-o", "a.hcodec")
    assert (result.exit_code, result.stderr) == (1, "Error: missing.png: No such file or directory\n")
    assert not os.path.exists("a.hcodec")


def test_commands_for_one_picture_say_what_an_archive_is(folder):
    hcodec("pack", "in")
    for argv in (["decode"], ["info"], ["truncate", "--levels", "1"]):
        result = hcodec(*argv, "in.hcodec")
        assert result.exit_code == 1 and result.stderr.startswith("Error: in.hcodec: this is an archive of pictures")


def test_nothing_to_pack(folder):
    Path("empty").mkdir()
    result = hcodec("pack", "empty", "-o", "a.hcodec")
    assert result.exit_code == 1 and result.stderr == "Error: empty: there are no pictures to pack\n"
    assert not Path("a.hcodec").exists()


def test_nothing_is_overwritten_without_force(folder):
    Path("a.hcodec").write_bytes(b"precious")
    assert hcodec("pack", "in", "-o", "a.hcodec").exit_code == 1
    assert Path("a.hcodec").read_bytes() == b"precious"
    assert hcodec("pack", "in", "-o", "a.hcodec", "--force").exit_code == 0
    Path("out/sub").mkdir(parents=True)
    Path("out/sub/c.tif").write_bytes(b"precious")
    result = hcodec("unpack", "a.hcodec", "-o", "out")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1 and files("out") == ["sub/c.tif"]
    assert Path("out/sub/c.tif").read_bytes() == b"precious"
    assert hcodec("unpack", "a.hcodec", "-o", "out", "-f").exit_code == 0
    assert same(read("out/sub/c.tif"), read("in/sub/c.tif"))


def test_pipes(folder):
    data = hcodec("pack", "in", "-o", "-").stdout_bytes
    assert hcodec("list", "-", stdin=data).exit_code == 0
    assert hcodec("unpack", "-", "-o", "out", stdin=data).exit_code == 0
    assert len(files("out")) == 3


def test_unpack_only(folder):
    hcodec("pack", "in")
    result = hcodec("unpack", "in.hcodec", "-o", "out", "--only", "sub/b.jpg", "--json")
    assert result.exit_code == 0 and files("out") == ["sub/b.jpg.png"]
    report = json.loads(result.stdout)
    assert report["pictures"] == [{"name": "sub/b.jpg", "output": "out/sub/b.jpg.png"}] and report["lost"] == []
    missing = hcodec("unpack", "in.hcodec", "-o", "none", "--only", "x.png")
    assert missing.exit_code == 1 and missing.stderr == "Error: in.hcodec: there is no picture 'x.png' in the archive\n"
    assert not Path("none").exists()


def test_damage_costs_its_segment_and_the_exit_code(folder):
    hcodec("pack", "in", "--restart", "1")
    data = bytearray(Path("in.hcodec").read_bytes())
    data[segment_bounds(bytes(data))[0]] ^= 1
    Path("bad.hcodec").write_bytes(data)
    result = hcodec("unpack", "bad.hcodec", "-o", "out", "--json")
    assert result.exit_code == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("Warning: bad.hcodec: segment 0 is damaged: its checksum is wrong; ")
    report = json.loads(result.stdout)
    assert len(report["pictures"]) == len(files("out")) == 2 and len(report["lost"]) == 1
    assert hcodec("unpack", "bad.hcodec", "-o", "strict", "--strict").stderr.startswith("Error: bad.hcodec: segment 0")
    assert hcodec("list", "bad.hcodec").exit_code == 0
    checked = hcodec("list", "bad.hcodec", "--check")
    assert checked.exit_code == 1 and checked.stderr.startswith("Warning: bad.hcodec: segment 0 is damaged")
    Path("cut.hcodec").write_bytes(data[: segment_bounds(bytes(data))[2] + 5])
    assert hcodec("list", "cut.hcodec").exit_code == 1
    assert hcodec("unpack", "cut.hcodec", "-o", "cut").exit_code == 1 and len(files("cut")) == 1


def test_links_do_not_lead_out_of_the_folder(folder):
    hcodec("pack", "in")
    Path("elsewhere").mkdir()
    Path("out").mkdir()
    os.symlink("../elsewhere", "out/sub")
    result = hcodec("unpack", "in.hcodec", "-o", "out", "--force")
    assert result.exit_code == 1 and "through a symbolic link" in result.stderr and files("elsewhere") == []


def test_links_do_not_make_two_pictures_one(folder):
    Path("both.hcodec").write_bytes(packing.pack([(name, PICTURES["photo.png"]) for name in ("a.png", "b.png")]))
    Path("out").mkdir()
    os.symlink("b.png", "out/a.png")
    result = hcodec("unpack", "both.hcodec", "-o", "out", "--force")
    assert result.exit_code == 1 and "under one name" in result.stderr and files("out") == []


def test_formats_that_would_lose_something_are_left(folder):
    names = {"a.bmp": "sub/alpha.png", "b.bmp": "photo.png", "c.webp": "sub/gray.png", "d.tga": "meta.png"}
    data = packing.pack([(name, PICTURES[key]) for name, key in names.items()])
    assert hcodec("unpack", "-", "-o", "out", stdin=data).exit_code == 0
    assert files("out") == ["a.bmp.png", "b.bmp", "c.webp.png", "d.tga.png"]
    assert all(same(read(f"out/{name}"), PICTURES[names[name.removesuffix(".png")]]) for name in files("out"))


def test_each_command_names_the_right_one(folder):
    hcodec("pack", "in")
    hcodec("encode", "in/a.png", "-o", "one.hcodec", "--model", "tiny")
    for command in ("info", "decode"):
        result = hcodec(command, "in.hcodec")
        assert result.exit_code == 1 and result.stderr.count("\n") == 1
        assert "archive" in result.stderr and "hcodec unpack" in result.stderr
    for argv in (("list", "one.hcodec"), ("unpack", "one.hcodec")):
        result = hcodec(*argv)
        assert result.exit_code == 1 and result.stderr.count("\n") == 1
        assert "one picture" in result.stderr and "hcodec decode" in result.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["pack"],
        ["pack", "in", "in/a.png"],
        ["pack", "in/a.png"],
        ["pack", "."],
        ["pack", "in", "--restart", "0"],
        ["pack", "in", "--metadata", "gps"],
        ["unpack"],
        ["unpack", "-"],
        ["unpack", "archive"],
        ["list"],
    ],
)
def test_usage_errors(folder, argv):
    assert hcodec(*argv).exit_code == 2


@pytest.mark.parametrize("data", [b"", b"GIF89a" + bytes(100), archive.MAGIC, archive.MAGIC + b"\x02" + bytes(50)])
def test_what_cannot_be_unpacked(folder, data):
    Path("bad.hcodec").write_bytes(data)
    for argv in (("unpack", "bad.hcodec", "-o", "out"), ("list", "bad.hcodec")):
        result = hcodec(*argv)
        assert result.exit_code == 1 and result.stderr.count("\n") == 1 and result.stderr.startswith("Error: bad.hcodec: ")


def test_pictures_that_would_be_changed_are_packed_if_that_is_allowed(folder):
    for name in ("x", "y"):
        Image.new("CMYK", (8, 8)).save(f"in/{name}.tif")
    why = "cannot be coded without loss: CMYK converted to RGB; --convert (convert=True) codes that"
    assert hcodec("pack", "in/x.tif", "a.hcodec").stderr == f"Error: in/x.tif: {why}\n"
    assert not Path("a.hcodec").exists()
    result = hcodec("pack", "in", "-o", "a.hcodec", "--convert")
    assert result.exit_code == 0 and len(listing("a.hcodec").pictures) == 5
    assert [line for line in result.stderr.splitlines() if "CMYK" in line] == ["Warning: in: x.tif, y.tif: CMYK converted to RGB"]


def test_list_counts_segments_as_its_json_does(folder, monkeypatch):
    hcodec("pack", "in", "--restart", "1")
    listed = json.loads(hcodec("list", "in.hcodec", "--json").stdout)
    lines = hcodec("list", "in.hcodec").stdout.splitlines()[-3:]
    for line, one in zip(lines, listed["pictures"], strict=True):
        number, coded_as, *_, name = line.split()
        assert (int(number), name) == (one["segment"], one["name"])
        assert coded_as == listed["segments"][one["segment"]]["coded_as"] == "stored"
    monkeypatch.setattr(Stored, "number", 200)
    assert json.loads(hcodec("list", "in.hcodec", "--json").stdout)["segments"][0]["coded_as"] == "kind 0"


def test_names_do_nothing_to_a_terminal(folder):
    Path("in/a\nb\x1b[31m.png").write_bytes(Path("in/a.png").read_bytes()[:99])
    result = hcodec("pack", "in/a\nb\x1b[31m.png", "in/a.png", "out\n.hcodec")
    assert "\x1b" not in result.stderr and result.stderr.startswith("Error: 2 inputs: a\\nb\\x1b[31m.png: the name ")
    assert result.stderr.count("\n") == 1 and result.exit_code == 1
    assert hcodec("pack", "in/a.png", "out\n.hcodec").stderr.startswith("in/a.png -> out\\n.hcodec  1 picture in 1 segment  ")
    assert Path("out\n.hcodec").exists()


def test_pack_takes_no_standard_input(folder):
    result = hcodec("pack", "-", "in/a.png", "-o", "out.hcodec")
    assert result.exit_code == 2 and "standard input cannot be" in result.stderr and not Path("out.hcodec").exists()
