"""The documentation runs: every command and snippet of README.md and of the guide, on a small picture in a temporary folder."""

import re
import shlex
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import interruptible
from web_server import serving

import hcodec
from hcodec.cli import main
from hcodec.cli._sample import render

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README": README, "guide": (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")}
SET_UP = ("pip install ", "make ")  # these change the machine; what can be checked of them is below


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def commands(page):
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line]


@pytest.fixture(scope="module", params=PAGES.values(), ids=PAGES)
def page(request):
    return request.param


@pytest.fixture(scope="module")
def folder(page, tmp_path_factory):
    """A folder for the commands and snippets of one page, with a picture."""
    return with_picture(tmp_path_factory.mktemp("page"))


def with_picture(folder):
    from PIL import Image

    Image.fromarray(render()[300:396, 520:648]).save(folder / "img.png")
    return folder


def serve(line, folder):
    """Starts a server, asks it for its page and the pictures, and ends it as Ctrl-C does."""
    command = [sys.executable, "-m", "hcodec", *shlex.split(line, comments=True)[1:], "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True, preexec_fn=interruptible) as server:
        address = re.search(r"http://\S+", server.stdout.readline())[0]
        for place in ("", "list"):
            with urllib.request.urlopen(address + place, timeout=30) as answer:
                assert answer.status == 200 and answer.read()
        server.send_signal(signal.SIGINT)
        return server.wait(timeout=30)


def run(line, folder):
    if line.startswith("hcodec serve"):
        return serve(line, folder)
    if re.search(r"[|<>]", line):
        shell = f'hcodec() {{ {shlex.quote(sys.executable)} -m hcodec "$@"; }}; set -o pipefail; {line}'
        return subprocess.run(["bash", "-c", shell], cwd=folder, capture_output=True, timeout=120).returncode
    return CliRunner().invoke(main, shlex.split(line, comments=True)[1:]).exit_code


def test_every_command_is_run_or_sets_up(page):
    assert [line for line in commands(page) if not line.startswith(("hcodec ", *SET_UP))] == []


@contextmanager
def put_up(text, folder):
    """A command or snippet, with the address of a server that has the files of the folder."""
    with serving({path.name: path.read_bytes() for path in folder.glob("*.hcodec")}) as site:
        yield text.replace("https://example.org", site.address)


def test_commands_and_snippets(page, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for line in commands(page):
        if line.startswith("hcodec "):
            with put_up(line, folder) as command:
                assert run(command, folder) == 0, line
    assert (folder / "img.hcodec").exists()
    snippets = blocks(page, "python")
    for snippet in snippets:
        with put_up(snippet, folder) as code:
            exec(compile(code, "page", "exec"), {})
    assert snippets and bool(list(folder.glob("level-*.png"))) == ("StreamDecoder" in page)


def test_the_manual_runs(tmp_path, monkeypatch):
    """The examples of `help(hcodec)`, one after the other."""
    monkeypatch.chdir(with_picture(tmp_path))
    examples = re.findall(r"^    (.*)$", hcodec.__doc__, re.MULTILINE)
    names = {"hcodec": hcodec}
    exec(compile("\n".join(examples), "hcodec", "exec"), names)
    assert names["preview"].size == names["image"].size == (128, 96) and names["part"].size == (30, 20)
    assert set(names["pictures"]) == {"a.png"} and len(names["shorter"]) < len(names["data"])
    assert set(re.findall(r"hcodec\.(\w+)\(", hcodec.__doc__)) == {
        name for name in hcodec.__all__ if callable(getattr(hcodec, name)) and name[0].islower()
    } | {"StreamDecoder"}


def test_make_targets_and_extras_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:^|`)make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for extra in re.findall(r"\[(\w+(?:,\w+)*)\]\"", README)[0].split(","):
        assert re.search(rf"^{extra} = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE), extra


@pytest.mark.parametrize("name", ["README.md", "docs/guide.md", "benchmarks/RESULTS.md"])
def test_links_lead_to_files(name):
    page = ROOT / name
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link
