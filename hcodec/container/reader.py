"""The incremental reader of files: bytes in pieces of any size to header, pieces of layers and metadata.

Room: container (decode step 2). A piece is opaque here. Imports the other modules of its room, `errors` and Python's own
modules only: no numpy, no torch, no Pillow, no entropy coding.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Generator, Iterator

from hcodec.container import chunks, whole
from hcodec.container.attachments import NOTHING
from hcodec.container.header import Header, HeaderParser
from hcodec.container.table import Piece
from hcodec.container.window import windows
from hcodec.errors import FormatError, TruncatedError

EVERYWHERE = -1  # stands for a window where a layer is of the whole picture
Wants = Callable[[int, int], bool]  # whether the piece of a layer, by its number from 1, and of a window is wanted
_LARGE = (chunks.ALPHA, chunks.WHOLE)  # chunks that only decoding takes
_DAMAGED = {chunks.WHOLE: "the picture is damaged"}
_DAMAGED_METADATA = "metadata is damaged, some of it was ignored"


def nothing(_layer: int, _window: int) -> bool:
    """Wants no pieces: only what a file says of itself. Of the picture as a whole and of alpha, a beginning will do then."""
    return False


class Reader:
    """Takes a file in pieces of any size and gives out its parts as soon as they are whole.

    `header`: None until it has arrived, and the lists below are empty until then; `coarse`: the undamaged levels of the whole
    picture, coarse first; `pieces`: for each window the whole and undamaged pieces of the levels after these; `num_levels`:
    how many levels are complete everywhere; `lossless`: for each window its piece of the lossless layer, empty until whole;
    `damaged`: window, or EVERYWHERE -> the number (from 1) of its first layer with a wrong checksum, from which on its
    pieces are ignored; `unread`: the layers of which not every piece was wanted; `attachments`: each empty until whole;
    `begun`: of an alpha channel and a picture as a whole that are not wanted: how long they are, and their beginning;
    `complete`: every promised byte has arrived; `num_bytes_fed`. Memory is taken for bytes that have arrived, never for
    bytes that are promised.
    wants: which pieces to take, None for all; whoever feeds may `jump` over the others.
    """

    def __init__(self, wants: Wants | None = None) -> None:
        self.header: Header | None = None
        self.coarse: list[bytes] = []
        self.pieces: list[list[bytes]] = []
        self.num_levels = 0
        self.lossless: list[bytes] = []
        self.damaged: dict[int, int] = {}
        self.unread: set[int] = set()
        self.attachments = NOTHING
        self.begun: dict[str, tuple[int, bytes]] = {}
        self.complete = False
        self.num_bytes_fed = 0
        self._notes: list[str] = []  # of what else was ignored
        self._wants = wants
        self._pending = bytearray()  # fed, and not yet part of anything whole
        self._gap_bytes = 0  # jumped over, after what is pending
        self._arriving: int | None = None  # the window of which a piece is arriving
        self._cut_piece: tuple[int | None, bytes] = None, b""  # its window and its bytes
        self.whole_bytes = 0  # of the picture that is a chunk, as it promises
        self._head: chunks.Head | None = None  # of the chunk that is arriving
        self._header_parser = HeaderParser()
        self._parser: Iterator[None] | None = None
        self._refusal: FormatError | None = None

    @property
    def damage(self) -> list[str]:
        """One line for each layer that is damaged somewhere."""
        windows: dict[int, list[int]] = {}
        for window, layer in self.damaged.items():
            windows.setdefault(layer, []).append(window)
        return [_say_damage(self.known_header(), layer, found) for layer, found in windows.items()]

    @property
    def warnings(self) -> list[str]:
        """One line for each kind of thing that was ignored, damage first."""
        return self.damage + self._notes

    def partial(self, window: int) -> bytes:
        """Returns the bytes so far of the next piece of a window, or EVERYWHERE, if it is arriving or is cut; else nothing."""
        if window == self._arriving:
            return bytes(self._pending)
        cut, piece = self._cut_piece
        return piece if window == cut else b""

    def is_all_below(self, levels: int | None) -> bool:
        """Whether that is more levels than a lossless file has, which is here with its lossless layer."""
        header = self.known_header()
        return levels is not None and levels > header.num_levels and header.lossless and all(self.lossless)

    @property
    def whole(self) -> bytes:
        """The bytes so far of the picture that is a chunk, in place of levels; empty if there are none."""
        if chunks.WHOLE.name in self.begun:
            return self.begun[chunks.WHOLE.name][1]
        return bytes(self._pending) if self._is_whole else self.attachments.whole

    @property
    def _is_whole(self) -> bool:
        """Whether it is arriving now."""
        return self._head is not None and self._head.kind is chunks.WHOLE

    @property
    def ahead(self) -> tuple[int, bool]:
        """How many bytes the chunk that is arriving lacks, and whether somebody wants them; if not, they may be jumped over."""
        if self._head is None:
            return 0, True
        rest = self._head.num_bytes - len(self._pending)
        if self._wants is not nothing or self._head.kind not in _LARGE:
            return rest, True
        is_unknown = self._is_whole and not whole.is_described(bytes(self._pending))
        return (0, True) if is_unknown else (rest, False)

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Takes the next bytes. Raises FormatError if the file is not ours, too new, or damaged in its header."""
        if self._refusal:
            raise self._refusal
        self._pending += data
        self.num_bytes_fed += len(data)
        try:
            self._advance()
        except FormatError as error:
            self._refusal = error
            raise

    def jump(self, num_bytes: int) -> None:
        """Goes on behind so many bytes, of pieces that are not wanted, as if they had arrived; the header has."""
        self._gap_bytes += num_bytes
        self.num_bytes_fed += num_bytes
        self._advance()

    def _advance(self) -> None:
        if self._parser is None:
            try:
                self.header = self._header_parser.parse(self._pending)
            except TruncatedError:
                return
            del self._pending[: self.header.header_bytes]
            self.pieces = [[] for _ in range(self.header.num_windows)]
            self.lossless = [b""] * self.header.num_windows
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
                f"the file ends after {self.num_bytes_fed} of {header.file_bytes} bytes, {self._say_place(header)}"
            )

    def _say_place(self, header: Header) -> str:
        """Says where a file ends that is not complete."""
        if header.model != whole.MODEL:
            return f"with {self.num_levels} of {len(header.layers)} layers"
        return "behind its picture" if self.num_levels else f"inside its picture: {whole.shown_of(self.whole)}"

    def _parse(self, header: Header) -> Iterator[None]:
        """Yields whenever it needs more bytes."""
        yield from self._parse_section(header.front_bytes)
        for number, layer in enumerate(header.layers, start=1):
            first = EVERYWHERE if header.is_coarse(number) else 0
            for window, piece in enumerate(layer.pieces, start=first):
                wanted = self._wants is None or self._wants(number, window)
                if not wanted:
                    self.unread.add(number)
                if not wanted or window in self.damaged or EVERYWHERE in self.damaged:
                    yield from self._skip(piece.num_bytes)
                else:
                    yield from self._parse_piece(header, number, window, piece)
            if not self.damaged and number <= header.num_levels - header.cut:
                self.num_levels = number
        yield from self._parse_section(header.back_bytes)
        self.complete = True
        while True:
            if self._pending:
                self._warn("bytes after the end of the file were ignored")
                self._pending.clear()
            yield

    def _parse_piece(self, header: Header, number: int, window: int, piece: Piece) -> Iterator[None]:
        is_level, is_last = number <= header.num_levels, number == len(header.layers)
        self._arriving = window if is_level else None
        data = yield from self._take(piece.num_bytes)
        self._arriving = None
        if zlib.crc32(data) != piece.crc32:
            self.damaged[window] = number
        elif not is_level:
            self.lossless[window] = data
        elif header.cut and is_last and piece is header.layers[-1].pieces[-1]:
            self._cut_piece = window, data
        else:
            (self.coarse if window == EVERYWHERE else self.pieces[window]).append(data)

    def _parse_section(self, num_bytes: int) -> Iterator[None]:
        while num_bytes >= chunks.HEAD_BYTES:
            head = chunks.parse_head((yield from self._take(chunks.HEAD_BYTES)))
            num_bytes -= chunks.HEAD_BYTES
            if head.num_bytes > num_bytes:
                break
            self._head = head
            self.whole_bytes += head.num_bytes * self._is_whole
            if self._wants is nothing and head.kind in _LARGE:
                yield from self._begin(head.kind, head.num_bytes)
            else:
                self._keep_chunk(head, (yield from self._take(head.num_bytes)))
            self._head = None
            num_bytes -= head.num_bytes
        if num_bytes:  # also after the break: the section's end is known from the header, so the layers are not lost
            self._warn(_DAMAGED_METADATA)
            yield from self._skip(num_bytes)

    def _begin(self, kind: chunks.Kind, num_bytes: int) -> Iterator[None]:
        """Skips a payload; keeps what there is of it when somebody jumps on."""
        while not self._gap_bytes and len(self._pending) < num_bytes:
            yield
        self.begun[kind.name] = num_bytes, bytes(self._pending[:num_bytes])
        yield from self._skip(num_bytes)

    def _keep_chunk(self, head: chunks.Head, payload: bytes) -> None:
        kind = head.kind
        if not head.fits(payload):
            self._warn(_DAMAGED.get(kind, f"{kind.name} is damaged, it was ignored") if kind else _DAMAGED_METADATA)
        elif kind:
            try:
                self.attachments = chunks.add(self.attachments, kind, payload)
            except FormatError as error:
                self._warn(str(error))
        elif head.is_mandatory:
            raise FormatError(f"the file has the mandatory chunk {head.tag.decode('latin-1')!r}, which needs a newer hcodec")

    def _take(self, num_bytes: int) -> Generator[None, None, bytes]:
        while len(self._pending) < num_bytes:
            yield
        taken = bytes(self._pending[:num_bytes])
        del self._pending[:num_bytes]
        return taken

    def _skip(self, num_bytes: int) -> Iterator[None]:
        while len(self._pending) + self._gap_bytes < num_bytes:
            num_bytes -= len(self._pending) + self._gap_bytes
            self._pending.clear()
            self._gap_bytes = 0
            yield
        self._gap_bytes -= max(num_bytes - len(self._pending), 0)
        del self._pending[:num_bytes]

    def _warn(self, line: str) -> None:
        if line not in self._notes:  # a hostile file can repeat one fault a million times
            self._notes.append(line)


def _say_damage(header: Header, layer: int, damaged: list[int]) -> str:
    """Says in one line what is lost with some windows of a layer."""
    name = f"layer {layer}" if layer <= header.num_levels else "the lossless layer"
    lost = "it and the layers after it were ignored" if layer <= header.num_levels else "it was ignored"
    if header.num_windows == 1 or damaged == [EVERYWHERE]:
        return f"{name} is damaged; {lost}"
    others = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
    return f"{name} is damaged in {windows(header.height, header.width)[damaged[0]].place}{others}; {lost} there"


def read_all(data: bytes) -> tuple[Reader, Header]:
    """Returns a reader that has all of `data`, and its header. Raises FormatError, TruncatedError (it ends inside the header)."""
    reader = Reader()
    reader.feed(data)
    return reader, reader.known_header()
