"""The submission zip: equal predictions give equal bytes."""

import zipfile
from pathlib import Path

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: real times would change the bytes


def write_submission(predictions: Path, target: Path) -> int:
    """Zips <video>/<expression>/<frame>.png with the video folders at the root, as the MeViS server takes it.

    PNGs are compressed already and are stored as they are.

    Returns:
        The number of PNGs.
    """
    files = sorted(predictions.rglob("*.png"))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for file in files:
            entry = zipfile.ZipInfo(file.relative_to(predictions).as_posix(), EPOCH)
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, file.read_bytes())
    return len(files)
