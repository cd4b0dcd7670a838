"""One codec, one job, one process: what `speed` starts to see cold starts and peak memory.

`python -m benchmarks.measurements.child JOB PEER INPUT OUTPUT`: JOB is encode or decode, PEER a pickled adapter made by
`process`, INPUT an .npy of pixels or a file to decode. Prints one JSON object: seconds of the work itself, and peak memory in
MiB.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from pathlib import Path

import numpy as np

from benchmarks.measurements.clock import timed
from benchmarks.measurements.memory import peak_mib
from benchmarks.peers import Peer


def main(job: str, adapter: Path, source: Path, target: Path) -> None:
    """Does the job, within the memory of the machine, and prints what it cost."""
    _limit_memory()
    peer: Peer = pickle.loads(adapter.read_bytes())
    if job == "encode":
        data, seconds = timed(peer.encode, np.load(source), peer.typical)
        target.write_bytes(data)
    else:
        pixels, seconds = timed(peer.decode, source.read_bytes())
        np.save(target, pixels)
    print(json.dumps({"work_s": seconds, "peak_mib": peak_mib()}))


def _limit_memory() -> None:
    """A codec that wants more than the machine has gets an error, and the machine lives on."""
    num_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))


if __name__ == "__main__":
    main(sys.argv[1], *map(Path, sys.argv[2:5]))
