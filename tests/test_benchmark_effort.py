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

from benchmarks import effort  # noqa: E402


def test_effort_end_to_end(tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    for i in range(2):
        Image.fromarray(_sample.render()[300:364, 500 + 64 * i : 564 + 64 * i]).save(tmp_path / "pictures" / f"{i}.png")
    assert effort.run(tmp_path / "pictures", tmp_path / "results", None, (1, 2)) is False
    found = json.loads((tmp_path / "results" / effort.FILE).read_text())
    assert found["megapixels"] == {"0": 0.004096, "1": 0.004096} and list(found["efforts"]) == ["1", "2"]
    for curve in found["efforts"]["2"].values():
        assert curve["bpp"] == sorted(curve["bpp"]) and len(curve["psnr"]) == 7
    rows = effort.table(tmp_path / "results").splitlines()
    assert len(rows) == 4 and rows[2].startswith("| 1 | +0.00 % |") and rows[3].startswith("| 2 | −")
    assert rows[3] in capsys.readouterr().out
    assert effort.table(tmp_path / "nothing") == ""
