"""Starts `child` processes, each of which does one job of one codec: to see cold starts and peak memory."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import Peer

LIMIT_S = 180.0
"""Seconds after which a job is ended, unless more are allowed."""
_ROOT = Path(__file__).parents[2]


class ChildError(Exception):
    """A job failed, or took too long."""


@dataclass
class Child:
    """Starts processes that each do one job of one codec, in `limit_s` seconds at most."""

    folder: Path
    adapters: dict[str, Path] = field(default_factory=dict)
    limit_s: float = LIMIT_S

    def run(self, job: str, peer: Peer, source: Path, target: Path) -> dict[str, float]:
        """Seconds from the start of the process to its end and of the work alone, and MiB. Raises ChildError."""
        if peer.name not in self.adapters:
            self.adapters[peer.name] = self.folder / f"{peer.name}.pickle"
            self.adapters[peer.name].write_bytes(pickle.dumps(peer))
        command = [
            sys.executable,
            "-m",
            "benchmarks.measurements.child",
            job,
            str(self.adapters[peer.name]),
            str(source),
            str(target),
        ]
        start = time.perf_counter()
        try:
            done = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, timeout=self.limit_s, check=True)
        except subprocess.TimeoutExpired as error:
            raise ChildError(f"took more than {self.limit_s:.0f} s") from error
        except subprocess.CalledProcessError as error:
            raise ChildError((error.stderr.strip().splitlines() or ["killed"])[-1][:200]) from error
        wall_s = time.perf_counter() - start
        return {"wall_s": round(wall_s, 4), **{k: round(v, 4) for k, v in json.loads(done.stdout).items()}}

    def both(self, peer: Peer, pixels: Path) -> dict[str, Any]:
        """What encoding and decoding one picture costs."""
        file, result = self.folder / f"{peer.name}.file", self.folder / "decoded.npy"
        encoded = self.run("encode", peer, pixels, file)
        return {"encode": encoded, "decode": self.run("decode", peer, file, result), "bytes": file.stat().st_size}
