"""A progressive image codec with learned transforms: one file, every quality.

An image is encoded once; every prefix of the file decodes to an image, and more bytes give a better one.

Encode a path, the bytes of an image file, an open file, a Pillow image, a uint8 array or a Picture:

    data = hcodec.encode("img.png")                       # all levels
    data = hcodec.encode("img.png", quality=60)           # 0 to 100; or levels=3
    data = hcodec.encode("img.png", target_size="40kB")   # or target_bpp=0.5, target_psnr=30
    data = hcodec.encode("img.png", lossless=True)        # every pixel as it was

Decode a path, bytes or an open file, whole or only the beginning, to a Pillow image, or to arrays and metadata:

    image = hcodec.decode(data)
    preview = hcodec.decode(data, levels=2)
    part = hcodec.decode(data, region=(10, 20, 30, 20))   # x, y, width and height in pixels
    opaque = hcodec.decode(data, background="white")      # for formats without transparency
    pixels = hcodec.decode_picture(data).pixels           # uint8 (H, W, 3); also alpha and metadata

Decode what is still arriving; each level costs one step, not a new decode:

    with hcodec.StreamDecoder() as decoder:
        for start in range(0, len(data), 1000):
            if decoder.feed(data[start : start + 1000]):  # the number of levels that this completed
                image = decoder.image()

Look into a file and cut it, without decoding:

    sizes = [level.num_bytes for level in hcodec.info(data).levels]
    shorter = hcodec.truncate(data, levels=2)             # or num_bytes="20kB"

Open a file at an address, reading only what is asked for (with the extra `remote`):

    with hcodec.open(data) as file:                       # or a path, or "https://example.org/img.hcodec"
        preview = file.image(levels=1)

Put many pictures into one archive, without loss, and take them out:

    archive = hcodec.pack([("a.png", "img.png"), ("b.png", image)])
    pictures = dict(hcodec.unpack(archive, only="a.png"))

What goes wrong is raised as HcodecError: FormatError, TruncatedError, ModelError or PictureError, or as it is where an argument
is wrong; errors of the file system are OSError. What was lost although there is a result is warned of as HcodecWarning.

The public names, and nothing else, are here. They are looked up on first use, so that `import hcodec` costs no more than this
file: numpy and what runs models come in with the first `encode` or `decode`, never with `info` or `truncate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hcodec.codec import decode, decode_picture, encode
    from hcodec.container import info, truncate
    from hcodec.errors import FormatError, HcodecError, HcodecWarning, ModelError, PictureError, TruncatedError
    from hcodec.packing import pack, unpack
    from hcodec.pixels.picture import Metadata, Picture
    from hcodec.remote import open
    from hcodec.stream import StreamDecoder

__all__ = [
    "FormatError",
    "HcodecError",
    "HcodecWarning",
    "Metadata",
    "ModelError",
    "Picture",
    "PictureError",
    "StreamDecoder",
    "TruncatedError",
    "__version__",
    "decode",
    "decode_picture",
    "encode",
    "info",
    "open",
    "pack",
    "truncate",
    "unpack",
]

__version__ = "0.1.0"

_HOMES = {
    "codec": ("decode", "decode_picture", "encode"),
    "container": ("info", "truncate"),
    "errors": ("FormatError", "HcodecError", "HcodecWarning", "ModelError", "PictureError", "TruncatedError"),
    "packing": ("pack", "unpack"),
    "pixels.picture": ("Metadata", "Picture"),
    "remote": ("open",),
    "stream": ("StreamDecoder",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value  # the next look-up is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
