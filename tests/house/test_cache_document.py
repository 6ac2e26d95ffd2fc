"""What docs/cache.md says of the cache's files is what they are: versions, datasets, types, and how to read one."""

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.project import ROOT
from support.trainings import make_toy, toy_config

from stages.core.media import masks
from stages.core.state.cache import Stamp
from stages.core.state.graph import BUILD_TRACKS, ENCODE_TEXT, GENERATE_PROMPTS, STAGES, Layout
from stages.core.state.prompt_file import Prompt, write_prompts

CACHE = (ROOT / "docs/cache.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file of each stage that writes HDF5."""
    folder = tmp_path_factory.mktemp("cache")
    config = toy_config(folder)
    make_toy(folder, config)
    layout = Layout.of(config, "toy", "train")
    mask = masks.encode(np.ones((6, 8), bool))
    prompts = folder / "prompts.h5"
    write_prompts(prompts, Stamp(GENERATE_PROMPTS.name, 2, {}), [Prompt(0, mask, (0, 0, 8, 6))], (6, 8))
    tracks = sorted(layout.folder(BUILD_TRACKS, "gt").glob("*.h5"))[-1]
    return {
        "generate_prompts": prompts,
        "build_tracks": tracks,
        "encode_text": layout.folder(ENCODE_TEXT) / f"{tracks.stem}.h5",
    }


def test_the_versions_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\w+) \| `([\w.]+)[^|]*\| (\d+) \|$", CACHE, re.MULTILINE)
    assert {name: int(version) for name, _, version in rows} == {name: s.version for name, s in STAGES.items()}
    for name, folder, _ in rows:
        assert folder in (STAGES[name].folder, f"{STAGES[name].folder}{STAGES[name].suffix}"), name


@pytest.mark.parametrize("stage", ["generate_prompts", "build_tracks", "encode_text"])
def test_the_tables_are_those_of_the_files(stage: str, files: dict[str, Path]) -> None:
    """Every dataset is in its table with its type and its number of axes; text is a group of two datasets."""
    section = CACHE.split(f"\n## {stage}\n")[1].split("\n## ")[0]
    told: dict[str, tuple[str, int]] = {}
    for names, kind in re.findall(r"^\| (`/[^|]+) \| ([^|]+) \|", section, re.MULTILINE):
        names, kinds = re.findall(r"/([\w/]+)", names), kind.split(", i") if kind[0] == "u" else [kind]
        for i, name in enumerate(names):
            own = kinds[i] if len(kinds) > 1 else kind
            told[name] = (own, 1)
    known: dict[str, str] = {}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        if isinstance(item, h5py.Dataset):
            group, _, last = name.rpartition("/")
            known[group if last in ("utf8",) else name] = "text" if last == "utf8" else item.dtype.str[1:]

    with h5py.File(files[stage]) as file:
        file.visititems(visit)
    for text in [name for name, kind in known.items() if kind == "text"]:
        known.pop(f"{text}/offset")
    missing = known.keys() - told.keys()
    assert not missing, f"{missing} is not in docs/cache.md"
    for name, dtype in known.items():
        assert dtype in told[name][0] or name.startswith(("rle/", "expr/")), f"{name}: {dtype}, not {told[name][0]}"


def test_the_snippet_reads_a_track_file(files: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", CACHE, re.DOTALL)
    code, replaced = re.subn(r'"results/[^"]+\.h5"', repr(str(files["build_tracks"])), snippet)
    assert replaced == 1 and code.count("\n") <= 12
    scope: dict[str, Any] = {}
    exec(compile(code, "docs/cache.md", "exec"), scope)
    assert scope["mask_HW"].shape == (scope["height"], scope["width"]) and scope["mask_HW"].max() <= 1
    with h5py.File(files["build_tracks"]) as file:
        assert scope["mask_HW"].sum() == file["tracks/area"][0, 3]
    assert re.match(r"\d+ tracks, \d+ frames; track 0 covers \d+ pixels of frame 3\n", capsys.readouterr().out)
