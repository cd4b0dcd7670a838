"""Writes the file around the layers, and cuts it.

Room: container (encode step 11). A layer is opaque here. FORMAT.md is the text of the format. Imports `header`,
`reader`, `errors` and Python's own modules only: no numpy, no torch, no Pillow, no entropy coding.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from hcodec.container.header import (
    CHUNK_HEAD_BYTES,
    CHUNK_NAMES,
    CRC_BYTES,
    MAX_LENGTH_BYTES,
    Header,
    LayerEntry,
    chunk_crc,
    pack_header,
)
from hcodec.container.reader import Reader, read_all
from hcodec.errors import FormatError, HcodecError, TruncatedError


def write(
    *,
    width: int,
    height: int,
    fingerprint: bytes,
    layers: Sequence[bytes],
    gray: bool = False,
    alpha: bytes = b"",
    icc: bytes = b"",
    exif: bytes = b"",
    xmp: bytes = b"",
    cut: bool = False,
    last: bytes = b"",
    fitted: bool = False,
) -> bytes:
    """The bytes of a file.

    `width`, `height`: 1 .. 2^24 pixels, together at most 2^31; `fingerprint`: 4 bytes; `layers`: 1 to 32, coarse first;
    `alpha`: as from `alpha.encode_alpha`; empty metadata costs nothing; `cut`: the last layer is an incomplete one;
    `last`: the lossless layer, if there is one; `fitted`: levels bring what was fitted to the picture.
    Raises FormatError when a value is outside the format's range.
    """
    front = _pack_chunks({b"ALPH": alpha, b"ICCP": icc})  # before the layers: needed to show the first of them
    back = _pack_chunks({b"EXIF": exif, b"XMP ": xmp})
    every = [*layers, last] if last else layers
    header = Header(
        width=width,
        height=height,
        fingerprint=fingerprint,
        layers=_table(every),
        gray=gray,
        cut=cut,
        lossless=bool(last),
        fitted=fitted,
        front_bytes=len(front),
        back_bytes=len(back),
    )
    return b"".join((pack_header(header), front, *every, back))


def _table(layers: Iterable[bytes]) -> tuple[LayerEntry, ...]:
    return tuple(LayerEntry(len(layer), zlib.crc32(layer)) for layer in layers)


def _pack_chunks(payloads: dict[bytes, bytes]) -> bytes:
    return b"".join(_pack_chunk(tag, payload) for tag, payload in payloads.items() if payload)


def _pack_chunk(tag: bytes, payload: bytes) -> bytes:
    if len(payload) > MAX_LENGTH_BYTES:
        raise FormatError(f"{len(payload)} bytes of {CHUNK_NAMES[tag]} are more than the format holds")
    return b"".join((tag, len(payload).to_bytes(4, "little"), chunk_crc(tag, payload), payload))


def truncate(data: bytes, *, levels: int | None = None, num_bytes: int | None = None) -> bytes:
    """A shorter file from the whole and undamaged parts of `data`, without re-encoding; alpha and metadata are kept.

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
    back = _whole_chunks(data[header.prefix_bytes(len(header.layers)) : header.file_bytes], header.back_bytes)
    whole = _with_lossless(replace(header, back_bytes=len(back)), reader, levels)
    if whole is not None and (num_bytes is None or whole.file_bytes <= num_bytes):
        return b"".join((pack_header(whole), front, *layers, reader.lossless, back))
    header = replace(header, layers=_table(layers), cut=False, lossless=False, back_bytes=len(back))
    if num_bytes is not None:
        layers = _fit(layers, header, num_bytes)
    cut = layers != reader.layers[: len(layers)]
    return b"".join((pack_header(replace(header, layers=_table(layers), cut=cut)), front, *layers, back))


def _with_lossless(header: Header, reader: Reader, levels: int | None) -> Header | None:
    """The header of a file that keeps the lossless layer; None if there is none to keep, or levels alone are wanted."""
    if not reader.lossless or levels is not None or len(reader.layers) != header.num_levels:
        return None
    return header


def _check_levels(levels: int | None, reader: Reader, num_levels: int) -> int:
    """How many whole levels to keep."""
    whole = len(reader.layers)
    if levels is not None and levels < 1:
        raise HcodecError(f"levels is {levels}, at least 1 must be kept")
    needed = levels or 1
    if reader.damaged is not None and reader.damaged <= min(needed, num_levels):
        raise FormatError(f"layer {reader.damaged} is damaged")
    if needed > whole:
        raise TruncatedError(f"{needed} levels were asked for, the file has {whole} whole ones")
    return levels or whole


def _whole_chunks(section: bytes, section_bytes: int) -> bytes:
    """`section` as it is if it has all its `section_bytes`, else the whole chunks at its start."""
    if len(section) == section_bytes:
        return section
    end = position = 0
    while position <= len(section):
        end = position
        position += CHUNK_HEAD_BYTES + int.from_bytes(section[position + 4 : position + 8], "little")
    return section[:end]


def _fit(layers: list[bytes], header: Header, num_bytes: int) -> list[bytes]:
    """The longest beginning of `layers` that makes a file of at most `num_bytes` bytes; the last may be shortened."""

    def size(lengths: Sequence[int]) -> int:
        """The bytes of a file with layers of these lengths."""
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
