"""How long a split takes on many GPUs that fail and are taken away, and how long they stand idle; simulated.

    python -m benchmarks.scale                    # MeViS' 2,006 videos and 100,000, 1 to 256 GPUs
    python -m benchmarks.scale --videos 20000 --between 2 --seeds 50

Nothing runs and nothing waits: events in simulated time. What is simulated is `build_tracks`, the longest stage: shards are
dealt as `stages.core.run.runner` deals them, wait in a scheduler's queue, and go one to a GPU. A GPU is taken away at random moments,
for a random time; its job loses the video that it works on, goes back into the queue, and goes on with the rest on whichever GPU is
free next. A video costs what an H100 took (results/tracking-…-bfloat16-8x2.json): its frames, each encoded once, and its frames times
its tracks. Frames and sentences per video are those of MeViS (synthetic_mevis.py); tracks are 30, and 4 per sentence.
"""

import argparse
import heapq
import json
import statistics
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.machine import describe
from benchmarks.synthetic_mevis import plans

RESULTS = Path(__file__).parent / "results"
MEASURED = RESULTS / "tracking-sam2_hiera_l-1024-bfloat16-8x2.json"
GPUS = (1, 4, 16, 64, 256)
SHARDS_PER_GPU = (1, 4, 16, 64)  # 1: static shards
GRID_TRACKS, TRACKS_PER_SENTENCE = 30, 4
HEADERS = ("videos", "GPUs", "shards", "hours", "of ideal", "waiting", "starting", "lost")


@dataclass(frozen=True)
class Site:
    """What a cluster does to jobs; seconds.

    Attributes:
        start: from a free GPU to a job's first video: the scheduler, Python, weights, the first call of each kernel.
        between: from one loss of a GPU to the next, on average; 0 = it is never lost.
        away: for how long, on average.
        requeue: until a job that lost its GPU may start again (Slurm's default is two minutes).
    """

    start: float
    between: float
    away: float
    requeue: float


@dataclass
class Outcome:
    """Seconds: until all is done, and of all GPUs together in work that stays, in starts and in lost videos."""

    makespan: float = 0.0
    useful: float = 0.0
    starting: float = 0.0
    lost: float = 0.0
    away: float = 0.0

    def shares(self, gpus: int) -> dict[str, float]:
        """Of the time that GPUs were there."""
        there = gpus * self.makespan - self.away
        parts = {"starting": self.starting / there, "lost": self.lost / there}
        return {"waiting": max(1 - self.useful / there - sum(parts.values()), 0.0), **parts}


@dataclass
class Shard:
    """What is left of a shard: the seconds of its videos, in order, and from when on it may start."""

    seconds: NDArray[np.float64]
    ready: float = 0.0


@dataclass
class Cluster:
    """Its GPUs, and the shards that wait; `run` empties the queue.

    Events are (time, number, GPU, what): a number per event keeps the order of equal times.
    """

    gpus: int
    site: Site
    rng: np.random.Generator
    queue: deque[Shard] = field(default_factory=deque)
    events: list[tuple[float, int, int, str]] = field(default_factory=list)
    outcome: Outcome = field(default_factory=Outcome)

    def run(self, shards: Sequence[NDArray[np.float64]]) -> Outcome:
        self.queue.extend(Shard(seconds) for seconds in shards)
        self._count, self._left = 0, len(shards)
        self._jobs: dict[int, tuple[Shard, float]] = {}  # GPU → its shard, and when it got it
        self._free = list(range(self.gpus))
        self._gone: dict[int, float] = {}  # GPU → since when
        self._ends: dict[int, int] = {}  # GPU → the number of the event that ends its shard
        for gpu in self._free if self.site.between else ():
            self._at(self.rng.exponential(self.site.between), gpu, "loss")
        self._hand_out(0.0)
        while self._left:
            now, number, gpu, what = heapq.heappop(self.events)
            self._happen(now, number, gpu, what)
            self._hand_out(now)
        self.outcome.away += sum(self.outcome.makespan - since for since in self._gone.values())
        return self.outcome

    def _at(self, time: float, gpu: int, what: str) -> int:
        self._count += 1
        heapq.heappush(self.events, (time, self._count, gpu, what))
        return self._count

    def _hand_out(self, now: float) -> None:
        """Shards go to free GPUs; one that may not start yet is looked at again then."""
        while self._free and self.queue and self.queue[0].ready <= now:
            gpu, shard = self._free.pop(), self.queue.popleft()
            self._jobs[gpu] = shard, now
            self._ends[gpu] = self._at(now + self.site.start + float(shard.seconds.sum()), gpu, "end")

    def _happen(self, now: float, number: int, gpu: int, what: str) -> None:
        if what == "end" and self._ends.get(gpu) == number:
            shard, _ = self._jobs.pop(gpu)
            self.outcome.useful += float(shard.seconds.sum())
            self.outcome.starting += self.site.start
            self.outcome.makespan = now
            self._left -= 1
            self._free.append(gpu)
        elif what == "loss":
            self._lose(now, gpu)
        elif what == "back":
            self.outcome.away += now - self._gone.pop(gpu)
            self._free.append(gpu)
            self._at(now + self.rng.exponential(self.site.between), gpu, "loss")

    def _lose(self, now: float, gpu: int) -> None:
        self._gone[gpu] = now
        self._at(now + self.rng.exponential(self.site.away), gpu, "back")
        self._ends.pop(gpu, None)
        if gpu in self._free:
            self._free.remove(gpu)
            return
        shard, since = self._jobs.pop(gpu)
        worked = max(now - since - self.site.start, 0.0)
        done = int(np.searchsorted(np.cumsum(shard.seconds), worked, side="right"))
        kept = float(shard.seconds[:done].sum())
        self.outcome.useful += kept
        self.outcome.starting += min(now - since, self.site.start)
        self.outcome.lost += worked - kept
        self.queue.append(Shard(shard.seconds[done:], now + self.site.requeue))
        self._at(now + self.site.requeue, gpu, "ready")


def deal(frames: NDArray[np.int64], seconds: NDArray[np.float64], n: int) -> list[NDArray[np.float64]]:
    """The seconds of the videos of each shard: most frames first, dealt like cards."""
    order = np.argsort(-frames, kind="stable")
    return [seconds[order[pid::n]] for pid in range(min(n, len(order)))]


def draw_videos(n: int, costs: Mapping[str, float], rng: np.random.Generator) -> tuple[NDArray[np.int64], Any]:
    """Frames and seconds of n videos, drawn from those of MeViS valid."""
    known = np.array([(plan.n_frames, GRID_TRACKS + TRACKS_PER_SENTENCE * plan.n_expressions) for plan in plans()])
    frames, tracks = known[rng.integers(0, len(known), n)].T
    return frames, frames * (costs["encode"] + tracks * costs["object_frame"])


def measured_costs() -> dict[str, float]:
    """Seconds per encoded frame and per track in a frame: of two arms that differ in encodings alone, and of the engine."""
    arms = json.loads(MEASURED.read_text(encoding="utf-8"))["arms"]
    seconds = {name: arms[name]["seconds"]["min"] for name in ("R0", "R2", "L")}
    counts = {name: arms[name]["counts"] for name in seconds}
    encode = (seconds["R0"] - seconds["R2"]) / (counts["R0"]["encodes"] - counts["R2"]["encodes"])
    return {
        "encode": encode,
        "object_frame": (seconds["L"] - encode * counts["L"]["encodes"]) / counts["L"]["object_frames"],
    }


def measure(n_videos: int, site: Site, costs: Mapping[str, float], seeds: int) -> Iterator[dict[str, Any]]:
    """A row per number of GPUs and of shards per GPU: medians over seeds."""
    for gpus in GPUS:
        for per_gpu in SHARDS_PER_GPU:
            if gpus * per_gpu > n_videos:
                continue
            runs = [simulate(n_videos, gpus, per_gpu, site, costs, seed) for seed in range(seeds)]
            medians = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
            yield {"videos": n_videos, "gpus": gpus, "shards": gpus * per_gpu, **medians}


def simulate(
    n_videos: int, gpus: int, per_gpu: int, site: Site, costs: Mapping[str, float], seed: int
) -> dict[str, float]:
    """`of_ideal` is the makespan over that of GPUs that are never lost, need no start, and share all work evenly."""
    frames, seconds = draw_videos(n_videos, costs, np.random.default_rng(seed))
    cluster = Cluster(gpus, site, np.random.default_rng([seed, gpus]))
    outcome = cluster.run(deal(frames, seconds, gpus * per_gpu))
    ideal = float(seconds.sum()) / gpus
    return {"hours": outcome.makespan / 3600, "of_ideal": outcome.makespan / ideal, **outcome.shares(gpus)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    lines = [f"| {' | '.join(HEADERS)} |", "|" + "---|" * len(HEADERS)]
    for row in rows:
        shares = " | ".join(f"{row[name]:.1%}" for name in ("waiting", "starting", "lost"))
        first = f"| {row['videos']:,} | {row['gpus']} | {row['shards']:,} | {row['hours']:.2f} "
        lines.append(f"{first}| {row['of_ideal']:.2f} | {shares} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--videos", type=int, nargs="+", default=[2006, 100_000], metavar="N", help="(default: 2006 100000)")
    add("--start", type=float, default=60, metavar="SECONDS", help="from a free GPU to a first video (default: 60)")
    add("--between", type=float, default=6, metavar="HOURS", help="losses of a GPU, on average; 0: none (default: 6)")
    add("--away", type=float, default=30, metavar="MINUTES", help="until it is back, on average (default: 30)")
    add("--requeue", type=float, default=120, metavar="SECONDS", help="until a job may start again (default: 120)")
    add("--seeds", type=int, default=10, metavar="N", help="runs per row, of which medians are printed (default: 10)")
    add("--out", type=Path, default=RESULTS / "scale.json", metavar="FILE", help="(default: results/scale.json)")
    own = parser.parse_args(argv)
    site, costs = Site(own.start, own.between * 3600, own.away * 60, own.requeue), measured_costs()
    rows = [row for n in own.videos for row in measure(n, site, costs, own.seeds)]
    command = " ".join(["python -m benchmarks.scale", *(sys.argv[1:] if argv is None else argv)])
    document = {
        "command": command,
        "machine": describe("numpy"),
        "costs": costs,
        "site": vars(site),
        "seeds": own.seeds,
        "rows": rows,
    }
    own.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
