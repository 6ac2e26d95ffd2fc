"""Measures on a GPU, part by part, each in a process of its own with a time limit; prints tables in Markdown.

    python -m benchmarks.gpu --minutes 20
    python -m benchmarks.gpu --minutes 5 --parts parity,object_frame,tracking
    python -m benchmarks.gpu --tiny --device cpu --out /tmp/tiny     # micro models, to try the code

Needs nothing but this repository: models have the published shapes and random weights, or are the micro ones in
stages/micro/weights; clips are drawn. Every row is written to <out>/gpu.json at once. A part that is complete there,
for the same card, versions, settings and code, is not run again; one that was interrupted goes on with its next row.
"""

import argparse
import importlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from benchmarks.gpu.ledger import ROOT, Ledger, code_digest
from benchmarks.gpu.run import Part, Run
from benchmarks.machine import describe

# Part → seconds that it may take, what is worth most first.
PARTS = {
    "parity": 150,
    "object_frame": 150,
    "tracking": 300,
    "detector": 150,
    "judge": 120,
    "automatic_masks": 150,
    "selectors": 150,
    "masks": 60,
}
LEAST = 15  # seconds below which no part is begun
VERSIONS = ("torch", "transformers", "sam2", "numpy", "numba")


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parse(argv)
    ledger_file = arguments.out / "gpu.json"
    if arguments.one:
        return measure(arguments.one, arguments)
    ends = time.monotonic() + 60 * arguments.minutes
    for name in arguments.parts:
        left = min(PARTS[name], ends - time.monotonic())
        if left < LEAST:
            print(f"{name}: no time left", flush=True)
            continue
        in_process(name, arguments, left)
    print(tables(Ledger(ledger_file)))
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20, help="for all parts together (default: 20)")
    parser.add_argument("--parts", type=names, default=list(PARTS), help=f"in this order (default: {','.join(PARTS)})")
    parser.add_argument("--again", type=names, default=[], help="parts that are measured although they are known")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--tiny", action="store_true", help="micro models and few frames")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="folder of gpu.json")
    parser.add_argument("--one", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=600.0, help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def names(text: str) -> list[str]:
    parts = text.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        raise argparse.ArgumentTypeError(f"no part {unknown[0]!r}; there are {', '.join(PARTS)}")
    return parts


def in_process(name: str, arguments: argparse.Namespace, seconds: float) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "--one", name, "--seconds", str(seconds)]
    command += ["--device", arguments.device, "--out", str(arguments.out.resolve())]
    command += ["--tiny"] * arguments.tiny + (["--again", name] if name in arguments.again else [])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "KINETO_LOG_LEVEL": "99"}
    start = time.monotonic()
    try:
        status = str(subprocess.run(command, cwd=ROOT, env=environment, timeout=seconds + LEAST).returncode)
    except subprocess.TimeoutExpired:
        status = "stopped at its limit"
    print(f"{name}: {time.monotonic() - start:.0f} s, {status}", flush=True)


def measure(name: str, arguments: argparse.Namespace) -> int:
    """A part, in this process."""
    ends = time.monotonic() + arguments.seconds
    as_a_job(arguments.device)
    part = cast(Part, importlib.import_module(f"benchmarks.gpu.{name}"))
    ledger, key = Ledger(arguments.out / "gpu.json"), key_of(name, part, arguments)
    again = name in arguments.again
    if ledger.is_complete(name, key) and not again:
        print(f"{name}: known", flush=True)
        return 0
    rows = {} if again else {row: of for row, of in ledger.rows(name, key).items() if "error" not in of}
    run = Run(arguments.device, arguments.tiny, ends, done=set(rows))
    machine, complete = describe(*(package for package in VERSIONS if installed(package))), True
    try:
        for row, of in part.measure(run):
            if rows.get(row) != of:
                print(f"{name}: {row}: {of}", flush=True)
            rows[row] = of
            ledger.write(name, key, machine, complete=False, rows=rows)
    except TimeoutError:
        complete = False
    ledger.write(name, key, machine, complete=complete and not any("error" in row for row in rows.values()), rows=rows)
    return 0


def as_a_job(device: str) -> None:
    """The arithmetic and the allocator that jobs of the pipeline set."""
    from stages.core.run.devices import SEGMENTS, full_float32

    if device == "cuda":
        os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", SEGMENTS)
        full_float32()


def key_of(name: str, part: Part, arguments: argparse.Namespace) -> dict[str, Any]:
    """What figures depend on: those of another key are measured again."""
    import torch

    on_gpu = arguments.device == "cuda"
    return {
        "device": torch.cuda.get_device_name() if on_gpu else "cpu",
        "cuda": torch.version.cuda if on_gpu else None,
        "versions": {package: version(package) for package in VERSIONS if installed(package)},
        "tiny": arguments.tiny,
        "code": code_digest(name, part.CODE),
    }


def installed(package: str) -> bool:
    """Whether its version is known; a package that was only unpacked has none."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def tables(ledger: Ledger) -> str:
    """Every part that was measured, in Markdown."""
    texts = []
    for name in PARTS:
        if name in ledger.parts:
            entry = ledger.parts[name]
            part = cast(Part, importlib.import_module(f"benchmarks.gpu.{name}"))
            good = {row: of for row, of in entry["rows"].items() if "error" not in of}
            bad = [f"- {row} failed: {of['error']}" for row, of in entry["rows"].items() if "error" in of]
            state = "" if entry["complete"] else ", incomplete"
            head = f"#### {name.replace('_', ' ').capitalize()}: {entry['key']['device']}, {entry['machine']['date']}{state}"
            texts += [head, part.table(good) if good else "nothing was measured", *bad]
    return "\n\n".join(texts)


if __name__ == "__main__":
    raise SystemExit(main())
