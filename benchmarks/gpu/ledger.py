"""The results file: one JSON file for all parts, replaced after every row, so that a lost machine loses little."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(__file__).parent
SHARED = ("run.py", "models.py")


class Ledger:
    """Results by part.

    Args:
        path: the file; it may not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, dict[str, Any]] = {}
        if path.is_file():
            self.parts = json.loads(path.read_text(encoding="utf-8"))["parts"]

    def rows(self, part: str, key: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What is known of a part on the same card, with the same versions, settings and code."""
        entry = self.parts.get(part, {})
        return dict(entry["rows"]) if entry.get("key") == key else {}

    def is_complete(self, part: str, key: dict[str, Any]) -> bool:
        return bool(self.rows(part, key)) and bool(self.parts[part]["complete"])

    def write(self, part: str, key: dict[str, Any], machine: dict[str, Any], **rest: Any) -> None:
        self.parts[part] = {"key": key, "machine": machine, **rest}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f"{self.path.name}.new")
        document = {"command": "python -m benchmarks.gpu", "parts": self.parts}
        beside.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        beside.replace(self.path)


def code_digest(part: str, others: Iterable[str]) -> str:
    """16 hex digits over the sources that a part's figures depend on."""
    digest = hashlib.sha256()
    places = [PACKAGE / f"{part}.py", *(PACKAGE / name for name in SHARED), *(ROOT / other for other in others)]
    for place in places:
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
