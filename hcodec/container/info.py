"""What is in a file, level by level, without decoding it.

Room: container, beside the data's path: it reads as decoding does (step 2). Imports the other modules of its room,
`errors` and Python's own modules only: no numpy, no torch, no Pillow.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from hcodec.container import lossless_layer, whole
from hcodec.container.attachments import Chromaticities, Cicp, Density, Sizes
from hcodec.container.header import Header
from hcodec.container.reader import Reader, read_all
from hcodec.container.source import Source, read_source
from hcodec.container.window import windows
from hcodec.errors import FormatError, HcodecError

_NAMED = (Cicp, Chromaticities, Density)
_VALUES = ("cicp", "chromaticities", "gamma", "density", "orientation", "text")


@dataclass(frozen=True)
class LevelInfo:
    """What a file says, and holds, of one level.

    `num_bytes`: the whole layer; `bpp`: its bits per image pixel; `prefix_bytes`: from the start of the file to the
    layer's end; `present_bytes`: how much of the layer is there; `crc_ok`: False if a piece of it is damaged; None when
    that is not known, because the layer is not whole, was not read, or comes, in some window, after a damaged one.
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

    `num_bytes`, `bpp`, `prefix_bytes`, `present_bytes`, `crc_ok`: as for levels; `method`: "stored", "coded",
    several of them with a comma where windows differ, or empty where no piece was read, is whole and well-formed; `start`:
    the highest level that it builds on, 0 for none.
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

    `fingerprint`: 8 hexadecimal digits; `cut`: the last layer is an incomplete one; `num_windows`: how many windows the
    picture has; `num_coarse`: how many of its first levels are not of windows, but of the whole picture; `alpha_bytes`,
    `icc_bytes`, `exif_bytes`, `xmp_bytes`: size of what is present, 0 when absent (`has_alpha` is also true of alpha of 16
    bits); `cicp` to `text`: as in `Attachments`; `container_bytes`: everything but the layers, in the whole file;
    `file_bytes`: what was read; `total_bytes`: what the header promises; `warnings`: as in `Reader`; `depth`: bits a sample;
    `stored`: how the picture is coded where it is stored as a whole ("bilevel", "5 colors", "16-bit", "image file"), and is
    all of level 1; else empty.
    """

    version: int
    width: int
    height: int
    model: str
    fingerprint: str
    gray: bool
    cut: bool
    num_windows: int
    num_coarse: int
    depth: int
    stored: str
    levels: tuple[LevelInfo, ...]
    lossless: LosslessInfo | None
    has_alpha: bool
    alpha_bytes: int
    icc_bytes: int
    exif_bytes: int
    xmp_bytes: int
    cicp: Cicp | None
    chromaticities: Chromaticities | None
    gamma: int | None
    density: Density | None
    orientation: int | None
    text: tuple[tuple[str, str], ...]
    container_bytes: int
    file_bytes: int
    total_bytes: int
    complete: bool
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The same, in dicts, lists, strings, numbers and booleans, as JSON takes them."""
        named = {name: value._asdict() for name in _VALUES if isinstance(value := getattr(self, name), _NAMED)}
        return {**asdict(self), **named, "text": dict(self.text)}


def info(source: Source) -> Info:
    """Returns what is in a file, given by its path, as bytes or open, be it whole or only its beginning.

    Raises FormatError if it is not ours, too new or damaged in its header, TruncatedError if it ends inside the header,
    HcodecError if the source is of another type, and OSError if it cannot be read.
    """
    return describe(read_all(read_source(source))[0])


def describe(reader: Reader) -> Info:
    """What is in a file, as far as a reader has it. Raises TruncatedError if it ends inside the header."""
    header, attached = reader.known_header(), reader.attachments
    stored = _stored(reader) if header.model == whole.MODEL else None
    sizes = attached.sizes._asdict() | {name: num_bytes for name, (num_bytes, _) in reader.begun.items() if name in Sizes._fields}
    return Info(
        version=header.version,
        width=header.width,
        height=header.height,
        model=header.model,
        fingerprint=header.fingerprint.hex(),
        gray=header.gray,
        cut=header.cut,
        num_windows=header.num_windows,
        num_coarse=header.num_coarse,
        depth=header.depth,
        stored=stored.describe() if stored else "unknown" if header.model == whole.MODEL else "",
        levels=_levels(reader, header),
        lossless=_describe_lossless(reader, header) if header.lossless else None,
        has_alpha=sizes["alpha"] > 0 or (stored is not None and stored.has_alpha),
        **{f"{name}_bytes": num_bytes for name, num_bytes in sizes.items()},
        **{name: getattr(attached, name) for name in _VALUES},
        container_bytes=header.file_bytes - sum(layer.num_bytes for layer in header.layers) - reader.whole_bytes,
        file_bytes=reader.num_bytes_fed,
        total_bytes=header.file_bytes,
        complete=reader.complete,
        warnings=tuple(reader.warnings),
    )


def _levels(reader: Reader, header: Header) -> tuple[LevelInfo, ...]:
    """Returns what there is to say of each level; a picture that is stored as a whole is one level."""
    if header.model != whole.MODEL:
        return tuple(LevelInfo(level, *_layer_facts(reader, header, level)) for level in range(1, header.num_levels + 1))
    end, promised = header.prefix_bytes(0), reader.whole_bytes
    present = max(promised - max(end - reader.num_bytes_fed, 0), 0)
    is_known = reader.num_levels and not reader.begun
    crc_ok = bool(reader.attachments.whole) if is_known else None
    return (LevelInfo(1, promised, 8 * promised / (header.width * header.height), end, present, crc_ok),)


def _stored(reader: Reader) -> whole.Whole | None:
    """Returns a picture that is stored as a whole, taken apart; None if it has hardly begun, or is malformed."""
    try:
        return whole.parse(reader.whole)
    except HcodecError:
        return None


def _layer_facts(reader: Reader, header: Header, number: int) -> tuple[int, float, int, int, bool | None]:
    """Returns `num_bytes` to `crc_ok` of a layer."""
    num_bytes, prefix_bytes = header.layers[number - 1].num_bytes, header.prefix_bytes(number)
    present_bytes = min(max(num_bytes - (prefix_bytes - reader.num_bytes_fed), 0), num_bytes)
    damaged = set(reader.damaged.values())
    known = present_bytes == num_bytes and number not in reader.unread and all(layer >= number for layer in damaged)
    crc_ok = False if number in damaged else True if known else None
    return num_bytes, 8 * num_bytes / (header.width * header.height), prefix_bytes, present_bytes, crc_ok


def _describe_lossless(reader: Reader, header: Header) -> LosslessInfo:
    heads = []
    for window, piece in zip(windows(header.height, header.width), reader.lossless, strict=True):
        with suppress(FormatError):  # one that is malformed in spite of its checksum must not hide the levels
            heads.append(lossless_layer.parse(piece, window.height, window.width))
    methods = dict.fromkeys(lossless_layer.METHODS[head.method] for head in heads)
    start = max((head.start for head in heads), default=0)
    return LosslessInfo(*_layer_facts(reader, header, len(header.layers)), ", ".join(methods), start)
