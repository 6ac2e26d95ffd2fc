"""A full-size MeViS valid, checked, scored, rendered and zipped, with the pipeline's own commands.

    python -m benchmarks.mevis_valid --work <folder with 6 GB to spare> [--processes 2]

Writes the synthetic split of benchmarks/synthetic_mevis.py and answers to it into the cache's formats, then runs
the stages as a user would, timing each: wall time, and processor time of all its processes, which other work on the
machine disturbs less. Prints a table, writes benchmarks/results/mevis_valid.json. The peak is that of the largest
process of a step, its children included.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from benchmarks.machine import describe
from benchmarks.synthetic_mevis import EXPRESSIONS, FRAMES, PNGS, VIDEOS, plans, write_answers, write_dataset
from stages.core.state.graph import Layout

ROOT = Path(__file__).resolve().parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="a folder for data, cache and results")
    parser.add_argument("--processes", type=int, default=2, help="shards of the sharded stages, at once (default: 2)")
    parser.add_argument("--videos", type=int, default=VIDEOS, help="only the first N, for a trial (default: all)")
    arguments = parser.parse_args(argv)
    work, made = arguments.work.resolve(), plans()[: arguments.videos]
    config = write_config(work, arguments.processes)
    layout = Layout(work / "cache", "mevis", "valid")
    steps = [
        timed("write data set", lambda: write_dataset(work / "mevis", made)),
        timed("write answers", lambda: write_answers(layout, made)),
        command("check_dataset", config, 1),
        command("extract_frames", config, arguments.processes),
        command("evaluate", config, 1, note=f"{arguments.processes} threads"),
        command("render_predictions", config, arguments.processes),
        command("assemble", config, 1),
    ]
    report(steps, work, arguments)
    return 0


def write_config(work: Path, processes: int) -> Path:
    """An overlay that puts everything below `work`."""
    work.mkdir(parents=True, exist_ok=True)
    overlay = {
        "paths": {"cache": str(work / "cache"), "results": str(work / "results"), "weights": str(work / "weights")},
        "run": {"threads": processes},
        "datasets": {"mevis": {"root": str(work / "mevis"), "settings": {"render": {"overlays": False}}}},
    }
    path = work / "config.yaml"
    path.write_text(yaml.safe_dump(overlay))
    return path


def timed(name: str, action: Callable[[], None]) -> dict[str, Any]:
    """A step in this process."""
    start, busy = time.perf_counter(), time.process_time()
    action()
    seconds = {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(time.process_time() - busy, 1)}
    return shown({"step": name, **seconds, "peak_mib": None, "note": ""})


def command(stage: str, config: Path, shards: int, *more: str, note: str = "") -> dict[str, Any]:
    """A stage in `shards` processes at once; ends the run where one fails."""
    base = [
        sys.executable,
        "-m",
        "stages",
        stage.replace("_", "-"),
        "--config",
        str(ROOT / "config.yaml"),
        "--config",
        str(config),
    ]
    base += ["--dataset", "mevis", "--split", "valid", *more]
    log = (config.parent / f"{stage}.log").open("w")
    start = time.perf_counter()
    running = [
        subprocess.Popen([*base, *(["--pid", str(i), "--n-pids", str(shards)] if shards > 1 else [])],
                         cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        for i in range(shards)
    ]  # fmt: skip
    peaks, busy = [], 0.0
    for process in running:
        _, status, usage = os.wait4(process.pid, 0)  # of this process alone, its own children included
        process.returncode = os.waitstatus_to_exitcode(status)
        peaks.append(usage.ru_maxrss / 1024)
        busy += usage.ru_utime + usage.ru_stime
    seconds = {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": round(busy, 1)}
    if any(process.returncode for process in running):
        raise SystemExit(f"{stage} failed; see {log.name}")
    note = note or (f"{shards} processes" if shards > 1 else "")
    return shown({"step": stage, **seconds, "peak_mib": round(max(peaks)), "note": note})


def children_seconds() -> float:
    """Processor time of the processes that this one has started and waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def shown(step: dict[str, Any]) -> dict[str, Any]:
    peak = "" if step["peak_mib"] is None else f"{step['peak_mib']} MiB"
    cpu = f"{step['cpu_seconds']:.1f} s of CPU"
    print(f"{step['step']:20}{step['seconds']:9.1f} s {cpu:>18} {peak:>12}  {step['note']}", flush=True)
    return step


def report(steps: Sequence[dict[str, Any]], work: Path, arguments: argparse.Namespace) -> None:
    metrics = json.loads((work / "results/mevis/valid/metrics.json").read_text())
    total, busy = (round(sum(step[key] for step in steps), 1) for key in ("seconds", "cpu_seconds"))
    archive = work / "results/mevis/valid/submission.zip"
    zip_mib = archive.stat().st_size / 2**20
    with zipfile.ZipFile(archive) as entries:
        n_pngs = len(entries.namelist())
    if n_pngs != sum(plan.n_frames * plan.n_expressions for plan in plans()[: arguments.videos]):
        raise SystemExit(f"{archive} holds {n_pngs} PNGs, not one per frame and expression")
    document = {
        "command": f"python -m benchmarks.mevis_valid --work <folder> --processes {arguments.processes}",
        "machine": describe("numpy", "numba", "pycocotools", "h5py", "pillow"),
        "counts": {"videos": VIDEOS, "expressions": EXPRESSIONS, "frames": FRAMES, "pngs": PNGS},
        "steps": steps,
        "seconds": total,
        "cpu_seconds": busy,
        "load_average": round(os.getloadavg()[1], 1),
        "peak_mib": max(step["peak_mib"] or 0 for step in steps),
        "zip_mib": round(zip_mib, 1),
        "figures": metrics["figures"],
    }
    print(
        f"{'all':20}{total:9.1f} s, {busy:.1f} s of CPU, {document['peak_mib']} MiB; zip {zip_mib:.0f} MiB; {metrics['figures']}"
    )
    if arguments.videos == VIDEOS:
        target = ROOT / "benchmarks" / "results" / "mevis_valid.json"
        target.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
