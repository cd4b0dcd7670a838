"""The incremental reader of files: bytes in pieces of any size to header, layers and metadata.

Room: container (decode step 2). A layer is opaque here. Imports the other modules of its room,
`errors` and Python's own modules only: no numpy, no torch, no Pillow, no entropy coding.
"""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from dataclasses import replace

from hcodec.container import chunks
from hcodec.container.attachments import NOTHING
from hcodec.container.header import Header, LayerEntry, parse_header
from hcodec.errors import TruncatedError

_DAMAGED_METADATA = "metadata is damaged, some of it was ignored"


class Reader:
    """Takes a file in pieces of any size and gives out its parts as soon as they are whole.

    `header`: None until it has arrived; `layers`: the whole and undamaged levels, coarse first; `lossless`: the lossless
    layer, empty until whole; `damaged`: the number (from 1) of the first layer with a wrong checksum, after which layers
    are ignored, or None; `damage`: that in words, or empty; `attachments`: each empty until whole; `warnings`: one line for
    each kind of thing that was ignored; `complete`: every promised byte has arrived; `num_bytes_fed`.
    Memory is taken for bytes that have arrived, never for bytes that are promised.
    """

    def __init__(self) -> None:
        self.header: Header | None = None
        self.layers: list[bytes] = []
        self.lossless = b""
        self.damaged: int | None = None
        self.damage = ""
        self.attachments = NOTHING
        self.warnings: list[str] = []
        self.complete = False
        self.num_bytes_fed = 0
        self._pending = bytearray()  # fed, and not yet part of anything whole
        self._inside_layer = False
        self._cut_layer = b""
        self._parser: Iterator[None] | None = None

    @property
    def partial(self) -> bytes:
        """The bytes so far of the layer now arriving, that of level `len(layers) + 1`; of a cut layer all there are.

        Empty between layers, after the last, and from a damaged layer on.
        """
        return bytes(self._pending) if self._inside_layer else self._cut_layer

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. Raises FormatError if the file is not ours, too new, or damaged in its header."""
        self._pending += data
        self.num_bytes_fed += len(data)
        if self._parser is None:
            try:
                self.header = parse_header(self._pending)
            except TruncatedError:
                return
            del self._pending[: self.header.header_bytes]
            self._parser = self._parse(self.header)
        next(self._parser)

    def known_header(self) -> Header:
        """Returns the header. Raises TruncatedError if it has not arrived."""
        if self.header is None:
            raise TruncatedError(f"the file ends after {self.num_bytes_fed} bytes, inside its header")
        return self.header

    def close(self) -> None:
        """Says that no more bytes will come. Raises TruncatedError if something that the file promises is missing."""
        header = self.known_header()
        if not self.complete:
            raise TruncatedError(
                f"the file ends after {self.num_bytes_fed} of {header.file_bytes} bytes, "
                f"with {len(self.layers)} of {len(header.layers)} layers"
            )

    def _parse(self, header: Header) -> Iterator[None]:
        """Yields whenever it needs more bytes."""
        yield from self._parse_section(header.front_bytes)
        for level, entry in enumerate(header.layers, start=1):
            if self.damaged is None and level > header.num_levels:
                yield from self._parse_lossless(level, entry)
            elif self.damaged is None:
                yield from self._parse_layer(level, entry, header.cut and level == len(header.layers))
            else:
                yield from self._skip(entry.num_bytes)
        yield from self._parse_section(header.back_bytes)
        self.complete = True
        while True:
            if self._pending:
                self._warn("bytes after the end of the file were ignored")
                self._pending.clear()
            yield

    def _parse_layer(self, level: int, entry: LayerEntry, cut: bool) -> Iterator[None]:
        self._inside_layer = True
        layer = yield from self._take(entry.num_bytes)
        self._inside_layer = False
        if zlib.crc32(layer) != entry.crc32:
            self._harm(level, f"layer {level} is damaged; it and the layers after it were ignored")
        elif cut:
            self._cut_layer = layer
        else:
            self.layers.append(layer)

    def _parse_lossless(self, level: int, entry: LayerEntry) -> Iterator[None]:
        layer = yield from self._take(entry.num_bytes)
        if not layer or zlib.crc32(layer) != entry.crc32:
            self._harm(level, "the lossless layer is damaged, it was ignored")
        else:
            self.lossless = layer

    def _parse_section(self, num_bytes: int) -> Iterator[None]:
        while num_bytes >= chunks.HEAD_BYTES:
            head = chunks.parse_head((yield from self._take(chunks.HEAD_BYTES)))
            num_bytes -= chunks.HEAD_BYTES
            if head.num_bytes > num_bytes:
                break
            payload = yield from self._take(head.num_bytes)
            num_bytes -= head.num_bytes
            self._keep_chunk(head, payload)
        if num_bytes:  # also after the break: the section's end is known from the header, so the layers are not lost
            self._warn(_DAMAGED_METADATA)
            yield from self._skip(num_bytes)

    def _keep_chunk(self, head: chunks.Head, payload: bytes) -> None:
        name = chunks.NAMES.get(head.tag)
        if not head.fits(payload):
            self._warn(_DAMAGED_METADATA if name is None else f"{name} is damaged, it was ignored")
        elif name is not None and getattr(self.attachments, name):
            self._warn(f"a second {name} was ignored")
        elif name is not None:
            self.attachments = replace(self.attachments, **{name: payload})

    def _take(self, num_bytes: int) -> Generator[None, None, bytes]:
        while len(self._pending) < num_bytes:
            yield
        taken = bytes(self._pending[:num_bytes])
        del self._pending[:num_bytes]
        return taken

    def _skip(self, num_bytes: int) -> Iterator[None]:
        while len(self._pending) < num_bytes:
            num_bytes -= len(self._pending)
            self._pending.clear()
            yield
        del self._pending[:num_bytes]

    def _harm(self, level: int, line: str) -> None:
        self.damaged, self.damage = level, line
        self._warn(line)

    def _warn(self, line: str) -> None:
        if line not in self.warnings:  # a hostile file can repeat one fault a million times
            self.warnings.append(line)


def read_all(data: bytes) -> tuple[Reader, Header]:
    """Returns a reader that has all of `data`, and its header. Raises FormatError, TruncatedError (it ends inside the header)."""
    reader = Reader()
    reader.feed(data)
    return reader, reader.known_header()
