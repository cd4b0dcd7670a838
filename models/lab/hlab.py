"""Files of the lab: many pictures of one size on one stack, with bits back, and a header that says where they may be decoded.

Room: files of the lab. A demonstration, never a kind of the frozen format: networks are floats, so a file is valid only for the
model, torch, machine and number of threads that wrote it, and decoding elsewhere is refused. Layout: MAGIC, the length of the
header (4 bytes, little-endian), the header as JSON, then the stack's words (little-endian, lowest first). The known random words
that no picture borrowed are left out; those that were borrowed are in the words, so the file's size counts the initial bits.
"""

from __future__ import annotations

import json
import platform
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hcodec.coding.float_stack import FloatStack
from hcodec.errors import FormatError, PictureError
from hcodec.models.lab import bits_back
from hcodec.models.lab.model_file import Trained

MAGIC = b"\x89HLAB\r\n\x01"
Pixels = NDArray[np.uint8]
_LENGTH_BYTES = 4
_RANDOM_WORDS = 1 << 20  # of random bits, more than any picture borrows


@dataclass(frozen=True)
class Report:
    """What a file cost, in bits: net_bits without, file_bits with initial bits and header, which holds the names; bound_bits of
    the same latents, on the grid on which the stack holds them.
    """

    num_pictures: int
    num_values: int
    net_bits: int
    bound_bits: float
    initial_bits: int
    header_bits: int
    file_bits: int

    def line(self) -> str:
        """Returns the report in bits per dimension."""
        net, bound = self.net_bits / self.num_values, self.bound_bits / self.num_values
        return (
            f"{self.num_pictures} pictures: net {net:.4f} bits/dim, bound {bound:.4f} ({100 * (net / bound - 1):+.2f} %), "
            f"initial {self.initial_bits} bits, header {self.header_bits} bits; "
            f"file {self.file_bits // 8} bytes, {self.file_bits / self.num_values:.4f} bits/dim"
        )


def here() -> dict[str, Any]:
    """Returns what a file's validity depends on, but for the model."""
    return {
        "torch": torch.__version__,
        "machine": platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }


def encode(
    pictures: Pixels, names: Sequence[str], trained: Trained, step: Callable[[], None] = lambda: None
) -> tuple[bytes, Report]:
    """Returns the file of pictures uint8 (N, C, H, W) and what it cost; `step` is called once a picture."""
    if not len(pictures) or pictures.shape[1] != trained.config.channels:
        raise PictureError(f"the model codes pictures of {trained.config.channels} channels, these have {pictures.shape[1]}")
    stack, bound_bits = FloatStack(_RANDOM_WORDS), 0.0
    begun_bits = stack.num_bits
    for picture in reversed(pictures):
        bound_bits += bits_back.push(trained.network, stack, torch.from_numpy(picture[None].copy()).float())
        step()
    untouched, words = stack.to_words()
    header = {
        "family": trained.family, "model": trained.digest, **here(), "shape": pictures.shape[1:], "names": list(names),
        "untouched": untouched, "crc": zlib.crc32(pictures.tobytes()),
    }  # fmt: skip
    text = json.dumps(header).encode()
    head, tail = MAGIC + len(text).to_bytes(_LENGTH_BYTES, "little") + text, words.astype("<u4").tobytes()
    net_bits, initial_bits = stack.num_bits - begun_bits, 32 * (_RANDOM_WORDS - untouched)
    bits = (net_bits, bound_bits, initial_bits, 8 * len(head), 8 * len(head + tail))
    return head + tail, Report(len(pictures), pictures.size, *bits)


@dataclass(frozen=True)
class Header:
    """The header of a file, and where its words begin."""

    fields: dict[str, Any]
    end: int


def read_header(data: bytes) -> Header:
    """Returns the header of a file; FormatError if it is none."""
    if not data.startswith(MAGIC):
        raise FormatError("not a file of `hcodec lab code`")
    begin = len(MAGIC) + _LENGTH_BYTES
    end = begin + int.from_bytes(data[len(MAGIC) : begin], "little")
    try:
        fields = json.loads(data[begin:end])
        _check_fields(fields)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise FormatError("the header of this lab file is damaged") from error
    if (len(data) - end) % 4:
        raise FormatError("this lab file is cut")
    return Header(fields, end)


def _check_fields(fields: dict[str, Any]) -> None:
    shape, untouched = fields["shape"], fields["untouched"]
    if not all(type(number) is int for number in (*shape, untouched, fields["crc"])):
        raise TypeError("numbers")
    if len(shape) != 3 or shape[0] not in (1, 3) or not all(1 <= edge <= 1024 for edge in shape[1:]):
        raise ValueError("shape")
    if not 0 <= untouched <= _RANDOM_WORDS:
        raise ValueError("words")
    names = fields["names"]
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("names")


def file_names(header: Header) -> list[str]:
    """Returns the names of the files that pictures go to; FormatError if two have one, or no file can have it."""
    names = [Path(name).name for name in header.fields["names"]]
    if len(set(names)) < len(names) or "\0" in "".join(names):
        raise FormatError("the pictures of this lab file have no names that files can have")
    return names


def refuse_elsewhere(fields: dict[str, Any], trained: Trained) -> None:
    """Raises FormatError unless this model, torch, machine and number of threads wrote the file."""
    for key, value in {"model": trained.digest, **here()}.items():
        if fields.get(key) != value:
            there = f"{fields.get(key)!r:.40}"
            raise FormatError(f"a lab file decodes only where it was written; {key}: there {there}, here {value!r}")


def decode(data: bytes, trained: Trained, step: Callable[[], None] = lambda: None) -> Pixels:
    """Returns the pictures of a file, uint8 (N, C, H, W); FormatError unless every bit comes out."""
    header = read_header(data)
    fields = header.fields
    refuse_elsewhere(fields, trained)
    words = np.frombuffer(data[header.end :], dtype="<u4").astype(np.uint32)
    stack, shape = FloatStack(fields["untouched"], words), torch.Size([1, *fields["shape"]])
    found = []
    for _ in fields["names"]:
        found.append(bits_back.pop(trained.network, stack, shape)[0].numpy().astype(np.uint8))
        step()
    pictures = np.stack(found)
    if zlib.crc32(pictures.tobytes()) != fields["crc"] or not stack.is_as_begun(_RANDOM_WORDS):
        raise FormatError("the pictures of this lab file do not have its checksum")
    return pictures
