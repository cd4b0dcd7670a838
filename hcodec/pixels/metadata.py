"""What comes along with the pixels of a Pillow image: taken out when it is read, handed on when it is shown.

Room: pixels, below `picture` (encode step 2, decode step 9). Blobs are kept byte for byte, except for the orientation: it
is applied to the pixels, so what is kept must say "upright". Imports Pillow, `exif`, `facts`, `errors` and
`container.attachments` only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from hcodec.container.attachments import METADATA_KINDS, STRIP_KINDS, Chromaticities, Cicp, Density
from hcodec.errors import HcodecError
from hcodec.pixels import exif as tiff
from hcodec.pixels.facts import Facts

Names = str | Collection[str]

UNITS = 100_000  # of gamma and chromaticities (format)
INCH_M = 0.0254
SRGB = Cicp(1, 13, 0, 1)
_SRGB_GAMMA = 45455
_SRGB_CHROMATICITIES = Chromaticities(31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
_UNSPECIFIED = 2  # primaries or transfer (H.273)
_MAX_NUMBER = (1 << 31) - 1  # format
_MAX_TEXTS, _MAX_KEY_BYTES = 256, 79  # format
COMMENT = "Comment"  # the key of what formats with one text alone have
_RAW_PROFILE = "Raw profile type "  # PNG texts that are Exif, IPTC and the like in hexadecimal digits
_PNG_XMP = "XML:com.adobe.xmp"
_EXIF_PREFIX = b"Exif\0\0"  # JPEG's marker in front of the TIFF structure that all formats share
_ORIENTATION = 0x0112
X_RESOLUTION, _WHITE_POINT, _PRIMARIES = 0x011A, 0x013E, 0x013F  # TIFF tags
# Of a TIFF file's own tags, those that tell of the picture and not of the file: document, description, make, model,
# resolution and its unit, software, date, artist, computer, copyright.
DESCRIPTIVE_TAGS = (
    0x010D, 0x010E, 0x010F, 0x0110, X_RESOLUTION, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298,
)  # fmt: skip
_SUB_DIRECTORIES = (0x8769, 0x8825)  # the Exif and the GPS directory
_COLOR_KEYS = ("cicp", "gamma", "chromaticity")  # Pillow's or ours, for what a profile that is given takes the place of


@dataclass(frozen=True)
class Metadata:
    """What travels with the pixels, empty or None when absent.

    `icc`: a color profile; `exif`: a TIFF structure (from "II" or "MM" on, without JPEG's "Exif" prefix) that says
    upright; `xmp`: an XMP packet; `cicp`: color by code points; `chromaticities` and `gamma`: in units of 1/100000;
    `density`: pixels per unit; `text`: keys, each different, and values; `other`: in a few words each, what came along
    and has no place in our files, so that it is left out.
    """

    icc: bytes = b""
    exif: bytes = b""
    xmp: bytes = b""
    cicp: Cicp | None = None
    chromaticities: Chromaticities | None = None
    gamma: int | None = None
    density: Density | None = None
    text: tuple[tuple[str, str], ...] = ()
    other: tuple[str, ...] = ()

    @property
    def is_srgb(self) -> bool:
        """Whether all that is said of color is what everybody takes a picture for that says nothing of it."""
        if self.cicp:
            return self.cicp[:2] == SRGB[:2]
        plain = self.gamma in (None, _SRGB_GAMMA) and self.chromaticities in (None, _SRGB_CHROMATICITIES)
        return plain and not self.icc

    def goes_without_color(self, icc: bool) -> bool:
        """Whether a file that says nothing of color but by the ICC profile, if it has a place for one, says all of it."""
        return not self.cicp if icc and self.icc else self.is_srgb

    def names(self, kinds: Iterable[str] = METADATA_KINDS) -> list[str]:
        """What there is of some kinds, each in a few words for people."""
        found = {
            "icc": ["ICC profile"] if self.icc else [],
            "color": list(self._color_names()),
            "exif": ["Exif"] if self.exif else [],
            "xmp": ["XMP"] if self.xmp else [],
            "text": [f"{len(self.text)} texts" if len(self.text) > 1 else "1 text"] if self.text else [],
            "resolution": ["resolution"] if self.density else [],
            "other": list(self.other),
        }
        return [name for kind in kinds for name in found[kind]]

    def _color_names(self) -> Iterator[str]:
        if self.cicp:
            yield f"color (CICP {'/'.join(map(str, self.cicp))})"
        elif self.gamma or self.chromaticities:
            said = [f"gamma {self.gamma / UNITS:g}"] if self.gamma else []
            yield ", ".join([*said, *(["chromaticities"] if self.chromaticities else [])])


_FIELDS = {kind: (kind,) for kind in METADATA_KINDS} | {
    "color": ("cicp", "chromaticities", "gamma"),
    "resolution": ("density",),
}


def keep(metadata: Metadata, kinds: Names = METADATA_KINDS, strip: Names = ()) -> Metadata:
    """Returns what is of some of the `METADATA_KINDS`, and not of the `STRIP_KINDS` that are to be stripped.

    Each is a name or several, or "all". Raises HcodecError if one is no kind.
    """
    stripped = _checked("strip", strip, STRIP_KINDS)
    kept = _checked("metadata", kinds, METADATA_KINDS) - stripped
    chosen = Metadata(**{name: getattr(metadata, name) for kind in kept for name in _FIELDS[kind]})
    if "gps" not in stripped:
        return chosen
    text = tuple(pair for pair in chosen.text if "gps" not in pair[0].lower())  # ImageMagick's "exif:GPSLatitude"
    return replace(chosen, exif=tiff.without_gps(chosen.exif), xmp=tiff.xmp_without_gps(chosen.xmp), text=text)


def only(metadata: Metadata, kinds: Collection[str]) -> Metadata:
    """Returns what is of some kinds, with the rest among what is left out."""
    said = {*kinds, "color"} if metadata.goes_without_color("icc" in kinds) else kinds
    rest = tuple(metadata.names([kind for kind in METADATA_KINDS[:-1] if kind not in said]))
    return replace(keep(metadata, kinds), other=metadata.other + rest)


def into_exif(metadata: Metadata) -> Metadata:
    """Returns metadata for where there is no place for a resolution but in Exif: it is there, if there was no other Exif."""
    density = metadata.density
    if density is None or not density.unit:
        return metadata
    exif = metadata.exif or tiff.of_resolution(density.x, density.y)
    return replace(metadata, exif=exif, density=None) if tiff.resolution(exif) == density[:2] else metadata


def out_of_exif(metadata: Metadata) -> Metadata:
    """Returns what `into_exif` was given, where it made Exif for a resolution alone."""
    found = tiff.resolution(metadata.exif)
    if found is None or metadata.exif != tiff.of_resolution(*found):
        return metadata
    return replace(metadata, exif=b"", density=Density(*found, 1))


def _checked(argument: str, names: Names, known: Collection[str]) -> set[str]:
    """Returns the names that were given. Raises HcodecError if they are none, or one is not known."""
    given = [names] if isinstance(names, str) else list(names) if isinstance(names, Iterable) else [None]
    if not all(isinstance(name, str) for name in given):
        raise HcodecError(f"{argument} is of type {type(names).__name__}; it must be a name or several")
    if unknown := set(given) - set(known) - {"all"}:
        raise HcodecError(f"unknown {argument} {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    return set(known if "all" in given else given)


def collect(image: Image.Image, facts: Facts, given: Mapping[str, Any] | None = None) -> tuple[Metadata, int]:
    """Returns the metadata of a loaded image and its orientation (1 .. 8, as EXIF counts).

    `given`: what takes the place of the image's own, under Pillow's keys; empty means none. Like Pillow, takes the
    orientation from EXIF, or from XMP where EXIF has none; neither blob asks for it again.
    """
    own = _found(image, facts)
    found = _found(_bearer(own, given), Facts(other=own.other)) if given else own
    orientation, exif = tiff.set_upright(found.exif)
    from_xmp, xmp = tiff.set_xmp_upright(found.xmp)
    return replace(found, exif=exif, xmp=xmp), orientation or from_xmp or 1


def _bearer(own: Metadata, given: Mapping[str, Any]) -> Image.Image:
    """Returns an image, of no format whose fields would go before its `info`, with some metadata and what is given."""
    image = Image.new("L", (1, 1))
    attach(image, own)
    rivals = [*(_COLOR_KEYS if given.get("icc_profile") else ()), *(("dpi",) if "aspect" in given else ())]
    for key in rivals:
        image.info.pop(key, None)
    image.info.update(given)
    image.info.pop("jfif_density", None)  # of a source whose whole `info` is given, and would go before "dpi"
    if "comment" in given:
        image.info["text"] = _with_comment(image.info.get("text"), given["comment"])
    return image


def _with_comment(texts: Any, comment: Any) -> dict[Any, Any]:
    """Returns texts with another comment; without one if it is empty."""
    own = texts if isinstance(texts, dict) else {}
    kept = {key: value for key, value in own.items() if str(key).partition(" ")[0] != COMMENT}  # a file may have several
    return kept | ({COMMENT: _decoded(comment)} if comment and isinstance(comment, bytes | str) else {})


def _found(image: Image.Image, facts: Facts) -> Metadata:
    """Returns the metadata of an image, whose EXIF and XMP still ask for the orientation."""
    other = list(facts.other)
    exif = (_exif(image) or facts.exif).removeprefix(_EXIF_PREFIX)
    if exif and exif[:4] not in tiff.STARTS:
        other.append("Exif (it is damaged)")
        exif = b""
    xmp = _as_bytes(image.info.get("xmp") or image.info.get(_PNG_XMP)) or facts.xmp
    profile = image.info.get("icc_profile")
    icc = profile if isinstance(profile, bytes) and profile else facts.icc
    text = _texts(image, other)
    return Metadata(icc, exif, xmp, *_color(image, facts, icc), _density(image), text, tuple(other))


def _as_bytes(blob: object) -> bytes:
    if isinstance(blob, str):
        return blob.encode(errors="replace")
    return blob if isinstance(blob, bytes) else b""


def _exif(image: Image.Image) -> bytes:
    kept = _as_bytes(image.info.get("exif"))
    if kept or not (image.format == "TIFF" or "Raw profile type exif" in image.info):
        return kept
    source = image.getexif()
    exif = Image.Exif()
    for tag in DESCRIPTIVE_TAGS:
        if tag in source:
            exif[tag] = source[tag]
    for tag in _SUB_DIRECTORIES:
        if entries := source.get_ifd(tag):
            exif.get_ifd(tag).update(entries)
            exif[tag] = dict(entries)
    if image.format != "TIFF" and _ORIENTATION in source:  # Pillow has turned a TIFF image already
        exif[_ORIENTATION] = source[_ORIENTATION]
    return exif.tobytes() if len(exif) else b""


def _color(image: Image.Image, facts: Facts, icc: bytes) -> tuple[Cicp | None, Chromaticities | None, int | None]:
    """What a file says of color beside its ICC profile; nothing that would go before the profile and means less."""
    cicp = facts.cicp or _cicp(image.info)
    if image.format in ("AVIF", "HEIF") and (icc or (cicp and _UNSPECIFIED in cicp[:2])):
        cicp = None  # there the profile goes first; in PNG and our files, the code points
    if cicp is None and not icc and isinstance(image.info.get("srgb"), int):
        cicp = SRGB
    values = image.info.get("chromaticity") or _tiff_chromaticities(image)
    found = [_units(value) for value in values] if isinstance(values, tuple) else []
    whole = [value for value in found if value is not None]
    chromaticities = Chromaticities(*whole) if len(found) == len(whole) == 8 else None
    return cicp, chromaticities, _units(image.info.get("gamma")) or None


def _cicp(info: Mapping[Any, Any]) -> Cicp | None:
    """Color by code points as `attach` or pillow-heif puts it beside an image."""
    codes = info.get("cicp")
    if codes is None and not info.get("icc_profile") and isinstance(profile := info.get("nclx_profile"), dict):
        keys = ("color_primaries", "transfer_characteristics", "matrix_coefficients", "full_range_flag")
        codes = tuple(profile.get(key) for key in keys)
    if not isinstance(codes, tuple) or len(codes) != 4:
        return None
    good = all(isinstance(code, int) and 0 <= code < 256 for code in codes) and codes[3] < 2
    return Cicp(*codes) if good else None


def _tiff_chromaticities(image: Image.Image) -> tuple[Any, ...] | None:
    tags = getattr(image, "tag_v2", {}) if image.format == "TIFF" else {}
    white, primaries = tags.get(_WHITE_POINT), tags.get(_PRIMARIES)
    return (*white, *primaries) if isinstance(white, tuple) and isinstance(primaries, tuple) else None


def _units(value: Any) -> int | None:
    """A number in units of 1/100000; None if it is none (a PNG text can be called gamma, too), or out of range."""
    if isinstance(value, str):
        return None
    try:
        units = round(float(value) * UNITS)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    return units if 0 <= units <= _MAX_NUMBER else None


def _density(image: Image.Image) -> Density | None:
    """Pixels per meter, or only their ratio; None where the file says neither."""
    per_unit, unit_m = _per_unit(image)
    try:
        x, y = (round(value / unit_m) if unit_m else round(value) for value in per_unit)
    except (TypeError, ValueError, OverflowError, ZeroDivisionError):
        return None
    says_something = unit_m > 0 or x != y
    return Density(x, y, int(unit_m > 0)) if says_something and min(x, y) > 0 and max(x, y) <= _MAX_NUMBER else None


def _per_unit(image: Image.Image) -> tuple[Any, float]:
    """Pixels per unit as a file says it, and the unit in meters, 0 where only their ratio counts."""
    info = image.info
    if "jfif_density" in info:
        return info["jfif_density"], {1: INCH_M, 2: 0.01}.get(info.get("jfif_unit", 0), 0)
    if image.format in ("JPEG", "MPO") or (image.format == "TIFF" and X_RESOLUTION not in image.getexif()):
        return None, 0  # Pillow made it up, or it is from Exif
    if "dpi" in info:
        return info["dpi"], INCH_M
    return info.get("aspect") or info.get("resolution"), 0


def _texts(image: Image.Image, other: list[str]) -> tuple[tuple[str, str], ...]:
    """Returns the texts of an image, as far as there is a place for them; adds the rest to `other`."""
    given = getattr(image, "text", None) if image.format == "PNG" else image.info.get("text")
    found = {str(key): str(value) for key, value in given.items()} if isinstance(given, dict) else {}
    for number, comment in enumerate(_comments(image), start=1):
        found[COMMENT if number == 1 else f"{COMMENT} {number}"] = comment
    kept: dict[str, str] = {}
    for key, value in found.items():
        if key in (_PNG_XMP, f"{_RAW_PROFILE}exif"):
            continue
        if key.startswith(_RAW_PROFILE):
            other.append(f"raw profile {key.removeprefix(_RAW_PROFILE)[:20]!r}")
        elif len(kept) < _MAX_TEXTS and 0 < len(key.encode(errors="replace")) <= _MAX_KEY_BYTES:
            kept[key] = value.encode(errors="replace").decode()
        else:
            other.append(f"text {key[:20]!r}")
    return tuple(kept.items())


def _comments(image: Image.Image) -> list[str]:
    """The texts without a key of JPEG, GIF and JPEG 2000."""
    if image.format == "PNG" or isinstance(image.info.get("text"), dict):
        return []  # what is called comment there is one of the texts
    several = [content for app, content in getattr(image, "applist", ()) if app == "COM"]
    comments = several or [image.info.get("comment")]
    return [_decoded(comment) for comment in comments if isinstance(comment, bytes | str) and comment]


def _decoded(text: bytes | str) -> str:
    if isinstance(text, str):
        return text
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")


def attach(image: Image.Image, metadata: Metadata) -> None:
    """Puts the metadata into `image.info`, where Pillow looks for it, and what Pillow has no name for as `cicp` and `text`."""
    exif = _EXIF_PREFIX + metadata.exif if metadata.exif else b""
    found: dict[str, Any] = {"icc_profile": metadata.icc, "exif": exif, "xmp": metadata.xmp, "text": dict(metadata.text)}
    found["cicp"] = tuple(metadata.cicp or ())
    found["gamma"] = (metadata.gamma or 0) / UNITS
    found["chromaticity"] = tuple(value / UNITS for value in metadata.chromaticities or ())
    if density := metadata.density:
        pair = density.x, density.y
        found["dpi" if density.unit else "aspect"] = tuple(value * INCH_M for value in pair) if density.unit else pair
    image.info.update({key: value for key, value in found.items() if value})
