"""Data for pages that are opened from a disk: scripts that hand values over, since a page may not read other files there."""

import json
from pathlib import Path
from typing import Any


def write_data(path: Path, name: str, value: Any) -> None:
    """`window.referee.<name> = value;`: equal values give equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    path.write_text(f"window.referee ??= {{}};\nwindow.referee.{name} = {text};\n", encoding="utf-8")
