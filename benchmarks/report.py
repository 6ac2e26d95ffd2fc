"""How heavy a report is in a browser: the report of a full-size MeViS valid, or any that is there.

    python -m benchmarks.report --work <folder with 1 GB to spare>     # synthetic: 140 videos, 2,236 expressions
    python -m benchmarks.report --site results/report/shapes/valid_u   # one that is there
    python -m benchmarks.report --site … --picture docs/report.jpg     # and a picture of its pages

The synthetic split is that of benchmarks/synthetic_mevis.py, cut to --frames frames per video; answers and tracks are drawn,
scores and the report (without the oracle) are made by the pipeline's own commands. Figures are Chromium's: the time from the
request of a page until it is drawn and its script is done, the processor time of the process that shows it, the bytes that it
read until then, the memory of its scripts, its nodes, and the memory of that process. Writes benchmarks/results/report.json
with --work.
"""

import argparse
import io
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.browser import Watched, address, open_browser, why_not
from benchmarks.machine import describe
from benchmarks.mevis_valid import ROOT, children_seconds, command, shown, timed, write_config
from benchmarks.synthetic_mevis import VIDEOS, plans, write_answers, write_dataset
from stages.core.state.graph import Layout

PAGES = {"overview": "index.html", "expressions": "expressions.html"}
READY = {"expressions": "html[data-ready=table]", "video": "html[data-ready^=expression]"}
LIMIT_MS = 120_000
PICTURE = 190_000  # bytes at most


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="a folder for synthetic data, cache and report")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="only the first N, for a trial (default: all)")
    parser.add_argument("--frames", type=int, default=12, help="frames per video at most (default: 12)")
    parser.add_argument("--site", type=Path, help="a report that is there")
    parser.add_argument("--picture", type=Path, help="a JPEG of its pages, side by side")
    arguments = parser.parse_args(argv)
    if (reason := why_not()) or not (arguments.work or arguments.site):
        print(f"error: {reason or 'give --work or --site'}", file=sys.stderr)
        return 2
    steps: list[dict[str, Any]] = []
    site = arguments.site or make(arguments.work.resolve(), arguments.videos, arguments.frames, steps)
    figures = [measured(site, name) for name in (*PAGES, "video")]
    total = sum(path.stat().st_size for path in site.rglob("*") if path.is_file())
    print(f"\nThe site: {total / 1e6:.1f} MB in {sum(path.is_file() for path in site.rglob('*')):,} files\n")
    print(table(figures))
    if arguments.picture:
        print(f"{arguments.picture}: {take_picture(site, arguments.picture):,} bytes")
    if arguments.work:
        document = {"machine": describe("matplotlib", "playwright"), "steps": steps, "bytes": total, "pages": figures}
        (ROOT / "benchmarks/results/report.json").write_text(json.dumps(document, indent=1) + "\n")
    return 0


def make(work: Path, videos: int, frames: int, steps: list[dict[str, Any]]) -> Path:
    """The synthetic split, its scores and its report."""
    made = [replace(plan, n_frames=min(plan.n_frames, frames)) for plan in plans()[:videos]]
    config, layout = write_config(work, 2), Layout(work / "cache", "mevis", "valid")
    steps.append(timed("write data set", lambda: write_dataset(work / "mevis", made)))
    steps.append(timed("write answers", lambda: write_answers(layout, made)))
    steps += [command("extract_frames", config, 1), command("evaluate", config, 1)]
    site = work / "results/report/mevis/valid"
    words = ["report", "mevis/valid", "--quick", "--config", str(ROOT / "config.yaml"), "--config", str(config)]
    overlay = work / "grid.yaml"  # the tracks that there are
    overlay.write_text("datasets: {mevis: {settings: {selector: {sources: {evaluate: [grid]}}}}}\n")
    start, busy = time.perf_counter(), children_seconds()
    subprocess.run([sys.executable, "-m", "stages", *words, "--config", str(overlay)], cwd=ROOT, check=True)
    seconds = {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(children_seconds() - busy, 1)}
    steps.append(shown({"step": "report", **seconds, "peak_mib": None, "note": ""}))
    return site


def page_of(site: Path, name: str) -> str:
    """The page; of videos the one with the most data."""
    if name in PAGES:
        return PAGES[name]
    heaviest = max(
        (path for path in (site / "data").glob("*.js") if path.name != "table.js"), key=lambda p: p.stat().st_size
    )
    return f"videos/{heaviest.stem}.html"


def measured(site: Path, name: str) -> dict[str, Any]:
    """Opens a page in a fresh browser and asks Chromium what it took."""
    with open_browser() as watched:
        session = watched.page.context.new_cdp_session(watched.page)
        session.send("Performance.enable")
        read: list[Path] = []
        watched.page.on("request", lambda request: read.append(_file(request.url)))
        start = time.perf_counter()
        watched.page.goto(address(site, page_of(site, name)), timeout=LIMIT_MS)
        if name in READY:
            watched.page.wait_for_selector(READY[name], timeout=LIMIT_MS)
        seconds = time.perf_counter() - start
        metrics = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
        if watched.complaints:
            raise SystemExit(f"{name}: {watched.complaints[0]}")
        return {
            "page": name,
            "file": page_of(site, name),
            "seconds": round(seconds, 2),
            "bytes": sum(path.stat().st_size for path in set(read) if path.is_file()),
            "heap": int(metrics["JSHeapUsedSize"]),
            "elements": int(metrics["Nodes"]),
            "processor": round(metrics.get("ProcessTime", 0.0), 2),
            "process": _resident(watched),
        }


def _file(url: str) -> Path:
    from urllib.parse import unquote, urlsplit

    return Path(unquote(urlsplit(url).path))


def _resident(watched: Watched) -> int | None:
    """Bytes of the process that shows the page: the largest of Chromium's renderers."""
    browser = watched.page.context.browser.new_browser_cdp_session()
    found = [p["id"] for p in browser.send("SystemInfo.getProcessInfo")["processInfo"] if p["type"] == "renderer"]
    sizes = [_status(int(process)) for process in found]
    return max((size for size in sizes if size), default=None)


def _status(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/status").read_text()
    except OSError:  # another system, or it is gone
        return 0
    return next((1024 * int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")), 0)


def table(figures: Sequence[dict[str, Any]]) -> str:
    lines = [
        "| page | ready after | processor | read | scripts' memory | nodes | process |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in figures:
        process = "–" if row["process"] is None else f"{row['process'] / 1e6:.0f} MB"
        lines.append(
            f"| {row['page']} | {row['seconds']:.2f} s | {row['processor']:.2f} s | {row['bytes'] / 1e6:.2f} MB | {row['heap'] / 1e6:.1f} MB | "
            f"{row['elements']:,} | {process} |"
        )
    return "\n".join(lines)


def take_picture(site: Path, out: Path) -> int:
    """Overview and table, light; a video's page, dark; side by side. Returns the bytes of the file."""
    views = [
        view(site, "index.html", "light"),
        view(site, "expressions.html", "light"),
        view(site, page_of(site, "video"), "dark"),
    ]
    height = max(picture.height for picture in views)
    strip = Image.new("RGB", (sum(picture.width for picture in views) + 20 * (len(views) - 1), height), "white")
    left = 0
    for picture in views:
        strip.paste(picture, (left, 0))
        left += picture.width + 20
    strip.thumbnail((1800, 1800), Image.Resampling.LANCZOS)
    for quality in range(88, 40, -4):
        content = io.BytesIO()
        strip.save(content, "JPEG", quality=quality, optimize=True, progressive=True)
        if content.tell() <= PICTURE:
            break
    out.write_bytes(content.getvalue())
    return content.tell()


def view(site: Path, page: str, scheme: str) -> Image.Image:
    """The upper part of a page as it is seen; a video's in the middle, with its first candidate taken apart."""
    with open_browser(1100, 1250, color_scheme=scheme) as watched:
        tab = watched.page
        tab.goto(address(site, page))
        if page.startswith("videos"):
            tab.wait_for_selector(READY["video"])
            tab.locator("#seek").evaluate("(s) => { s.value = s.max >> 1; s.dispatchEvent(new Event('input')); }")
            if (why := tab.get_by_role("button", name="Why")).count():  # where the score has parts
                why.first.click()
        elif page == "expressions.html":
            tab.wait_for_selector(READY["expressions"])
        tab.wait_for_function("[...document.images].every((i) => i.complete || i.loading === 'lazy')")
        tab.wait_for_timeout(600)  # the frame that was sought is drawn
        return Image.open(io.BytesIO(tab.screenshot())).convert("RGB")


if __name__ == "__main__":
    raise SystemExit(main())
