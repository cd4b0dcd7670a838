"""Memory of this process, in MiB."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path


def peak_mib() -> float:
    """Peak resident memory so far."""
    return _status("VmHWM") or _usage()  # what `resource` says on Linux includes the process that started this one


def resident_mib() -> float:
    """Resident memory now; its peak where the system does not tell."""
    return _status("VmRSS") or _usage()


def _status(field: str) -> float:
    """A field of Linux's account of this process, or 0."""
    try:
        found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _usage() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
