"""Corrupts finished cache files at random and counts how many are read as other than was written.

    python -m benchmarks.corruption --cache results/cache/shapes/valid_u --count 2000

Every file of a split's cache (the demo's, say) is damaged in turn, in a copy: bits flipped, bytes changed, zeroed, lost,
repeated, inserted, reversed, the end cut off. After each damage the file is `found` (the stage that made it would make
it again), `harmless` (found sound, and every value read is what was written), or `wrong`: read as other content. The
time is what checking all content against its checksums takes.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from stages.core.run.cli import build_parser, execute
from stages.core.state.cache import CacheError, State, inspect, read_json, read_stamp
from stages.core.state.graph import STAGES, Stage


def damage(random: Random, content: bytes) -> tuple[str, bytes]:
    """What was done, and the content after it, which differs."""
    while True:
        kind, at = random.choice(KINDS), random.randrange(max(1, len(content)))
        damaged = DAMAGES[kind](random, content, at, min(len(content), at + random.randrange(1, 65)))
        if damaged != content:
            return f"{kind} at {at} of {len(content)}", damaged


def flipped(random: Random, content: bytes, at: int, end: int) -> bytes:
    return content[:at] + bytes([content[at] ^ (1 << random.randrange(8))]) + content[at + 1 :]


def junk(random: Random) -> bytes:
    return random.randbytes(random.randrange(1, 33))


# Kind → (random, content, from, to) → the content after it.
DAMAGES: dict[str, Callable[[Random, bytes, int, int], bytes]] = {
    "bit": flipped,
    "byte": lambda random, content, at, end: content[:at] + random.randbytes(1) + content[at + 1 :],
    "zero": lambda random, content, at, end: content[:at] + bytes(end - at) + content[end:],
    "drop": lambda random, content, at, end: content[:at] + content[end:],
    "repeat": lambda random, content, at, end: content[:end] + content[at:],
    "insert": lambda random, content, at, end: content[:at] + junk(random) + content[at:],
    "reverse": lambda random, content, at, end: content[:at] + content[at:end][::-1] + content[end:],
    "cut": lambda random, content, at, end: content[:at],
    "append": lambda random, content, at, end: content + junk(random),
    "empty": lambda random, content, at, end: b"",
}
KINDS = ("bit", *DAMAGES)  # single bits twice as often


def content_of(path: Path, stage: Stage) -> Any:
    """Everything that a file holds, as plain values."""
    if path.suffix == ".json":
        return read_json(path, stage.name, stage.version)

    values: dict[str, Any] = {}

    def read(name: str, item: h5py.Group | h5py.Dataset) -> None:
        values[name] = {key: str(value) for key, value in item.attrs.items()}
        if isinstance(item, h5py.Dataset):
            values[f"{name}/"] = (str(item.dtype), item.shape, np.asarray(item[()]).tobytes())

    with h5py.File(path, "r") as file:
        read("", file)
        file.visititems(read)
    return values


def files_of(cache: Path) -> Iterator[tuple[Path, Stage]]:
    """The finished per-video files of a split, a few of each stage."""
    for stage in STAGES.values():
        paths = sorted((cache / stage.folder).rglob(f"*{stage.suffix}"))
        yield from ((path, stage) for path in paths if not path.name.startswith("."))


def outcome(path: Path, stage: Stage, whole: Any, expected: Any) -> str:
    """found, harmless or wrong."""
    state, _ = inspect(path, expected)
    if state is not State.COMPLETE:
        return "found"
    try:
        return "harmless" if content_of(path, stage) == whole else "wrong"
    except (CacheError, OSError, KeyError, ValueError):
        return "wrong"  # reported complete, but cannot be read


def measure(cache: Path, count: int, seed: int) -> dict[str, Any]:
    """Figures per stage.

    Raises:
        ValueError: the folder holds no finished file.
    """
    files = list(files_of(cache))
    if not files:
        raise ValueError(f"{cache}: holds no finished file of a stage; make the demo first, or name another split")
    by_stage = {stage.name: [path for path, owner in files if owner is stage] for _, stage in files}
    random, counts, seconds = Random(seed), {name: Counter[str]() for name in by_stage}, Counter[str]()
    names, wrong = sorted(by_stage), []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(count):
            name = names[number % len(names)]
            source, stage = random.choice(by_stage[name]), STAGES[name]
            copy = Path(folder) / f"copy{stage.suffix}"
            shutil.copyfile(source, copy)
            expected, whole = read_stamp(copy, name), content_of(copy, stage)
            start = time.perf_counter()
            assert inspect(copy, expected)[0] is State.COMPLETE, source
            seconds[name] += time.perf_counter() - start
            what, content = damage(random, copy.read_bytes())
            copy.write_bytes(content)
            verdict = outcome(copy, stage, whole, expected)
            counts[name][verdict] += 1
            if verdict == "wrong":
                wrong.append(f"{source.relative_to(cache)}: {what}")
    rows = {
        name: {
            **{key: counts[name][key] for key in ("found", "harmless", "wrong")},
            "ms_to_check": round(1000 * seconds[name] / max(sum(counts[name].values()), 1), 2),
        }
        for name in names
    }
    total = {key: sum(counts[name][key] for name in names) for key in ("found", "harmless", "wrong")}
    return {"corruptions": count, "seed": seed, **total, "stages": rows, "read_as_other_content": wrong}


def main(argv: Sequence[str] | None = None) -> int:
    parser = build_parser(__doc__)
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="<paths.cache>/<dataset>/<split>")
    parser.add_argument("--count", type=int, default=2000, help="number of corruptions (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the corruptions (default: 0)")

    def action(arguments: argparse.Namespace) -> int:
        figures = measure(arguments.cache, arguments.count, arguments.seed)
        print(json.dumps(figures, indent=1))
        return int(bool(figures["wrong"]))

    return execute(parser, argv, action)


if __name__ == "__main__":
    raise SystemExit(main())
