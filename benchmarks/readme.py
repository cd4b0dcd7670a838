"""`python -m benchmarks readme`: puts table and plots into README.md, from the checked-in results alone.

README.md keeps them between two HTML comments; everything outside is left as it is.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks import last_layer, lossless, plots, progressive, rd, results, speed_report, tables
from benchmarks.results import Curve

BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"
_BETWEEN = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)


class MarkersError(Exception):
    """README.md has no place for the benchmark block."""


def run(target: Path, readme: Path) -> None:
    """Draws the plots again where they are out of date, and writes the block into `readme`. Raises MarkersError."""
    for path, (series, frame) in drawings(target).items():
        plots.draw(series, frame, path)
    readme.write_text(with_block(readme.read_text(), block(target, readme.parent)))


def differences(target: Path, readme: Path) -> list[str]:
    """What does not agree with the results, one line each; empty when all is current. Raises MarkersError."""
    text = readme.read_text()
    found = []
    if with_block(text, block(target, readme.parent)) != text:
        found.append(f"the benchmark block of {readme.name} is not what the results say")
    for path, (series, frame) in drawings(target).items():
        drawn = plots.digest(series, frame)
        stale = [s for s in (".png", ".svg") if not plots.is_current(path.with_suffix(s), drawn)]
        found += [f"{path.name}{suffix} is not drawn from the results" for suffix in stale]
    return found


def with_block(text: str, new: str) -> str:
    """The text with what is between its markers replaced. Raises MarkersError when they are missing."""
    if not _BETWEEN.search(text):
        raise MarkersError(f"no {BEGIN} ... {END}")
    return _BETWEEN.sub(lambda _: f"{BEGIN}\n{new}\n{END}", text, count=1)


def drawings(target: Path) -> dict[Path, plots.Drawing]:
    """All plots of a results folder: path without suffix -> what is drawn."""
    found = {target / name: drawing for name, drawing in rd.drawings(target.name, rd.all_curves(target)).items()}
    found[target / "progressive"] = progressive.drawing(target.name, results.load_folder(target / progressive.SUBFOLDER))
    if (target / "speed.json").exists():
        found[target / "growth"] = speed_report.drawing(json.loads((target / "speed.json").read_text()))
    return {path: (series, frame) for path, (series, frame) in found.items() if series}


def block(target: Path, root: Path) -> str:
    """The Markdown of the block; links are relative to `root`."""
    curves = rd.all_curves(target)
    num_images = max((len(curve.images) for curve in curves.values()), default=0)
    where = target.resolve().relative_to(root.resolve()).as_posix()
    parts = [
        f"![PSNR against bits per pixel]({where}/rd.svg)",
        f"{num_images} pictures ({target.name}), 8-bit RGB; rates are bytes of files, qualities are means over pictures.",
        *_comparison(curves),
        *_progressive(target, where),
        *_lossless(target),
        *_bits_back(target),
        *_speed(target),
        *_absent(target),
    ]
    return "\n\n".join(parts)


def _comparison(curves: dict[str, Curve]) -> list[str]:
    if rd.TESTED not in curves:
        return [tables.rates_for_quality([curve for curve in curves.values() if not curve.is_published()])]
    tested = curves[rd.TESTED]
    named = rd.anchors(curves)
    return [
        "Bits of hcodec against each codec at equal PSNR (BD-rate, PCHIP over the overlap; less is better):",
        tables.bd_rates(tested, named),
        "hcodec's levels, all in one file, and the bits that others need for the same PSNR:",
        tables.levels(tested, [curve for curve in named if curve.name in (rd.BEST_JPEG, "jpeg2000", "avif-s6")]),
    ]


def _progressive(target: Path, where: str) -> list[str]:
    if not (target / "progressive.svg").exists():
        return []
    # of the picture that `hcodec demo` draws: photographs of others are measured here but not published
    path = target.parent / "sample" / "strip.png"
    strip = [f"![A picture as its file arrives]({Path(where).parent.as_posix()}/sample/strip.png)"] if path.exists() else []
    return [f"![PSNR against bytes received]({where}/progressive.svg)", *strip]


def _lossless(target: Path) -> list[str]:
    table = lossless.table(target)
    return ["Lossless:", table] if "hcodec" in table else []


def _bits_back(target: Path) -> list[str]:
    layers, chains = last_layer.table(target), target.parent / "small" / "bits-back.md"
    found = ["The lossless layer alone, by the level that it builds on, in bits per sub-pixel:", layers] if layers else []
    if chains.exists():
        text = "Small pictures in one chain, bits back over all levels, against the bound and against files of others:"
        found += [text, chains.read_text().strip()]
    return found


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
    return [f"Not run: {'; '.join(f'{name} ({reason})' for name, reason in reasons.items())}."] if reasons else []
