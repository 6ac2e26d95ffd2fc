"""What is written and removed never touches what is the user's: places of the config, marks of folders."""

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.answers import answer, finished_split, job_of, tiny_split
from support.project import make_config
from support.workspace import make_workspace, snakemake

from stages import assemble, evaluate, render_predictions
from stages.__main__ import call
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


# ---------------------------------------------------------------- tools with an --out


def tree(folder: Path) -> dict[str, bytes | str]:
    """Everything below a folder: path → content, or where a link points to."""
    return {
        path.relative_to(folder).as_posix(): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


@pytest.fixture(scope="module")
def split_flags(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    place = tmp_path_factory.mktemp("tools")
    return finished_split(place)[0], place


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder of somebody's, with names that ours have too."""
    folder = tmp_path / "home"
    (folder / "photos").mkdir(parents=True)
    for name in ("thesis.txt", "photos/00000.png", "config.yaml", "table.md", "scores.json", "model.safetensors"):
        (folder / name).write_text(f"my {name}")
    (folder / "shapes.json").write_text('["not a stamp"]')
    (folder / "link.png").symlink_to("photos/00000.png")
    (folder / "link.json").symlink_to("thesis.txt")
    (folder / "weights.pth").write_bytes(b"the only copy")
    return folder


TINY = ["--dataset", "tiny", "--split", "valid_u"]
INDEX = "data/valid_u/meta_expressions.json"
# The flags that are given too, and what is typed; {place} holds the config's folders. Weights: tests/weights.
REFUSED = {
    "export into a folder": ("split", "export-predictions --format ytvis --out {home}"),
    "export over a link": ("split", "export-predictions --format coco --out {home}/link.json"),
    "export over the index": ("split", "export-predictions --format ytvis --out {place}/" + INDEX),
    "export into results": ("split", "export-predictions --format ytvis --out {place}/results/tiny/valid_u/y.json"),
    "export PNGs": ("split", "export-predictions --format png --out {home}"),
    "export PNGs over a file": ("split", "export-predictions --format palette --out {home}/thesis.txt"),
    "export a zip over a frame": ("split", "export-predictions --format png --out {place}/data/valid_u/x.zip"),
    "strip over a link": ("split", "draw-strip --out {home}/link.png"),
    "strip into a folder": ("split", "draw-strip --out {home}/folder.png"),
    "strip over a frame": ("split", "draw-strip --out {place}/data/valid_u/JPEGImages/video0/00000.jpg"),
    "compare": ("split", "compare --baselines random --out {home}"),
    "import": ("split", "import-predictions --from {place}/results/tiny/valid_u/submission.zip --name mine"),
    "sheet over a link": ("", "draw-sheet --videos 1 --out {home}/link.png"),
    "sheet into a folder": ("", "draw-sheet --videos 1 --out {home}/folder.png"),
    "sheet over another kind": ("", "draw-sheet --videos 1 --out {home}/thesis.txt"),
    "checkpoint over itself": ("", "import-checkpoint {home}/weights.pth --out {home}/weights.pth --overwrite"),
    "checkpoint into a folder": ("", "import-checkpoint {home}/weights.pth --out {home}/photos --overwrite"),
    "checkpoint over a file": ("", "import-checkpoint {home}/weights.pth --out {home}/thesis.txt"),
    "detector over itself": ("", "convert-grounding-dino {home}/weights.pth {home}/weights.pth"),
    "detector into a folder": ("", "convert-grounding-dino {home}/weights.pth {home}/photos"),
    "micro SAM2": ("", "train-micro-sam2 --out {home} --steps 1"),
    "micro GroundingDINO": ("", "train-micro-grounding-dino --out {home} --steps 1"),
    "micro text": ("", "train-micro-text --out {home} --steps 1"),
    "DAVIS": ("config", "convert-davis --dataset davis --target {home}"),
    "shapes": ("config", "make-shapes --dataset mine --seed 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_no_tool_touches_what_we_did_not_make(
    case: str, split_flags: tuple[list[str], Path], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (flags, place), (kind, words) = split_flags, REFUSED[case]
    (home / "folder.png").mkdir()
    (home / "folder.png" / "mine.txt").write_text("mine")
    if case == "import":
        shutil.copytree(home, place / "results/imports/mine")
    over = home.parent / "over.yaml"
    over.write_text(yaml.safe_dump(others(home)))
    given = {"split": [*flags, *TINY], "config": [*flags, "--config", str(over)], "": []}[kind]
    verb, *rest = [word.format(home=home, place=place) for word in words.split()]
    before = tree(home), tree(place)
    try:
        assert call(verb, [*rest, *given]) == 2
    finally:
        found = tree(home), tree(place)
        shutil.rmtree(place / "results/imports", ignore_errors=True)
    assert found == before
    error = capsys.readouterr().err
    assert str(place if "{place}" in words or case == "import" else home) in error and "Traceback" not in error


def others(home: Path) -> dict[str, Any]:
    """A data set that is generated into the folder of somebody's, and one that is converted."""
    shapes = {"format": "mevis", "root": str(home), "generate": True}
    common = {
        "models": "micro",
        "settings": {},
        "selector": {"weights": None, "train": "tiny/train", "validate_on": "tiny/valid_u"},
    }
    splits = {"splits": {"val": {"role": "evaluate", "limit": None}}}
    davis = {"format": "davis17", "root": str(home.parent / "davis"), "generate": False}
    return {"datasets": {"mine": {**shapes, **common, **splits}, "davis": {**davis, **common, **splits}}}


def test_clean_removes_what_is_ours_and_names_the_rest(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags, job = finished_split(tmp_path)
    root, results = job.layout.root, tmp_path / "results/tiny/valid_u"
    (root / "frames/notes.json").write_text('{"stamp": "mine"}')
    (root / "frames/video0/mine.jpg").write_text("mine")
    (root / "render/video0/predictions/mine.png").write_text("mine")
    (root / "logs").mkdir()
    for name in (
        "logs/assemble.log",
        "errors/build_tracks-grid/v.json",
        "runtime/build_tracks-grid/v.json",
        "done/x.json",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("ours")
    (root / "logs/diary.txt").write_text("mine")
    (tmp_path / "results/tiny/train").mkdir()
    (tmp_path / "results/tiny/train/thesis.txt").write_text("mine")
    (tmp_path / "results/imports/theirs").mkdir(parents=True)
    (tmp_path / "results/imports/theirs/x").write_text("mine")
    data = tree(tmp_path / "data")
    before = tree(tmp_path)
    assert call("clean", [*flags, "--dry-run"]) == 0 and tree(tmp_path) == before
    assert call("clean", flags) == 0
    assert not results.exists() and tree(tmp_path / "data") == data
    assert set(tree(tmp_path / "cache")) == {
        f"tiny/valid_u/{name}"
        for name in (
            "frames/notes.json",
            "frames/video0/mine.jpg",
            "render/video0/predictions/mine.png",
            "logs/diary.txt",
        )
    }
    assert set(tree(tmp_path / "results")) == {"tiny/train/thesis.txt", "imports/theirs/x"}
    assert "5 files and folders are left" in caplog.text and "diary.txt" in caplog.text


# ---------------------------------------------------------------- Snakemake, which removes declared folders itself


@pytest.mark.parametrize("place", ["results/tiny/valid_u", "results/compare/tiny/valid_u"])
@pytest.mark.parametrize("flags", [(), ("--forceall",), ("--delete-all-output",)], ids=lambda flags: "".join(flags))
def test_the_workflow_refuses_a_folder_that_is_not_ours(tmp_path: Path, place: str, flags: tuple[str, ...]) -> None:
    """Before any job: a declared folder goes when its job starts, and when it fails."""
    make_workspace(tmp_path)
    target = tmp_path / place
    (target / "photos").mkdir(parents=True)
    (target / "photos/thesis.txt").write_text("three years of work")
    before = tree(tmp_path / "results/") | tree(tmp_path / "data")
    done = snakemake(tmp_path, place, *flags)
    assert done.returncode == 1
    assert f"{place}: is a folder that Referee did not make, and would be replaced" in done.stdout + done.stderr
    found = {name: text for name, text in tree(tmp_path / "results").items() if not name.startswith("cache/")}
    assert found | tree(tmp_path / "data") == before
