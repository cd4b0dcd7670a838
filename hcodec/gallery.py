"""A folder of pictures as a viewer sees it: what is in it, and what stands beside a level of one of them.

Room: codec, beside the data's path; `server` gives it out. Names come from strangers: none leads out of the folder.
"""

from __future__ import annotations

import functools
import io
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hcodec.container import archive
from hcodec.container.header import ARCHIVE, parse_header
from hcodec.errors import HcodecError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from hcodec.pixels.equal_jpeg import Jpeg

ENDING = ".hcodec"
_SOURCES = (".png", ".tif", ".tiff", ".webp", ".bmp", ".jpg", ".jpeg")  # what a picture may have been made from, best first
_HEADER_BYTES = 1 << 20  # that are read to describe a file


@dataclass(frozen=True)
class Entry:
    """A file in the gallery: a picture of width x height pixels, or an archive of so many, or `fault` says why it is neither."""

    name: str
    num_bytes: int
    width: int = 0
    height: int = 0
    num_pictures: int = 0
    fault: str = ""


class Gallery:
    """The hcodec files in a folder and in those below it, hidden ones apart."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._one = threading.Lock()  # of a hundred requests for one picture, one decodes it

    def entries(self) -> list[Entry]:
        """Returns all files, by name."""
        return [self._entry(path) for path in sorted(self._paths())]

    def path(self, name: str) -> Path:
        """Returns the file of that name, a relative path with slashes; FileNotFoundError if the gallery has none."""
        parts = name.split("/")
        is_plain = all(part and not part.startswith(".") and "\0" not in part for part in parts)
        path = self.root.joinpath(*parts) if is_plain else self.root
        if not self._gives(path):
            raise FileNotFoundError(f"there is no picture {name!r}")
        return Path(os.path.realpath(path))

    def _gives(self, path: Path) -> bool:
        """Whether a path in the folder is that of a picture; a link that leads out of it, or to something else, is none."""
        return path.name.endswith(ENDING) and self._has(path, (ENDING,))

    def _has(self, path: Path, endings: Collection[str]) -> bool:
        """Whether a path in the folder leads to a file in it that has one of the endings, and that is not hidden."""
        real = Path(os.path.realpath(path))  # of a link to itself it is the link; `Path.resolve` raises
        inside = real.relative_to(self.root).parts if real.is_relative_to(self.root) else (".",)
        is_open = not any(part.startswith(".") for part in (path.name, *inside))
        return is_open and real.suffix.lower() in endings and os.path.isfile(real)

    def jpeg(self, name: str, num_bytes: int) -> tuple[Jpeg, str]:
        """Returns the JPEG file that so many bytes buy of a picture, and the name of the file that it is made of.

        Raises FileNotFoundError, HcodecError, OSError.
        """
        from hcodec.pixels.equal_jpeg import equal_jpeg

        path = self.path(name)
        pixels, origin = self._original(path)
        return equal_jpeg(pixels, num_bytes), origin

    def source(self, name: str) -> bytes:
        """Returns the picture that lies beside the file of that name, and has its size, as a PNG file without alpha.

        Raises FileNotFoundError if there is none, HcodecError, OSError.
        """
        from hcodec.pixels import picture

        path = self.path(name)
        pixels, origin = self._original(path)
        if origin == path.name:
            raise FileNotFoundError(f"{name} has no source beside it")
        file = io.BytesIO()
        picture.save(picture.to_image(picture.Picture(pixels)), file, "PNG")
        return file.getvalue()

    def _original(self, path: Path) -> tuple[NDArray[np.uint8], str]:
        beside = (path.with_suffix(suffix) for suffix in _SOURCES)
        sources = tuple(source for source in beside if self._has(source, _SOURCES))
        with self._one:
            return _original(path, sources, path.stat().st_mtime_ns)

    def _paths(self) -> Iterator[Path]:
        for parent, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(parent, name) for name in names if self._gives(Path(parent, name)))

    def _entry(self, path: Path) -> Entry:
        name, num_bytes = path.relative_to(self.root).as_posix(), 0
        if not _is_text(name):
            return Entry(name.encode(errors="replace").decode(), 0, fault="its name is not UTF-8")
        try:
            num_bytes = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(_HEADER_BYTES)
            if start.startswith(ARCHIVE):
                return Entry(name, num_bytes, num_pictures=_count(path))
            header = parse_header(start)
        except (HcodecError, OSError) as error:
            return Entry(name, num_bytes, fault=str(error))
        return Entry(name, num_bytes, header.width, header.height)


def _is_text(name: str) -> bool:
    """Whether a name is one that a browser can ask for."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


@functools.lru_cache(maxsize=2)  # who moves a slider asks for one picture again and again
def _original(path: Path, sources: tuple[Path, ...], _time: int) -> tuple[NDArray[np.uint8], str]:
    """Returns the pixels (H, W, 3) that a file was made from, and the name of who has them: one of the sources, or the file."""
    from hcodec import codec
    from hcodec.pixels import picture

    header = parse_header(path.read_bytes()[:_HEADER_BYTES])
    for source in sources:
        with suppress(HcodecError):  # it is damaged; there is another one
            found = picture.read(source)
            if found.pixels.shape[:2] == (header.height, header.width):
                return found.pixels, source.name
    return codec.decode_picture(path).pixels, path.name


def _count(path: Path) -> int:
    """Returns how many pictures an archive has."""
    with archive.opened(path) as opened:
        return len(opened.directory.entries)
