"""How long a run plans before its first job, and how much memory that takes: 100,000 videos in 1,000 shards.

    python -m benchmarks.planning --work /scratch/planning
    python -m benchmarks.planning --work /scratch/planning --frames 0    # no frames there: planning without the look at them

Writes a data set in MeViS layout below --work, once: an index, and frames that are links to a few empty files, so that they need
no room. Then `snakemake -n` plans everything up to results/mevis/valid, and is measured from outside; targets: 60 s, 2 GB.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.machine import describe

ROOT = Path(__file__).parents[1]
LINKS = ("Snakefile", "workflow", "stages", "envs", "config.yaml")
PER_FILE = 50_000  # links to one file: file systems allow some 65,000
SELECTOR = ROOT / "stages/micro/weights/selector/best.safetensors"


def write_dataset(root: Path, n_videos: int, n_frames: int, sentences: int = 4) -> None:
    """<root>/valid: an index of n_videos with 60 frames each, of which n_frames are there."""
    split = root / "valid"
    index = split / "meta_expressions.json"
    if index.is_file():
        return
    names = [f"{5 * t:05d}" for t in range(60)]
    texts = {str(i): {"exp": f"the animal number {i} that moves to the left"} for i in range(sentences)}
    made = 0
    for video in range(n_videos):
        folder = split / "JPEGImages" / f"{video:012x}"
        folder.mkdir(parents=True)
        for name in names[:n_frames]:
            if made % PER_FILE == 0:
                source = root / f"frame-{made // PER_FILE}"
                source.touch()
            os.link(source, folder / f"{name}.jpg")
            made += 1
    videos = {f"{video:012x}": {"frames": names, "expressions": texts} for video in range(n_videos)}
    index.write_text(json.dumps({"videos": videos}), encoding="utf-8")


def write_project(place: Path, data: Path, shards: int) -> None:
    """The code in a folder of its own, and plan.yaml."""
    place.mkdir(parents=True, exist_ok=True)
    for name in LINKS:
        if not (place / name).is_symlink():
            (place / name).symlink_to(ROOT / name)
    entry = {"root": str(data), "published": False, "settings": {"run": {"n_pids": shards}}}
    entry["selector"] = {"weights": str(SELECTOR), "train": None, "validate_on": None}
    (place / "plan.yaml").write_text(yaml.safe_dump({"datasets": {"mevis": entry}}), encoding="utf-8")


def measure(place: Path) -> dict[str, float]:
    """Plans once: seconds, processor seconds, peak memory in MB, and jobs."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "-n",
        "--cores",
        "1",
        "--configfile",
        "plan.yaml",
        "--",
        "results/mevis/valid",
    ]
    started = time.monotonic()
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    jobs = re.findall(r"^total\s+(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    processor = used.ru_utime + used.ru_stime
    peak = used.ru_maxrss / 1000
    return {
        "jobs": int(jobs[0]),
        "seconds": round(seconds, 1),
        "processor_seconds": round(processor, 1),
        "peak_mb": round(peak),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--work", type=Path, required=True, metavar="FOLDER", help="where data set and project are written, and stay")
    add("--videos", type=int, default=100_000, metavar="N", help="(default: 100000)")
    add("--shards", type=int, default=1000, metavar="N", help="run.n_pids (default: 1000)")
    add("--frames", type=int, default=60, metavar="N", help="frames of a video that are there, up to 60 (default: 60)")
    own = parser.parse_args(argv)
    work = own.work.resolve() / f"{own.videos}x{own.frames}"
    write_dataset(work / "data", own.videos, own.frames)
    write_project(work / "project", work / "data", own.shards)
    figures = {"videos": own.videos, "frames": own.frames, "shards": own.shards, **measure(work / "project")}
    figures["load_average"] = round(os.getloadavg()[0], 1)
    print(json.dumps(figures))
    results = ROOT / "benchmarks/results/planning.json"
    known = json.loads(results.read_text(encoding="utf-8"))["rows"] if results.is_file() else []
    setting = ("videos", "frames", "shards")
    rows = [row for row in known if any(row[key] != figures[key] for key in setting)]
    document = {"machine": describe("snakemake"), "rows": [*rows, figures]}
    results.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
