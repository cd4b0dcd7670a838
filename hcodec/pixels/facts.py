"""What a picture file says and Pillow does not pass on: depth of its samples, color, and what there is beside the picture.

Room: pixels (encode step 2), below `picture`. It looks at the open file behind a Pillow image before that is loaded, and
leaves it where it was. Imports Pillow, `jxl_header`, `container.attachments` and Python's own modules only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from PIL import Image, TiffTags

from hcodec.container.attachments import Cicp
from hcodec.pixels import jxl_header

_JXL = b"\0\0\0\x0cJXL \r\n\x87\n"
_PNG, _JP2, _J2K = b"\x89PNG\r\n\x1a\n", b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"
_MAX_BOX_BYTES = 1 << 24  # of those that are read
_MAX_META_BYTES = 1 << 20  # of what lists items and their properties
_MAX_CODE = 255
_MAX_OTHER = 100  # names; a hostile file could have millions
_NCLX, _PROFILE = b"nclx", 2  # how AVIF, HEIF and JPEG 2000 say color
_DEPTH_BITS = 127  # of a byte with depth - 1, whose highest bit says that samples are signed
_UUID_BYTES, _JP2_EXIF = 16, b"JpgTiffExif->JP2"
_JP2_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_DIFFERING = 255  # the components of a JPEG 2000 file have several depths
# PNG chunks that Pillow reads, that we keep, that are of the coding or belong to an animation
_PNG_READ = frozenset(
    b"IHDR PLTE tRNS IDAT IEND gAMA cHRM sRGB iCCP cICP pHYs tEXt zTXt iTXt eXIf acTL fcTL fdAT sBIT hIST sPLT iDOT".split()
)
_PNG_NAMES = {b"bKGD": "background color", b"tIME": "time of change", b"mDCV": "mastering display", b"cLLI": "light levels"}
_JPEG_READ = (b"JFIF", b"JFXX", b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0", b"MPF\0", b"Adobe")
_JPEG_NAMES = {
    b"Photoshop 3.0\0": "IPTC and Photoshop data",
    b"http://ns.adobe.com/xmp/extension/\0": "extended XMP",
    b"FPXR\0": "FlashPix data",
}
# TIFF tags of layout and coding, and those that go into EXIF, ICC profile, XMP, resolution and chromaticities
_TIFF_READ = frozenset(
    (*range(254, 285), 290, 291, 292, 293, 296, 297, 305, 306, 315, 316, *range(317, 342), 347, *range(512, 533), 700)
) | {0x8298, 34665, 34675, 34853}


@dataclass(frozen=True)
class Facts:
    """What Pillow does not pass on.

    `bits`: a sample in the file, 0 where nothing says that it differs from what Pillow gives; `cicp`, `icc`: color; `exif`: a
    TIFF structure; `xmp`: an XMP packet; `other`: in a few words each, what came along and has no place in our files.
    """

    bits: int = 0
    cicp: Cicp | None = None
    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    other: tuple[str, ...] = ()


def facts_of(image: Image.Image) -> Facts:
    """Returns the facts of an image that has just been opened; of one without an open file, what it knows itself."""
    file = getattr(image, "fp", None)
    try:
        position = file.tell() if file else 0
    except (OSError, ValueError, AttributeError):  # closed already
        file = None
    if not file:
        return Facts(_tile_bits(image))
    try:
        return _facts(image, file)
    finally:
        file.seek(position)


def _facts(image: Image.Image, file: BinaryIO) -> Facts:
    file.seek(0)
    start = file.read(len(_JP2))
    if start.startswith(_PNG):
        return _png_facts(file)
    if start == _JP2 or start.startswith(_J2K):
        return _jpeg2000_facts(file, start)
    if start == _JXL or start.startswith(jxl_header.START):
        return _jxl_facts(file, start)
    if start[4:8] == b"ftyp":
        return _heif_facts(image, file)
    return Facts(_tile_bits(image), other=tuple(dict.fromkeys((*_jpeg_other(image), *_tiff_other(image)))))


def _tile_bits(image: Image.Image) -> int:
    """Returns the depth of samples that Pillow cuts, as its decoders are told it."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return 0
    name, arguments = tiles[0][0], tiles[0][3]
    rawmode = str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments)
    if image.format == "PPM" and isinstance(arguments, tuple) and isinstance(arguments[-1], int):
        return arguments[-1].bit_length()
    if name == "SGI16" or (name == "sgi_rle" and arguments[-1] == 2):
        return 16
    if rawmode.startswith("I;12"):
        return 12
    return 16 if ";16" in rawmode and not rawmode.startswith("BGR") else 0  # BGR;16 has 5 and 6 bits


def _png_facts(file: BinaryIO) -> Facts:
    file.seek(len(_PNG))
    depth, cicp, other = 0, None, dict[str, None]()
    while len(head := file.read(8)) == 8:
        num_bytes, kind = int.from_bytes(head[:4], "big"), head[4:]
        body = file.read(num_bytes) if num_bytes <= 16 else b""
        if kind == b"IHDR" and len(body) == 13:
            depth = body[8]
        elif kind == b"cICP" and len(body) == 4 and cicp is None and body[3] < 2:
            cicp = Cicp(*body)
        elif kind not in _PNG_READ and len(other) < _MAX_OTHER:
            other[_PNG_NAMES.get(kind) or f"chunk {kind.decode('latin-1')}"] = None
        file.seek(num_bytes - len(body) + 4, 1)
        if kind == b"IEND":
            break
    return Facts(depth if depth > 8 else 0, cicp, other=tuple(name for name in other if name.isprintable()))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of the boxes side by side in the content of another."""
    position = 0
    while position + 8 <= len(data):
        num_bytes = int.from_bytes(data[position : position + 4], "big") or len(data) - position
        if num_bytes < 8:
            return
        yield data[position + 4 : position + 8], data[position + 8 : position + num_bytes]
        position += num_bytes


def _outer_box(file: BinaryIO, wanted: bytes) -> bytes:
    """Returns the content of the first box of a kind in a file; empty if there is none."""
    return next((content for _, content in _outer_boxes(file, wanted)), b"")


def _outer_boxes(file: BinaryIO, *wanted: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields kind and content of the boxes of some kinds in a file; of what is too long, only the beginning."""
    position = 0
    while True:
        file.seek(position)
        head = file.read(16)
        num_bytes, size, kind = int.from_bytes(head[:4], "big"), 8, head[4:8]
        if num_bytes == 1:
            num_bytes, size = int.from_bytes(head[8:], "big"), 16
        if len(head) < size or 0 < num_bytes < size:
            return
        if kind in wanted:
            file.seek(position + size)
            yield kind, file.read(min(num_bytes - size, _MAX_BOX_BYTES) if num_bytes else _MAX_BOX_BYTES)
        if not num_bytes:  # to the end of the file
            return
        position += num_bytes


def _jpeg2000_facts(file: BinaryIO, start: bytes) -> Facts:
    if not start.startswith(_JP2):
        file.seek(0)
        return Facts(_codestream_bits(file.read(4096)))
    bits, icc = 0, b""
    for kind, content in _boxes(_outer_box(file, b"jp2h")):
        if kind == b"ihdr" and len(content) >= 11:
            bits = (
                (content[10] & _DEPTH_BITS) + 1
                if content[10] != _DIFFERING
                else _codestream_bits(_outer_box(file, b"jp2c")[:4096])
            )
        elif kind == b"colr" and content[:1] == bytes((_PROFILE,)) and not icc:
            icc = content[3:]
    found = {content[:_UUID_BYTES]: content[_UUID_BYTES:] for _, content in _outer_boxes(file, b"uuid")}
    exif, xmp = found.pop(_JP2_EXIF, b""), found.pop(_JP2_XMP, b"")
    return Facts(bits if bits > 8 else 0, icc=icc, exif=exif, xmp=xmp, other=("data with a UUID",) if found else ())


def _codestream_bits(data: bytes) -> int:
    """Returns the most bits that a component of a JPEG 2000 codestream has, if they are more than 8."""
    num_components = int.from_bytes(data[40:42], "big")
    bits = max(((byte & _DEPTH_BITS) + 1 for byte in data[42 : 42 + 3 * num_components : 3]), default=0)
    return bits if bits > 8 else 0


def _jxl_facts(file: BinaryIO, start: bytes) -> Facts:
    if start == _JXL:
        codestream = _outer_box(file, b"jxlc") or _outer_box(file, b"jxlp")[4:]  # whole, or its first part with a number
        other = ["compressed metadata"] if _outer_box(file, b"brob") else []
        xmp = _outer_box(file, b"xml ")
    else:
        file.seek(0)
        codestream, other, xmp = file.read(64), [], b""
    header = jxl_header.parse(codestream)
    moving = ["more frames"] if header.moves else []
    return Facts(header.bits if header.bits > 8 else 0, xmp=xmp, other=(*moving, *other))


def _heif_facts(image: Image.Image, file: BinaryIO) -> Facts:
    """AVIF and HEIF: what is said of the primary picture."""
    cicp, icc, bits = None, b"", 0
    for kind, content in _primary_properties(_outer_box(file, b"meta")[4:_MAX_META_BYTES]):
        if kind == b"colr" and content[:4] == _NCLX and len(content) >= 11:
            primaries, transfer, matrix = (int.from_bytes(content[at : at + 2], "big") for at in (4, 6, 8))
            good = max(primaries, transfer, matrix) <= _MAX_CODE
            cicp = Cicp(primaries, transfer, matrix, content[10] >> 7) if good else None
        elif kind == b"colr" and content[:4] in (b"prof", b"rICC"):
            icc = content[4:]
        elif kind == b"pixi" and len(content) > 5:
            bits = max(content[5 : 5 + content[4]], default=0)
        elif kind == b"av1C" and len(content) > 2 and not bits:
            bits = (12 if content[2] & 0x20 else 10) if content[2] & 0x40 else 8
    bits = image.info.get("bit_depth", bits)
    other = [name for key, name in (("depth_images", "depth map"), ("aux", "auxiliary pictures")) if image.info.get(key)]
    return Facts(bits if bits > 8 else 0, cicp, icc, other=tuple(other))


def _primary_properties(meta: bytes) -> list[tuple[bytes, bytes]]:
    """Returns the properties (kind and content) of the primary item of a `meta` box."""
    parts = dict(_boxes(meta))
    primary = parts.get(b"pitm", b"")
    inner = dict(_boxes(parts.get(b"iprp", b"")))
    properties = list(_boxes(inner.get(b"ipco", b"")))
    indices = dict(_associations(inner.get(b"ipma", b""))).get(int.from_bytes(primary[4:], "big"), [])
    return [properties[index - 1] for index in indices if 0 < index <= len(properties)]


def _associations(ipma: bytes) -> Iterator[tuple[int, list[int]]]:
    """Yields the number of each item with those of its properties, from 1."""
    id_bytes, size = (4 if ipma[:1] > b"\0" else 2), (2 if ipma[3:4] and ipma[3] & 1 else 1)
    position = 8
    while position + id_bytes < len(ipma):
        first = position + id_bytes + 1
        end = first + size * ipma[first - 1]
        mask = (1 << 8 * size - 1) - 1  # the highest bit says that the property is essential
        numbers = [int.from_bytes(ipma[at : at + size], "big") & mask for at in range(first, end, size)]
        yield int.from_bytes(ipma[position : position + id_bytes], "big"), numbers
        position = end


def _jpeg_other(image: Image.Image) -> Iterator[str]:
    if image.format not in ("JPEG", "MPO"):
        return
    unread = [(app, content) for app, content in getattr(image, "applist", ()) if not content.startswith(_JPEG_READ)]
    for app, content in unread:
        if app != "COM":
            yield next((name for start, name in _JPEG_NAMES.items() if content.startswith(start)), f"{app} segment")


def _tiff_other(image: Image.Image) -> Iterator[str]:
    if image.format == "TIFF":
        for tag in sorted(getattr(image, "tag_v2", ())):
            if tag not in _TIFF_READ:
                name = TiffTags.lookup(tag).name
                yield f"TIFF tag {tag if name == 'unknown' else name}"
