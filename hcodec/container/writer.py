"""Files made of layers: written anew, or cut from longer ones without encoding anything again.

Room: container (encode step 11). A layer is opaque here. FORMAT.md is the text of
the format. Imports the other modules of its room, `errors` and Python's own modules only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hcodec.container.attachments import NOTHING, Attachments
from hcodec.container.chunks import pack_sections, whole_chunks
from hcodec.container.fields import CRC_BYTES
from hcodec.container.header import Frame, Header, LayerEntry, pack_header
from hcodec.container.reader import Reader, read_all
from hcodec.errors import FormatError, HcodecError, TruncatedError


def write(
    frame: Frame, layers: Sequence[bytes], attachments: Attachments = NOTHING, *, lossless: bytes = b"", cut: bool = False
) -> bytes:
    """Returns the bytes of a file.

    `frame`: what it says of its picture (of a Header, nothing else is used); `layers`: 1 to 32 levels, coarse first;
    `attachments`: what comes along, of which nothing that is empty costs anything; `lossless`: the lossless layer, if
    there is one; `cut`: the last layer is an incomplete one. Raises FormatError when a value is outside the format's range.
    """
    front, back = pack_sections(attachments)
    every = [*layers, lossless] if lossless else layers
    header = Header(
        width=frame.width,
        height=frame.height,
        fingerprint=frame.fingerprint,
        gray=frame.gray,
        fitted=frame.fitted,
        layers=_table(every),
        cut=cut,
        lossless=bool(lossless),
        front_bytes=len(front),
        back_bytes=len(back),
    )
    return b"".join((pack_header(header), front, *every, back))


def _table(layers: Iterable[bytes]) -> tuple[LayerEntry, ...]:
    return tuple(LayerEntry(len(layer), zlib.crc32(layer)) for layer in layers)


def truncate(data: bytes, *, levels: int | None = None, num_bytes: int | None = None) -> bytes:
    """Returns a shorter file from the whole and undamaged parts of `data`, without re-encoding; alpha and metadata are kept.

    `levels`: how many levels to keep, without the lossless layer; `num_bytes`: a length that the result does not exceed,
    for which the lossless layer is left out, and then a layer may be cut inside (the header then says so). With both, both
    hold; with neither, everything usable is kept, which makes a well-formed file of the first bytes of one. Raises
    FormatError if the header is bad or a layer that was asked for is damaged, TruncatedError if a layer that was asked
    for is not whole or if the first does not fit.
    """
    reader, header = read_all(data)
    layers = reader.layers[: _check_levels(levels, reader, header.num_levels)]
    if levels is None and reader.partial:
        layers.append(reader.partial)
    front = data[header.header_bytes : header.prefix_bytes(0)]
    back = whole_chunks(data[header.prefix_bytes(len(header.layers)) : header.file_bytes], header.back_bytes)
    header = replace(header, back_bytes=len(back))
    if levels is None and _has_all(reader, header) and (num_bytes is None or header.file_bytes <= num_bytes):
        return b"".join((pack_header(header), front, *layers, reader.lossless, back))
    header = replace(header, layers=_table(layers), cut=False, lossless=False)
    if num_bytes is not None:
        layers = _fit(layers, header, num_bytes)
    cut = layers != reader.layers[: len(layers)]
    return b"".join((pack_header(replace(header, layers=_table(layers), cut=cut)), front, *layers, back))


def _has_all(reader: Reader, header: Header) -> bool:
    """Whether the lossless layer is there, and all levels before it."""
    return bool(reader.lossless) and len(reader.layers) == header.num_levels


def _check_levels(levels: int | None, reader: Reader, num_levels: int) -> int:
    """Returns how many whole levels to keep."""
    whole = len(reader.layers)
    if levels is not None and levels < 1:
        raise HcodecError(f"levels is {levels}, at least 1 must be kept")
    needed = levels or 1
    if reader.damaged is not None and reader.damaged <= min(needed, num_levels):
        raise FormatError(f"layer {reader.damaged} is damaged")
    if needed > whole:
        raise TruncatedError(f"{needed} levels were asked for, the file has {whole} whole ones")
    return levels or whole


def _fit(layers: list[bytes], header: Header, num_bytes: int) -> list[bytes]:
    """Returns the longest beginning of `layers` that makes a file of at most `num_bytes` bytes; the last may be shortened."""

    def size(lengths: Sequence[int]) -> int:
        """Returns the bytes of a file with layers of these lengths."""
        return replace(header, layers=tuple(LayerEntry(length, 0) for length in lengths)).file_bytes

    lengths = [len(layer) for layer in layers]
    if size(lengths[:1]) > num_bytes:
        raise TruncatedError(f"the first level alone needs {size(lengths[:1])} bytes, {num_bytes} were asked for")
    num_fitting = sum(size(lengths[:levels]) <= num_bytes for levels in range(1, len(layers) + 1))
    fitting = layers[:num_fitting]
    if num_fitting < len(layers):
        length = num_bytes - size(lengths[:num_fitting]) - CRC_BYTES
        while length > 0 and size([*lengths[:num_fitting], length]) > num_bytes:  # its own length takes 1 to 5 bytes
            length -= 1
        if length > 0:
            fitting.append(layers[num_fitting][:length])
    return fitting
