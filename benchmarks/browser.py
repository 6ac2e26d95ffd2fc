"""A real browser for reports: Chromium without a window, driven by Playwright, in which every complaint counts.

Chromium is a package of the system (Debian: `apt-get install chromium`); CHROMIUM names another program. Nothing is fetched:
the browser is cut off from the network, and a page that asks for anything but its own files is caught.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--autoplay-policy=no-user-gesture-required",
)


@dataclass
class Watched:
    """A page of the browser, and what went wrong on it.

    Attributes:
        page: Playwright's.
        complaints: errors of scripts and on the console, files that are missing, requests that leave the disk.
    """

    page: Any
    complaints: list[str] = field(default_factory=list)


def chromium() -> str | None:
    """The browser's program; None where there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def why_not() -> str:
    """Why there is no browser, with the fix; "" where there is one."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install playwright"
    return "" if chromium() else "no Chromium on this machine: apt-get install chromium, or set CHROMIUM"


@contextmanager
def open_browser(width: int = 1360, height: int = 900, **options: Any) -> Iterator[Watched]:
    """A page in a new browser.

    Args:
        options: of Playwright's `new_page`, as color_scheme="dark".
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, **options)
            yield watch(page)
        finally:
            browser.close()


def watch(page: Any) -> Watched:
    watched = Watched(page)
    note = watched.complaints.append

    def asked(request: Any) -> None:
        if not request.url.startswith(("file:", "data:", "blob:", "http://127.0.0.1", "http://localhost")):
            note(f"leaves the disk: {request.url}")

    page.on("console", lambda said: note(f"console: {said.text}") if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: note(f"script: {error}"))
    page.on("requestfailed", lambda request: note(f"missing: {request.url}") if _is_lost(request) else None)
    page.on("request", asked)
    return watched


def _is_lost(request: Any) -> bool:
    """Whether a file was not there; what a page no longer wants as it is left is fine."""
    return "ERR_ABORTED" not in (request.failure or "")


def address(folder: Path, page: str) -> str:
    return (folder / page).resolve().as_uri()
