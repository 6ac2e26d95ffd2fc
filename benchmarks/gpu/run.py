"""What a part of the benchmark runs on, until when, and how it takes times and counts launches."""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, get_args

import torch

from stages.core.config.section import Precision

Row = dict[str, Any]
# Calls of CUDA's runtime and driver that a profile lists, by what they are counted as.
CALLS = {
    "launches": ("cudaLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernel", "cuLaunchKernelEx"),
    "graph launches": ("cudaGraphLaunch",),
    "copies": ("cudaMemcpyAsync", "cudaMemcpy"),
    "waits": ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize"),
}


class Part(Protocol):
    """A module of this package that measures something.

    Attributes:
        CODE: files and folders that its figures depend on, beside this package's.
    """

    CODE: tuple[str, ...]

    def measure(self, run: "Run") -> Iterator[tuple[str, Row]]:
        """Rows by name; a later row of the same name replaces an earlier one."""

    def table(self, rows: Mapping[str, Row]) -> str:
        """The rows in Markdown."""


@dataclass
class Run:
    """A part's setting.

    Attributes:
        device: cuda or cpu.
        tiny: micro models and few frames, to try the code.
        ends: `time.monotonic()` at which no new row may begin.
        done: rows that are known from an earlier run.
    """

    device: str
    tiny: bool
    ends: float
    done: set[str] = field(default_factory=set)

    @property
    def left(self) -> float:
        """Seconds."""
        return self.ends - time.monotonic()

    @property
    def rounds(self) -> int:
        return 1 if self.tiny else 3

    def each(self, makers: Mapping[str, Callable[[], Row]]) -> Iterator[tuple[str, Row]]:
        """The rows that are not known yet; one that fails says why, and the others go on."""
        for name, make in makers.items():
            if name in self.done:
                continue
            if self.left <= 0:
                raise TimeoutError
            try:
                row = make()
            except Exception as error:
                row = {"error": f"{type(error).__name__}: {error}"[:300]}
            self.free()
            yield name, row

    def now(self) -> float:
        """Seconds of wall time, once the device has nothing left to do."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def seconds(self, action: Callable[[], object], rounds: int | None = None) -> Row:
        """Least and median time of an action that has run once before."""
        times = []
        for _ in range(rounds or self.rounds):
            start = self.now()
            action()
            times.append(self.now() - start)
        return {"min": min(times), "median": statistics.median(times)}

    def free(self) -> None:
        if self.device == "cuda":
            torch.cuda.empty_cache()

    def peak_gib(self, action: Callable[[], object]) -> float | None:
        """The most memory that tensors take on the device while an action runs; None on the CPU."""
        if self.device == "cpu":
            action()
            return None
        torch.cuda.reset_peak_memory_stats()
        action()
        return round(torch.cuda.max_memory_allocated() / 2**30, 2)

    def calls(self, action: Callable[[], object]) -> Counter[str]:
        """How often an action calls the device, by kind; on the CPU how many operators it runs."""
        activities = torch.profiler.ProfilerActivity
        on_gpu = self.device == "cuda"
        with torch.profiler.profile(activities=[activities.CUDA if on_gpu else activities.CPU]) as profile:
            action()
            self.now()
        counts: Counter[str] = Counter()
        for event in profile.key_averages():
            if on_gpu:
                counts.update({kind: event.count for kind, names in CALLS.items() if event.key in names})
            elif event.key.startswith("aten::"):
                counts["operators"] += event.count
        return counts


def precisions(device: str) -> tuple[str, ...]:
    """Those that settings can name; on the CPU float32 alone."""
    return get_args(Precision) if device == "cuda" else ("float32",)


def markdown(head: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def failed(rows: Mapping[str, Row]) -> list[tuple[str, str]]:
    return [(name, row["error"]) for name, row in rows.items() if "error" in row]
