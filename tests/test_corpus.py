"""`hcodec corpus`: every picture exactly once, whatever dies on the way."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY, render
from PIL import Image

import hcodec
from hcodec.cli import main
from hcodec.cli.encode import PICTURES
from hcodec.corpus import run
from hcodec.corpus.folder import Folder
from hcodec.corpus.manifest import NAME, Manifest, Record
from hcodec.errors import FormatError, HcodecError, TruncatedError

SETTINGS = {"model": TINY, "levels": 2}


def fill(folder, count, height=48, width=56):
    """Draws pictures, a third of them in a folder further down."""
    for number in range(count):
        path = folder / ("sub" if number % 3 == 0 else "") / f"p{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(render(height, width + number, number)).save(path)


def corpus_of(source, dest, settings=SETTINGS, **options):
    corpus = run.Corpus(Folder.at(str(source)), Folder.at(str(dest)), settings, PICTURES, **options)
    corpus.plan()
    return corpus


def records_of(dest):
    """The records of a manifest, each of which is compared with the file that it tells of."""
    records = Manifest.read(Folder.at(str(dest))).records
    for record in records.values():
        if record.done:
            data = (dest / record.target).read_bytes()
            assert hashlib.sha256(data).hexdigest() == record.file_digest
            assert len(data) == record.file_bytes
            assert (record.width, record.height) == hcodec.decode(data).size
    return records


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes, which are started again when they die; a task may cost one of them, not two."""
    import dask
    from distributed import LocalCluster

    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "memory_limit": None}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        LocalCluster(**options, dashboard_address=":0", silence_logs=50) as cluster,
    ):
        yield cluster


@pytest.fixture
def client(cluster):
    with run.connected(cluster.scheduler_address, 2) as client:
        yield client


def test_all_of_it(tmp_path, client):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 7)
    (source / "notes.txt").write_text("no picture")
    (source / ".hidden.png").write_bytes(b"")
    corpus = corpus_of(source, dest)
    done = list(corpus.encode(client, 1))
    assert sorted(record.name for record in done) == [name for name in names(source) if name[-4:] == ".png" and name[0] != "."]
    assert names(dest) == sorted([NAME, *(record.target for record in done)])
    records = records_of(dest)
    assert list(records.values()) == sorted(done, key=lambda record: record.name)
    for name, record in records.items():
        assert (dest / record.target).read_bytes() == hcodec.encode(source / name, **SETTINGS)
        assert record.source_digest == hashlib.sha256((source / name).read_bytes()).hexdigest()
    assert corpus_of(source, dest).left == []


def test_a_worker_is_killed(tmp_path, client, cluster):
    """Another takes over what it had; nothing is lost, nothing is there twice, and no part of a file stays behind."""
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 24, 96, 200)
    corpus = corpus_of(source, dest)
    done = []
    for record in corpus.encode(client, 1):
        done.append(record)
        if len(done) == 3:
            victim = next(iter(client.run(os.getpid).values()))
            os.kill(victim, signal.SIGKILL)
    assert victim not in client.run(os.getpid).values()
    assert sorted(record.name for record in done) == sorted(records_of(dest)) == names(source)
    assert all(record.done and not record.error for record in done)
    assert names(dest) == sorted([NAME, *(record.target for record in done)])
    assert corpus_of(source, dest).left == []


def test_a_picture_that_kills_workers(client):
    """It fails when it has done so again; the others are done."""

    def task(record):
        """Ends its process with one of the pictures."""
        if record.name == "bad.png":
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(record, done=True)

    records = [Record(name, "x") for name in ("a.png", "bad.png", "c.png")]
    found = {record.name: record for record in run._each(client, task, records)}
    assert found["a.png"].done and found["c.png"].done and not found["bad.png"].done
    assert found["bad.png"].error.startswith("the worker failed: KilledWorker: ")
    assert "\n" not in found["bad.png"].error


@contextmanager
def worker_at(address):
    program = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    worker = subprocess.Popen([*program], stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        worker.kill()
        worker.wait()


def test_a_scheduler_ends(tmp_path):
    """The run ends with a line, and the manifest is whole."""
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 12)
    program = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    address_file = tmp_path / "scheduler.json"
    scheduler = subprocess.Popen(
        [*program, "--dashboard-address", ":0", "--scheduler-file", str(address_file)], stderr=subprocess.DEVNULL
    )
    try:
        while not address_file.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        address = json.loads(address_file.read_text())["address"]
        lost = pytest.raises(HcodecError, match="connection to the scheduler is lost")
        with lost, worker_at(address), run.connected(address, 1) as client:
            for number, _record in enumerate(corpus_of(source, dest).encode(client, 1)):
                if number == 2:
                    scheduler.kill()
    finally:
        scheduler.kill()
        scheduler.wait()
    assert sum(record.done for record in records_of(dest).values()) >= 3


def test_a_run_ends_early(tmp_path, client):
    """The next one does what is left."""
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 9)
    running = corpus_of(source, dest).encode(client, 1)
    first = [next(running).name for _ in range(4)]
    running.close()
    again = corpus_of(source, dest)
    assert again.num_done == 4
    assert sorted(first + [record.name for record in again.left]) == names(source)
    assert sorted(record.name for record in again.encode(client, 1)) == sorted(record.name for record in again.left)
    assert again.num_done == 9
    assert sorted(records_of(dest)) == names(source)


def test_what_has_changed_is_done_again(tmp_path, client):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 5)
    assert len(list(corpus_of(source, dest).encode(client, 1))) == 5
    Image.fromarray(render(30, 30)).save(source / "p01.png")
    os.utime(source / "p01.png", (1, 1))
    (dest / "p02.hcodec").unlink()
    (dest / "p04.hcodec").write_bytes(b"short")
    (source / "sub" / "p00.png").unlink()
    fill(source / "new", 1)
    again = corpus_of(source, dest)
    assert {record.name for record in again.left} == {"p01.png", "p02.png", "p04.png", "new/sub/p00.png"}
    list(again.encode(client, 1))
    assert records_of(dest)["p01.png"].width == 30
    assert "sub/p00.png" in records_of(dest)  # its file is still there


def test_failures_are_listed_and_tried_again(tmp_path, client):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 3)
    (source / "bad.png").write_bytes(b"no picture")
    corpus = corpus_of(source, dest)
    list(corpus.encode(client, 1))
    assert [(record.name, record.error) for record in corpus.failed] == [
        ("bad.png", "not a readable image: its format is unknown")
    ]
    assert not (dest / "bad.hcodec").exists()
    Image.fromarray(render(20, 20)).save(source / "bad.png")
    again = corpus_of(source, dest)
    assert [record.name for record in again.left] == ["bad.png"]
    list(again.encode(client, 1))
    assert not again.failed and records_of(dest)["bad.png"].done


def test_warnings_come_along(tmp_path, client):
    source, dest = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    Image.fromarray(render(20, 20)).convert("CMYK").save(source / "a.tif")
    (record,) = corpus_of(source, dest).encode(client, 1)
    assert any("CMYK" in warning for warning in record.warnings)


def test_another_hcodec_on_the_worker(tmp_path, client, monkeypatch):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 1)
    monkeypatch.setattr(run, "__version__", "9.9")
    (record,) = corpus_of(source, dest).encode(client, 1)
    assert record.error == f"the worker has hcodec {hcodec.__version__}, and 9.9 is wanted"


def test_names_that_collide(tmp_path):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 2)
    Image.fromarray(render(20, 20)).save(source / "p01.jpg")
    corpus = corpus_of(source, dest)
    assert [record.name for record in corpus.failed] == ["p01.png"]
    assert corpus.failed[0].error == "its file would be p01.hcodec, as that of p01.jpg"
    manifest = Manifest.read(Folder.at(str(dest)))
    manifest.records = {"p01.png": Record("p01.png", "p01.hcodec")}  # whoever was there first stays
    manifest.write(Folder.at(str(dest)))
    assert [record.name for record in corpus_of(source, dest).failed] == ["p01.jpg"]


def test_files_of_others_stay(tmp_path):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 3)
    dest.mkdir()
    (dest / "p01.hcodec").write_bytes(b"of somebody else")
    corpus = corpus_of(source, dest)
    assert [(record.name, record.error) for record in corpus.failed] == [
        ("p01.png", "p01.hcodec exists already (--force overwrites it)")
    ]
    assert len(corpus_of(source, dest, force=True).left) == 3


def test_other_settings(tmp_path, client):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 2)
    list(corpus_of(source, dest).encode(client, 1))
    with pytest.raises(HcodecError, match=r"other settings \(levels 2; not levels 1\): --force"):
        corpus_of(source, dest, SETTINGS | {"levels": 1})
    assert corpus_of(source, dest, SETTINGS | {"device": "auto", "backend": None}).left == []  # these change no file
    assert corpus_of(source, dest, force=True).left == []
    again = corpus_of(source, dest, SETTINGS | {"levels": 1}, force=True)
    assert len(again.left) == 2
    list(again.encode(client, 1))
    assert {len(hcodec.info(dest / record.target).levels) for record in records_of(dest).values()} == {1}


def test_settings_are_tried_first():
    with pytest.raises(TruncatedError, match="9 levels"):
        run.try_out({"model": TINY, "levels": 9})
    with pytest.raises(HcodecError):
        run.try_out({"model": "none"})
    run.try_out({"model": TINY, "target_bpp": 0.01})  # too little for a dot, and not for others


@pytest.mark.parametrize(
    "text",
    [
        *("", "{}", "[]", "null", "[" * 99999, '{"version": 2, "settings": {}}', '{"version": 1, "settings": [1]}', "\xff"),
        *(
            f'{{"version": 1, "settings": {{}}}}\n{line}'
            for line in (
                "3",
                '{"x": 1}',
                '{"name": 5, "target": "a", "warnings": []}',
                '{"name": "a", "target": "b", "warnings": 1}',
            )
        ),
    ],
)
def test_damaged_manifests(tmp_path, text):
    (tmp_path / NAME).write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=NAME):
        Manifest.read(Folder.at(str(tmp_path)))
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).mkdir()
    with pytest.raises(FormatError, match=NAME):
        Manifest.read(Folder.at(str(tmp_path)))


def test_manifests_are_written_wholly_or_not(tmp_path, monkeypatch):
    folder, manifest = Folder.at(str(tmp_path)), Manifest({"levels": 1})
    manifest.write(folder)
    before = (tmp_path / NAME).read_bytes()
    manifest.records["ä.png"] = Record("ä.png", "ä.hcodec", warnings=("one", "two"))
    monkeypatch.setattr(os, "replace", lambda *_: 1 / 0)
    with pytest.raises(OSError, match="division by zero"):
        manifest.write(folder)
    assert (tmp_path / NAME).read_bytes() == before
    assert names(tmp_path) == [NAME]
    monkeypatch.undo()
    manifest.write_at_times(folder)  # not yet: it was written a moment ago
    assert (tmp_path / NAME).read_bytes() == before
    manifest.write(folder)
    assert Manifest.read(folder).records == manifest.records


def test_folders(tmp_path):
    folder = Folder.at(str(tmp_path))
    folder.write("a/b/ä #1.PNG", b"12345")
    (tmp_path / "a" / f".{'0' * 16}.part").write_bytes(b"left over")
    (tmp_path / "a" / ".x.part").write_bytes(b"of somebody else")
    found = folder.files([".png"])
    assert list(found) == ["a/b/ä #1.PNG"]
    assert found["a/b/ä #1.PNG"].num_bytes == 5
    assert folder.read("a/b/ä #1.PNG") == b"12345"
    folder.sweep()
    assert names(tmp_path) == ["a/.x.part", "a/b/ä #1.PNG"]
    with pytest.raises(FileNotFoundError):
        Folder.at(str(tmp_path / "none")).check()
    with pytest.raises(NotADirectoryError):
        Folder.at(str(tmp_path / "a" / ".x.part")).check()


def test_listings_that_lead_out_of_the_folder(tmp_path):
    from web_server import serving

    page = b'<a href="a.png">a</a><a href="../../b.png">b</a><a href="sub/../../c.png">c</a>'
    with serving({"in/": page, "in": page, "in/a.png": b"a"}) as site:
        assert list(Folder.at(f"{site.address}/in/").files([".png"])) == ["a.png"]


def test_folders_elsewhere():
    folder = Folder.at("memory://corpus/of/mine")
    folder.write("a/b.png", b"12345")
    assert list(folder.files([".png"])) == ["a/b.png"]
    assert folder.read("a/b.png") == b"12345"
    folder.check()


def command(*arguments):
    return [sys.executable, "-m", "hcodec", "corpus", "encode", *map(str, arguments), "--model", TINY]


def test_command(tmp_path):
    """With a cluster of its own; what comes on the two outputs; the exit code."""
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 4)
    (source / "bad.png").write_bytes(b"no picture")
    told = subprocess.run(command(source, dest, "--workers", 2, "--json"), capture_output=True, text=True, timeout=100)
    assert told.returncode == 1
    *reports, failure = map(json.loads, told.stdout.splitlines())
    assert sorted(report["name"] for report in reports) == [name for name in names(source) if name != "bad.png"]
    assert failure == {"input": "bad.png", "error": "not a readable image: its format is unknown"}
    lines = told.stderr.splitlines()
    assert lines[0] == "0 pictures done before, 5 left, 0 impossible"
    assert lines[1].startswith("4 of 5 pictures in") and "1 failed" in lines[1] and "megapixels/s" in lines[1]
    assert lines[2:] == ["Error: bad.png: not a readable image: its format is unknown"]
    assert len(records_of(dest)) == 5
    (source / "bad.png").unlink()
    told = CliRunner().invoke(main, ["corpus", "encode", str(source), str(dest), "--model", TINY])
    assert (told.exit_code, told.output) == (0, "4 pictures done before, 0 left, 0 impossible\n")


def test_command_is_killed(tmp_path, cluster, client):
    """The manifest is whole and the next run does what is left."""
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 30, 96, 200)
    to_cluster = ("--scheduler", cluster.scheduler_address)
    running = subprocess.Popen(command(source, dest, *to_cluster), stderr=subprocess.PIPE, text=True)
    try:
        while len(names(dest) if dest.exists() else []) < 4:
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.02)
    finally:
        running.kill()
        running.communicate()
    known = records_of(dest)
    assert sorted(known) == names(source)  # all are known to be ours
    again = corpus_of(source, dest, {**Manifest.read(Folder.at(str(dest))).settings})
    assert 0 < len(list(again.encode(client, 1))) <= 30
    assert all(record.done for record in records_of(dest).values())
    assert len(names(dest)) == 31


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["none", "out"], "No such file or directory"),
        (["in", "out", "--levels", "9"], "9 levels were asked for, there are 3"),
        (["in", "out", "--scheduler", "nonsense://x:1"], "there is no cluster: "),
        (["in", "none://x"], "this address cannot be opened: "),
        (["empty", "out"], "Error: empty: there are no pictures"),
    ],
)
def test_mistakes(tmp_path, monkeypatch, arguments, line):
    monkeypatch.chdir(tmp_path)
    fill(Path("in"), 1)
    Path("empty").mkdir()
    told = CliRunner().invoke(main, ["corpus", "encode", *arguments, "--model", TINY])
    assert told.exit_code == 1
    assert line in told.output.splitlines()[-1]


def test_what_is_no_file_stays_out_with_a_warning(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(Path("in/sub"), 1)
    for link, leads_to in {"gone.png": "nowhere", "around": "..", "linked.png": names(Path("in/sub"))[0], "a.txt": "x"}.items():
        Path("in/sub", link).symlink_to(leads_to)
    Path("in/.hidden.png").symlink_to("nowhere")
    os.mkfifo("in/pipe.png")
    lines = CliRunner().invoke(main, ["corpus", "encode", "in", "out", "--model", TINY, "--workers", "1"]).stderr.splitlines()
    assert lines[:4] == [
        "Warning: pipe.png: skipped: not a regular file",
        "Warning: sub/around: skipped: a symbolic link",
        "Warning: sub/gone.png: skipped: a link that leads nowhere",
        "Warning: sub/linked.png: skipped: a symbolic link",
    ]
    assert lines[4] == "0 pictures done before, 1 left, 0 impossible"


def test_without_dask(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(HcodecError, match=r"hcodec\[cluster\]"), run.connected(None, 1):
        pass


def test_decoded_pictures_are_those_of_the_source(tmp_path, client):
    source, dest = tmp_path / "in", tmp_path / "out"
    fill(source, 1)
    (record,) = corpus_of(source, dest, {"model": TINY, "lossless": True}).encode(client, 1)
    assert np.array_equal(np.asarray(hcodec.decode(dest / record.target)), render(48, 56, 0))


def test_pipes_are_no_pictures_and_names_need_not_be_text(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "a.png").write_bytes(b"1")
    folder = Folder.at(str(tmp_path))
    assert list(folder.files([".png"])) == ["a.png"]
    manifest = Manifest({}, {"caf\udce9.png": Record("caf\udce9.png", "caf\udce9.hcodec")})
    manifest.write(folder)
    assert Manifest.read(folder).records == manifest.records
