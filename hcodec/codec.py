"""encode() and decode(): the one file that knows pictures, networks, entropy coding and bytes.

Room: codec (encode steps 2 to 11, decode steps 2 to 9). Both go through a `session`: `Encoder` makes layers of a
picture, `Decoder` a picture of layers. Networks come in when a model is loaded, not before.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from PIL import Image

from hcodec import arguments, container, models, needs, whole_file
from hcodec.coders.lossless import LosslessCode
from hcodec.container import EVERYWHERE, Reader
from hcodec.container.attachments import METADATA_KINDS
from hcodec.container.source import Source, read_source
from hcodec.container.window import windows
from hcodec.effort import encode_layers
from hcodec.errors import FormatError, HcodecError, HcodecWarning, PictureError, TruncatedError
from hcodec.exact import NOTHING, exact_layers, exact_pixels
from hcodec.models.runtime.threads import Show, ignore
from hcodec.mosaic import Mosaic, Rectangle
from hcodec.pixels import attachments, faithful
from hcodec.pixels.background import Color, on_background, rgb
from hcodec.pixels.faithful import ImageSource
from hcodec.pixels.metadata import Names
from hcodec.pixels.picture import Picture
from hcodec.presented import image_of, picture_of
from hcodec.session import Decoder, Encoder
from hcodec.targets import Targets, at_most

Region = tuple[int, int, int, int]  # x, y, width, height in pixels
DEFAULT_MODEL = "photo-1"
MAX_TEMPERATURE = 1000.0  # beyond any use, and far below what overflows


def encode(
    image: ImageSource,
    *,
    levels: int | None = None,
    lossless: bool | None = None,
    quality: float | None = None,
    target_bpp: float | None = None,
    target_size: int | str | None = None,
    target_psnr: float | None = None,
    model: str = DEFAULT_MODEL,
    metadata: Names = METADATA_KINDS,
    strip: Names = (),
    convert: bool = False,
    effort: int = 1,
    on_progress: Show | None = None,
    device: str = "cpu",
    backend: str | None = None,
) -> bytes:
    """Returns the picture as an hcodec file.

    image: a path, an open file, bytes, a Pillow image, an array (H, W[, 1..4]) of uint8 or bool (uint16 when lossless), or a
    Picture. levels: how many to keep, from 1; None: all. lossless: True makes the file exact; levels None then keeps those that
    make it smallest, and what it cannot hold is refused (floats always), unless `convert` is given. None, with no levels, target
    or effort, stores documents, screens and drawings exactly where that is hardly longer; False does not. quality: 0 to 100,
    from the first level alone to all. target_bpp (bits a pixel), target_size (bytes, or "40kB") and target_psnr (dB on 8-bit
    RGB): the longest file that fits, or the shortest that reaches it. metadata: what to keep, strip: what not to keep of that:
    "icc", "color", "exif", "xmp", "text", "resolution" or, to strip, "gps"; a name, several, or "all". effort: 1 to 4; above 1,
    better symbols are searched for (with torch). on_progress: gets the share done. device: "auto", "cpu" or "cuda"; backend:
    "onnx", "torch" or None. Warns (HcodecWarning) of changes. Raises HcodecError: PictureError, ModelError, TruncatedError, ...
    """
    targets = Targets.checked(levels, quality, target_bpp, target_size, target_psnr, lossless)
    source = _source(image, metadata, strip, convert, exact=bool(lossless))
    if lossless:
        return _encode_exact(source, levels, effort, model, device, backend, on_progress)
    compute = model, device, backend, on_progress
    if lossless is None and targets == Targets() and arguments.is_whole(effort) and effort == 1:
        return whole_file.better(source, lambda: _encode_levels(source, targets, 1, *compute))
    return _encode_levels(source, targets, effort, *compute)


def _encode_exact(
    source: Picture, levels: int | None, effort: int, model: str, device: str, backend: str | None, on_progress: Show | None
) -> bytes:
    """Returns an exact file."""
    _refuse_search(effort)
    source = source.without_notes()  # warned of already
    return encode_lossless(source, levels=levels, model=model, on_progress=on_progress, device=device, backend=backend)[0]


def _encode_levels(
    source: Picture, targets: Targets, effort: int, model: str, device: str, backend: str | None, on_progress: Show | None
) -> bytes:
    """Returns a file with levels, as many as the targets want."""
    encoder, show = _begin(source, model, device, backend, on_progress)
    data = encode_layers(encoder, targets.count(encoder.model), effort, partial(_pack, source), show)
    return targets.cut(data, source.pixels, encoder.model)


def encode_lossless(
    image: ImageSource,
    *,
    levels: int | None = None,
    model: str = DEFAULT_MODEL,
    metadata: Names = METADATA_KINDS,
    strip: Names = (),
    convert: bool = False,
    on_progress: Show | None = None,
    device: str = "cpu",
    backend: str | None = None,
) -> tuple[bytes, LosslessCode]:
    """Returns what `encode` returns with lossless=True, and how the lossless layer was coded, or the picture as a whole."""
    source = _source(image, metadata, strip, convert, exact=True)
    if source.deep is not None:
        if levels is not None:
            raise PictureError("levels hold 8 bits, the picture has 16: it is lossless without levels only")
        deep = whole_file.encode_deep(source)
        return deep, _whole_code(deep)
    drawn = whole_file.encode_drawn(source) if levels is None else None
    if drawn is not None and whole_file.is_hardly_beaten(drawn):
        return drawn, _whole_code(drawn)
    data, code = encode_exact_layers(source, levels, model, on_progress, device, backend)
    return (data, code) if drawn is None or len(data) <= len(drawn) else (drawn, _whole_code(drawn))


def encode_exact_layers(
    source: Picture, levels: int | None, model: str, on_progress: Show | None = None, device: str = "cpu",
    backend: str | None = None,
) -> tuple[bytes, LosslessCode]:  # fmt: skip
    """Returns a file with levels and the lossless layer, whatever the picture looks like; else as `encode_lossless`."""
    encoder, show = _begin(source, model, device, backend, on_progress)
    if levels is not None:
        at_most(arguments.whole("levels", levels, 1), encoder.model.config.num_levels)
    layers, lossless, code = exact_layers(encoder, source.gray, levels, show)
    return _pack(source, encoder, layers, lossless), code


def _whole_code(drawn: bytes) -> LosslessCode:
    """Returns how a picture is coded that is in its file as a whole."""
    return LosslessCode(container.read_all(drawn)[0].whole, container.info(drawn).stored, 1)


def decode(
    data: Source,
    *,
    levels: int | None = None,
    region: Region | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    device: str = "cpu",
    backend: str | None = None,
    strict: bool = False,
    on_progress: Show | None = None,
    background: Color | None = None,
) -> Image.Image:
    """Returns the picture in an hcodec file, or in the beginning of one, as a Pillow image (L, LA, RGB or RGBA).

    levels: stop after that many; TruncatedError if the file has fewer. A picture that is stored as a whole has none, and a
    lossless one may have fewer by choice: all of it is decoded then, with a warning. region: x, y, width and height of the part
    to decode, in pixels; only its windows are. temperature: 0 puts missing levels at their prior mean, above 0 samples them (1 is
    the prior itself) with `seed`. What is lost (a damaged layer, a missing end) is warned of as HcodecWarning, or raised with
    strict. on_progress: gets the share that is done, 0 to 1. background: a color ("white", "#ffcc00" or red, green and blue) to
    put the picture on, whose transparency is gone then. Raises FormatError, TruncatedError, ModelError, HcodecError (bad options,
    a region beyond the picture), OSError.
    """
    color = None if background is None else rgb(background)
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
    shown = shown if color is None else on_background(shown, color)
    return image_of(shown)


def decode_picture(
    data: Source | Reader,
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
    """Returns what `decode` returns, as a Picture that keeps its transparency; data: also a reader with some of a file."""
    arguments.number("temperature", temperature, 0, MAX_TEMPERATURE)
    arguments.whole("seed", seed, 0)
    arguments.flag("strict", strict)
    arguments.calls("on_progress", on_progress)
    wanted = None if levels is None else arguments.whole("levels", levels, 1)
    reader = data if isinstance(data, Reader) else container.read_all(read_source(data))[0]
    header = reader.known_header()
    rectangle = Rectangle.chosen(region, header.height, header.width)
    if whole_file.is_whole(reader):
        return _decode_whole(reader, wanted, rectangle, strict)
    if reader.is_all_below(wanted):
        warnings.warn(container.whole.FEWER_LEVELS, HcodecWarning, stacklevel=3)
        wanted = None
    count = _levels_present(reader, wanted, rectangle, strict)
    decoder = Decoder.open(reader, device, backend, count if wanted is not None else None)
    show = on_progress or ignore
    exact = exact_pixels(decoder, rectangle, strict, partly=True, show=show) if wanted is None else NOTHING
    pixels = exact.over(rectangle, lambda: decoder.pixels(rectangle, temperature, seed, show))
    _report_faults(decoder, strict)
    shown = picture_of(reader, pixels, strict, rectangle)
    return replace(shown, exact=exact.is_all)


def _decode_whole(reader: Reader, levels: int | None, region: Rectangle, strict: bool) -> Picture:
    """Returns the picture of a file that holds it as a whole; warns if levels were asked for."""
    whole_file.check(reader)
    if levels is not None:
        warnings.warn(container.whole.WITHOUT_LEVELS, HcodecWarning, stacklevel=4)
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
    around = Mosaic(windows(*size), *size).around(region)
    worst = min((reader.damaged[window] for window in (EVERYWHERE, *around) if window in reader.damaged), default=None)
    if levels is not None and worst is not None and worst <= min(levels, header.num_levels):
        raise FormatError(f"layer {worst} is damaged")
    return at_most(levels, len(reader.coarse) + min(len(reader.pieces[window]) for window in around))


def _report_faults(decoder: Decoder, strict: bool) -> None:
    """Warns of levels that were malformed in spite of their checksum, or raises it; raises it if no level was left."""
    for line in decoder.faults.values():
        if strict or not decoder.coarse().levels:
            raise FormatError(line)
        warnings.warn(line, HcodecWarning, stacklevel=4)


def _refuse_search(effort: int) -> None:
    if not arguments.is_whole(effort) or effort != 1:
        raise HcodecError("effort and lossless exclude each other: the search is for files with a loss")


def _begin(source: Picture, model: str, device: str, backend: str | None, on_progress: Show | None) -> tuple[Encoder, Show]:
    """Returns what encodes a picture, and what shows progress."""
    arguments.calls("on_progress", on_progress)
    return Encoder(models.load(arguments.text("model", model), device, backend), source.pixels), on_progress or ignore


def _source(image: ImageSource, metadata: Names, strip: Names, convert: bool, *, exact: bool) -> Picture:
    """Returns the picture with the metadata that is to be kept, if there is memory for coding it."""
    source = faithful.prepare(image, metadata=metadata, strip=strip, exact=exact, convert=convert)
    needs.check(*source.pixels.shape[:2])
    faithful.warn(source.notes)
    return source


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
