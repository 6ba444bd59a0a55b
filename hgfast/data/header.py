"""What the header of a picture file says, read before anything is decoded.

A damaged header of a few bytes can ask for gigabytes, and OpenCV reserves them before it looks at the rest. Formats
that are not known here are left to OpenCV's own limits.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass

_FREE = 1 << 24  # pixels, and bytes of a piece, that any file may announce, however small it is


@dataclass(frozen=True)
class Header:
    """Size in pixels as stored, and what is to be done with them.

    Attributes:
        width: of the stored picture.
        height: of the stored picture.
        dense: most pixels that a byte of such a file can stand for.
        jpeg: whether it is a JPEG.
        orientation: EXIF's number of 1 to 8 for JPEG files: how the stored picture is to be turned and mirrored.
        piece: bytes that the largest part of a PNG file is said to have: OpenCV reserves them before it reads.
    """

    width: int
    height: int
    dense: float
    jpeg: bool = False
    orientation: int = 1
    piece: int = 0

    def fits(self, length: int) -> bool:
        """Whether a file of that many bytes can hold what is announced."""
        return self.width * self.height <= _FREE + self.dense * length and self.piece <= _FREE + length

    def mirrored(self) -> tuple[bool, bool]:
        """Whether the shown picture begins, in x and in y, at the stored one's last column or row."""
        return self.orientation in (2, 3, 6, 7), self.orientation in (3, 4, 7, 8)

    def shown(self) -> tuple[int, int]:
        """(width, height) after turning."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def read_header(data: bytes) -> Header | None:
    """Header of a picture file; None where the format is not known or the header is cut off."""
    for start, read in _FORMATS:
        if re.match(start, data, re.DOTALL):
            try:
                return read(data)
            except (struct.error, IndexError, ValueError, OverflowError):
                return None
    return None


def _jpeg(data: bytes) -> Header | None:
    """Walk over the segments: APP1 may hold EXIF, SOF0 to SOF15 (without DHT, JPG and DAC) hold the size."""
    place, orientation = 2, 1
    for _ in range(1 << 16):  # segments; a damaged file may hold any number
        place = data.index(0xFF, place)
        marker = data[place + 1]
        if marker in (0xFF, 0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # fill bytes and markers without a length
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return Header(width, height, 512, True, orientation)  # 64 pixels take a bit at least
        if marker in (0xD9, 0xDA):
            return None
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            orientation = _orientation(data[place + 10 : place + 2 + length])
        place += 2 + length
    return None


def _orientation(exif: bytes) -> int:
    """EXIF's orientation; 1 where it is missing or no number of 1 to 8."""
    try:
        value = _tiff_tags(exif, (0x112,)).get(0x112, 1)
    except (struct.error, KeyError, OverflowError):
        return 1
    return value if 1 <= value <= 8 else 1


def _tiff_tags(data: bytes, wanted: tuple[int, ...]) -> dict[int, int]:
    """Read the first values of some tags of the first directory of a TIFF structure, BigTIFF too."""
    order = {b"II": "<", b"MM": ">"}[data[:2]]
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    place = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)[0]
    count = struct.unpack_from(order + ("Q" if big else "H"), data, place)[0]
    place, step, shift = (place + 8, 20, 12) if big else (place + 2, 12, 8)
    values = {}
    for entry in range(place, min(place + count * step, len(data)), step):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in wanted:
            form = {1: "B", 3: "H", 4: "I", 16: "Q"}[kind]
            values[tag] = struct.unpack_from(order + form, data, entry + shift)[0]
    return values


def _tiff(data: bytes) -> Header | None:
    try:
        tags = _tiff_tags(data, (256, 257))
        return Header(tags[256], tags[257], 2048)
    except KeyError:
        return None


def _png(data: bytes) -> Header:
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    bits = depth * {2: 3, 4: 2, 6: 4}.get(kind, 1)
    place, piece = 8, 0
    while place + 4 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        place, piece = place + 12 + length, max(piece, length)
    return Header(width, height, 1032 * 8 / max(bits, 1), piece=piece)  # deflate makes 1,032 bytes of one at most


def _bmp(data: bytes) -> Header:
    old = struct.unpack_from("<I", data, 14)[0] == 12
    width, height = struct.unpack_from("<hh" if old else "<ii", data, 18)
    return Header(abs(width), abs(height), 256)


def _webp(data: bytes) -> Header | None:
    kind = data[12:16]
    if kind == b"VP8X":
        a, b, c, d, e, f = data[24:30]
        return Header(1 + a + (b << 8) + (c << 16), 1 + d + (e << 8) + (f << 16), 2048)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return Header(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF), 2048)
    width, height = struct.unpack_from("<HH", data, 26)
    return Header(width & 0x3FFF, height & 0x3FFF, 2048)


def _jpeg2000(data: bytes) -> Header | None:
    place = data.find(b"\xff\x4f\xff\x51")
    if place < 0:
        return None
    right, bottom = struct.unpack_from(">II", data, place + 8)
    return Header(right, bottom, 2048)


def _avif(data: bytes) -> Header | None:
    sizes = [struct.unpack_from(">II", data, found.end() + 4) for found in re.finditer(b"ispe", data[: 1 << 16])]
    width, height = max(sizes, default=(0, 0))
    return Header(width, height, 2048) if sizes else None


def _by(pattern: bytes, dense: float) -> Callable[[bytes], Header | None]:
    """Reader of a text header: the pattern's groups `w` and `h` are width and height."""

    def read(data: bytes) -> Header | None:
        found = re.search(pattern, data[:4096], re.DOTALL)
        return Header(int(found["w"][:18]), int(found["h"][:18]), dense) if found else None

    return read


def _binary(form: str, place: int, dense: float) -> Callable[[bytes], Header | None]:
    """Reader of a header with width and height as two numbers at a fixed place."""

    def read(data: bytes) -> Header:
        width, height = struct.unpack_from(form, data, place)
        return Header(width, height, dense)

    return read


_GAP = rb"(?:\s|#[^\n]*\n)+"
_FORMATS: tuple[tuple[bytes, Callable[[bytes], Header | None]], ...] = (
    (rb"\xff\xd8", _jpeg),
    (rb"\x89PNG", _png),
    (rb"BM", _bmp),
    (rb"GIF8", _binary("<HH", 6, 2048)),
    (rb"RIFF....WEBP", _webp),
    (rb"II[*+]\0|MM\0[*+]", _tiff),
    (rb"P[1-6Ff]\s", _by(rb"P." + _GAP + rb"(?P<w>\d+)" + _GAP + rb"(?P<h>\d+)", 8)),
    (rb"P7\s", _by(rb"WIDTH\s+(?P<w>\d+).*HEIGHT\s+(?P<h>\d+)", 8)),
    (rb"\x59\xa6\x6a\x95", _binary(">II", 4, 256)),
    (rb"#\?", _by(rb"\n-Y\s+(?P<h>\d+)\s+\+X\s+(?P<w>\d+)", 256)),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", _jpeg2000),
    (rb"....ftyp", _avif),
)
