"""Broken words: flags, and the config, which is words in a file."""

import copy
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml
from support.chaos_inputs import Input, mixed, remover, writer
from support.chaos_plan import FILES
from support.chaos_runs import Command
from support.damage import WRONG_VALUES, damage_bytes

from stages.__main__ import MODULES

SPLIT = ("--dataset", "tiny", "--split", "valid_u")
# They start something as they are.
WITHOUT_FLAGS = {
    "demo",
    "run",
    "clean",
    "draw-sheet",
    "train-micro-sam2",
    "train-micro-grounding-dino",
    "train-micro-text",
}
WITHOUT_FLAGS |= {"train-micro-mllm", "train-micro-seg", "write-schema", "make-shapes"}
OF_SNAKEMAKE = {"demo", "run"}  # whose --config may be without a value
WRONG_WORDS = (
    *(["--dataset", "nowhere", "--split", "valid_u"], ["--dataset", "tiny", "--split", "nowhere"], ["--dataset"]),
    *(["--dataset", "", "--split", ""], ["--dataset", "../tiny", "--split", "valid_u"], [*SPLIT, "--limit", "0"]),
    *([*SPLIT, "--limit", "-3"], [*SPLIT, "--limit", "x"], [*SPLIT, "--limit", "9" * 5000], [*SPLIT, "--pid", "-1"]),
    *([*SPLIT, "--pid", "1"], [*SPLIT, "--n-pids", "0"], [*SPLIT, "--pid", "2", "--n-pids", "2"], [*SPLIT, "extra"]),
    *([*SPLIT, "--pid", "1e3"], [*SPLIT, "--config", "nowhere.yaml"], [*SPLIT, "--config", "."], [*SPLIT, "--sourc"]),
    *([*SPLIT, "--config", "/dev/null"], [*SPLIT, "--config", "data"], [*SPLIT, "--config", "bad\nname.yaml"]),
    *(["--dataset", "tiny\x00", "--split", "valid_u"], ["--dataset", "\ud800", "--split", "valid_u"]),
)
TOUCH = "touch executed"
# The file, or the key in it.
CONFIG_NAMES = ("bad.yaml", "config", "presets.", "datasets.", "compare.")
EVIL_YAML = (
    f"run: !!python/object/apply:os.system ['{TOUCH}']",
    f"run: !!python/object/new:os.system ['{TOUCH}']",
    f"? !!python/object/apply:os.system ['{TOUCH}']\n: 1",
    "!!python/object/apply:subprocess.check_output [[touch, executed]]",
    "run: !!python/name:os.system",
    "run: !!python/module:os",
    "run: !include /etc/passwd",
    "run: !!binary '===='",
    "run: !!timestamp x",
    "run: !!float x",
    "run: &a [*a, *a]",
    "run: &a {threads: *a}",
    "<<: [1]",
    "<<: *nowhere",
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")),
    "[" * 4000,
    "{a: " * 3000,
    "run:\n\tthreads: 1",
    "run: {threads: 1, threads: 2}",
    "%YAML 9.9\n---\nrun: {}",
    "---\nrun: {}\n---\nrun: {}",
    "run: 2026-99-99",
    "run: 0x",
    "run: 1:2:3",
    "'run",
    "run: |2\n x",
    "- run",
    "run",
    "7",
    "true",
    "~: 1",
    "? [a]\n: 1",
    "1: 2",
    "\x00",
    "run: \x07",
    "\ufeffrun: [}",
)


def flags(random: Random) -> Iterator[Input]:
    """Every verb with words that it cannot have, in any order."""
    made = list(_flags())
    yield from random.sample(made, len(made))


def _flags() -> Iterator[Input]:
    for verb, module in MODULES.items():
        lists: list[list[str]] = [["--no-such-flag"]]
        lists += [["--config"]] if verb not in OF_SNAKEMAKE else []
        lists += [[]] if verb not in WITHOUT_FLAGS else []
        for words in lists:
            yield Input("flags", f"{verb} {words}", Command(module, tuple(words)), lambda: None)
    for stage in ("collect", "extract_frames", "evaluate"):
        extra = ("--task", "evaluate") if stage == "collect" else ()
        for words in WRONG_WORDS:
            given = () if "--config" in words else FILES
            command = Command(f"stages.{stage}", (*given, *extra, *words))
            yield Input("flags", f"{stage} {words}"[:80], command, lambda: None)


def config(random: Random) -> Iterator[Input]:
    """Config files that were thought of, and endless damages of a sound one."""
    made = [_config(text.encode("utf-8", "surrogatepass"), f"{text[:40]!r}") for text in EVIL_YAML]
    made.append(_config(b"\xff\xfe" + "run: {}".encode("utf-16-le"), "utf-16"))
    made.append(_config(b"\x80\x81", "not text"))
    folder = Path("bad.yaml")
    made.append(Input("config", "a folder", _check(), folder.mkdir, ("bad.yaml",), remover(folder)))
    return mixed(random, made, _drawn(random))


def _drawn(random: Random) -> Iterator[Input]:
    whole = Path("tiny.yaml").read_bytes()
    document = yaml.safe_load(Path("config.yaml").read_text(encoding="utf-8"))
    nodes = list(_keys(document))
    while True:
        if random.random() < 0.3:
            what, content = damage_bytes(random, whole)
            yield _config(content or b"", what)
        else:
            yield _with_value(random, document, random.choice(nodes))


def _with_value(random: Random, document: Any, keys: tuple[Any, ...]) -> Input:
    """Another value, or another name, somewhere; as a file of its own over the project's."""
    kind = random.choice(["value", "value", "value", "rename", "text"])
    value = copy.deepcopy(random.choice([one for one in WRONG_VALUES if one != "\ud800"]))
    last: Any = keys[-1]
    if kind == "rename":
        last, value = f"{last}x", _at(document, keys)
    elif kind == "text":
        value = str(_at(document, keys)) + random.choice(
            [" ", "x", "\n", ";touch executed", "$(touch executed)", "/.."]
        )
    over: Any = {last: value}
    for key in reversed(keys[:-1]):
        over = {key: over}
    text = yaml.safe_dump(over, allow_unicode=True)
    return _config(text.encode("utf-8"), f"{kind} at {'.'.join(map(str, keys))}: {value!r:.60}")


def _config(content: bytes, what: str) -> Input:
    path = Path("bad.yaml")
    return Input("config", what, _check(), writer(path, content), CONFIG_NAMES, remover(path))


def _check() -> Command:
    """A command that does little once the config was read."""
    return Command(
        "stages.collect", (*FILES, "--config", "bad.yaml", *SPLIT, "--task", "extract_frames", "--limit", "1")
    )


def _keys(document: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in document.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from _keys(value, (*before, key))


def _at(document: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        document = document[key]
    return document
