"""A file of which only parts are read: the header at first, then the pieces that somebody wants.

Room: parts, above `container` (decode steps 1 and 2). The table in the header says where each piece lies. No numpy, no
Pillow, no torch: `hcodec info` uses it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from types import TracebackType
from typing import Self

from hcodec.container import EVERYWHERE, Header, Info, Reader, describe
from hcodec.container.reader import Wants, nothing
from hcodec.errors import TruncatedError
from hcodec.stores import Span, Store

_HEAD_BYTES = 4096  # read at first: the header of all but huge pictures


class PartialFile:
    """An hcodec file that is open for reading in parts; a context manager.

    `header`: as it says what the file holds. What was read is kept, for the next time. Raises FormatError if it is not ours,
    too new or damaged in its header, TruncatedError if it ends inside the header, OSError.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: dict[Span, bytes] = {}
        try:
            self._head, self.header = self._read_header()
        except BaseException:
            store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file, if it was opened here."""
        self._store.close()

    @property
    def num_bytes_read(self) -> int:
        """How many bytes of the file were read so far, those of second tries included."""
        return self._store.num_bytes_read

    @cached_property
    def info(self) -> Info:
        """What is in the file, with its metadata; layers are not read, so it is not known whether they are damaged."""
        return describe(self.reader(nothing))

    def reader(self, wants: Wants) -> Reader:
        """Returns a reader that has the wanted pieces, and the metadata; it raises what its `feed` raises, and OSError."""
        spans = list(self._spans(wants))
        self._fetch([span for span in spans if span not in self._held])
        reader = Reader(wants)
        reader.feed(self._head[: self.header.header_bytes])
        if wants is nothing:
            self._glance(reader)
        for span in spans:
            reader.jump(span[0] - reader.num_bytes_fed)
            reader.feed(self._held[span])
        reader.jump(min(self._store.size, self.header.file_bytes) - reader.num_bytes_fed)
        return reader

    def _read_header(self) -> tuple[bytes, Header]:
        """Returns the first bytes of the file, and its header."""
        reader, head = Reader(), b""
        while reader.header is None and len(head) < self._store.size:
            start, end = len(head), min(max(2 * len(head), _HEAD_BYTES), self._store.size)
            data = self._store.read([(start, end)])[0]
            head += data
            reader.feed(data)
            if not data:
                break
        return head, reader.known_header()

    def _spans(self, wants: Wants) -> Iterator[Span]:
        """Yields where metadata and wanted pieces lie, in the order of the file and as far as they are there."""
        header, size = self.header, self._store.size
        back = header.prefix_bytes(len(header.layers))
        front = [] if wants is nothing else [(header.header_bytes, header.prefix_bytes(0))]
        every = [*front, *self._piece_spans(wants), (back, back + header.back_bytes)]
        yield from ((start, min(end, size)) for start, end in every if start < min(end, size))

    def _glance(self, reader: Reader) -> None:
        """Feeds what stands before the layers, without what is large in it and not wanted."""
        end, step = min(self.header.prefix_bytes(0), self._store.size), _HEAD_BYTES
        while (start := reader.num_bytes_fed) < end:
            rest, wanted = reader.ahead
            if rest and not wanted:
                reader.jump(min(rest, end - start))
                continue
            step = max(rest, step)
            reader.feed(self._bytes(start, min(start + step, end)))
            step *= 2

    def _bytes(self, start: int, end: int) -> bytes:
        """Returns bytes, at least one, from `start` on and before `end`."""
        data = self._head[start:end] or self._store.read([(start, end)])[0]
        if not data:
            raise TruncatedError("the file has become shorter since it was opened")
        return data

    def _piece_spans(self, wants: Wants) -> Iterator[Span]:
        for number, layer in enumerate(self.header.layers, start=1):
            begin = self.header.prefix_bytes(number - 1)
            first = EVERYWHERE if self.header.is_coarse(number) else 0
            for window, (start, end) in enumerate(pairwise(layer.starts), start=first):
                if wants(number, window):
                    yield begin + start, begin + end

    def _fetch(self, spans: Sequence[Span]) -> None:
        """Reads spans, in the order of the file; those that touch each other together."""
        head_bytes = len(self._head)
        self._held |= {span: self._head[slice(*span)] for span in spans if span[1] <= head_bytes}
        missing = [span for span in spans if span[1] > head_bytes]
        runs = _runs(missing)
        read = self._store.read([(max(start, head_bytes), end) for start, end in runs])
        for (first, last), data in zip(runs, read, strict=True):
            run = self._head[first:] + data
            if len(run) < last - first:
                raise TruncatedError("the file has become shorter since it was opened")
            inside = (span for span in missing if first <= span[0] < last)
            self._held |= {(start, end): run[start - first : end - first] for start, end in inside}


def _runs(spans: Sequence[Span]) -> list[Span]:
    """Returns spans in ascending order, those that touch each other as one."""
    runs: list[Span] = []
    for start, end in spans:
        if runs and runs[-1][1] == start:
            runs[-1] = runs[-1][0], end
        else:
            runs.append((start, end))
    return runs
