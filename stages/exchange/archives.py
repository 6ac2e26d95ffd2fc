"""A zip or a folder of masks as names and bytes; nothing is unpacked."""

import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

MAX_BYTES = 64 << 20  # per mask; an uncompressed 8K frame has half as many
# What zipfile raises for archives that are damaged, encrypted or malicious.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,  # and NotImplementedError
    EOFError,
    OSError,
    OverflowError,
    ValueError,
)


class Archive(Protocol):
    """Names of files, facts that show when one has changed, and their bytes."""

    @property
    def facts(self) -> Mapping[str, Any]: ...

    def read(self, name: str) -> bytes:
        """Raises ValueError, naming archive and file, if it cannot be read or is too large."""
        ...


@dataclass(frozen=True)
class ZipFolder:
    path: Path
    archive: zipfile.ZipFile
    infos: Mapping[str, zipfile.ZipInfo]
    facts: Mapping[str, Any]

    def read(self, name: str) -> bytes:
        info = self.infos[name]
        if info.file_size > MAX_BYTES:
            raise ValueError(f"{self.path}: {name} declares {info.file_size} bytes; no mask is that large")
        try:
            return self.archive.read(info)
        except UNREADABLE as error:
            raise ValueError(f"{self.path}: {name} is not readable ({error}); make the zip again") from error


@dataclass(frozen=True)
class PlainFolder:
    path: Path
    facts: Mapping[str, Any]

    def read(self, name: str) -> bytes:
        try:
            if (self.path / name).stat().st_size > MAX_BYTES:
                raise ValueError(f"{self.path / name}: larger than any mask")
            return (self.path / name).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.path / name}: not readable ({error.strerror}); restore it") from error


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """A folder or a zip of masks.

    Raises:
        ValueError: it is neither, or holds a name twice.
    """
    if path.is_dir():
        yield PlainFolder(path, dict(_listed(path)))
        return
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: does not exist; give a zip, a folder or a JSON file") from error
    except UNREADABLE as error:
        raise ValueError(f"{path}: is no folder, no JSON file and no readable zip ({error})") from error
    with archive:
        infos = _infos(path, archive)
        facts = {name: [info.CRC, info.file_size] for name, info in infos.items()}
        yield ZipFolder(path, archive, infos, facts)


def _infos(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in infos:
            raise ValueError(f"{path}: holds {info.filename!r} twice; make the zip again")
        if info.filename and not info.filename.endswith("/"):
            infos[info.filename] = info
    return infos


def _listed(path: Path) -> Iterator[tuple[str, list[int]]]:
    """Name → size and modification time of every file below a folder, in order."""
    for folder, subfolders, files in os.walk(path):
        subfolders.sort()
        for name in sorted(files):
            file = Path(folder) / name
            status = file.stat()
            yield file.relative_to(path).as_posix(), [status.st_size, status.st_mtime_ns]
