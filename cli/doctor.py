"""`hcodec doctor`: whether all that coding needs is there and works on this machine."""

from __future__ import annotations

import json
import platform
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from time import perf_counter
from typing import TYPE_CHECKING, Any

import click

from hcodec.cli._options import JSON
from hcodec.cli._report import describe
from hcodec.errors import HcodecError, HcodecWarning

if TYPE_CHECKING:
    from hcodec.models.registry import Family

_OPTIONAL = ("torch",)
_FEATURES = (  # of processors, by the names that Linux gives them: those that make numerical kernels different
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8",
    "asimd", "asimddp", "i8mm", "sve", "sve2",
)  # fmt: skip
_LITTLE = 500_000_000  # bytes of free memory, below which a picture of a few megapixels may fail


@dataclass(frozen=True)
class _Finding:
    """One thing that was looked at. problem: what is wrong with it, or empty."""

    name: str
    text: str
    problem: str = ""


@click.command()
@JSON
def command(as_json: bool) -> None:
    """Say whether hcodec works on this machine.

    Shows versions, models (whose fingerprints are verified), processor, threads and free memory, and encodes and decodes
    a small picture. The exit code is 1 if something is wrong. What it prints belongs into a report of a bug.

    \b
      hcodec doctor
      hcodec doctor --json
    """
    findings = []
    for look in (_program, _packages, _processor, _threads, _memory, _models, _self_test):
        for finding in _found(look):
            findings.append(finding)
            if not as_json:
                click.echo(_line(finding))
    problems = [finding for finding in findings if finding.problem]
    if as_json:
        click.echo(json.dumps({"ok": not problems, "findings": [asdict(finding) for finding in findings]}))
    else:
        click.echo("Something is wrong: see above." if problems else "All is well.")
    if problems:
        click.get_current_context().exit(1)


def _line(finding: _Finding) -> str:
    return f"  {finding.name:<10} {finding.text}" + (f"  WRONG: {finding.problem}" if finding.problem else "")


def _found(look: Callable[[], Iterator[_Finding]]) -> Iterator[_Finding]:
    """Yields what was found; whatever goes wrong on the way is a finding, too: that is what a doctor is for."""
    try:
        yield from look()
    except Exception as error:
        yield _Finding(look.__name__.strip("_").replace("_", "-"), "", f"{type(error).__name__}: {describe(error, '')}")


def _program() -> Iterator[_Finding]:
    from hcodec import __version__
    from hcodec.container.header import VERSION

    yield _Finding("hcodec", f"{__version__}, file format {VERSION}")
    yield _Finding("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")


def _packages() -> Iterator[_Finding]:
    """Versions of all that hcodec is said to need by its own metadata, none of it imported."""
    needed = [line for line in metadata.requires("hcodec") or () if "extra ==" not in line]
    names = [match[0] for line in needed if (match := re.match(r"[\w.-]+", line))]
    for name in names:
        version = _version(name)
        yield _Finding("package", f"{name} {version or 'is missing'}", "" if version else f"pip install {name}")
    for name in _OPTIONAL:
        yield _Finding("package", f"{name} {_version(name) or 'is not installed (needed for GPUs and --effort only)'}")


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _processor() -> Iterator[_Finding]:
    model, features = _cpuinfo()
    yield _Finding("processor", f"{model or platform.processor() or 'unknown'}; {' '.join(features) or 'features unknown'}")


def _cpuinfo() -> tuple[str, list[str]]:
    """Returns name and features of the processor, empty where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = (line.partition(":") for line in file)
            facts = {key.strip().lower(): value.strip() for key, _, value in lines}
    except (OSError, ValueError):
        return "", []
    flags = (facts.get("flags") or facts.get("features") or "").split()
    return facts.get("model name", ""), [name for name in _FEATURES if name in flags]


def _threads() -> Iterator[_Finding]:
    from hcodec.models.runtime import threads

    yield _Finding("threads", f"{threads.count()} used, of {threads.num_processors()} processors")


def _memory() -> Iterator[_Finding]:
    from hcodec import memory

    free = memory.free_bytes()
    text = "unknown" if free is None else f"{free / 1e9:.1f} GB free"
    yield _Finding("memory", text, "too little for pictures" if free is not None and free < _LITTLE else "")


def _models() -> Iterator[_Finding]:
    """Every weights file, loaded: fingerprint, certificate of exactness, tables and shapes are verified then."""
    from hcodec.models import registry

    for family in (registry.PHOTO, registry.LOSSLESS, registry.SMALL):
        if not family.files():
            yield _Finding(family.name, "none is installed", "install hcodec anew")
        for name in registry.names(family):
            yield _model(family, name)


def _model(family: Family[Any], name: str) -> _Finding:
    from hcodec.models import registry, weights_file

    path = family.path(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", HcodecWarning)
            model = registry.load_file(path, family)
            getattr(model, "preview", None)  # the shortcut of a photo model is read only now
        return _Finding("model", f"{name} ({family.name}) {weights_file.header(path)['fingerprint']} verified")
    except HcodecWarning as warning:
        return _Finding("model", f"{name} ({family.name})", str(warning))
    except HcodecError as error:
        return _Finding("model", f"{name} ({family.name}) in {path}", describe(error, ""))


def _self_test() -> Iterator[_Finding]:
    from hcodec.cli import _selftest

    start = perf_counter()
    found = _selftest.run()
    yield _Finding("self-test", f"{found}, {perf_counter() - start:.2f} s")
