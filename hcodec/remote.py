"""open(): a picture of whose file only what is asked for is read, wherever it lies.

Room: codec (decode steps 1 and 2, the rest through `codec`).
"""

from __future__ import annotations

import os
from typing import IO, Any

from PIL import Image

from hcodec import stores
from hcodec.codec import Region, decode_picture
from hcodec.container import EVERYWHERE, Header, whole, windows
from hcodec.container.reader import Wants
from hcodec.models.runtime.threads import Show
from hcodec.mosaic import Mosaic, Rectangle
from hcodec.parts import PartialFile
from hcodec.pixels.picture import Picture
from hcodec.presented import image_of


class OpenFile(PartialFile):
    """A picture in a file that is read in parts; see `open`."""

    def image(
        self,
        *,
        levels: int | None = None,
        region: Region | None = None,
        device: str = "cpu",
        backend: str | None = None,
        strict: bool = False,
    ) -> Image.Image:
        """Returns what `hcodec.decode` returns with the same arguments; reads the levels and windows that it takes, no others.

        Raises what `hcodec.decode` raises, and OSError.
        """
        return image_of(self.picture(levels=levels, region=region, device=device, backend=backend, strict=strict))

    def picture(
        self, *, levels: int | None = None, region: Region | None = None, on_progress: Show | None = None, **options: Any
    ) -> Picture:
        """Returns what `image` returns, as a Picture; options: as `hcodec.decode` takes them."""
        reader = self.reader(needed(self.header, levels, region))
        return decode_picture(reader, levels=levels, region=region, on_progress=on_progress, **options)


def open(source: bytes | str | os.PathLike[str] | IO[bytes], *, timeout_s: float = stores.TIMEOUT_S, **options: Any) -> OpenFile:
    """Returns an hcodec file that is open for reading in parts: its `info`, and `image(levels=..., region=...)`.

    source: bytes, a path, an open file that can seek, or an address such as "https://..." or "s3://..." (this needs the extra
    "remote"). timeout_s: how long an HTTP server may be silent; it may be slow. options: for fsspec's file system of the
    address. To be closed, or used in `with`. Raises FormatError, TruncatedError (it ends inside the header), OSError,
    HcodecError (an address of an unknown kind).
    """
    return OpenFile(stores.opened(source, options, timeout_s))


def needed(header: Header, levels: int | None, region: Region | None) -> Wants:
    """Returns which pieces it takes to decode so many levels, None being all and the lossless layer, of a region.

    Raises TruncatedError if the file has fewer, HcodecError if the region lies beyond the picture.
    """
    last = header.num_levels
    if isinstance(levels, int) and levels > 0 and header.model != whole.MODEL:  # what is no number is refused later
        last = levels
    header.prefix_bytes(last)
    size = header.height, header.width
    rectangle, mosaic = Rectangle.chosen(region, *size), Mosaic(windows(*size), *size)
    shown, around = set(mosaic.touched(rectangle)), {EVERYWHERE, *mosaic.around(rectangle)}

    def wants(layer: int, window: int) -> bool:
        """Whether the piece of a layer and a window is among them."""
        if layer > header.num_levels:
            return levels is None and window in shown
        return layer <= last and window in around

    return wants
