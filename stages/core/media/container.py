"""Whether a video file holds all that its container declares: MP4 boxes, the EBML segment, GIF blocks.

FFmpeg reads a file that was cut short as if it ended there: a Matroska file or a GIF becomes a shorter
video without a word. Each of the three containers says in its bytes where it ends, so this is asked first.
Sources: ISO/IEC 14496-12 §4.2 (boxes), RFC 8794 §4–6 (EBML), the GIF89a specification (blocks).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

CUT = "it was cut short; copy, download or record it again"
GIF_HEADS = (b"GIF87a", b"GIF89a")
EBML_HEAD = b"\x1a\x45\xdf\xa3"
MATROSKA_SEGMENT = b"\x18\x53\x80\x67"
FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
INDEX_BOXES = {b"moov", b"moof"}


def check_complete(path: Path) -> None:
    """Returns when the file is an MP4, MOV, MKV, WebM or GIF that reaches the end it declares.

    Raises:
        ValueError: it is missing, not a file, empty, of another kind, or cut short.
    """
    if not path.exists():
        raise ValueError(f"{path}: the video does not exist; put it there or correct the index")
    if not path.is_file():
        raise ValueError(f"{path}: not a file; a video is a file, or a folder of .jpg or .png frames")
    with path.open("rb") as file:
        head = file.read(12)
        if not head:
            raise ValueError(f"{path}: the file is empty; copy or download it again")
        file.seek(0)
        _check_by_head(head, file, path)


def _check_by_head(head: bytes, file: BinaryIO, path: Path) -> None:
    if head.startswith(GIF_HEADS):
        _check_gif(file, path)
    elif head.startswith(EBML_HEAD):
        _check_ebml(file, path)
    elif head[4:8] in FIRST_BOXES:
        _check_boxes(file, path)
    else:
        raise ValueError(f"{path}: not an MP4, MOV, MKV, WebM or GIF video; convert it to one of these")


def _check_boxes(file: BinaryIO, path: Path) -> None:
    size = os.fstat(file.fileno()).st_size
    kinds = set()
    for kind, end in _boxes(file, size):
        kinds.add(kind)
        if end > size:
            raise ValueError(f"{path}: its {kind.decode()!r} box ends at byte {end}, the file at {size}; {CUT}")
    if not kinds & INDEX_BOXES:
        raise ValueError(f"{path}: has no index ('moov' box): the recording was not finished, or {CUT}")


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Kind and end of every box at the top level, up to the file's end or to bytes that are no box."""
    start = 0
    while start < size:
        file.seek(start)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if not (len(kind) == 4 and kind.isascii() and kind.decode().isprintable()):
            return  # some cameras append bytes of their own after the last box
        if length == 0:  # "to the end of the file"
            length = size - start
        elif length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return
        yield kind, start + length
        start += length


def _check_ebml(file: BinaryIO, path: Path) -> None:
    size = os.fstat(file.fileno()).st_size
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


def _check_gif(file: BinaryIO, path: Path) -> None:
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
