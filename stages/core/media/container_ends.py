"""Where containers other than MP4 end: EBML segments, GIF blocks, RIFF and PNG chunks, FLV tags, ASF objects, TS packets.

Sources: RFC 8794 §4–6 (EBML), the GIF89a specification, Microsoft's RIFF, OpenDML 1.02 and ASF 1.20 specifications, the
PNG specification §5, Adobe's FLV specification 10.1 annex E, ISO/IEC 13818-1 (MPEG-2 systems).
"""

import logging
import os
from pathlib import Path
from typing import BinaryIO

CUT = "it was cut short; copy, download or record it again"
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
MPEG_PACK, MPEG_END = b"\0\0\1\xba", b"\0\0\1\xb9"
PNG_HEAD = b"\x89PNG\r\n\x1a\n"
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_DATA = bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
TS_SIZES = ((188, 0), (192, 4))  # bytes of a packet, and before its mark; cameras (AVCHD) put a time there

log = logging.getLogger(__name__)


def check_ebml(file: BinaryIO, path: Path) -> None:
    """Matroska and WebM: the segment's declared end."""
    size = _size(file)
    while identifier := _read_vint(file, keep_marker=True):
        length_bytes = _read_vint(file, keep_marker=False)
        length = int.from_bytes(length_bytes, "big")
        unknown = length == (1 << (7 * len(length_bytes))) - 1  # a live recording: nothing is declared
        end = file.tell() + length
        if not unknown and end > size:
            raise ValueError(f"{path}: declares {end} bytes and has {size}; {CUT}")
        if identifier == MATROSKA_SEGMENT:
            return
        file.seek(end)
    raise ValueError(f"{path}: holds no Matroska segment; {CUT}")


def _read_vint(file: BinaryIO, *, keep_marker: bool) -> bytes:
    """An EBML variable-length integer as its bytes; b"" at the end of the file."""
    first = file.read(1)
    if not first or not first[0]:
        return b""
    length = 9 - first[0].bit_length()
    lead = first if keep_marker else bytes([first[0] & (0xFF >> length)])
    return lead + file.read(length - 1)


def check_gif(file: BinaryIO, path: Path) -> None:
    """GIF: blocks up to the trailer; what follows it is ignored."""
    screen = file.read(13)
    if len(screen) == 13:
        _skip_table(file, screen[10])
    while introducer := file.read(1):
        if introducer == b"\x3b":  # the trailer
            return
        if introducer == b"\x21":  # an extension: its label, then blocks
            file.read(1)
        elif introducer == b"\x2c":  # an image: descriptor, perhaps a colour table, LZW size, then blocks
            descriptor = file.read(9)
            _skip_table(file, descriptor[8] if len(descriptor) == 9 else 0)
            file.read(1)
        else:
            raise ValueError(f"{path}: broken at byte {file.tell() - 1} (no GIF block starts there); replace the file")
        while length := file.read(1)[:1].strip(b"\0"):
            file.seek(length[0], os.SEEK_CUR)
    raise ValueError(f"{path}: ends without the GIF trailer; {CUT}")


def _skip_table(file: BinaryIO, flags: int) -> None:
    if flags & 0x80:
        file.seek(3 << ((flags & 7) + 1), os.SEEK_CUR)


def check_riff(file: BinaryIO, path: Path) -> None:
    """AVI (one RIFF chunk, or several above 1 GB) and WebP. Length 0, as a recorder that died leaves it, is refused."""
    size, start = _size(file), 0
    while start + 8 <= size:
        file.seek(start)
        head = file.read(8)
        if start and head[:4] != b"RIFF":
            return  # bytes after the end
        length = int.from_bytes(head[4:8], "little")
        if not length:
            raise ValueError(f"{path}: its length is 0: the recording was not finished; repair or re-encode it")
        end = start + 8 + length
        if end > size:
            raise ValueError(f"{path}: declares {end} bytes and has {size}; {CUT}")
        start = end + length % 2
    if not start:
        raise ValueError(f"{path}: holds no RIFF chunk; {CUT}")


def check_png(file: BinaryIO, path: Path) -> None:
    """PNG and APNG: chunks up to IEND."""
    size, start = _size(file), len(PNG_HEAD)
    while start + 12 <= size:
        file.seek(start)
        head = file.read(8)
        start += 12 + int.from_bytes(head[:4], "big")
        if start > size:
            break
        if head[4:] == b"IEND":
            return
    raise ValueError(f"{path}: ends without the PNG's last chunk (IEND); {CUT}")


def check_flv(file: BinaryIO, path: Path) -> None:
    """FLV: tags, each followed by its length."""
    size, head = _size(file), file.read(9)
    start = int.from_bytes(head[5:9], "big") + 4
    while start < size:
        file.seek(start)
        tag = file.read(11)
        start += 15 + int.from_bytes(tag[1:4], "big")
        if len(tag) < 11 or start > size:
            raise ValueError(f"{path}: its last tag ends after the file's end at byte {size}; {CUT}")


def check_asf(file: BinaryIO, path: Path) -> None:
    """WMV and ASF: the header's and the data's declared ends."""
    size, start, kinds = _size(file), 0, set()
    while start + 24 <= size:
        file.seek(start)
        head = file.read(24)
        length = int.from_bytes(head[16:24], "little")
        kinds.add(head[:16])
        if length < 24:
            break  # a live recording, or bytes after the end
        start += length
        if start > size:
            raise ValueError(f"{path}: declares {start} bytes and has {size}; {CUT}")
    if ASF_DATA not in kinds:
        raise ValueError(f"{path}: holds no data object; {CUT}")


def ts_packet(head: bytes) -> int | None:
    """Bytes of a transport stream's packet; None where the bytes are not such a stream."""
    for length, mark in TS_SIZES:
        marks = head[mark : 3 * length : length]
        if marks and marks == b"\x47" * len(marks) and len(head) >= mark + min(2 * length, 189):
            return length
    return None


def check_ts(file: BinaryIO, path: Path) -> None:
    """MPEG-TS: whole packets. It declares no end, so a cut between two packets cannot be seen."""
    length = ts_packet(file.read(3 * 192 + 8))
    if length and (rest := _size(file) % length):
        log.warning("%s: ends with %d bytes of a packet of %d: it may have been cut short", path, rest, length)


def check_ps(file: BinaryIO, path: Path) -> None:
    """MPEG-PS: it ends with a mark. Many writers leave it out, so its absence says little."""
    file.seek(max(0, _size(file) - 4096))
    if MPEG_END not in file.read():
        log.info("%s: ends without the mark of an end (MPEG-PS): a cut could not be seen", path)


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size
