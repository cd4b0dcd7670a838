"""The Pillow plugin, tested as Pillow tests its own formats."""

import io
import pickle
import threading
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY, render
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError
from PIL.PngImagePlugin import PngInfo
from test_golden import golden

import hcodec
import hcodec.pillow
from hcodec.errors import HcodecError, HcodecWarning

GOLDEN = sorted((Path(__file__).parent / "golden").glob("*.hcodec"))


@pytest.fixture(scope="module")
def rgb():
    return Image.fromarray(render(72, 96))


@pytest.fixture(scope="module")
def saved(rgb):
    """The bytes of a saved picture with three levels."""
    return save(rgb)


def save(image, **options):
    file = io.BytesIO()
    image.save(file, "HCODEC", **{"model": TINY} | options)
    return file.getvalue()


def load(data):
    return Image.open(io.BytesIO(data))


def same(a, b):
    return a.mode == b.mode and a.size == b.size and a.tobytes() == b.tobytes()


def test_it_is_known():
    assert Image.registered_extensions()[".hcodec"] == "HCODEC"
    assert Image.MIME["HCODEC"] == "image/x-hcodec"


def test_opening_reads_no_layers(saved, rgb):
    class Counted(io.BytesIO):
        end = 0

        def read(self, size=-1):
            data = super().read(size)
            self.end = max(self.end, self.tell())
            return data

    big = save(Image.fromarray(render(400, 500)))
    file = Counted(big)
    with Image.open(file) as image:
        assert (image.format, image.mode, image.size) == ("HCODEC", "RGB", (500, 400))
        assert image.get_format_mimetype() == "image/x-hcodec"
        assert image.num_levels == 3
        assert file.end <= 4096 < len(big)
        assert same(image, hcodec.decode(big))
        assert file.end == len(big)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_round_trip(mode, rgb, tmp_path):
    original = rgb.convert(mode)
    if "A" in mode:
        original.putalpha(rgb.getchannel(0))
    path = tmp_path / "a.hcodec"
    original.save(path, model=TINY, lossless=True)
    with Image.open(path) as image:
        assert (image.mode, image.size) == (mode, original.size)
        assert same(image, original)
        image.load()
        image.load()  # as often as one likes
        assert image.getpixel((3, 4)) == original.getpixel((3, 4))


@pytest.mark.parametrize(
    ("mode", "comes_as"),
    [("1", "L"), ("P", "RGB"), ("PA", "RGBA"), ("La", "LA"), ("RGBa", "RGBA"), ("RGBX", "RGB"), ("YCbCr", "RGB"), ("HSV", "RGB")],
)
def test_other_modes_are_converted(mode, comes_as, rgb):
    between = {"La": "LA", "PA": "P", "RGBa": "RGBA"}.get(mode)
    other = (rgb.convert(between) if between else rgb).convert(mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        image = load(save(other, lossless=True, convert=True))
    assert same(image, other.convert(comes_as))


@pytest.mark.parametrize("mode", ["F", "LAB"])
def test_modes_that_cannot_be_written(mode, rgb, tmp_path):
    path = tmp_path / "a.hcodec"
    other = Image.new(mode, (8, 8))
    with pytest.raises(OSError, match=f"cannot write mode {mode} as HCODEC"):
        other.save(path)
    assert not path.exists()


def test_options_are_those_of_encode(rgb):
    assert save(rgb, levels=1) == hcodec.encode(rgb, model=TINY, levels=1)
    assert save(rgb, target_size=600) == hcodec.encode(rgb, model=TINY, target_size=600)
    assert save(rgb, lossless=True) == hcodec.encode(rgb, model=TINY, lossless=True)
    assert save(rgb, optimize=True) == save(rgb)  # other formats' options are ignored, as everywhere in Pillow
    with pytest.raises(HcodecError):
        save(rgb, levels=9)


def test_quality_is_one_of_them(rgb):
    if "quality" in hcodec.pillow._OPTIONS:
        assert save(rgb, quality=20) == hcodec.encode(rgb, model=TINY, quality=20)
    assert len(save(rgb, quality=20)) <= len(save(rgb))


def test_default_model(rgb):
    file = io.BytesIO()
    rgb.resize((16, 16)).save(file, "HCODEC")
    assert hcodec.info(file.getvalue()).model == "photo-1"


@pytest.mark.parametrize("channels, mode", [(1, "I;16"), (2, "LA"), (3, "RGB"), (4, "RGBA")])
def test_pictures_without_levels_are_opened_as_what_they_are(channels, mode):
    samples = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), dtype=np.uint16)
    data = hcodec.encode(samples, lossless=True)
    image = load(data)
    image.draft(levels=3)  # a hint for all pictures of a folder, whatever they are
    assert image.mode == mode
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HcodecWarning)
        image.load()
        assert image.mode == mode and (np.asarray(image) == np.asarray(hcodec.decode(data))).all()
    with pytest.warns(HcodecWarning, match="no levels to choose from"):
        asked = load(data)
        asked.levels = 2
        asked.load()
    assert (np.asarray(asked) == np.asarray(image)).all()


def test_levels(saved):
    for levels in (1, 2, 3):
        image = load(saved)
        image.levels = levels
        assert same(image, hcodec.decode(saved, levels=levels))
        drafted = load(saved)
        assert drafted.draft(None, None, levels=levels) is None
        assert same(drafted, hcodec.decode(saved, levels=levels))
        drafted.draft("L", (8, 8), levels=1)  # too late, as with JPEG
        assert same(drafted, hcodec.decode(saved, levels=levels))
    many = load(saved)
    many.draft(levels=9)
    with pytest.raises(OSError, match="9 levels were asked for"):
        many.load()


def test_thumbnail(saved, rgb):
    image = load(saved)
    image.thumbnail((24, 24))
    assert image.size == (24, 18)
    expected = hcodec.decode(saved)
    expected.thumbnail((24, 24))
    assert same(image, expected)


def test_metadata(rgb):
    exif = Image.Exif()
    exif[0x010E] = "a picture"
    given = {"icc_profile": b"profile" * 100, "exif": exif, "xmp": b"<x:xmpmeta/>"}
    image = load(save(rgb, **given))
    before = dict(image.info)
    assert image.info["icc_profile"] == given["icc_profile"]
    assert image.info["xmp"] == given["xmp"]
    assert image.getexif()[0x010E] == "a picture"
    image.load()
    assert image.info == before
    again = load(save(image))
    assert again.info == before  # it goes on from file to file
    assert load(save(image, metadata=())).info == {}
    assert "icc_profile" not in load(save(image, icc_profile=None)).info
    assert load(save(image, exif=b"")).getexif() == {}
    assert image.info == before
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", exif=image.info["exif"])
    assert Image.open(jpeg).getexif()[0x010E] == "a picture"


def test_orientation_is_applied(rgb):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = load(save(rgb, exif=exif, lossless=True))
    assert image.size == (72, 96)
    assert same(image, rgb.transpose(Image.Transpose.ROTATE_270))
    assert same(ImageOps.exif_transpose(image), image)  # and is not applied twice


def described(image, image_format, what):
    """The image opened from a file, all of whose metadata says `what`, as far as the format has a place for it."""
    exif, info = Image.Exif(), PngInfo()
    exif[0x010E] = what
    info.add_itxt("XML:com.adobe.xmp", f"<x>{what}</x>")
    info.add_text("Comment", what)
    data = io.BytesIO()
    options = {"exif": exif, "pnginfo": info, "icc_profile": what.encode(), "dpi": (72, 72)}
    own = {"comment": what, "xmp": b"<x>%b</x>" % what.encode()} if image_format != "PNG" else {}
    image.save(data, image_format, **options | own | ({"model": TINY} if image_format == "HCODEC" else {}))
    return Image.open(data)


@pytest.mark.parametrize("changed", [lambda image: image, lambda image: image.resize((40, 30))], ids=["opened", "resized"])
@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "TIFF", "WEBP", "AVIF", "HCODEC"])
def test_what_save_is_given_wins_and_empty_means_none(image_format, changed, rgb):
    image = changed(described(rgb, image_format, "secret"))
    exif = Image.Exif()
    exif[0x010E] = "open"
    given = {"exif": exif, "xmp": b"<x>open</x>", "icc_profile": b"open", "text": {"a": "b"}, "comment": "open"}
    info = load(save(image, dpi=(300, 300), **given)).info
    assert info["dpi"] == pytest.approx((300, 300), abs=0.01) and "secret" not in str(info)
    assert (info["exif"][6:], info["xmp"], info["icc_profile"]) == (exif.tobytes()[6:], given["xmp"], b"open")
    assert info["text"] == {"a": "b", "Comment": "open"}
    nothing = {"exif": b"", "xmp": b"", "icc_profile": None, "text": {}, "comment": b"", "dpi": None}
    assert load(save(image, **nothing)).info == {}


def test_a_given_profile_goes_before_the_color_of_the_source(rgb):
    coded = load(save(rgb, cicp=(9, 16, 0, 1), gamma=0.5))
    assert load(save(coded, comment="x")).info["cicp"] == (9, 16, 0, 1)
    assert load(save(coded, icc_profile=b"profile")).info == {"icc_profile": b"profile"}
    assert load(save(coded, icc_profile=None)).info == coded.info


def test_the_orientation_that_is_given_is_that_of_the_picture(rgb):
    exif, other = Image.Exif(), Image.Exif()
    exif[0x0112], other[0x0112] = 6, 3
    data = io.BytesIO()
    rgb.save(data, "PNG", exif=exif)
    for given, turn in ((other, Image.Transpose.ROTATE_180), (exif, Image.Transpose.ROTATE_270)):
        assert same(load(save(Image.open(data), exif=given, lossless=True)), rgb.transpose(turn))
    assert same(load(save(Image.open(data), exif=b"", lossless=True)), rgb)


def test_one_frame(saved, rgb):
    image = load(saved)
    assert image.tell() == 0
    image.seek(0)
    with pytest.raises(EOFError):
        image.seek(1)
    assert not getattr(image, "is_animated", False)
    assert save(rgb, save_all=True) == save(rgb)
    with pytest.raises(OSError, match="one picture"):
        save(rgb, save_all=True, append_images=[rgb])
    frames = io.BytesIO()
    rgb.save(frames, "GIF", save_all=True, append_images=[ImageOps.invert(rgb)])
    with pytest.raises(OSError, match="one picture"):
        save(Image.open(frames), save_all=True)


def test_verify(saved):
    load(saved).verify()
    bad = bytearray(saved)
    bad[-20] ^= 1
    for broken, reason in [(bytes(bad), "damaged"), (saved[:-1], "ends after")]:
        with pytest.raises(OSError, match=reason):
            load(broken).verify()


def test_verify_comes_before_load_and_load_before_close(saved, tmp_path):
    image = load(saved)
    image.load()
    with pytest.raises(RuntimeError, match="directly after open"):  # as of Pillow's PNG
        image.verify()
    path = tmp_path / "a.hcodec"
    path.write_bytes(saved)
    with Image.open(path) as image:
        pass
    with pytest.raises(OSError, match="it is closed"):
        image.load()


def test_strangers(saved, rgb):
    gif = io.BytesIO()
    rgb.save(gif, "GIF")
    for data in (b"", b"hello", gif.getvalue(), b"\x89HCA\r\n\x1a" + saved[7:]):
        with pytest.raises(UnidentifiedImageError):
            Image.open(io.BytesIO(data), formats=["HCODEC"])
    with pytest.raises(SyntaxError):  # as Pillow's own classes do
        hcodec.pillow.HcodecImageFile(io.BytesIO(b""))


def test_headers_that_are_damaged_or_cut(saved):
    header = hcodec.info(saved).levels[0].prefix_bytes - hcodec.info(saved).levels[0].num_bytes
    bad = bytearray(saved)
    bad[12] ^= 1
    for data in (saved[:20], saved[: header - 1], bytes(bad)):
        with pytest.raises(UnidentifiedImageError, match=r"header|model"):
            load(data)


def test_cut_files(saved, monkeypatch):
    info = hcodec.info(saved)
    cut = saved[: info.levels[1].prefix_bytes + 5]
    with pytest.raises(OSError, match=r"the file ends after \d+ of \d+ bytes"):
        load(cut).load()
    image = load(cut)
    image.levels = 2  # these are whole
    assert same(image, hcodec.decode(saved, levels=2))
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.warns(HcodecWarning, match="the file ends after"):
        assert same(load(cut), hcodec.decode(cut))
    with pytest.raises(OSError, match="inside layer 1"):
        load(saved[: info.levels[0].prefix_bytes - info.levels[0].num_bytes]).load()


def test_truncated_files_are_whole(saved):
    short = hcodec.truncate(saved, levels=2)
    assert load(short).num_levels == 2
    assert same(load(short), hcodec.decode(saved, levels=2))


def test_lost_alpha(rgb, monkeypatch):
    """The mode stays what it was when the file was opened."""
    image = rgb.copy()
    image.putalpha(rgb.getchannel(1))
    data = bytearray(save(image, lossless=True))
    begin = data.index(b"alph") + 12
    num_bytes = int.from_bytes(data[begin - 8 : begin - 4], "little")
    data[begin + 30 : begin + num_bytes] = bytes(num_bytes - 30)
    data[begin - 4 : begin] = zlib.crc32(b"alph" + data[begin : begin + num_bytes]).to_bytes(4, "little")
    with pytest.raises(OSError, match="alpha"):
        load(data).load()
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    opened = load(data)
    assert opened.mode == "RGBA"
    with pytest.warns(HcodecWarning, match="alpha"):
        assert same(opened.convert("RGB"), rgb)


def test_files_of_all_kinds(saved, tmp_path, rgb):
    path = tmp_path / "a.hcodec"
    path.write_bytes(saved)
    for source in (path, str(path)):
        with Image.open(source) as image:
            image.load()
            assert image.fp is None  # closed as soon as it is loaded
    with open(path, "rb") as file:
        with Image.open(file) as image:
            image.load()
        assert not file.closed
    with Image.open(path):
        pass  # never loaded
    other = tmp_path / "b.hcodec"
    with open(other, "wb") as file:
        rgb.save(file, model=TINY)  # the format is that of the file's name
    assert other.read_bytes() == saved


def test_pickling(saved, rgb, tmp_path):
    path = tmp_path / "a.hcodec"
    path.write_bytes(saved)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with Image.open(path) as image:
            assert same(pickle.loads(pickle.dumps(image, protocol)), hcodec.decode(saved))


def test_copies_and_conversions(saved):
    expected = hcodec.decode(saved)
    assert same(load(saved).copy(), expected)
    assert same(load(saved).convert("L"), expected.convert("L"))
    assert same(load(saved).crop((3, 4, 30, 40)), expected.crop((3, 4, 30, 40)))
    assert np.array_equal(np.asarray(load(saved)), np.asarray(expected))
    assert load(saved) == load(saved)


def test_saving_over_itself(saved, tmp_path):
    path = tmp_path / "a.hcodec"
    path.write_bytes(saved)
    expected = hcodec.decode(saved)
    with Image.open(path) as image:
        image.save(path, model=TINY, lossless=True)
    assert same(Image.open(path), expected)


def test_hcodec_reads_what_pillow_reads(saved, tmp_path):
    """Once the plugin is there, hcodec's own functions take its files as pictures, too."""
    path = tmp_path / "a.hcodec"
    path.write_bytes(saved)
    assert hcodec.decode(hcodec.encode(path, model=TINY, lossless=True)).tobytes() == hcodec.decode(saved).tobytes()


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_files(path):
    """All that decode open in Pillow, with the same pixels and metadata."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = hcodec.decode(path)
    except HcodecError:
        with pytest.raises(OSError):
            Image.open(path).load()
        return
    image = Image.open(path)
    assert image.info == expected.info
    assert same(image, expected)


def test_threads_may_load_one_image_and_processes_may_share_it(tmp_path):
    (tmp_path / "a.hcodec").write_bytes(golden("levels-three"))
    image, faults = Image.open(tmp_path / "a.hcodec"), []

    def load():
        try:
            image.load()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    other = pickle.loads(pickle.dumps(Image.open(tmp_path / "a.hcodec")))
    assert other.getpixel((0, 0)) == image.getpixel((0, 0))


def test_files_may_give_fewer_bytes_than_they_have():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(min(size, 100) if size > 0 else size)

    data = golden("levels-three")
    with hcodec.open(Slow(data)) as file:
        assert file.image().tobytes() == hcodec.decode(data).tobytes()
