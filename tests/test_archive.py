"""Archives as bytes: what is written is read, and what is damaged, cut short or made to harm is refused or contained."""

from __future__ import annotations

import contextlib
import io
import random
import subprocess
import sys
import tracemalloc
import zlib
from dataclasses import replace
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hcodec import container
from hcodec.container.archive import MAGIC, Archive, Entry, check_name, listing, opened, seal, write
from hcodec.container.attachments import Attachments, Sizes
from hcodec.container.directory import Directory, Segment, inflate, pack_columns, squeeze
from hcodec.container.fields import pack_varint
from hcodec.errors import FormatError, HcodecError, TruncatedError

ICC = b"a profile that many pictures share " * 8
CHAINS = [b"the first chain", b"", bytes(range(100))]
EXTRAS = [[Attachments(icc=ICC, alpha=b"\x80"), Attachments(icc=ICC)], [Attachments()], [Attachments(exif=b"II*\0", xmp=b"<x/>")]]
NAMES = [["a/one.png", "two.png"], ["drei.png"], ["a/b/vier.png"]]


def sample(chains=CHAINS, extras=EXTRAS, names=NAMES, kinds=(0, 7, 0)):
    entries, segments = [], []
    for index, (chain, blobs, inside, kind) in enumerate(zip(chains, extras, names, kinds, strict=True)):
        for name, extra in zip(inside, blobs, strict=True):
            entries.append(Entry(name, 30, 20 + index, index, 77, index == 1, extra.sizes))
        segments.append(seal(kind, b"mod1" if kind else b"", chain, blobs))
    return write(entries, segments)


def head_of(columns, rest=b""):
    """An archive with these columns for a directory, whatever they say, under a right checksum."""
    packed = squeeze(columns)
    head = MAGIC + b"\x01" + pack_varint(len(packed)) + pack_varint(len(columns)) + packed
    return head + zlib.crc32(head).to_bytes(4, "little") + rest


def parts(data):
    """Everything that an archive gives out; None for the parts that it refuses."""
    with opened(data) as archive:
        found = []
        for index in range(len(archive.directory.segments)):
            chain = extras = None
            with contextlib.suppress(HcodecError):
                chain = archive.chain(index)
            with contextlib.suppress(HcodecError):
                extras = archive.attachments(index)
            found.append((chain, extras))
        return found


# Round trips


def test_what_is_written_is_read():
    assert parts(sample()) == list(zip(CHAINS, EXTRAS, strict=True))
    shown = listing(sample(), check=True)
    assert [one.name for one in shown.pictures] == ["a/one.png", "two.png", "drei.png", "a/b/vier.png"]
    assert [(one.kind, one.fingerprint) for one in shown.segments] == [(0, b""), (7, b"mod1"), (0, b"")]
    assert (shown.file_bytes, shown.total_bytes, shown.warnings) == (len(sample()), len(sample()), ())


def test_sources_of_all_kinds(tmp_path):
    path = tmp_path / "a.hcodec"
    path.write_bytes(sample())
    shown = listing(sample())
    assert listing(path) == listing(str(path)) == listing(io.BytesIO(sample())) == listing(bytearray(sample())) == shown
    fields = shown.as_dict()
    assert (fields["segments"][1]["fingerprint"], fields["pictures"][0]["icc_bytes"]) == (b"mod1".hex(), len(ICC))


blobs = st.binary(max_size=40)
names = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"), exclude_characters="/\\:"), min_size=1, max_size=20)
paths = st.lists(names.filter(lambda part: part not in (".", "..")), min_size=1, max_size=3).map("/".join)


@settings(max_examples=100, deadline=None)
@given(st.data(), st.lists(paths, min_size=1, max_size=12, unique=True))
def test_any_archive_is_read_as_it_was_written(data, paths):
    num_segments = data.draw(st.integers(1, len(paths)))
    places = [*range(num_segments), *(data.draw(st.integers(0, num_segments - 1)) for _ in paths[num_segments:])]
    places = data.draw(st.permutations(places))
    extras = [data.draw(st.builds(Attachments, blobs, blobs, blobs, blobs)) for _ in paths]
    sizes = data.draw(st.tuples(st.integers(1, 1 << 24), st.integers(1, 10)))
    entries = [
        Entry(path, *sizes, place, zlib.crc32(path.encode()), place % 2 == 1, extra.sizes)
        for path, place, extra in zip(paths, places, extras, strict=True)
    ]
    inside = [[extra for extra, place in zip(extras, places, strict=True) if place == index] for index in range(num_segments)]
    chains = [data.draw(blobs) for _ in range(num_segments)]
    kinds = [data.draw(st.integers(0, 255)) for _ in range(num_segments)]
    segments = [seal(k, b"mod1" if k else b"", c, e) for k, c, e in zip(kinds, chains, inside, strict=True)]
    written = write(entries, segments)
    assert parts(written) == list(zip(chains, inside, strict=True))
    assert list(listing(written).pictures) == entries


def test_equal_profiles_are_paid_once():
    profile = random.Random(0).randbytes(3000)
    row, _ = seal(0, b"", b"", [Attachments(icc=profile, exif=b"%d" % index) for index in range(64)])
    assert row.extras_bytes < 5000


@given(st.binary(max_size=300))
def test_packed_bytes_are_never_longer(data):
    assert len(squeeze(data)) <= len(data)
    assert inflate(squeeze(data), len(data), "it") == data


def test_names_of_a_numbered_series_cost_little():
    entries = [Entry(f"{index:06}.png", 28, 28, 0, 0) for index in range(5000)]
    assert len(write(entries, [seal(0, b"", b"", [Attachments()] * 5000)])) < 4 * 5000


# Names


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "..a/b..", "ä ö/😀.png", "12:30.png", "a" * 1024, ".hidden", "x/C:"])
def test_names_that_can_be_used(name):
    check_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "", "/etc/passwd", "..", "../a", "a/../b", "a/..", ".", "./a", "a//b", "a/", "C:", "c:/a.png", "C:a.png", "a\\b",
        "..\\a", "\\\\host\\a", "a\nb", "a\0b", "\x1b[2J", "a\x7f", "a\x85", "a\u2028b", "a\u2029b",
        "a" * 1025, "ä" * 513, "\ud800",
    ],
)  # fmt: skip
def test_names_that_cannot_be_used(name):
    with pytest.raises(FormatError, match="name") as caught:
        check_name(name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
    with pytest.raises(FormatError):
        sample(names=[[name, "b"], ["c"], ["d"]])


@pytest.mark.parametrize("name", [b"../evil", b"/abs", b"C:evil", b"a\\evil", b"a\nevil", b"\xff\xfe", b"two.png"])
def test_evil_names_in_a_file_are_refused(name):
    """Written by a stranger, under right checksums."""
    columns = pack_columns(listing_directory(sample()))
    at = columns.index(b"a/one.png")
    evil = columns[:at] + name + columns[at + 9 :]
    lengths = columns.index(b"\x09\x07\x08\x0c")
    evil = evil[:lengths] + bytes((len(name),)) + evil[lengths + 1 :]
    with pytest.raises(FormatError, match="name"):
        listing(head_of(evil))


def listing_directory(data):
    shown = listing(data)
    return Directory(shown.pictures, shown.segments)


def test_a_name_twice_is_refused():
    with pytest.raises(FormatError, match="two pictures have the name 'a'"):
        sample(names=[["a", "b"], ["c"], ["a"]])


# Ranges


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"height": 0},
        {"width": (1 << 24) + 1},
        {"width": 1 << 17, "height": 1 << 15},
        {"segment": 3},
        {"segment": -1},
        {"segment": 2},
        {"attached_bytes": Sizes(icc=(1 << 31) + 1)},
    ],
)
def test_pictures_outside_the_format_are_refused(change):
    found = listing_directory(sample())
    with pytest.raises(FormatError):
        Directory((replace(found.entries[0], **change), *found.entries[1:]), found.segments)


@pytest.mark.parametrize(
    "change",
    [
        {"num_pictures": 1},
        {"num_pictures": 3},
        {"num_pictures": 0},
        {"chain_bytes": (1 << 31) + 1},
        {"extras_bytes": (1 << 31) + 1},
        {"extras_bytes": 0},
        {"extras_bytes": 2000},
        {"kind": 256},
        {"kind": 1},
        {"fingerprint": b"1234"},
    ],
)
def test_segments_outside_the_format_are_refused(change):
    found = listing_directory(sample())
    with pytest.raises(FormatError):
        Directory(found.entries, (replace(found.segments[0], **change), *found.segments[1:]))


def test_many_large_pictures_in_one_segment_are_refused():
    entries = tuple(Entry(f"{index}", 1 << 15, 1 << 15, 0, 0) for index in range(3))
    with pytest.raises(FormatError, match="pixels in segment 0"):
        Directory(entries, (Segment(0, b"", 3, 9, 0),))


@pytest.mark.parametrize("counts", [(0, 0), (1, 0), (1, 2), ((1 << 20) + 1, 1), ((1 << 35) - 1, 1), (1 << 20, 1 << 20)])
def test_absurd_counts_are_refused_before_memory_is_taken(counts):
    data = head_of(b"".join(map(pack_varint, counts)) + bytes(1000))
    tracemalloc.start()
    with pytest.raises(FormatError):
        listing(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_directory_that_inflates_too_far_is_refused():
    bomb = squeeze(bytes(10_000_000))
    head = MAGIC + b"\x01" + pack_varint(len(bomb)) + pack_varint(20_000) + bomb
    tracemalloc.start()
    with pytest.raises(FormatError, match="length"):
        listing(head + zlib.crc32(head).to_bytes(4, "little"))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


SQUEEZED = squeeze(bytes(100))


@pytest.mark.parametrize("packed", [SQUEEZED[:-1], SQUEEZED + b"x", squeeze(bytes(99)), b"\xff" * 20, b"x" * 101])
def test_packed_bytes_that_do_not_come_out_even(packed):
    with pytest.raises(FormatError, match="it is damaged"):
        inflate(packed, 100, "it")


def test_flags_and_numbers_have_one_encoding():
    entries = (Entry("a", 1, 1, 0, 0),)
    columns = pack_columns(Directory(entries, (Segment(0, b"", 1, 3, 0),)))
    assert listing(head_of(columns)).pictures == entries
    at = len(columns) - 5
    for flags, more in ((32, b""), (2, b"\0"), (2, b"\x85\0")):
        with pytest.raises(FormatError):
            listing(head_of(columns[:at] + bytes((flags,)) + more + columns[at + 1 :]))
    with pytest.raises(FormatError, match="after its end"):
        listing(head_of(columns + b"\0"))


# Strangers


def test_a_newer_version_is_refused_by_name():
    for version, message in ((2, "version 2, newer than version 1"), (0, "no version 0")):
        with pytest.raises(FormatError, match=message):
            listing(sample()[:7] + bytes((version,)) + sample()[8:])


@pytest.mark.parametrize("stranger", [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"P", b"\0" * 100, b"\x89HCA\n\x1a\1\1"])
def test_strangers_are_refused(stranger):
    with pytest.raises(FormatError, match="not an hcodec archive"):
        listing(stranger)


def test_a_picture_and_an_archive_are_told_apart():
    one = container.write(container.Frame(width=3, height=2, model="m", fingerprint=b"mod1"), [[b"layer"]])
    with pytest.raises(FormatError, match=r"one picture, not an archive: .*hcodec decode"):
        listing(one)


# Damage


def test_every_single_bit_flip_of_the_directory_is_refused():
    data = sample()
    for position in range(8 * listing(data).directory_bytes):
        broken = bytearray(data)
        broken[position // 8] ^= 1 << position % 8
        with pytest.raises(HcodecError):
            listing(broken)


def test_every_bit_flip_of_a_segment_stays_in_it():
    data, whole = sample(), parts(sample())
    start = listing(data).directory_bytes
    for position in range(8 * start, 8 * len(data)):
        broken = bytearray(data)
        broken[position // 8] ^= 1 << position % 8
        found, expected = sum(parts(broken), ()), sum(whole, ())
        assert [one for one, other in zip(found, expected, strict=True) if one != other] == [None], position
        assert len(listing(broken, check=True).warnings) == 1


def test_every_truncation_point_keeps_the_segments_before_it():
    data, whole = sample(), parts(sample())
    shown = listing(data)
    for length in range(shown.directory_bytes):
        with pytest.raises(TruncatedError if length else FormatError):
            listing(data[:length])
    ends = [*accumulate((one.chain_bytes + one.extras_bytes for one in shown.segments), initial=shown.directory_bytes)]
    for length in range(shown.directory_bytes, len(data)):
        found = parts(data[:length])
        for end, one, expected in zip(ends[1:], found, whole, strict=True):
            assert one == expected or end > length
        assert listing(data[:length]).warnings == (f"the file ends after {length} of {len(data)} bytes",)


def test_bytes_after_the_end_are_ignored():
    assert (parts(sample() + b"more"), len(listing(sample() + b"more").warnings)) == (parts(sample()), 1)


def survive(data):
    """Lists and reads `data`: whatever happens is ours. Returns whether the directory was accepted."""
    try:
        shown = listing(data, check=True)
    except HcodecError as error:
        assert "\n" not in str(error)
        return False
    for one in shown.pictures:
        check_name(one.name)
    parts(data)
    return True


def test_thousands_of_mutations_survive():
    rng, whole = random.Random(1), sample()
    for _ in range(4000):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            start = rng.randrange(len(data) + 1)
            data[start : start + rng.randint(0, 6)] = rng.randbytes(rng.randint(0, 6))
        survive(bytes(data))


def test_mutations_under_right_checksums_survive():
    """As an attacker would: the directory is changed and its checksum made right again."""
    rng, whole = random.Random(2), sample()
    columns, rest = pack_columns(listing_directory(whole)), whole[listing(whole).directory_bytes :]
    accepted = 0
    for _ in range(6000):
        changed = bytearray(columns)
        for _ in range(rng.randint(1, 3)):
            changed[rng.randrange(len(changed))] = rng.choice((0, 1, 2, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        accepted += survive(head_of(bytes(changed), rest))
    assert accepted > 50


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_noise_for_a_directory_survives(noise):
    survive(head_of(noise, noise))


def test_only_what_is_asked_for_is_read():
    class Counting(io.BytesIO):
        count = 0

        def read(self, size=-1):
            data = super().read(size)
            self.count += len(data)
            return data

    big = [bytes(100_000), b"small", bytes(100_000)]
    data = sample(chains=big)
    file = Counting(data)
    archive = Archive(file)
    assert archive.chain(1) == b"small"
    assert file.count < 1000


def test_listing_needs_neither_torch_nor_numpy(tmp_path):
    path = tmp_path / "a.hcodec"
    path.write_bytes(sample())
    shown = "print({'torch', 'numpy', 'PIL'} & set(sys.modules))"
    code = f"import sys; from hcodec.cli import main; main(standalone_mode=False); {shown}"
    done = subprocess.run([sys.executable, "-c", code, "list", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("set()\n") and "drei.png" in done.stdout
