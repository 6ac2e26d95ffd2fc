"""What kind of video a file is, and whether it holds all that its container declares.

FFmpeg reads a file that was cut short as if it ended there: a Matroska file or a GIF becomes a shorter video without a
warning. Most containers declare in their bytes where they end, so this is checked first. MP4 boxes are read here (ISO/IEC
14496-12 §4.2), the others in `stages.core.media.container_ends`.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from stages.core.media import container_ends as ends
from stages.core.media.container_ends import CUT

READ = "MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG-PS, WMV, FLV, GIF, animated WebP or PNG"
HEAD = 3 * 192 + 8  # bytes, enough to tell any kind
FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"}
INDEX_BOXES = {b"moov", b"moof"}
# Boxes that a player needs whole. What follows them may be anything: cameras and editors append bytes of their own.
NEEDED_BOXES = {*INDEX_BOXES, b"mdat", b"ftyp", b"styp", b"sidx", b"mfra"}

Check = Callable[[BinaryIO, Path], None]

# First bytes of files that are often found among videos and cannot be read as one, and what such a file is.
STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "a single picture (JPEG); put pictures into a folder of frames"),
    (b"BM", "a single picture (BMP); put pictures into a folder of frames"),
    (b"II*\0", "a single picture (TIFF); put pictures into a folder of frames"),
    (b"MM\0*", "a single picture (TIFF); put pictures into a folder of frames"),
    (b"OggS", f"an Ogg file, which is not read; convert it to one of {READ}"),
    (b"\x06\x0e\x2b\x34", f"an MXF file, which is not read; convert it to one of {READ}"),
    (b".RMF", f"a RealMedia file, which is not read; convert it to one of {READ}"),
    (b"<", "text (HTML or XML), as a failed download leaves it; download it again"),
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself (git lfs pull)"),
)


def check_complete(path: Path) -> str:
    """The name of a file's container, when it is one that can be read and reaches the end it declares.

    Raises:
        ValueError: it is missing, not a file, empty, of another kind, or cut short.
    """
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{path}: a link to {path.readlink()}, which is not there; restore that, or correct the link")
    if not path.exists():
        raise ValueError(f"{path}: the video does not exist; put it there or correct the index")
    if not path.is_file():
        raise ValueError(f"{path}: not a file; a video is a file, or a folder of frames")
    with path.open("rb") as file:
        head = file.read(HEAD)
        if not head:
            raise ValueError(f"{path}: the file is empty; copy or download it again")
        file.seek(0)
        kind = _kind_of(head)
        if kind is None:
            stranger = next((words for start, words in STRANGERS if head.lstrip().startswith(start)), None)
            raise ValueError(
                f"{path}: is {stranger}" if stranger else f"{path}: not an {READ} video; convert it to one"
            )
        CHECKS[kind](file, path)
        return kind


def _kind_of(head: bytes) -> str | None:
    if head[4:8] in FIRST_BOXES:
        return "MP4"
    if head.startswith(ends.MPEG_PACK):
        return "MPEG-PS"
    if ends.ts_packet(head) is not None:
        return "MPEG-TS"
    if head.startswith(b"RIFF"):
        return {b"AVI ": "AVI", b"WEBP": "WebP"}.get(head[8:12])
    return next((kind for start, kind in STARTS if head.startswith(start)), None)


STARTS = (
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"\x1a\x45\xdf\xa3", "Matroska"),
    (b"FLV\x01", "FLV"),
    (ends.ASF_HEADER, "ASF"),
    (ends.PNG_HEAD, "PNG"),
)


def check_boxes(file: BinaryIO, path: Path) -> None:
    """MP4 and MOV: an index, and all boxes that a player needs to their ends."""
    size = os.fstat(file.fileno()).st_size
    kinds: set[bytes] = set()
    for kind, end in _boxes(file, size):
        if end > size and (kind in NEEDED_BOXES or not _is_playable(kinds)):
            raise ValueError(f"{path}: its {kind.decode()!r} box ends at byte {end}, the file at {size}; {CUT}")
        kinds.add(kind)
    if not kinds & INDEX_BOXES:
        raise ValueError(f"{path}: has no index ('moov' box): the recording was not finished, or {CUT}")


def _is_playable(kinds: set[bytes]) -> bool:
    return b"moov" in kinds and b"mdat" in kinds


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int]]:
    """Kind and end of every box at the top level, up to the file's end or to bytes that are not a box."""
    start = 0
    while start < size:
        file.seek(start)
        head = file.read(16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if not (len(kind) == 4 and kind.isascii() and kind.decode().isprintable()):
            return
        if length == 0:  # "to the end of the file"
            length = size - start
        elif length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length < 8:
            return
        yield kind, start + length
        start += length


CHECKS: dict[str, Check] = {
    "MP4": check_boxes,
    "Matroska": ends.check_ebml,
    "GIF": ends.check_gif,
    "AVI": ends.check_riff,
    "WebP": ends.check_riff,
    "PNG": ends.check_png,
    "FLV": ends.check_flv,
    "ASF": ends.check_asf,
    "MPEG-TS": ends.check_ts,
    "MPEG-PS": ends.check_ps,
}
