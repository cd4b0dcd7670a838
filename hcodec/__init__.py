"""A progressive image codec with learned transforms.

The public names, and nothing else. They are looked up on first use, so that `import hcodec` costs no more than this
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
