"""What is said about the prefix curve: its points, what each level adds, how far it is from others, and what its steps cost."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import TINY, make_network, render
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

for needed in ("bjontegaard", "matplotlib", "pytorch_msssim", "scipy"):
    pytest.importorskip(needed, reason="needs the extra `bench`")

from benchmarks import results  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.curves import levels, prefix  # noqa: E402
from benchmarks.curves.bdrate import compare  # noqa: E402
from benchmarks.curves.curve import COLUMNS, Curve, averaged  # noqa: E402
from benchmarks.measurements import inside  # noqa: E402
from benchmarks.measurements.promises.quality import even_levels  # noqa: E402
from benchmarks.peers import own  # noqa: E402
from benchmarks.reports import other_pictures, rate_distortion  # noqa: E402

LEVELS = ((1.0, 0.05, 24.0), (2.0, 0.15, 27.0), (3.0, 0.4, 31.0), (4.0, 0.6, 33.0), (5.0, 1.7, 39.0))
CUTS = ((1.33, 0.08, 25.2), (1.67, 0.11, 26.2), (2.5, 0.25, 29.0), (4.5, 1.1, 36.5))


def curve(name: str, points: tuple[tuple[float, float, float], ...], version: str = "hcodec 1, model photo abcd") -> Curve:
    settings, bpp, psnr = zip(*points, strict=True)
    columns = dict.fromkeys(COLUMNS, [0.5] * len(bpp)) | {"bpp": list(bpp), "psnr-rgb": list(psnr)}
    return averaged(Curve(name, name, version, settings, {"a": columns, "b": columns}))


def ours() -> dict[str, Curve]:
    return {"hcodec": curve("hcodec", LEVELS), "hcodec-cuts": curve("hcodec-cuts", CUTS)}


def test_levels_and_cuts_make_one_curve() -> None:
    whole = prefix.whole_file(ours())
    assert whole.settings == (1, 1.33, 1.67, 2, 2.5, 3, 4, 4.5, 5)
    assert whole.psnr == sorted(whole.psnr) == sorted(row[2] for row in LEVELS + CUTS)
    assert list(whole.images) == ["a", "b"] and whole.label == "hcodec (one file: 5 levels, 4 byte cuts)"
    assert prefix.whole_file({"hcodec": curve("hcodec", LEVELS)}) is None
    assert prefix.whole_file(ours() | {"hcodec-cuts": curve("hcodec-cuts", CUTS, "another version")}) is None


def test_what_each_level_adds() -> None:
    rows = levels.growth(curve("hcodec", LEVELS))
    assert [row.added_bpp for row in rows] == pytest.approx([0.05, 0.1, 0.25, 0.2, 1.1])
    assert [row.ratio for row in rows[1:]] == pytest.approx([2, 2.5, 0.8, 5.5])
    assert rows[2].added_db == pytest.approx(4)
    assert levels.uneven(curve("hcodec", LEVELS))[-2:] == [4, 5]
    verdict = even_levels(curve("hcodec", LEVELS))
    assert not verdict.kept and "4, 5" in verdict.found and len(verdict.details) == 4
    assert even_levels(curve("hcodec", LEVELS[:2])).kept


def test_one_file_is_compared_with_published_figures_in_bands() -> None:
    whole, published = prefix.whole_file(ours()), results.published("kodak", 24)
    names = ("jpeg-pillow", "jpeg2000-openjpeg", "bpg-444", "vtm-18", "ctc")
    found = {name: compare(whole, published[name]) for name in names}
    assert all(entry.overall and len(entry.bands) == 3 for entry in found.values())
    assert found["ctc"].bands[2] is None  # CTC ends at 35.6 dB
    table = rate_distortion.bd_rates(whole, [published[name] for name in names])
    assert table.count("| published |") == 5 and "VTM 18" in table and table.splitlines()[-1].count("–") >= 3


def test_other_pictures_say_of_which_model_they_are(tmp_path: Path) -> None:
    for found in (*ours().values(), curve("webp", LEVELS)):
        results.write_curve(found, tmp_path / "valid")
    same, other = curve("hcodec", LEVELS), curve("hcodec", LEVELS, "hcodec 1, model photo ef01")
    results.write_curve(same, tmp_path / "same")
    results.write_curve(other, tmp_path / "other")
    assert "| photographs (2) | webp | " in other_pictures.parts(tmp_path / "same")[1]
    assert "| photographs (2; model abcd) |" in other_pictures.parts(tmp_path / "other")[1]
    assert other_pictures.parts(tmp_path / "nothing" / "same") == []


def test_cuts_lie_between_levels(picture: np.ndarray) -> None:
    import hcodec

    data = hcodec.encode(picture, model=TINY)
    levels, cuts = own.level_steps(data), own._byte_steps(data)
    assert len(cuts) == 2 * (len(levels) - 1)
    for setting, num_bytes in cuts.items():
        assert levels[setting // 1] < num_bytes < levels[setting // 1 + 1]
        assert len(own.cut(data, num_bytes)) <= num_bytes


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A training checkpoint of the network that the tiny model was made from."""
    import torch

    network, _ = make_network()
    path = tmp_path / "checkpoint.pt"
    torch.save({"config": dataclasses.asdict(network.config), "average": network.state_dict()}, path)
    return path


def test_what_integers_cost(checkpoint: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(render(64, 128)).save(folder / "one.png")
    options = ["--results", str(tmp_path / "out"), "--model", TINY]
    result = CliRunner().invoke(main, ["integers", str(checkpoint), str(folder), *options])
    assert result.exit_code in (0, 1) and "floats → integers" in result.output, result.output + str(result.exception)
    document = json.loads((tmp_path / "out" / "integers.json").read_text())
    points = document["points"]
    assert list(points) == list(inside.STEPS)
    assert points["integers"]["psnr"] == pytest.approx(points["floats"]["psnr"], abs=0.3)
    assert points["integers"]["bpp"] == pytest.approx(points["floats"]["bpp"], rel=0.1)
    assert points["tables"]["psnr"] == points["layers"]["psnr"] == points["files"]["psnr"]
    for table, layer, file in zip(*(points[step]["bpp"] for step in ("tables", "layers", "files")), strict=True):
        assert table <= layer < file
    assert document["bd-rate"]["files"]["overall"] > 0
