"""What is written and removed never touches what is the user's: places of the config, marks of folders."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.answers import answer, job_of, tiny_split
from support.project import make_config

from stages import assemble, evaluate, render_predictions
from stages.core.config.loading import ConfigError
from stages.core.state.marks import MARK, is_ours, mark, refuse_foreign, remove_ours

# Key of the config → what it makes of a folder: (keys that lead to the value, whether something is written there).
KEYS = {
    "paths.results": ("paths", "results"),
    "paths.cache": ("paths", "cache"),
    "paths.weights": ("paths", "weights"),
    "datasets.mevis.root": ("datasets", "mevis", "root"),
    "datasets.shapes.root": ("datasets", "shapes", "root"),
    "presets.micro.models.text.path": ("presets", "micro", "models", "text", "path"),
}
# What a key writes below its folder, for a data set mevis with the split valid_u; None = nothing at all.
WRITES = {
    "paths.results": ["mevis/valid_u", "compare/mevis/valid_u", "imports"],
    "paths.cache": ["mevis/valid_u", "config", "logs"],
    "paths.weights": ["micro"],
    "datasets.shapes.root": [""],
}


def over(**places: Path) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for key, place in places.items():
        inner = document
        *parts, last = KEYS[key]
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = str(place)
    return document


@pytest.mark.parametrize(
    ("writer", "other"), [(w, o) for w, o in itertools.product(WRITES, KEYS) if w != o], ids=lambda key: key
)
def test_every_pair_of_places_that_touch_is_refused(tmp_path: Path, writer: str, other: str) -> None:
    """The other place is what is written, lies in it, or holds it; through a link too."""
    base = tmp_path / "there"
    (tmp_path / "link").symlink_to(base, target_is_directory=True)
    if other.startswith("paths."):
        with pytest.raises(ConfigError, match=r"are the same folder|is written to and removed"):
            make_config(tmp_path / "x", over(**{writer: base, other: tmp_path / "link"}))
        return
    for written in WRITES[writer]:
        place = base / written
        for victim in (place, place / "inside", place.parent if written else base.parent / "there"):
            for root in (victim, tmp_path / "link" / victim.relative_to(base) if victim != base.parent else victim):
                with pytest.raises(ConfigError, match="give one of them another folder") as refused:
                    make_config(tmp_path / "x", over(**{writer: base, other: root}))
                assert writer in str(refused.value) or other in str(refused.value)


def test_places_beside_each_other_are_fine(tmp_path: Path) -> None:
    """As on a cluster: one scratch folder for everything, the data sets in folders of other names."""
    scratch = tmp_path / "scratch"
    places = {"paths.results": scratch, "paths.cache": scratch / "cache", "paths.weights": scratch / "weights"}
    make_config(tmp_path, over(**places, **{"datasets.mevis.root": scratch / "data" / "mevis"}))


def test_results_above_a_data_sets_root_are_refused(tmp_path: Path) -> None:
    """Where assemble once removed the data set."""
    places = {"paths.results": tmp_path / "me", "datasets.mevis.root": tmp_path / "me" / "mevis"}
    with pytest.raises(ConfigError, match=r"paths\.results and datasets\.mevis\.root: .*/me/mevis/\w+ is written to"):
        make_config(tmp_path / "x", over(**places))


@pytest.fixture
def answered(tmp_path: Path):
    job = job_of(tiny_split(tmp_path), "tiny", "valid_u")
    answer(job)
    evaluate.run(job)
    render_predictions.run(job)
    return job


def test_assemble_replaces_its_own_folder_and_no_other(answered, tmp_path: Path) -> None:
    target = Path(answered.config.paths.results) / "tiny" / "valid_u"
    target.mkdir(parents=True)
    (target / "thesis.txt").write_text("three years of work")
    with pytest.raises(ValueError, match="did not make, and would be replaced; move it away"):
        assemble.run(answered)
    assert (target / "thesis.txt").read_text() == "three years of work"
    (target / "thesis.txt").unlink()
    for _ in range(2):  # an empty folder, then its own
        assemble.run(answered)
        assert (target / MARK).is_file() and (target / "metrics.json").is_file()
    (target / MARK).unlink()
    assemble.run(answered)  # of a version without marks, known by its provenance
    assert (target / MARK).is_file()
    elsewhere = tmp_path / "elsewhere"
    shutil.move(target, elsewhere)
    target.symlink_to(elsewhere)
    with pytest.raises(ValueError, match="is a link that Referee did not make"):
        assemble.run(answered)
    assert (elsewhere / "metrics.json").is_file()


def test_marks(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    refuse_foreign(folder)
    remove_ours(folder)
    folder.mkdir()
    assert is_ours(folder), "an empty folder holds nothing of anybody's"
    (folder / "provenance.json").write_text('{"referee_version": 1}')
    assert not is_ours(folder)
    mark(folder, "a test")
    remove_ours(folder)
    assert not folder.exists()
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(ValueError, match="is a file that Referee did not make"):
        remove_ours(file)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
