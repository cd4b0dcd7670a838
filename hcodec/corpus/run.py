"""A run over a corpus: what is left to do goes to the workers of a Dask cluster, and what comes back into the manifest.

Room: corpus. Dask brings a picture to another worker if its own dies; this file sees to it that no picture is asked for
twice, and that whatever ends a run leaves a manifest from which the next one goes on.
"""

from __future__ import annotations

import json
import logging
import secrets
import signal
import warnings
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from hcodec import __version__, codec
from hcodec.corpus import work
from hcodec.corpus.folder import Folder, Found, Warn, unheard
from hcodec.corpus.manifest import Manifest, Record
from hcodec.errors import HcodecError, TruncatedError

ENDING = ".hcodec"
_ANY = ("device", "backend")  # settings that change no file
_LIMITS = ("target_bpp", "target_size")  # settings that are too tight for some pictures and not for others
_AHEAD = 3  # pictures that wait for each thread of a worker
_LOST = "the connection to the scheduler is lost"
_TIMEOUT_S = 60.0  # for a scheduler to answer, and for the first worker to be there


def try_out(settings: Mapping[str, Any]) -> None:
    """Raises what `hcodec.encode` raises of settings that suit no picture, before any is encoded with them."""
    try:
        with warnings.catch_warnings(action="ignore"):
            codec.encode(np.zeros((8, 8, 3), np.uint8), **settings)
    except TruncatedError:
        if not any(settings.get(name) for name in _LIMITS):
            raise


@dataclass
class Corpus:
    """A folder of pictures and the one that their files go to.

    settings: of `hcodec.encode`; endings: of pictures, in lower case; force: encode again what other settings or others
    have made.
    """

    source: Folder
    dest: Folder
    settings: Mapping[str, Any]
    endings: Collection[str]
    force: bool = False
    left: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    num_done: int = 0

    def plan(self, warn: Warn = unheard) -> None:
        """Finds out which pictures are `left` to do, how many are done, and which cannot be (`failed`).

        Writes the manifest; `warn` is told of links and the like, which stay out. Raises OSError, FormatError (a damaged
        manifest), HcodecError (other settings, and no force).
        """
        self.source.check()
        self.manifest = self._begun()
        self.dest.sweep()
        outputs, found = self.dest.files([ENDING]), self.source.files(self.endings, warn)
        taken = {record.target: name for name, record in self.manifest.records.items() if name in found}
        for name in found:
            record = Record(name, str(PurePosixPath(name).with_suffix(ENDING)), found[name].stamp)
            other = taken.setdefault(record.target, name)
            if other != name:
                self.failed.append(record.failed(f"its file would be {record.target}, as that of {other}"))
            else:
                self._plan_one(record, found[name], outputs.get(record.target))
        self.manifest.write(self.dest)

    def _begun(self) -> Manifest:
        """Returns the manifest that is there, or a new one."""
        settings = json.loads(
            json.dumps({name: value for name, value in self.settings.items() if name not in _ANY and value is not None})
        )
        manifest = Manifest.read(self.dest)
        if manifest is None or (manifest.settings != settings and self.force):
            return Manifest(settings, {} if manifest is None else _undone(manifest.records))
        if manifest.settings != settings:
            theirs, ours = (
                ", ".join(f"{name} {one[name]}" for name in sorted(one) if one[name] != other.get(name))
                for one, other in ((manifest.settings, settings), (settings, manifest.settings))
            )
            raise HcodecError(f"what is there has other settings ({theirs}; not {ours}): --force encodes all again")
        return manifest

    def _plan_one(self, record: Record, found: Found, output: Found | None) -> None:
        known = self.manifest.records.get(record.name)
        if known is not None and known.holds(found, output):
            self.num_done += 1
        elif known is None and output is not None and not self.force:
            self.failed.append(record.failed(f"{record.target} exists already (--force overwrites it)"))
        else:
            self.manifest.records[record.name] = record
            self.left.append(record)

    def encode(self, client: Any, num_threads: int) -> Generator[Record]:
        """Yields the record of each picture that was left as soon as it is done or has failed. client: of Dask."""
        task = partial(
            work.encode,
            source=self.source.address,
            dest=self.dest.address,
            settings=self.settings,
            num_threads=num_threads,
            version=__version__,
        )
        try:
            for record in _connected(_each(client, task, self.left)):
                self.manifest.records[record.name] = record
                self.manifest.write_at_times(self.dest)
                self.num_done += record.done
                self.failed += [record] if record.error else []
                yield record
        finally:
            self.manifest.write(self.dest)
        self.dest.sweep()


def _undone(records: Mapping[str, Record]) -> dict[str, Record]:
    """Returns records that say only that these pictures are ours to encode."""
    return {name: Record(name, record.target) for name, record in records.items()}


def _each(client: Any, task: Any, records: Sequence[Record]) -> Iterator[Record]:
    """Yields what a task makes of records, in the order in which they are ready; a few wait at the workers, not all."""
    from distributed import as_completed

    waiting, ready = iter(records), as_completed(loop=client.loop)
    asked: dict[Any, Record] = {}
    suspects: list[Record] = []

    def ask() -> None:
        """Sees to it that enough pictures wait."""
        for record in islice(waiting, max(_AHEAD * sum(client.nthreads().values()) - len(asked), 1)):
            future = _submitted(client, task, record)
            asked[future] = record
            ready.add(future)

    ask()
    for future in ready:
        record = asked.pop(future)
        if _has_killed(future):
            suspects.append(record)
        else:
            yield _record(future, record)
        ask()
    for record in suspects:  # alone: Dask blames all that a worker had when it died, and most are innocent
        yield _record(_submitted(client, task, record), record)


def _connected(records: Iterator[Record]) -> Iterator[Record]:
    """Yields the same; HcodecError when the scheduler is gone."""
    from distributed.client import ClosedClientError
    from distributed.comm.core import CommClosedError

    try:
        yield from records
    except (ClosedClientError, CommClosedError) as error:
        raise HcodecError(_LOST) from error


def _submitted(client: Any, task: Any, record: Record) -> Any:
    return client.submit(task, record, key=f"hcodec-{secrets.token_hex(8)}")


def _has_killed(future: Any) -> bool:
    """Whether Dask has given up a picture because workers died that had it."""
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _record(future: Any, record: Record) -> Record:
    """Returns what came of a picture, when it is ready."""
    error = future.exception()
    if future.cancelled():
        raise HcodecError(_LOST)
    if error is None:
        result: Record = future.result()
        return result
    lines = str(error).strip().splitlines() or [""]
    return record.failed(f"the worker failed: {type(error).__name__}: {lines[0]}")


def dask() -> tuple[Any, Any]:
    """Returns the classes of clients and of clusters on this machine. Raises HcodecError if Dask is not installed."""
    try:
        from distributed import Client, LocalCluster
    except ModuleNotFoundError as error:
        raise HcodecError('collections need the extra "cluster": pip install "hcodec[cluster]"') from error
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they tell in tracebacks what is told here in a line
    return Client, LocalCluster


@contextmanager
def connected(scheduler: str | None, num_workers: int) -> Iterator[Any]:
    """Gives a client of the cluster at an address, or of one on this machine that lasts as long as the context.

    Raises HcodecError if no scheduler answers, or it has no worker, and what `dask` raises.
    """
    client_of, cluster_of = dask()
    with ExitStack() as opened:
        try:
            if scheduler is None:
                client = opened.enter_context(client_of(opened.enter_context(_local(cluster_of, num_workers))))
            else:
                client = opened.enter_context(client_of(scheduler, timeout=_TIMEOUT_S))
            client.wait_for_workers(1, timeout=_TIMEOUT_S)
        except (OSError, TimeoutError, ValueError) as error:
            raise HcodecError(f"there is no cluster: {error}") from error
        yield client


def _local(make: Any, num_workers: int) -> Any:
    """Returns a cluster of processes on this machine. Those that die are replaced; Ctrl-C is the business of this one alone."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # processes that are started meanwhile inherit it
    try:
        return make(
            n_workers=num_workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
            preload=["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],  # those that replace others do not
        )
    finally:
        signal.signal(signal.SIGINT, before)
