"""Files made of layers: written anew, or cut from longer ones without encoding anything again.

Room: container (encode step 11). A piece is opaque here. FORMAT.md is the text of the format. Imports the other modules of
its room, `errors` and Python's own modules only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import fields

from hcodec.arguments import size, whole
from hcodec.container.attachments import NOTHING, Attachments
from hcodec.container.chunks import pack_sections, whole_chunks
from hcodec.container.fields import CRC_BYTES, pack_varint
from hcodec.container.header import Frame, Header, pack_header
from hcodec.container.reader import EVERYWHERE, Reader, read_all
from hcodec.container.source import Source, read_source
from hcodec.container.table import Layer
from hcodec.container.whole import FEWER_LEVELS, MODEL, WITHOUT_LEVELS
from hcodec.errors import FormatError, HcodecWarning, TruncatedError

Pieces = Sequence[bytes]  # of one layer: that of the whole picture, or those of the windows in their order


def write(
    frame: Frame,
    layers: Sequence[Pieces],
    attachments: Attachments = NOTHING,
    *,
    lossless: Pieces = (),
    cut: bool = False,
) -> bytes:
    """Returns the bytes of a file.

    `frame`: what it says of its picture (of a Header, nothing else is used); `layers`: 1 to 32 levels, coarse first, each
    with one piece for the whole picture (the first `num_coarse` ones) or for each window, in the order of `windows`;
    `attachments`: what comes along, of which nothing that is empty costs anything; `lossless`: the pieces of the lossless
    layer, if there is one; `cut`: the last layer is an incomplete one: its last pieces may be missing, and the last one
    there is cut. Raises FormatError when a value is outside the format's range.
    """
    return _assemble(frame, layers, pack_sections(attachments), lossless=lossless, cut=cut)


def _assemble(
    frame: Frame, layers: Sequence[Pieces], sections: tuple[bytes, bytes], *, lossless: Pieces = (), cut: bool = False
) -> bytes:
    """Returns a file with these sections of chunks before and after the layers."""
    every = [*layers, lossless] if lossless else layers
    header = _header(frame, every, sections, lossless=bool(lossless), cut=cut)
    return b"".join((pack_header(header), sections[0], *(piece for layer in every for piece in layer), sections[1]))


def _header(frame: Frame, layers: Iterable[Pieces], sections: tuple[bytes, bytes], *, lossless: bool, cut: bool) -> Header:
    return Header(
        **{field.name: getattr(frame, field.name) for field in fields(Frame)},
        layers=tuple(map(Layer.of, layers)),
        cut=cut,
        lossless=lossless,
        front_bytes=len(sections[0]),
        back_bytes=len(sections[1]),
    )


def truncate(source: Source, *, levels: int | None = None, num_bytes: int | str | None = None) -> bytes:
    """Returns a shorter file from the whole and undamaged parts of a file, without re-encoding; what comes along is kept.

    `source`: its path, its bytes or an open file; `levels`: how many levels to keep, without the lossless layer; `num_bytes`: a
    length (40000 or "40kB") that the result does not exceed, for which the lossless layer is left out, and then a layer may be
    cut inside (the header then says so). With both, both hold; with neither, everything usable is kept, up to the first piece
    that is not, which makes a well-formed file of the first bytes of one. A picture stored as a whole is kept, with a warning if
    levels were asked for; so is a lossless one that has fewer. Raises FormatError if the header is bad or a layer that was asked
    for is damaged, TruncatedError if a layer that was asked for is not whole or if the first does not fit, HcodecError if an
    argument is wrong, OSError if the source cannot be read.
    """
    limit = None if num_bytes is None else size("num_bytes", num_bytes, 0)
    wanted = None if levels is None else whole("levels", levels, 1)
    return _truncate(read_source(source), wanted, limit)


def _truncate(data: bytes, levels: int | None, num_bytes: int | None) -> bytes:
    reader, header = read_all(data)
    if header.model == MODEL:
        _check_whole(reader, levels)
        levels = None
    if reader.is_all_below(levels):
        warnings.warn(FEWER_LEVELS, HcodecWarning, stacklevel=3)
        levels = None
    kept = _check_levels(levels, reader, header)
    layers = [_layer(reader, header, level) for level in range(kept)]
    front = data[header.header_bytes : header.prefix_bytes(0)]
    back = whole_chunks(data[header.prefix_bytes(len(header.layers)) : header.file_bytes], header.back_bytes)
    sections = front, back
    if levels is None and kept == header.num_levels and all(reader.lossless):
        exact = _assemble(header, layers, sections, lossless=reader.lossless)
        if num_bytes is None or len(exact) <= num_bytes:
            return exact
    begun = _begun(reader, header) if levels is None else []
    if num_bytes is not None:
        first = _header(header, layers[:1], sections, lossless=False, cut=False).file_bytes
        if first > num_bytes:
            what = "the picture, which is stored as a whole," if header.model == MODEL else "the first level alone"
            raise TruncatedError(f"{what} needs {first} bytes, {num_bytes} were asked for")
        layers, begun = _fit(layers, begun, num_bytes - first)
    return _assemble(header, [*layers, begun] if begun else layers, sections, cut=bool(begun))


def _check_whole(reader: Reader, levels: int | None) -> None:
    """Warns of levels of a picture that is stored as a whole. Raises FormatError (it is damaged), TruncatedError (it is cut)."""
    if not reader.attachments.whole:
        raise FormatError("the picture is damaged") if reader.num_levels else TruncatedError("the file ends inside its picture")
    if levels is not None:
        warnings.warn(WITHOUT_LEVELS, HcodecWarning, stacklevel=4)


def _check_levels(levels: int | None, reader: Reader, header: Header) -> int:
    """Returns how many whole levels to keep."""
    needed = levels or 1
    damaged = min(reader.damaged.values(), default=None)
    if damaged is not None and damaged <= min(needed, header.num_levels):
        raise FormatError(f"layer {damaged} is damaged")
    if needed > reader.num_levels:
        raise TruncatedError(f"{needed} levels were asked for, the file has {reader.num_levels} whole ones")
    return levels or reader.num_levels


def _layer(reader: Reader, header: Header, level: int) -> list[bytes]:
    """Returns the pieces of a whole level, counted from 0."""
    if level < header.num_coarse:
        return [reader.coarse[level]]
    return [pieces[level - header.num_coarse] for pieces in reader.pieces]


def _begun(reader: Reader, header: Header) -> list[bytes]:
    """Returns the first pieces of the first layer that is not whole, as far as they go without a gap; the last may be a part."""
    if reader.num_levels < header.num_coarse:
        return _without_empty_end([reader.partial(EVERYWHERE)])
    begun, level = [], reader.num_levels - header.num_coarse
    for window, pieces in enumerate(reader.pieces):
        if len(pieces) == level:
            begun.append(reader.partial(window))
            break
        begun.append(pieces[level])
    return _without_empty_end(begun)


def _without_empty_end(pieces: list[bytes]) -> list[bytes]:
    """Of a layer that is cut, the last piece must not be empty."""
    while pieces and not pieces[-1]:
        pieces.pop()
    return pieces


def _fit(layers: list[list[bytes]], begun: list[bytes], room: int) -> tuple[list[list[bytes]], list[bytes]]:
    """Returns the longest beginning that takes `room` bytes after the first layer: whole layers, and the pieces of a cut one."""
    for index, layer in enumerate(layers[1:], start=1):
        num_bytes = sum(map(_cost, layer))
        if num_bytes > room:
            return layers[:index], _fit_pieces(layer, room)
        room -= num_bytes
    return layers, _fit_pieces(begun, room)


def _fit_pieces(pieces: list[bytes], room: int) -> list[bytes]:
    """Returns the first pieces of a cut layer that take at most `room` bytes; the last may be shortened."""
    fitting: list[bytes] = []
    for piece in pieces:
        spare = room - len(pack_varint(len(fitting) + 1))  # beside the number of pieces
        if _cost(piece) > spare:
            fitting.append(_shortened(piece, spare))
            break
        room -= _cost(piece)
        fitting.append(piece)
    return _without_empty_end(fitting)


def _shortened(piece: bytes, room: int) -> bytes:
    """Returns the longest beginning that takes at most `room` bytes with its row."""
    length = min(len(piece), max(0, room - CRC_BYTES))
    while length and _cost(piece[:length]) > room:  # its own length takes 1 to 5 bytes
        length -= 1
    return piece[:length]


def _cost(piece: bytes) -> int:
    """Returns the bytes that a piece takes in a file, with its row in the table."""
    return len(pack_varint(len(piece))) + CRC_BYTES + len(piece)
