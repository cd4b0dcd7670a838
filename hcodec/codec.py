"""encode() and decode(): the one file that knows pictures, networks, entropy coding and bytes.

Room: codec (encode steps 2 to 11, decode steps 2 to 9). Both go through a `session`: `Encoder` makes layers of a
picture, `Decoder` a picture of layers. torch comes in when a model is loaded, not before.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from hcodec import container, models
from hcodec.coders import levels as level_coder
from hcodec.coders.lossless import LosslessCode
from hcodec.container import Reader
from hcodec.effort import Layers, encode_layers
from hcodec.errors import FormatError, HcodecError, HcodecWarning, ModelError, TruncatedError
from hcodec.pixels import attachments, picture
from hcodec.pixels import metadata as blobs
from hcodec.pixels.picture import Picture
from hcodec.session import Decoder, Encoder, check_memory, picture_of

ImageSource = Image.Image | str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Picture
METADATA_KINDS = blobs.KINDS


def encode(
    image: ImageSource,
    *,
    levels: int | None = None,
    lossless: bool = False,
    target_bpp: float | None = None,
    target_size: int | None = None,
    target_psnr: float | None = None,
    model: str = "photo",
    metadata: Collection[str] = METADATA_KINDS,
    effort: int = 1,
    on_progress: Callable[[float], None] | None = None,
    device: str = "cpu",
) -> bytes:
    """Returns the picture as an hcodec file.

    image: a path, an open file, the bytes of an image file, a Pillow image, a uint8 array (H, W[, 1..4]) or a Picture.
    levels: how many levels to keep, from 1; None keeps all. lossless: add the layer that makes the picture exact; then levels
    None keeps those that make the smallest file. target_bpp (bits per pixel, container included), target_size
    (bytes) and target_psnr (dB on 8-bit RGB) each cut the file at the byte: the longest that fits, or the shortest that
    reaches the PSNR. metadata: which of "icc", "exif", "xmp" to keep.
    effort: 1 to 4; above 1, symbols are searched for that make every prefix better, in about 15, 20 or 50 seconds a megapixel on
    two cores; decoding takes no longer. It excludes lossless. on_progress: gets the share of the search that is done, 0 to 1.
    device: "auto", "cpu" or "cuda".
    Raises PictureError, ModelError, TruncatedError (a target smaller than the first level), HcodecError (bad options).
    """
    _check_options((target_bpp, target_size, target_psnr), lossless, effort)
    if lossless:
        return encode_lossless(image, levels=levels, model=model, metadata=metadata, device=device)[0]
    source = _source(image, metadata)
    loaded = models.load(model, device)
    count = _check_levels(levels, loaded.agreed.config.num_levels)
    layers = encode_layers(loaded, source.pixels, count, effort, on_progress)
    data = _pack(source, model, loaded.fingerprint, [layer for layer, _ in layers], fitted=True)
    if target_psnr is not None:
        data = _cut_to_psnr(data, source, loaded, layers, target_psnr)
    limit = _byte_limit(source, target_bpp, target_size)
    return data if limit is None or len(data) <= limit else container.truncate(data, num_bytes=limit)


def encode_lossless(
    image: ImageSource,
    *,
    levels: int | None = None,
    model: str = "photo",
    metadata: Collection[str] = METADATA_KINDS,
    device: str = "cpu",
) -> tuple[bytes, LosslessCode]:
    """Returns what `encode` returns with lossless=True, and how the lossless layer was coded and what it cost."""
    source = _source(image, metadata)
    loaded = models.load(model, device)
    _check_levels(levels, loaded.agreed.config.num_levels)
    layers, code = Encoder(loaded, source.pixels).lossless_layers(source.gray, levels)
    return _pack(source, model, loaded.fingerprint, layers, code.data), code


def decode(
    data: bytes | str | os.PathLike[str] | BinaryIO,
    *,
    levels: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
    strict: bool = False,
) -> Image.Image:
    """Returns the picture in an hcodec file, or in the beginning of one, as a Pillow image (L, LA, RGB or RGBA).

    levels: stop after that many; TruncatedError if the file has fewer. temperature: 0 puts missing levels at their
    prior mean, above 0 samples them (1 is the prior itself) with `seed`. What is lost (a damaged layer, a missing end)
    is warned of as HcodecWarning, or raised with strict. Raises FormatError, TruncatedError, ModelError, OSError.
    """
    decoded = decode_picture(data, levels=levels, temperature=temperature, seed=seed, device=device, strict=strict)
    return picture.to_image(decoded)


def decode_picture(
    data: bytes | str | os.PathLike[str] | BinaryIO,
    *,
    levels: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
    strict: bool = False,
) -> Picture:
    """Returns what `decode` returns, as a Picture."""
    if not (np.isfinite(temperature) and temperature >= 0):
        raise HcodecError(f"temperature is {temperature}; it must be 0 or more")
    reader = Reader()
    reader.feed(_read(data))
    header = reader.known_header()
    if not reader.num_levels:
        raise FormatError("layer 1 is damaged") if reader.damaged else TruncatedError("the file ends inside layer 1")
    if levels is None or strict:
        _report(reader, strict)
    if levels is not None and reader.damaged.get(0) == reader.num_levels + 1 <= min(levels, header.num_levels):
        raise FormatError(f"layer {reader.num_levels + 1} is damaged")
    count = _check_levels(levels, reader.num_levels)
    decoder = Decoder.open(header, device)
    _push_levels(decoder, reader.pieces[0][:count], strict)
    if levels is None and reader.lossless[0]:
        _push_lossless(decoder, reader.lossless[0], strict)
    part = reader.partial(0) if levels is None and decoder.num_levels == count else b""
    pixels = _pixels(decoder, part, strict, temperature, seed)
    return replace(picture_of(reader, pixels, strict), exact=decoder.exact is not None)


def _push_levels(decoder: Decoder, layers: Sequence[bytes], strict: bool) -> None:
    """Decodes layers until one proves to be malformed in spite of its checksum; the levels before it stay."""
    try:
        for layer in layers:
            decoder.push(layer)
    except FormatError as error:
        if strict or not decoder.num_levels:
            raise
        _warn_of_level(decoder, error)


def _pixels(decoder: Decoder, part: bytes, strict: bool, temperature: float, seed: int) -> NDArray[np.uint8]:
    """Returns the picture, with the beginning of a layer unless that is malformed."""
    try:
        return decoder.pixels(part, temperature, seed)
    except FormatError as error:
        if strict:
            raise
        _warn_of_level(decoder, error)
        return decoder.pixels(b"", temperature, seed)


def _warn_of_level(decoder: Decoder, error: FormatError) -> None:
    line = f"level {decoder.num_levels + 1} is malformed, it was ignored: {error}"
    warnings.warn(line, HcodecWarning, stacklevel=5)


def _push_lossless(decoder: Decoder, data: bytes, strict: bool) -> None:
    """Decodes the lossless layer; if it is malformed in spite of its checksum, or its weights are missing, the levels stay."""
    try:
        decoder.push_lossless(data)
    except (FormatError, ModelError) as error:
        if strict:
            raise
        warnings.warn(f"{error}; it was ignored", HcodecWarning, stacklevel=4)


def _check_options(targets: Sequence[float | None], lossless: bool, effort: int) -> None:
    for target in targets:
        if target is not None and not target > 0:  # nor NaN
            raise HcodecError(f"a target is {target}; it must be above 0")
        if target is not None and lossless:
            raise HcodecError("a target and lossless exclude each other")
    if lossless and effort != 1:
        raise HcodecError("effort and lossless exclude each other: the search is for files with a loss")


def _source(image: ImageSource, metadata: Collection[str]) -> Picture:
    """Returns the picture with the metadata that is to be kept, if there is memory for coding it."""
    source = image if isinstance(image, Picture) else picture.read(image)
    check_memory(*source.pixels.shape[:2])
    return replace(source, metadata=blobs.keep(source.metadata, metadata))


def _pack(
    source: Picture, model: str, fingerprint: bytes, layers: Sequence[bytes], lossless: bytes = b"", fitted: bool = False
) -> bytes:
    height, width = source.pixels.shape[:2]
    fitted = fitted and level_coder.is_fitted(height, width)
    frame = container.Frame(
        width=width, height=height, model=model, fingerprint=fingerprint, gray=source.gray, fitted=fitted
    )
    pieces = [[layer] for layer in layers]
    return container.write(frame, pieces, attachments.detach(source), lossless=[lossless] if lossless else ())


def _cut_to_psnr(data: bytes, source: Picture, model: models.Model, layers: Layers, target: float) -> bytes:
    """Returns the shortest prefix of the file that reaches the target (to 1 % of its last layer), or else all of it."""
    tables, with_fit = level_coder.tables_of(model), level_coder.is_fitted(*source.pixels.shape[:2])

    def reaches(level: int, part: bytes = b"") -> bool:
        """Whether the levels so far, and a part of the next layer, reach the target."""
        prefix = layers[level - 1][1]
        if part:
            prefix = level_coder.decoded_part(tables, prefix, part, with_fit)
        return picture.psnr(picture.from_tensor(prefix.render()), source.pixels) >= target

    enough = next((level for level in range(1, len(layers) + 1) if reaches(level)), None)
    if enough is None:
        warnings.warn(f"the PSNR stays below {target} dB with all levels", HcodecWarning, stacklevel=3)
        return data
    whole = container.truncate(data, levels=enough)
    if enough == 1:
        return whole
    layer = layers[enough - 1][0]
    low, high = 0, len(layer)
    while high - low > max(4, len(layer) // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(enough - 1, layer[:middle]) else (middle, high)
    return container.truncate(data, num_bytes=len(whole) - (len(layer) - high) + 1)  # one more for the number of pieces


def _byte_limit(source: Picture, target_bpp: float | None, target_size: int | None) -> int | None:
    """Returns the smaller of both limits in bytes, or None."""
    pixels = source.pixels.shape[0] * source.pixels.shape[1]
    limits = [] if target_size is None else [target_size]
    if target_bpp is not None:
        limits.append(int(min(target_bpp * pixels / 8, 2**62)))
    return min(limits, default=None)


def _check_levels(levels: int | None, present: int) -> int:
    """Returns how many levels to use of those present."""
    if levels is not None and not isinstance(levels, int | np.integer):
        raise HcodecError(f"levels is {levels!r}; it must be a whole number")
    if levels is not None and levels < 1:
        raise HcodecError(f"levels is {levels}; at least 1 is needed")
    if levels is not None and levels > present:
        raise TruncatedError(f"{levels} levels were asked for, there are {present}")
    return present if levels is None else levels


def _read(data: bytes | str | os.PathLike[str] | BinaryIO) -> bytes:
    if isinstance(data, bytes | bytearray | memoryview):
        return bytes(data)
    if isinstance(data, str | os.PathLike):
        with open(data, "rb") as file:
            return file.read()
    return data.read()


def _report(reader: Reader, strict: bool) -> None:
    """Warns of what the reader could not use, or raises it."""
    for line in reader.warnings:
        if strict:
            raise FormatError(line)
        warnings.warn(line, HcodecWarning, stacklevel=4)
    try:
        reader.close()
    except TruncatedError as error:
        if strict:
            raise
        warnings.warn(str(error), HcodecWarning, stacklevel=4)
