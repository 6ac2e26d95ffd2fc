"""Names of pages: file names that can be put into a URL as they are."""

import re
from collections.abc import Sequence


def page_names(ids: Sequence[str]) -> dict[str, str]:
    """Video id → the name of its page; what two ids would share is told apart by their places."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for place, identifier in enumerate(ids):
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", identifier).strip(".")[:120] or "video"
        if name.lower() in taken:
            name = f"{name}-{place}"
        taken.add(name.lower())
        names[identifier] = name
    return names
