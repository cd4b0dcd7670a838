"""Where JPEG and JPEG 2000 files may be cut.

Finds the scans of a progressive JPEG (ITU-T T.81 annex B) and the packets of a JPEG 2000 codestream
(ITU-T T.800 annex A), and makes valid shorter files of them. Imports the standard library only.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.peers.peer import NothingYetError

_EOI = b"\xff\xd9"  # also the end of a JPEG 2000 codestream
_SOS, _COD, _SOT, _PLT, _SOD = 0xFFDA, 0xFF52, 0xFF90, 0xFF58, 0xFF93
_EMPTY_PACKET = b"\0"


def scan_ends(data: bytes) -> list[int]:
    """Bytes of a JPEG file up to the end of each of its scans, end marker included."""
    return [end + len(_EOI) for _, start, end in _segments(data) if start < end]


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each marker segment of a JPEG file: where it starts, where it ends, and where the scan after it ends, if any."""
    at = 2
    while data[at : at + 2] != _EOI:
        marker, length = struct.unpack(">HH", data[at : at + 4])
        header_end = at + 2 + length
        end = _next_marker(data, header_end) if marker == _SOS else header_end
        yield at, header_end, end
        at = end


def _next_marker(data: bytes, at: int) -> int:
    while True:
        at = data.index(b"\xff", at)
        follower = data[at + 1]
        if follower != 0 and not 0xD0 <= follower <= 0xD7:  # neither a stuffed byte nor a restart
            return at
        at += 2


def cut_jpeg(data: bytes, num_bytes: int) -> bytes:
    """The first bytes of a JPEG file, ended by an end marker: what a viewer has after `num_bytes`."""
    if num_bytes >= len(data):
        return data
    room, has_scan = num_bytes - len(_EOI), False
    for at, header_end, end in _segments(data):
        if room < end:
            last = room if room > header_end else at  # half a marker segment is of no use
            break
        has_scan |= header_end < end
    if not has_scan and room <= header_end:
        raise NothingYetError("the first scan has not begun")
    return data[:last] + _EOI


@dataclass(frozen=True)
class Packets:
    """A JPEG 2000 codestream of one tile, taken apart. `head`: up to the packets, packet lengths (PLT) left out."""

    head: bytes
    num_layers_at: int
    tile_bytes_at: int
    num_layers: int
    lengths: tuple[int, ...]
    body: bytes

    @property
    def per_layer(self) -> int:
        """Packets in each quality layer: resolutions times components."""
        return len(self.lengths) // self.num_layers

    def layer_ends(self) -> list[int]:
        """Bytes of the file that ends with each layer."""
        ends = [0, *accumulate(self.lengths)]
        return [len(self.head) + ends[n * self.per_layer] + len(_EOI) for n in range(1, self.num_layers + 1)]


def parse_packets(data: bytes) -> Packets:
    """Takes apart a codestream in layer-resolution order, made with packet lengths in its tile header."""
    head, places, lengths = bytearray(data[:2]), {}, bytearray()
    at = 2
    while True:
        (marker,) = struct.unpack(">H", data[at : at + 2])
        size = 2 if marker == _SOD else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        places[marker] = len(head)
        if marker == _PLT:
            lengths += data[at + 5 : at + size]
        else:
            head += data[at : at + size]
        at += size
        if marker == _SOD:
            break
    num_layers_at = places[_COD] + 6
    num_layers = int.from_bytes(head[num_layers_at : num_layers_at + 2], "big")
    body = data[at : -len(_EOI)]
    return Packets(bytes(head), num_layers_at, places[_SOT] + 6, num_layers, _varints(bytes(lengths)), body)


def _varints(data: bytes) -> tuple[int, ...]:
    values, value = [], 0
    for byte in data:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            values.append(value)
            value = 0
    return tuple(values)


def cut_packets(data: bytes, num_bytes: int) -> bytes:
    """A valid codestream of at most `num_bytes` with the first whole packets of `data`.

    Its packet lengths are left out: they were there for this function only. What is missing of the last quality layer is filled
    with empty packets of one byte, so that any decoder takes the file.
    """
    packets = parse_packets(data)
    ends = [0, *accumulate(packets.lengths)]
    room = num_bytes - len(packets.head) - len(_EOI)
    for count in range(len(packets.lengths), 0, -1):
        num_layers = -(-count // packets.per_layer)
        padding = num_layers * packets.per_layer - count
        if ends[count] + padding <= room:
            body = packets.body[: ends[count]] + padding * _EMPTY_PACKET
            return _assemble(packets, num_layers, body)
    raise NothingYetError("not one packet is whole")


def _assemble(packets: Packets, num_layers: int, body: bytes) -> bytes:
    head = bytearray(packets.head)
    head[packets.num_layers_at : packets.num_layers_at + 2] = num_layers.to_bytes(2, "big")
    tile_header_bytes = len(head) - (packets.tile_bytes_at - 6)
    tile_bytes = tile_header_bytes + len(body)
    head[packets.tile_bytes_at : packets.tile_bytes_at + 4] = tile_bytes.to_bytes(4, "big")
    return bytes(head) + body + _EOI
