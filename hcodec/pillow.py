"""The Pillow plugin: after `import hcodec.pillow`, Pillow opens and saves .hcodec files as it does all others.

Room: codec, above `remote`, through which it reads. Opening reads the header and the metadata, `load` the layers. Errors
are those that Pillow's users expect: OSError for files, HcodecError only for wrong options of ours.
"""

from __future__ import annotations

import inspect
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import IO, Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from hcodec.codec import encode
from hcodec.container import Reader, whole
from hcodec.container.header import MAGIC
from hcodec.container.reader import nothing
from hcodec.errors import HcodecError, PictureError
from hcodec.pixels import attachments, picture
from hcodec.pixels.picture import Picture
from hcodec.remote import open as open_parts

FORMAT = "HCODEC"
MIME_TYPE = "image/x-hcodec"
_DEEP_MODES = {b"\1": "I;16", b"\2": "LA", b"\3": "RGB", b"\4": "RGBA"}  # by number of channels, which comes first
_OPTIONS = frozenset(inspect.signature(encode).parameters) - {"image"}  # of `save`; the others are metadata


class HcodecImageFile(ImageFile.ImageFile):
    """A picture in an hcodec file.

    `levels`: how many to decode, None for all and the lossless layer; to be set before the picture is loaded;
    `num_levels`: how many there are.
    """

    format = FORMAT
    format_description = "hcodec, a progressive image codec"
    levels: int | None = None
    _lock = threading.RLock()  # of images that need none, for they were loaded in another process

    def _open(self) -> None:
        self._lock = threading.RLock()  # of threads that load one image, one does
        file = self.fp or io.BytesIO()
        if not _accept(file.read(len(MAGIC))):
            raise SyntaxError("not an hcodec file")  # for Pillow, which looks for another format
        with _errors(UnidentifiedImageError):
            self._file = open_parts(file)
            reader = self._file.reader(nothing)
        header = self._file.header
        self.num_levels, self._has_levels = header.num_levels, header.model != whole.MODEL
        self._size = header.width, header.height
        self._mode = _mode(reader, header.gray)
        self.info.update(_info(reader))
        self._lay_tile()

    def _lay_tile(self) -> None:
        self.tile = [ImageFile._Tile("raw", (0, 0, *self.size), 0, self.mode)]

    def draft(self, mode: str | None = None, size: tuple[int, int] | None = None, *, levels: int | None = None) -> None:
        """Sets how many levels to decode, before the picture is loaded; one that is stored without levels has just all of it.

        Its mode and size stay, whatever is asked for.
        """
        if levels is not None and (self._has_levels or levels < 1):
            self.levels = levels

    def load(self) -> Any:
        """Decodes the picture.

        Raises OSError if the file is cut or damaged, unless the `levels` that were asked for are whole; with
        ImageFile.LOAD_TRUNCATED_IMAGES, what is there is decoded, and the loss warned of (HcodecWarning).
        """
        with self._lock:
            if self.tile:
                self._decode()
            return super().load()

    def _decode(self) -> None:
        """Puts the decoded samples in place of the file."""
        with _errors(OSError):
            strict = self.levels is None and not ImageFile.LOAD_TRUNCATED_IMAGES
            image = self._file.image(levels=self.levels, strict=strict)
        if image.mode + "A" == self.mode:  # its alpha channel is lost
            image = image.convert(self.mode)
        if self.fp and self._exclusive_fp:
            self.fp.close()
        self._mode, self.fp = image.mode, io.BytesIO(image.tobytes())
        self._lay_tile()
        del self._file

    def load_seek(self, pos: int) -> None:
        """Does nothing: there is one tile. That it exists keeps Pillow from mapping the file as if it were pixels."""

    def verify(self) -> None:
        """Reads all of the file and compares its checksums; raises OSError if it is cut or damaged."""
        file = getattr(self, "_file", None)
        if file is None:  # loaded; Pillow's PNG says the same
            raise RuntimeError("verify must be called directly after open")
        with _errors(OSError):
            reader = file.reader(lambda _layer, _window: True)
            reader.close()
        if reader.warnings:
            raise OSError(reader.warnings[0])
        super().verify()


@contextmanager
def _errors(kind: type[OSError]) -> Iterator[None]:
    """Turns our errors into one of Pillow's."""
    try:
        yield
    except HcodecError as error:
        raise kind(str(error)) from error


def _mode(reader: Reader, gray: bool) -> str:
    """Returns the mode that the picture will have."""
    plain = ("L" if gray else "RGB") + ("A" if "alpha" in reader.begun else "")
    with suppress(HcodecError):  # said when it is loaded
        stored = whole.parse(reader.whole)
        return _DEEP_MODES.get(stored.body[:1], plain) if stored.form == whole.DEEP else plain
    return plain


def _info(reader: Reader) -> dict[Any, Any]:
    """Returns what a decoded picture would have as its `info`, before it is decoded."""
    dot = Picture(np.zeros((1, 1, 3), np.uint8))
    beside = replace(reader.attachments, alpha=b"")
    return picture.to_image(attachments.attach(dot, beside, (1, 1), (slice(None), slice(None)))).info


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(MAGIC)


def _save(image: Image.Image, file: IO[bytes], _name: str | bytes) -> None:
    given = image.encoderinfo
    own, changed = image.info, {name: value for name, value in given.items() if name not in _OPTIONS}
    if isinstance(exif := changed.get("exif"), Image.Exif):
        changed["exif"] = exif.tobytes()
    try:
        image.info = own | changed  # a transparent color, say; not in a copy: that would lose what kind of file it came from
        source = picture.read(image, given=changed)
        data = encode(source, **{name: value for name, value in given.items() if name in _OPTIONS})
    except PictureError as error:
        raise OSError(f"cannot write mode {image.mode} as {FORMAT}: {error}") from error
    finally:
        image.info = own
    file.write(data)


def _save_all(image: Image.Image, file: IO[bytes], name: str | bytes) -> None:
    if getattr(image, "n_frames", 1) > 1 or image.encoderinfo.get("append_images"):
        raise OSError(f"{FORMAT} files hold one picture, and several were to be saved")
    _save(image, file, name)


Image.register_open(FORMAT, HcodecImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_save_all(FORMAT, _save_all)
Image.register_extension(FORMAT, ".hcodec")
Image.register_mime(FORMAT, MIME_TYPE)
