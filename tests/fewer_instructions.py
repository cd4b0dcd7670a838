"""ONNX Runtime as it is on a processor with fewer instruction sets than this one has; for test_exact.py.

Its kernels (MLAS) have no switch for instruction sets: they ask the processor which there are (CPUID), and the instruction
XGETBV which of their registers the system saves. In a copy of the library every XGETBV becomes `push N; pop rax`, which has as
many bytes: the library then finds a system that saves no registers of AVX-512 and AMX (AVX2) or none of AVX either (SSE).
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from pathlib import Path

XGETBV = b"\x0f\x01\xd0"
SAVED = {"AVX2": 0b111, "SSE": 0b011}  # what it says: bit 0 is x87, bit 1 SSE, bit 2 AVX
LIBRARY = "onnxruntime_pybind11_state"


def can_be_made() -> bool:
    """Whether this machine's library is one that the above is true of."""
    return sys.platform == "linux" and platform.machine() == "x86_64"


def make(folder: Path, name: str) -> Path:
    """Makes a copy of the package for instruction sets up to `name`; returns what to put into PYTHONPATH."""
    spec = importlib.util.find_spec("onnxruntime")
    assert spec is not None and spec.origin is not None
    source, copy = Path(spec.origin).parent, folder / name / "onnxruntime"
    (copy / "capi").mkdir(parents=True)
    for path in (*source.iterdir(), *(source / "capi").iterdir()):
        place = copy / path.relative_to(source)
        if path.name.startswith(LIBRARY):
            library = path.read_bytes()
            assert XGETBV in library
            place.write_bytes(library.replace(XGETBV, bytes((0x6A, SAVED[name], 0x58))))
        elif path.name not in ("capi", "__pycache__"):
            place.symlink_to(path)
    return copy.parent
