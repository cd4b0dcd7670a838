"""Drawn documents and screens: always the same, of the modes that they should have, and measured as they are."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
for needed in ("matplotlib", "bjontegaard"):
    pytest.importorskip(needed, reason="needs the extra `bench`")

from benchmarks.drawn import drawn  # noqa: E402
from benchmarks.reports import documents  # noqa: E402


def test_drawings_are_always_the_same():
    first, second = (list(islice(drawn(), 5)) for _ in range(2))
    assert [(name, image.mode, image.tobytes()) for name, image in first] == [(n, i.mode, i.tobytes()) for n, i in second]


def test_there_are_24_of_all_modes():
    found = dict(drawn())
    assert len(found) == 24 and {image.mode for image in found.values()} == {"1", "L", "P", "RGB"}


def test_the_report_tells_what_is_exact(tmp_path):
    file = {"bytes": 1000, "seconds": 1.0}
    row = {
        "stored": "bilevel", "exact": True, "look_seconds": 0.01, "hcodec": {"bytes": 500, "seconds": 2.0}, "levels": file,
        "others": {"PNG": file, "CCITT G4": {"bytes": 800, "seconds": 0.1}},
    }  # fmt: skip
    documents.results.write({"page": row, "photo": {**row, "stored": ""}}, tmp_path / documents.results.DOCUMENTS)
    text, table, looks = documents.parts(tmp_path)
    assert "stores 1 of them exactly: −38 % bytes" in text and "0.5 % of the time" in looks
    assert "| page | CCITT G4 | 800 | 1,000 | 500 | bilevel | −37.5 % |" in table and "| not exact |" in table
    assert documents.parts(tmp_path / "nowhere") == []
