"""pack() and unpack(): many pictures to an archive and back. The one file that knows pictures, archives and chains.

Room: codec. Pictures that one coder takes form groups; a group becomes a segment when it is large enough, coded as a
chain or, if that is shorter, stored. Memory is bounded by the open groups and by the archive, not by the pictures. A
coder is imported when it is needed: to store pictures, and to take out stored ones, no network is loaded.
"""

from __future__ import annotations

import warnings
import zlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hcodec import arguments, memory
from hcodec.coders import stored
from hcodec.container.archive import Archive, Entry, Segment, listing, opened, seal, write
from hcodec.container.attachments import ARCHIVE_KINDS, METADATA_KINDS, NOTHING, Attachments
from hcodec.container.directory import DEEP, STORED
from hcodec.container.source import Source
from hcodec.errors import FormatError, HcodecError, HcodecWarning, PictureError
from hcodec.kinds import KINDS, Kind
from hcodec.pixels import attachments, faithful, picture
from hcodec.pixels import metadata as blobs
from hcodec.pixels.faithful import ImageSource
from hcodec.pixels.metadata import Names
from hcodec.pixels.picture import Picture

__all__ = ["METADATA_KINDS", "RESTART", "listing", "pack", "unpack"]


RESTART = 64  # pictures between restart points, unless said otherwise
_RESTART_PX = 1 << 18  # and pixels, beyond which a longer chain gains nothing and makes access slow
_FLAT_BITS = 2.0  # stored bits a sub-pixel, below which a picture may be a drawing
_ALONE_PX = 1 << 12  # pixels, beyond which such a picture gets a segment of its own, coded in the way that suits it
_NEARLY = 1.1  # photographs that a quick attempt at storing brings this near to their chain get the thorough attempt
_MAX_NAMES = 5  # of pictures, in a message
_BYTES_PER_PIXEL = 24  # peak working memory of the pictures of a segment, measured; coders may need more


class _Item(NamedTuple):
    """A picture that waits for its segment; `place` is its own in the order in which pictures came."""

    place: int
    name: str
    pixels: NDArray[Any]  # uint8 (H, W) or (H, W, 3), or uint16 (H, W, 1 to 4)
    quick_bytes: int  # about as many as it takes stored
    attachments: Attachments


@dataclass(frozen=True)
class _Choice:
    """What pictures must have in common to be in one segment: the way to code them, the model, whether they may be drawings.

    Drawings are apart because they are better stored, and would make a chain of photographs longer.
    """

    kind: Kind
    model: str
    flat: bool


def pack(
    sources: Iterable[tuple[str, ImageSource]],
    *,
    restart: int = RESTART,
    metadata: Names = METADATA_KINDS,
    strip: Names = (),
    convert: bool = False,
) -> bytes:
    """Returns an archive of named pictures, without loss; they are read one by one.

    `sources`: pairs of a name (a relative path with "/", no ".." in it, all different) and whatever `encode` takes;
    `restart`: how many pictures a segment has at most, from 1: more of them make the archive smaller, fewer make access
    to a single one faster; `metadata`, `strip`, `convert`: as in `encode`, but an archive has a place for "icc", "exif",
    "xmp" and, where there is no other Exif, "resolution" only. What else there is, and what `convert` allows to change, is
    warned of as HcodecWarning. Raises FormatError (a name that cannot be used, too many pictures), PictureError (naming all
    pictures that are damaged or would be changed), ModelError, HcodecError (bad options).
    """
    packer, convert = _Packer(arguments.whole("restart", restart, 1)), arguments.flag("convert", convert)
    refused, notes = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)  # lines, and the names that they are of
    for name, source in _pairs(sources):
        try:
            one = _prepare(source, metadata, strip, convert)
        except PictureError as error:
            refused[str(error)].append(name)
        if refused:  # nothing is coded any more, but all are looked at
            continue
        for note in one.notes:
            notes[note].append(name)
        packer.add(name, one)
    if refused:
        raise PictureError("; ".join(_lines(refused)))
    data = packer.finish()
    faithful.warn(_lines(notes))
    return data


def _prepare(source: ImageSource, metadata: Names, strip: Names, convert: bool) -> Picture:
    """Returns a picture with what an archive has a place for, and notes on what it was before. Raises what `prepare` raises."""
    one = faithful.prepare(source, metadata=metadata, strip=strip, exact=True, convert=convert)
    return replace(one, metadata=blobs.only(blobs.into_exif(one.metadata), ARCHIVE_KINDS))


def _lines(found: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yields what was found, each with the first names of the pictures of which it is true."""
    for line, names in found.items():
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        yield f"{', '.join(names[:_MAX_NAMES])}{more}: {line}"


def _pairs(sources: object) -> Iterator[tuple[str, ImageSource]]:
    """Yields the pairs, each looked at. Raises HcodecError if it is none."""
    if not isinstance(sources, Iterable) or isinstance(sources, str | bytes):
        raise HcodecError(f"sources is of type {type(sources).__name__}; it must be pairs of a name and a picture")
    for pair in sources:
        if not isinstance(pair, tuple | list) or len(pair) != 2 or not isinstance(pair[0], str):
            raise HcodecError(f"sources has one of type {type(pair).__name__}; each must be a pair of a name and a picture")
        yield pair[0], pair[1]


class _Packer:
    """Groups pictures and makes segments of the groups."""

    def __init__(self, restart: int) -> None:
        self._restart = restart
        self._groups: dict[_Choice, list[_Item]] = {}
        self._entries: dict[int, Entry] = {}
        self._segments: list[tuple[Segment, bytes]] = []
        self._count = 0

    def add(self, name: str, one: Picture) -> None:
        """Puts one more picture, and what goes with it, behind those so far."""
        item = _item(self._count, name, one)
        self._count += 1
        choice = _choose(one, flat=8 * item.quick_bytes < _FLAT_BITS * item.pixels.size)
        if _num_px([item]) > (_ALONE_PX if choice.flat else _RESTART_PX - 1):  # and it does not end a chain of small ones
            self._flush(choice, [item])
            return
        group = self._groups.setdefault(choice, [])
        if group and _num_px([*group, item]) > _RESTART_PX:
            self._flush(choice, group)
        group.append(item)
        if len(group) == self._restart:
            self._flush(choice, group)

    def finish(self) -> bytes:
        """Returns the archive of all pictures; FormatError if there are none."""
        if not self._count:
            raise FormatError("there are no pictures to pack")
        for choice, group in self._groups.items():
            if group:
                self._flush(choice, group)
        return write([self._entries[place] for place in sorted(self._entries)], self._segments)

    def _flush(self, choice: _Choice, items: list[_Item]) -> None:
        """Makes the next segment of `items` and empties the list."""
        for item in items:
            self._entries[item.place] = _entry(item, len(self._segments))
        self._segments.append(_code(choice, items))
        items.clear()


def _item(place: int, name: str, one: Picture) -> _Item:
    if one.deep is not None:
        return _Item(place, name, one.deep, 8 * one.deep.nbytes, attachments.detach(replace(one, alpha=None)))
    pixels = np.ascontiguousarray(one.pixels[..., 0] if one.gray else one.pixels)
    return _Item(place, name, pixels, min(stored.fast_size(pixels), pixels.size), attachments.detach(one))


def _entry(item: _Item, segment: int) -> Entry:
    height, width = item.pixels.shape[:2]
    crc32, gray = zlib.crc32(_little_endian(item.pixels)), item.pixels.ndim == 2 or item.pixels.shape[2] < 3
    return Entry(item.name, width, height, segment, crc32, gray, item.attachments.sizes)


def _little_endian(pixels: NDArray[Any]) -> bytes:
    return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()


def _num_px(items: Sequence[_Item]) -> int:
    return sum(item.pixels.shape[0] * item.pixels.shape[1] for item in items)


def _choose(one: Picture, flat: bool) -> _Choice:
    """Returns the first kind that takes a picture; the last one takes any."""
    models = ((kind, kind.coder().fits([one])) for kind in KINDS)
    kind, model = next((kind, model) for kind, model in models if model is not None)
    return _Choice(kind, model, flat)


def _code(choice: _Choice, items: Sequence[_Item]) -> tuple[Segment, bytes]:
    """Returns the shorter of two segments: of the chain of the chosen coder, and of the stored pictures."""
    coder, pixels = choice.kind.coder(), [item.pixels for item in items]
    fingerprint, chain = coder.fingerprint(choice.model), coder.encode_chain(pixels, choice.model)
    number, beside = choice.kind.number, [item.attachments for item in items]
    if number not in (STORED, DEEP) and (choice.flat or sum(item.quick_bytes for item in items) <= _NEARLY * len(chain)):
        plain = stored.encode_chain(pixels)
        if len(plain) <= len(fingerprint) + len(chain):
            return seal(STORED, b"", plain, beside)
    return seal(number, fingerprint, chain, beside)


def unpack(source: Source, *, only: Collection[str] | str | None = None, strict: bool = False) -> Iterator[tuple[str, Picture]]:
    """Yields the pictures of an archive with their names, segment after segment.

    `source`: the archive's bytes, its path or an open file, of which no more is read than is needed; `only`: the names of
    the pictures that are wanted, or one name; None for all. What is lost (a damaged or missing segment, a picture whose pixels
    differ from their checksum) is left out and warned of as HcodecWarning, or raised with `strict`; metadata and alpha that
    are lost are also named in the picture's `notes`. Raises FormatError, TruncatedError, OSError, HcodecError (no such
    name).
    """
    arguments.flag("strict", strict)
    with opened(source) as archive:
        entries = archive.directory.entries
        wanted = {entry.name for entry in entries} if only is None else arguments.names("only", only)
        if missing := wanted - {entry.name for entry in entries}:
            raise HcodecError(f"there is no picture {min(missing)!r} in the archive")
        for index in sorted({entry.segment for entry in entries if entry.name in wanted}):
            yield from _decode_segment(archive, index, wanted, strict)


def _decode_segment(archive: Archive, index: int, wanted: set[str], strict: bool) -> Iterator[tuple[str, Picture]]:
    entries = archive.directory.in_segment(index)
    try:
        decoded = _decode_chain(archive, index)
    except HcodecError as error:
        _lose(error, f"{_say([entry.name for entry in entries if entry.name in wanted])} lost", strict)
        return
    beside, notes = _read_attachments(archive, index, strict)
    for entry, pixels, one in zip(entries, decoded, beside, strict=True):
        if entry.name not in wanted:
            continue
        try:
            yield entry.name, _assemble(entry, pixels, one, notes if any(entry.attached_bytes) else ())
        except FormatError as error:
            _lose(error, f"{_say([entry.name])} lost", strict)


def _decode_chain(archive: Archive, index: int) -> Sequence[NDArray[Any]]:
    segment, entries = archive.directory.segments[index], archive.directory.in_segment(index)
    sizes = [(entry.height, entry.width) for entry in entries]
    memory.check(sum(height * width for height, width in sizes), _BYTES_PER_PIXEL)
    kind = next((kind for kind in KINDS if kind.number == segment.kind), None)
    if kind is None:
        raise FormatError(f"segment {index} is of the unknown kind {segment.kind}; a newer hcodec may read it")
    memory.check(max(height * width for height, width in sizes), kind.bytes_per_pixel)
    coder = kind.coder()
    return coder.decode_chain(archive.chain(index), sizes, coder.find(segment.fingerprint))


def _read_attachments(archive: Archive, index: int, strict: bool) -> tuple[Sequence[Attachments], tuple[str, ...]]:
    """Returns what goes with each picture of a segment, and a note if that is lost."""
    try:
        return archive.attachments(index), ()
    except HcodecError as error:
        entries = archive.directory.in_segment(index)
        _lose(error, f"{_say([entry.name for entry in entries if any(entry.attached_bytes)])} without it", strict)
        return [NOTHING] * len(entries), ("alpha channel and metadata, which are lost",)


def _assemble(entry: Entry, pixels: NDArray[Any], beside: Attachments, notes: tuple[str, ...]) -> Picture:
    """Returns a picture of decoded pixels. Raises FormatError if they are not those of the entry, or alpha is damaged."""
    if pixels.dtype == np.uint8 and entry.gray != (pixels.ndim == 2):  # coders may store what is equal once, or three times
        pixels = pixels[..., 0] if entry.gray else np.repeat(pixels[..., None], 3, axis=2)
    size, everything = (entry.height, entry.width), (slice(None), slice(None))
    whole = replace(picture.read(pixels), rounding=(), left_out=notes, exact=True)
    if (pixels.shape[:2], whole.gray) != (size, entry.gray) or zlib.crc32(_little_endian(pixels)) != entry.crc32:
        raise FormatError("the pixels differ from their checksum")
    attached = attachments.attach(whole, beside, size, everything)
    attached = replace(attached, metadata=blobs.out_of_exif(attached.metadata))
    return attached if whole.deep is None else replace(attached, alpha=whole.alpha)


def _say(names: Sequence[str]) -> str:
    return f"{names[0]!r} is" if len(names) == 1 else f"{len(names)} pictures from {names[0]!r} to {names[-1]!r} are"


def _lose(error: HcodecError, what: str, strict: bool) -> None:
    if strict:
        raise error
    warnings.warn(f"{error}; {what}", HcodecWarning, stacklevel=4)
