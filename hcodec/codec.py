"""encode() and decode(): the one file that knows pictures, networks, entropy coding and bytes.

Room: codec (encode steps 2 to 11, decode steps 2 to 9). Both go through a `session`: `Encoder` makes layers of a
picture, `Decoder` a picture of layers. Networks come in when a model is loaded, not before.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from typing import BinaryIO

import numpy as np
from PIL import Image

from hcodec import container, models, needs, whole_file
from hcodec.coders.lossless import LosslessCode
from hcodec.container import EVERYWHERE, Reader
from hcodec.container.window import windows
from hcodec.effort import encode_layers
from hcodec.errors import FormatError, HcodecError, HcodecWarning, PictureError, TruncatedError
from hcodec.exact import exact_layers, exact_pixels
from hcodec.models.runtime.threads import Show, ignore
from hcodec.mosaic import MARGIN, Mosaic, Rectangle
from hcodec.pixels import attachments, picture
from hcodec.pixels import metadata as blobs
from hcodec.pixels.picture import Picture
from hcodec.presented import picture_of
from hcodec.session import Decoder, Encoder, Pixels

ImageSource = Image.Image | str | os.PathLike[str] | bytes | BinaryIO | np.ndarray | Picture
Region = tuple[int, int, int, int]  # x, y, width, height in pixels
METADATA_KINDS = blobs.KINDS
DEFAULT_MODEL = "photo-1"


def encode(
    image: ImageSource,
    *,
    levels: int | None = None,
    lossless: bool | None = None,
    target_bpp: float | None = None,
    target_size: int | None = None,
    target_psnr: float | None = None,
    model: str = DEFAULT_MODEL,
    metadata: Collection[str] = METADATA_KINDS,
    effort: int = 1,
    on_progress: Show | None = None,
    device: str = "cpu",
    backend: str | None = None,
) -> bytes:
    """Returns the picture as an hcodec file.

    image: a path, an open file, the bytes of an image file, a Pillow image, a uint8 array (H, W[, 1..4]) or a Picture.
    levels: how many levels to keep, from 1; None keeps all. lossless: True adds the layer that makes the picture exact; then
    levels None keeps those that make the smallest file. None, with neither levels nor target nor effort, stores documents,
    screens and drawings exactly where that is hardly longer (`stored` of `info`); False does not. target_bpp (bits a pixel),
    target_size (bytes) and target_psnr (dB on 8-bit RGB) each cut the file at the byte: the longest that fits, or the
    shortest that reaches the PSNR. metadata: which of "icc", "exif", "xmp" to keep.
    effort: 1 to 4; above 1, symbols are searched for that make every prefix better (this needs torch), in about 15, 20 or 50
    seconds a megapixel on two cores; decoding takes no longer. It excludes lossless. on_progress: gets the share that is done,
    0 to 1. device: "auto", "cpu" or "cuda"; backend: "onnx" or "torch", None for what suits the device.
    Raises PictureError, ModelError, TruncatedError (a target smaller than the first level), HcodecError (bad options).
    """
    _check_options(targets := (target_bpp, target_size, target_psnr), bool(lossless), effort)
    if lossless:
        return encode_lossless(
            image, levels=levels, model=model, metadata=metadata, on_progress=on_progress, device=device, backend=backend
        )[0]
    source, show = _source(image, metadata), on_progress or ignore
    if lossless is None and levels is None and effort == 1 and not any(targets):
        return whole_file.better(source, lambda: _encode_levels(source, None, model, 1, show, device, backend)[0])
    data, encoder = _encode_levels(source, levels, model, effort, show, device, backend)
    data = data if target_psnr is None else _cut_to_psnr(data, source.pixels, encoder.model, target_psnr)
    limit = _byte_limit(source, target_bpp, target_size)
    return data if limit is None or len(data) <= limit else container.truncate(data, num_bytes=limit)


def _encode_levels(
    source: Picture, levels: int | None, model: str, effort: int, show: Show, device: str, backend: str | None
) -> tuple[bytes, Encoder]:
    """Returns a file with the first levels, or all, and what made it."""
    encoder = Encoder(models.load(model, device, backend), source.pixels)
    count = _check_levels(levels, encoder.model.config.num_levels)
    return encode_layers(encoder, count, effort, partial(_pack, source), show), encoder


def encode_lossless(
    image: ImageSource,
    *,
    levels: int | None = None,
    model: str = DEFAULT_MODEL,
    metadata: Collection[str] = METADATA_KINDS,
    on_progress: Show | None = None,
    device: str = "cpu",
    backend: str | None = None,
) -> tuple[bytes, LosslessCode]:
    """Returns what `encode` returns with lossless=True, and how the lossless layer was coded, or the picture as a whole."""
    source = _source(image, metadata)
    if source.deep is not None:
        if levels is not None:
            raise PictureError("levels hold 8 bits, the picture has 16: it is lossless without levels only")
        deep = whole_file.encode_deep(source)
        return deep, _whole_code(deep)
    drawn = whole_file.encode_drawn(source) if levels is None else None
    if drawn is not None and whole_file.has_few_colors(drawn):
        return drawn, _whole_code(drawn)
    data, code = encode_exact_layers(source, levels, model, on_progress or ignore, device, backend)
    return (data, code) if drawn is None or len(data) <= len(drawn) else (drawn, _whole_code(drawn))


def encode_exact_layers(
    source: Picture, levels: int | None, model: str, show: Show = ignore, device: str = "cpu", backend: str | None = None
) -> tuple[bytes, LosslessCode]:
    """Returns a file with levels and the lossless layer, whatever the picture looks like; else as `encode_lossless`."""
    encoder = Encoder(models.load(model, device, backend), source.pixels)
    if levels is not None:
        _check_levels(levels, encoder.model.config.num_levels)
    layers, lossless, code = exact_layers(encoder, source.gray, levels, show)
    return _pack(source, encoder, layers, lossless), code


def _whole_code(drawn: bytes) -> LosslessCode:
    """Returns how a picture is coded that is in its file as a whole."""
    return LosslessCode(container.read_all(drawn)[0].whole, container.info(drawn).stored, 1)


def decode(
    data: bytes | str | os.PathLike[str] | BinaryIO,
    *,
    levels: int | None = None,
    region: Region | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
    backend: str | None = None,
    strict: bool = False,
    on_progress: Show | None = None,
) -> Image.Image:
    """Returns the picture in an hcodec file, or in the beginning of one, as a Pillow image (L, LA, RGB or RGBA).

    levels: stop after that many; TruncatedError if the file has fewer. region: x, y, width and height of the part to decode,
    in pixels; only its windows are. temperature: 0 puts missing levels at their prior mean, above 0 samples them (1 is the
    prior itself) with `seed`. What is lost (a damaged layer, a missing end) is warned of as HcodecWarning, or raised with
    strict. on_progress: gets the share that is done, 0 to 1. Raises FormatError, TruncatedError, ModelError, HcodecError (a
    region beyond the picture), OSError.
    """
    shown = decode_picture(
        data,
        levels=levels,
        region=region,
        temperature=temperature,
        seed=seed,
        device=device,
        backend=backend,
        strict=strict,
        on_progress=on_progress,
    )
    if shown.deep is not None and shown.deep.shape[2] > 1:
        warnings.warn("16-bit samples rounded to 8 bits: decode_picture has them, in `deep`", HcodecWarning, stacklevel=2)
    return picture.to_image(shown)


def decode_picture(
    data: bytes | str | os.PathLike[str] | BinaryIO,
    *,
    levels: int | None = None,
    region: Region | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
    backend: str | None = None,
    strict: bool = False,
    on_progress: Show | None = None,
) -> Picture:
    """Returns what `decode` returns, as a Picture."""
    if not (np.isfinite(temperature) and temperature >= 0):
        raise HcodecError(f"temperature is {temperature}; it must be 0 or more")
    reader = Reader()
    reader.feed(_read(data))
    header = reader.known_header()
    rectangle = Rectangle.chosen(region, header.height, header.width)
    if whole_file.is_whole(reader):
        return _decode_whole(reader, levels, rectangle, strict)
    count = _levels_present(reader, levels, rectangle, strict)
    decoder = Decoder.open(reader, device, backend, count if levels is not None else None)
    show = on_progress or ignore
    exact = exact_pixels(decoder, rectangle, strict, show) if levels is None else None
    pixels = decoder.pixels(rectangle, temperature, seed, show) if exact is None else exact
    _report_faults(decoder, strict)
    shown = picture_of(reader, pixels, strict, rectangle)
    return replace(shown, exact=exact is not None)


def _decode_whole(reader: Reader, levels: int | None, region: Rectangle, strict: bool) -> Picture:
    """Returns the picture of a file that holds it as a whole, which is its only level."""
    if levels is not None:
        _check_levels(levels, reader.num_levels)
    _report(reader, strict)
    return whole_file.decode(reader, region, strict)


def _levels_present(reader: Reader, levels: int | None, region: Rectangle, strict: bool) -> int:
    """Returns how many levels of a region to decode; reports what cannot be used."""
    if not (reader.coarse or any(reader.pieces)):
        raise FormatError("layer 1 is damaged") if reader.damaged else TruncatedError("the file ends inside layer 1")
    if levels is None or strict:
        _report(reader, strict)
    header = reader.known_header()
    size = header.height, header.width
    needed = Mosaic(windows(*size), *size).touched(region.grown(MARGIN, *size))
    worst = min((reader.damaged[window] for window in (EVERYWHERE, *needed) if window in reader.damaged), default=None)
    if levels is not None and worst is not None and worst <= min(levels, header.num_levels):
        raise FormatError(f"layer {worst} is damaged")
    return _check_levels(levels, len(reader.coarse) + min(len(reader.pieces[window]) for window in needed))


def _report_faults(decoder: Decoder, strict: bool) -> None:
    """Warns of levels that were malformed in spite of their checksum, or raises it; raises it if no level was left."""
    for line in decoder.faults.values():
        if strict or not decoder.coarse().levels:
            raise FormatError(line)
        warnings.warn(line, HcodecWarning, stacklevel=4)


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
    needs.check(*source.pixels.shape[:2])
    return replace(source, metadata=blobs.keep(source.metadata, metadata))


def _pack(source: Picture, encoder: Encoder, layers: Sequence[Sequence[bytes]], lossless: Sequence[bytes] = ()) -> bytes:
    height, width = source.pixels.shape[:2]
    model = encoder.model
    frame = container.Frame(
        width=width,
        height=height,
        model=model.name,
        fingerprint=model.fingerprint,
        num_coarse=model.config.num_coarse,
        gray=source.gray,
        offsets=encoder.with_offsets,
    )
    return container.write(frame, layers, attachments.detach(source), lossless=lossless)


def _cut_to_psnr(data: bytes, pixels: Pixels, model: models.Model, target: float) -> bytes:
    """Returns the shortest prefix of the file that reaches the target (to 1 % of its last layer), or else all of it."""

    def reaches(prefix: bytes) -> bool:
        """Whether a file reaches the target."""
        return picture.psnr(Decoder(model, container.read_all(prefix)[0]).pixels(), pixels) >= target

    num_levels = container.read_all(data)[1].num_levels
    wholes = [container.truncate(data, levels=level) for level in range(1, num_levels + 1)]
    enough = next((level for level, prefix in enumerate(wholes) if reaches(prefix)), None)
    if enough is None:
        warnings.warn(f"the PSNR stays below {target} dB with all levels", HcodecWarning, stacklevel=3)
        return data
    best, low = wholes[enough], len(wholes[max(enough - 1, 0)])
    step = max(4, (len(best) - low) // 100)
    while len(best) - low > step:
        shorter = container.truncate(data, num_bytes=(low + len(best)) // 2)
        best, low = (shorter, low) if reaches(shorter) else (best, max(len(shorter), low + 1))
    return best


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
