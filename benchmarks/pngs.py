"""Mask PNGs from run lengths against Pillow's from pixels, on one core.

    python -m benchmarks.pngs [--masks 30] [--rounds 9]

For 480, 720 and 1080 lines, in turn (A B A B …): processor time per mask from its COCO RLE to the bytes of a file, and their number.
Pillow decodes the mask and compresses with zlib's level 1 and its run-length strategy, as this project did before. Every pair of
files must decode to the same pixels. Prints a table, writes benchmarks/results/pngs.json.
"""

import argparse
import io
import json
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.machine import describe
from stages.core.media import masks
from stages.core.records import Rle
from stages.exchange.png import mask_png

SIZES = ((480, 854), (720, 1280), (1080, 1920))
TARGETS: dict[int, object] = {480: 0.3, 1080: 0.6}  # milliseconds per mask
RESULTS = Path(__file__).parent / "results" / "pngs.json"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=30, help="per size (default: 30)")
    parser.add_argument("--rounds", type=int, default=9, help="times each way runs (default: 9)")
    arguments = parser.parse_args(argv)
    rows = [measure(size, arguments.masks, arguments.rounds) for size in SIZES]
    print("| lines | from runs, ms | Pillow, ms | times | bytes | Pillow's bytes | target, ms |\n" + "|---" * 7 + "|")
    for row in rows:
        target = TARGETS.get(int(row["lines"]), "–")
        print(
            f"| {row['lines']} | {row['runs_ms']:.3f} | {row['pillow_ms']:.2f} | {row['pillow_ms'] / row['runs_ms']:.0f} | "
            f"{row['runs_bytes']:.0f} | {row['pillow_bytes']:.0f} | {target} |"
        )
    document = {
        "command": " ".join(["python -m benchmarks.pngs", *(sys.argv[1:] if argv is None else argv)]),
        "machine": describe("numpy", "numba", "pillow"),
        "results": rows,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(size: tuple[int, int], count: int, rounds: int) -> dict[str, float]:
    """Milliseconds per mask, the median over rounds, and mean bytes."""
    rng = np.random.default_rng(0)
    rles = [masks.encode(blob(rng, *size)) for _ in range(count)]
    ways: dict[str, Callable[[Rle], bytes]] = {"runs": from_runs, "pillow": from_pixels}
    files = {name: [way(rle) for rle in rles] for name, way in ways.items()}  # and numba compiles
    for one, other in zip(*files.values(), strict=True):
        if not np.array_equal(np.asarray(Image.open(io.BytesIO(one))), np.asarray(Image.open(io.BytesIO(other)))):
            raise SystemExit("the files differ in their pixels")
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for rle in rles:
                way(rle)
            seconds[name].append(time.process_time() - start)
    return {
        "lines": size[0],
        **{f"{name}_ms": 1e3 * statistics.median(taken) / count for name, taken in seconds.items()},
        **{f"{name}_bytes": statistics.mean(map(len, made)) for name, made in files.items()},
    }


def from_runs(rle: Rle) -> bytes:
    return mask_png.__wrapped__(rle["size"], rle["counts"])


def from_pixels(rle: Rle) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(masks.decode(rle).astype(np.uint8) * 255)
    image.save(buffer, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return buffer.getvalue()


def blob(rng: np.random.Generator, height: int, width: int) -> NDArray[np.bool_]:
    """A star-shaped area with a rough border, of a tenth to two thirds of the height."""
    y, x = np.indices((height, width))
    y_off, x_off = y - height * rng.random(), x - width * rng.random()
    angle, radius = np.arctan2(y_off, x_off), np.hypot(y_off, x_off)
    rough = 1 + 0.2 * np.sin(5 * angle + 6 * rng.random()) + 0.05 * np.sin(31 * angle)
    return radius < height * (0.05 + 0.28 * rng.random()) * rough


if __name__ == "__main__":
    raise SystemExit(main())
