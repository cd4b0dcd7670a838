"""What the result files say, as Markdown: a summary for README.md, and everything for RESULTS.md.

Comes after measuring; reads result files alone and runs no codec. `readme`, which puts the texts in place, must not be imported.
"""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import effort, generality, last_layer, lossless, prefix, rd, speed_report, tables
from benchmarks.best_jpeg import NAME as BEST_JPEG
from benchmarks.results import Curve

_TELLING = (BEST_JPEG, "jpeg2000", "webp", "avif-s6", "jxl-e7", "bpg-444", "vtm-18", "ctc")
"""The peers of the summary, in the order of `rd.anchors`."""
_OF_LEVELS = (BEST_JPEG, "jpeg2000", "avif-s6")


def summary(target: Path, root: Path) -> str:
    """One plot, one table and one picture; links are relative to `root`."""
    curves = rd.all_curves(target)
    named = [curve for curve in rd.anchors(curves) if curve.name in _TELLING]
    return _joined([*_rates(target, root, curves, named), *_strip(target, root)])


def everything(target: Path, root: Path) -> str:
    """All tables and plots, each under its heading; links are relative to `root`."""
    curves = rd.all_curves(target)
    sections = {
        "Quality at a given rate": _rates(target, root, curves, rd.anchors(curves)),
        "The levels": _levels(curves),
        "Other pictures": _elsewhere(target, curves),
        "Searching longer": _effort(target),
        "While a file arrives": [*_progressive(target, root), *_strip(target, root)],
        "Lossless files": _lossless(target),
        "The lossless layer": _last_layer(target),
        "Chains of small pictures": _chains(target),
        "Time": _speed(target),
        "Not run": _absent(target),
    }
    return _joined([_joined([f"## {name}", *parts]) for name, parts in sections.items() if parts])


def _joined(parts: list[str]) -> str:
    return "\n\n".join(parts)


def _link(path: Path, root: Path) -> str:
    return path.resolve().relative_to(root.resolve()).as_posix()


def _rates(target: Path, root: Path, curves: dict[str, Curve], named: list[Curve]) -> list[str]:
    num_images = max((len(curve.images) for curve in curves.values()), default=0)
    return [
        f"![PSNR against bits per pixel]({_link(target / 'rd.svg', root)})",
        f"{num_images} pictures ({target.name}), 8-bit RGB; rates are bytes of files, qualities are means over pictures.",
        *_comparison(curves, named),
    ]


def _comparison(curves: dict[str, Curve], named: list[Curve]) -> list[str]:
    if rd.TESTED not in curves:
        return [tables.rates_for_quality([curve for curve in curves.values() if not curve.is_published()])]
    whole = prefix.curve(curves) or curves[rd.TESTED]
    text = f"Bits of {whole.label} against each codec at equal PSNR (BD-rate, PCHIP over the overlap; less is better):"
    return [text, tables.bd_rates(whole, named)]


def _levels(curves: dict[str, Curve]) -> list[str]:
    if rd.TESTED not in curves:
        return []
    text = "hcodec's levels, all in one file, and the bits that others need for the same PSNR:"
    named = [curve for curve in rd.anchors(curves) if curve.name in _OF_LEVELS]
    return [text, tables.levels(curves[rd.TESTED], named)]


def _elsewhere(target: Path, curves: dict[str, Curve]) -> list[str]:
    table = generality.table(target.parent, curves.get(rd.TESTED))
    return [generality.TEXT, table] if table else []


def _effort(target: Path) -> list[str]:
    table = effort.table(target)
    return [f"What `--effort` saves at equal PSNR, {effort.count(target)} pictures, two cores:", table] if table else []


def _progressive(target: Path, root: Path) -> list[str]:
    path = target / "progressive.svg"
    return [f"![PSNR against bytes received]({_link(path, root)})"] if path.exists() else []


def _strip(target: Path, root: Path) -> list[str]:
    # of the picture that `hcodec demo` draws: photographs of others are measured here but not published
    path = target.parent / "sample" / "strip.png"
    return [f"![A picture as its file arrives]({_link(path, root)})"] if path.exists() else []


def _lossless(target: Path) -> list[str]:
    table = lossless.table(target)
    return ["Every pixel as it was, in bits per sub-pixel of the file:", table] if "hcodec" in table else []


def _last_layer(target: Path) -> list[str]:
    table = last_layer.table(target)
    return ["The lossless layer alone, by the level that it builds on, in bits per sub-pixel:", table] if table else []


def _chains(target: Path) -> list[str]:
    path = target.parent / "small" / "bits-back.md"
    text = "Small pictures in one chain, bits back over all levels, against the bound and against files of others:"
    return [text, path.read_text().strip()] if path.exists() else []


def _speed(target: Path) -> list[str]:
    path = target / "speed.json"
    if not path.exists():
        return []
    document = json.loads(path.read_text())
    machine = document["machine"]
    text = f"Time for one picture, warm, median and quartiles ({machine['processor']}, {machine['cores']} cores):"
    return [text, speed_report.warm_table(document)]


def _absent(target: Path) -> list[str]:
    path = target / "absent.json"
    reasons = json.loads(path.read_text()) if path.exists() else {}
    return [f"{'; '.join(f'{name} ({reason})' for name, reason in reasons.items())}."] if reasons else []
