"""What is in a file, level by level, without decoding it.

Room: container, beside the data's path: it reads as decoding does (step 2). Imports the other modules of its room,
`errors` and Python's own modules only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from hcodec.container import lossless_layer
from hcodec.container.header import Header
from hcodec.container.reader import Reader, read_all
from hcodec.errors import FormatError


@dataclass(frozen=True)
class LevelInfo:
    """What a file says, and holds, of one level.

    `num_bytes`: the whole layer; `bpp`: its bits per image pixel; `prefix_bytes`: from the start of the file to the
    layer's end; `present_bytes`: how much of the layer is there; `crc_ok`: None when that is not known, because the
    layer is not whole or comes after a damaged one.
    """

    level: int
    num_bytes: int
    bpp: float
    prefix_bytes: int
    present_bytes: int
    crc_ok: bool | None


@dataclass(frozen=True)
class LosslessInfo:
    """What a file says, and holds, of its lossless layer.

    `num_bytes`, `bpp`, `prefix_bytes`, `present_bytes`, `crc_ok`: as for levels; `method`: "stored", "direct", "bits back", or
    empty where the layer is not whole or is malformed; `start`: the level that it builds on, 0 for none.
    """

    num_bytes: int
    bpp: float
    prefix_bytes: int
    present_bytes: int
    crc_ok: bool | None
    method: str
    start: int


@dataclass(frozen=True)
class Info:
    """What is in a file, without decoding it.

    `fingerprint`: 8 hexadecimal digits; `cut`: the last layer is an incomplete one; `alpha_bytes`, `icc_bytes`,
    `exif_bytes`, `xmp_bytes`: size of what is present, 0 when absent; `container_bytes`: everything but the layers,
    in the whole file; `file_bytes`: what was read; `total_bytes`: what the header promises; `warnings`: as in
    `Reader`.
    """

    version: int
    width: int
    height: int
    fingerprint: str
    gray: bool
    cut: bool
    levels: tuple[LevelInfo, ...]
    lossless: LosslessInfo | None
    alpha_bytes: int
    icc_bytes: int
    exif_bytes: int
    xmp_bytes: int
    container_bytes: int
    file_bytes: int
    total_bytes: int
    complete: bool
    warnings: tuple[str, ...]

    @property
    def has_alpha(self) -> bool:
        """Whether an alpha channel is present."""
        return self.alpha_bytes > 0

    def as_dict(self) -> dict[str, Any]:
        """The same, in dicts, lists, strings, numbers and booleans, as JSON takes them."""
        return {**asdict(self), "has_alpha": self.has_alpha}


def info(source: bytes | str | os.PathLike[str]) -> Info:
    """What is in a file, given by its path or its bytes, be they all or only the first.

    Raises FormatError if it is not ours, too new or damaged in its header, TruncatedError if it ends inside the header,
    and OSError if it cannot be read.
    """
    if isinstance(source, bytes):
        return _describe(*read_all(source))
    with open(source, "rb") as file:
        return _describe(*read_all(file.read()))


def _describe(reader: Reader, header: Header) -> Info:
    sizes = reader.attachments.sizes
    return Info(
        version=header.version,
        width=header.width,
        height=header.height,
        fingerprint=header.fingerprint.hex(),
        gray=header.gray,
        cut=header.cut,
        levels=tuple(_describe_level(reader, header, level) for level in range(1, header.num_levels + 1)),
        lossless=_describe_lossless(reader, header) if header.lossless else None,
        alpha_bytes=sizes.alpha,
        icc_bytes=sizes.icc,
        exif_bytes=sizes.exif,
        xmp_bytes=sizes.xmp,
        container_bytes=header.file_bytes - sum(entry.num_bytes for entry in header.layers),
        file_bytes=reader.num_bytes_fed,
        total_bytes=header.file_bytes,
        complete=reader.complete,
        warnings=tuple(reader.warnings),
    )


def _describe_level(reader: Reader, header: Header, level: int) -> LevelInfo:
    num_bytes = header.layers[level - 1].num_bytes
    prefix_bytes = header.prefix_bytes(level)
    present_bytes = min(max(num_bytes - (prefix_bytes - reader.num_bytes_fed), 0), num_bytes)
    checked = present_bytes == num_bytes and (reader.damaged is None or level <= reader.damaged)
    return LevelInfo(
        level=level,
        num_bytes=num_bytes,
        bpp=8 * num_bytes / (header.width * header.height),
        prefix_bytes=prefix_bytes,
        present_bytes=present_bytes,
        crc_ok=level != reader.damaged if checked else None,
    )


def _describe_lossless(reader: Reader, header: Header) -> LosslessInfo:
    row = _describe_level(reader, header, len(header.layers))
    head = None
    with suppress(FormatError):  # one that is malformed in spite of its checksum must not hide the levels
        head = lossless_layer.parse(reader.lossless, header.height, header.width)
    return LosslessInfo(
        num_bytes=row.num_bytes,
        bpp=row.bpp,
        prefix_bytes=row.prefix_bytes,
        present_bytes=row.present_bytes,
        crc_ok=row.crc_ok,
        method=lossless_layer.METHODS[head.method] if head else "",
        start=head.start if head else 0,
    )
