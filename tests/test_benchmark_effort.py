"""`python -m benchmarks effort` on two small pictures: real files, and a table made from the results alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from hcodec.cli import _sample

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
pytest.importorskip("bjontegaard", reason="needs the extra `bench`")

from click.testing import CliRunner  # noqa: E402

from benchmarks import results  # noqa: E402
from benchmarks.__main__ import main  # noqa: E402
from benchmarks.reports import effort  # noqa: E402


def test_effort_end_to_end(tmp_path):
    (tmp_path / "pictures").mkdir()
    for i in range(2):
        Image.fromarray(_sample.render()[300:364, 500 + 64 * i : 564 + 64 * i]).save(tmp_path / "pictures" / f"{i}.png")
    options = ["--results", str(tmp_path / "results"), "--efforts", "1,2"]
    shown = CliRunner().invoke(main, ["effort", str(tmp_path / "pictures"), *options])
    assert shown.exit_code == 0, shown.output
    found = json.loads((tmp_path / "results" / results.EFFORT).read_text())
    assert found["megapixels"] == {"0": 0.004096, "1": 0.004096} and list(found["efforts"]) == ["1", "2"]
    for curve in found["efforts"]["2"].values():
        assert curve["bpp"] == sorted(curve["bpp"]) and len(curve["psnr"]) == 7
    rows = effort.parts(tmp_path / "results")[1].splitlines()
    assert len(rows) == 4 and rows[2].startswith("| 1 | +0.00 % |") and rows[3].startswith("| 2 | −")
    assert rows[3] in shown.output
    assert effort.parts(tmp_path / "nothing") == []
