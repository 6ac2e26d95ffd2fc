"""From masks to run lengths, and from run lengths to PNGs, against pycocotools and Pillow, on one core.

    python -m benchmarks.masks [--masks 30] [--rounds 9]

In turn (A B A B …), processor time per mask:
  run lengths  a bool mask, row by row, to COCO's compressed RLE; pycocotools takes a transposed copy, as this project did before.
               The bytes must be equal.
  png          a COCO RLE to the bytes of a file, and their number; Pillow decodes the mask and compresses with zlib's level 1 and its
               run-length strategy, as this project did before. The files must decode to the same pixels.
Prints a table, writes benchmarks/results/masks.json.
"""

import argparse
import io
import json
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from benchmarks.machine import describe
from stages.core.media import masks
from stages.core.records import Rle
from stages.exchange.png import mask_png

SIZES = ((480, 854), (540, 960), (720, 1280), (1080, 1920))
TARGETS = {
    ("png", 480): 0.3,
    ("png", 1080): 0.6,
    ("run lengths", 540): 0.3,
    ("run lengths", 720): 0.4,
    ("run lengths", 1080): 0.8,
}  # milliseconds per mask
RESULTS = Path(__file__).parent / "results" / "masks.json"
Ways = Mapping[str, Callable[[Any], Any]]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=int, default=30, help="per size (default: 30)")
    parser.add_argument("--rounds", type=int, default=9, help="times each way runs (default: 9)")
    arguments = parser.parse_args(argv)
    rows = [row for size in SIZES for row in measure(size, arguments.masks, arguments.rounds)]
    print("| | lines | ms | plain, ms | times | bytes | plain, bytes | target, ms |\n" + "|---" * 8 + "|")
    for row in rows:
        target = TARGETS.get((row["kind"], row["lines"]), "–")
        print(
            f"| {row['kind']} | {row['lines']} | {row['ms']:.3f} | {row['plain_ms']:.2f} | {row['plain_ms'] / row['ms']:.0f} | "
            f"{row['bytes']:.0f} | {row['plain_bytes']:.0f} | {target} |"
        )
    document = {
        "command": " ".join(["python -m benchmarks.masks", *(sys.argv[1:] if argv is None else argv)]),
        "machine": describe("numpy", "numba", "pillow", "pycocotools"),
        "results": rows,
    }
    RESULTS.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(size: tuple[int, int], count: int, rounds: int) -> list[dict[str, Any]]:
    """Milliseconds per mask, the median over rounds, and mean bytes, of either kind."""
    rng = np.random.default_rng(0)
    drawn = [blob(rng, *size) for _ in range(count)]
    rles = [masks.encode(mask_HW) for mask_HW in drawn]
    if rles != [plain_rle(mask_HW) for mask_HW in drawn]:
        raise SystemExit("the run lengths differ")
    for rle in rles:
        ours, plain = (np.asarray(Image.open(io.BytesIO(way(rle)))) for way in (from_runs, from_pixels))
        if not np.array_equal(ours, plain):
            raise SystemExit("the files differ in their pixels")
    texts = {"": lambda mask: masks.encode(mask)["counts"], "plain_": lambda mask: plain_rle(mask)["counts"]}
    return [
        {"kind": kind, "lines": size[0], **timed(ways, inputs, rounds)}
        for kind, ways, inputs in (
            ("run lengths", texts, drawn),
            ("png", {"": from_runs, "plain_": from_pixels}, rles),
        )
    ]


def timed(ways: Ways, inputs: Sequence[Any], rounds: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.process_time()
            for one in inputs:
                way(one)
            seconds[name].append(time.process_time() - start)
    return {
        **{f"{name}ms": 1e3 * statistics.median(taken) / len(inputs) for name, taken in seconds.items()},
        **{f"{name}bytes": statistics.mean(len(way(one)) for one in inputs) for name, way in ways.items()},
    }


def plain_rle(mask_HW: NDArray[np.bool_]) -> Rle:
    rle = coco.encode(np.asfortranarray(mask_HW).view(np.uint8))
    height, width = rle["size"]
    return {"size": (int(height), int(width)), "counts": rle["counts"].decode()}


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
