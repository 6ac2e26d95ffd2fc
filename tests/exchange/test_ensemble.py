"""ensemble_predictions as a command: real folders of PNGs in, a submission and the figures of every run out."""

import json
import logging
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from support.answers import answer, finished_split, job_of, squares
from support.pngs import write_pngs
from support.tiny_mevis import SIZE

from stages import assemble, evaluate, extract_frames, render_predictions
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.cache import CacheError
from stages.datasets import open_split
from stages.exchange.ensemble import making
from stages.exchange.importing import Import
from stages.exchange.submission import write_zip
from stages.tools import ensemble_predictions, export_predictions, import_predictions

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Job, Path]:
    """The tiny set, answered and evaluated on valid_u, with frames of all splits; three systems' folders of PNGs."""
    place = tmp_path_factory.mktemp("ensemble")
    flags, job = finished_split(place)
    for split in ("train", "valid"):
        answer(job_of(flags, "tiny", split))
    for split in ("train", "valid_u", "valid"):
        for name in NAMES:
            write_pngs(place / split / name, videos_of(flags, split), lambda *of, name=name: noise(name, *of))
    return flags, job, place


@pytest.fixture
def fresh(tiny: tuple[list[str], Job, Path]) -> Any:
    """The same without what other tests have averaged."""
    yield tiny
    shutil.rmtree(tiny[2] / "results/imports", ignore_errors=True)


def noise(name: str, video: Video, expression: Expression, index: int) -> NDArray[np.bool_]:
    """A square that is somewhat different in every system, with pixels at random; expression 3 is empty but in c."""
    seed = [ord(name), *map(ord, video.id), int(expression.id), index]
    mask_HW = np.random.default_rng(seed).random(SIZE) < 0.1
    return (squares(video, expression, index, SIZE) ^ mask_HW) & (expression.id != "3" or name == "c")


def shades(video: Video, expression: Expression, index: int) -> NDArray[np.uint8]:
    return np.random.default_rng([*map(ord, video.id), int(expression.id), index]).integers(0, 256, SIZE, np.uint8)


def videos_of(flags: Sequence[str], split: str = "valid_u") -> list[Video]:
    return open_split(job_of(list(flags), "tiny", split).config, "tiny", split).videos()


def command(flags: Sequence[str], *more: object, split: str = "valid_u", name: str = "mean") -> int:
    given = [*flags, "--dataset", "tiny", "--split", split, "--name", name]
    return ensemble_predictions.main([*given, *map(str, more)])


def runs(place: Path, split: str = "valid_u", names: Sequence[str] = NAMES) -> list[str]:
    return [word for name in names for word in ("--run", f"{name}={place / split / name}")]


def made(place: Path, split: str = "valid_u", name: str = "mean") -> Path:
    return place / "results/imports" / name / "ensemble/tiny" / split


def document(place: Path, split: str = "valid_u", name: str = "mean") -> dict[str, Any]:
    return json.loads((made(place, split, name) / "ensemble.json").read_text())


def pixels(place: Path, split: str = "valid_u", name: str = "mean") -> dict[str, NDArray[np.uint8]]:
    """Name in the submission → its pixels."""
    with zipfile.ZipFile(made(place, split, name) / "submission.zip") as archive:
        pixels = {}
        for entry in archive.namelist():
            with archive.open(entry) as file, Image.open(file) as image:
                pixels[entry] = np.asarray(image)
        return pixels


def expected(flags: Sequence[str], rule: Any, split: str = "valid_u") -> dict[str, NDArray[np.uint8]]:
    return {
        f"{video.id}/{expression.id}/{frame}.png": np.where(rule(video, expression, t), np.uint8(255), np.uint8(0))
        for video in videos_of(flags, split)
        for expression in video.expressions
        for t, frame in enumerate(video.frames)
    }


def assert_same(one: dict[str, NDArray[np.uint8]], other: dict[str, NDArray[np.uint8]]) -> None:
    assert list(one) == list(other)
    assert all(np.array_equal(one[name], other[name]) for name in one)


# ------------------------------------------------------------------------------------------ the mean


@pytest.mark.parametrize("layout", ["MeViS", "ytvos"])
def test_masks_vote(fresh, tmp_path, layout) -> None:
    flags, _, place = fresh
    given = runs(place)
    if layout == "ytvos":  # with the folder of Ref-YouTube-VOS around them
        given = []
        for name in NAMES:
            (tmp_path / name).mkdir()
            (tmp_path / name / "Annotations").symlink_to(place / "valid_u" / name)
            shutil.copytree(place / "valid_u" / name, tmp_path / f"copy_{name}" / "Annotations")
            given += ["--run", f"{name}={tmp_path}/copy_{name}"]
    assert command(flags, *given) == 0
    assert_same(pixels(place), expected(flags, lambda *of: sum(noise(n, *of).astype(int) for n in NAMES) >= 2))


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        (["--weight", "a=2"], lambda a, b, c: a & (b | c)),  # a alone is exactly a half: not the object
        (["--weight", "a=0.3", "--weight", "b=0.2", "--weight", "c=0.1"], lambda a, b, c: a & (b | c)),
        (["--weight", "a=2.1"], lambda a, b, c: a | (b & c & False)),
        (["--threshold", "0"], lambda a, b, c: a | b | c),
        (["--threshold", "0.9"], lambda a, b, c: a & b & c),
        (["--weight", "b=0"], lambda a, b, c: a & c),
    ],
)
def test_weights_and_threshold(fresh, more, rule) -> None:
    flags, _, place = fresh
    assert command(flags, *runs(place), *more) == 0
    assert_same(pixels(place), expected(flags, lambda *of: rule(*(noise(name, *of) for name in NAMES))))


@pytest.mark.parametrize("bits", [8, 16])
def test_probabilities_are_averaged_with_votes(fresh, tmp_path, bits) -> None:
    flags, _, place = fresh
    scale = 1 if bits == 8 else 257

    def picture(*of: Any) -> NDArray[Any]:
        return shades(*of) if bits == 8 else shades(*of).astype(np.uint16) * np.uint16(257)

    soft = write_pngs(tmp_path / "soft", videos_of(flags), picture)
    more = ["--run", f"s={soft}", "--soft", "s", "--weight", "s=2", "--threshold", "0.4"]
    assert command(flags, *runs(place, names=("a",)), *more) == 0

    def rule(*of: Any) -> NDArray[np.bool_]:
        return noise("a", *of) * 255 * scale + 2 * shades(*of).astype(int) * scale > 0.4 * 3 * 255 * scale

    assert_same(pixels(place), expected(flags, rule))
    [_, s] = document(place)["runs"]
    assert s["probabilities"] and s["weight"] == 2


def test_every_kind_of_run(fresh, tmp_path) -> None:
    """A zip, a folder, results in JSON, an import, and the pipeline's own decisions: what the same masks give as folders."""
    flags, job, place = fresh
    write_zip(
        tmp_path / "a.zip",
        [(p.relative_to(place / "valid_u/a").as_posix(), p.read_bytes()) for p in (place / "valid_u/a").rglob("*.png")],
    )
    usual = [*flags, "--dataset", "tiny", "--split", "valid_u"]
    for name in ("b", "c"):
        assert import_predictions.main([*usual, "--from", str(place / "valid_u" / name), "--name", name]) == 0
    overlay = {name: Import.of(job.config, name, "tiny", "valid_u").overlay for name in ("b", "c")}
    exported = [*usual, "--config", str(overlay["b"]), "--format", "ytvis", "--out", str(tmp_path / "b.json")]
    assert export_predictions.main(exported) == 0
    mixed = ["--run", f"a={tmp_path}/a.zip", "--run", f"b={tmp_path}/b.json", "--run", f"c={overlay['c']}", "--own"]
    assert command(flags, *mixed) == 0
    own = write_pngs(tmp_path / "own", videos_of(flags), lambda *of: squares(*of, SIZE))
    assert command(flags, *runs(place), "--run", f"own={own}", name="folders") == 0
    assert_same(pixels(place), pixels(place, name="folders"))
    assert [one["figures"] for one in document(place)["runs"]] == [
        one["figures"] for one in document(place, name="folders")["runs"]
    ]


# ------------------------------------------------------------------------------------------ figures and documents


def test_every_run_and_the_mean_score_as_the_pipeline_scores_them(fresh, capsys) -> None:
    flags, job, place = fresh
    assert command(flags, *runs(place)) == 0
    table = capsys.readouterr().out
    found = document(place)
    usual = [*flags, "--dataset", "tiny", "--split", "valid_u"]
    for line in [*found["runs"], found["mean"]]:
        name = line["name"]
        if name != "mean":
            assert import_predictions.main([*usual, "--from", str(place / "valid_u" / name), "--name", name]) == 0
        imported = job_of(
            [*flags, "--config", str(Import.of(job.config, name, "tiny", "valid_u").overlay)], "tiny", "valid_u"
        )
        for stage in (evaluate, render_predictions, assemble):
            stage.run(imported)
        metrics = json.loads((place / "results/imports" / name / "tiny/valid_u/metrics.json").read_text())
        assert line["figures"] == metrics["figures"] and {"J", "F", "J&F", "N-acc", "T-acc", "Final"} <= set(
            line["figures"]
        )
        assert found["metric"] == metrics["metric"] and found["protocol"] == metrics["protocol"]
        assert f"| {name} | " in table and f"{100 * line['figures']['J&F']:.1f}" in table
    assembled = place / "results/imports/mean/tiny/valid_u"
    assert (assembled / "submission.zip").read_bytes() == (made(place) / "submission.zip").read_bytes()
    assert (made(place) / "ensemble.md").read_text() == table
    given = json.loads((assembled / "provenance.json").read_text())["imported"]["from"]
    assert given == [{"run": n, "from": str(place / "valid_u" / n), "weight": 1.0} for n in NAMES]


def test_without_ground_truth_there_is_a_submission_and_no_figure(fresh, caplog) -> None:
    flags, _, place = fresh
    with caplog.at_level(logging.INFO):
        assert command(flags, *runs(place, "valid"), split="valid") == 0
    assert "has no ground truth: runs are not scored" in caplog.text
    rule = expected(flags, lambda *of: sum(noise(n, *of).astype(int) for n in NAMES) >= 2, "valid")
    assert_same(pixels(place, "valid"), rule)
    assert all(line["figures"] == {} for line in document(place, "valid")["runs"])


# ------------------------------------------------------------------------------------------ fitted weights


def test_weights_are_fitted_on_a_split_and_used_on_another(fresh, tmp_path) -> None:
    """A system that knows the truth is found among two that do not."""
    flags, job, place = fresh
    given = runs(place, names=("a", "b"))
    for split in ("train", "valid_u"):
        reader = open_split(job.config, "tiny", split)
        truth = {v.id: reader.annotations(v) for v in reader.videos()}
        write_pngs(tmp_path / split, reader.videos(), lambda v, e, t, truth=truth: true_mask(truth[v.id], e, t))
    fitted = [w for name in ("a", "b") for w in ("--fit-run", f"{name}={place / 'train' / name}")]
    more = ["--run", f"t={tmp_path}/valid_u", "--fit-on", "train", "--fit-run", f"t={tmp_path}/train"]
    assert command(flags, *given, *more, *fitted) == 0
    found = document(place)
    weights = {line["name"]: line["weight"] for line in found["runs"]}
    assert weights["t"] > 0.5 and found["fit"]["taken"] and found["fit"]["fitted_on"] == "tiny/train"
    assert found["fit"]["alone"]["t"] == pytest.approx(1) and found["fit"]["held_out"] > found["fit"]["equal"]
    assert found["mean"]["figures"]["J&F"] > 0.99 > max(line["figures"]["J&F"] for line in found["runs"][:2])


def true_mask(annotations: Any, expression: Expression, t: int) -> NDArray[np.bool_]:
    from stages.core.media import masks

    parts = [annotations[key][t] for key in expression.annotations or () if annotations[key][t] is not None]
    return masks.decode(masks.union(parts, SIZE))


@pytest.mark.parametrize("place_of", ["valid_u", "tiny/valid_u"])
def test_the_averaged_split_is_never_fitted_to(fresh, capsys, place_of) -> None:
    flags, _, place = fresh
    assert command(flags, *runs(place), "--fit-on", place_of) == 2
    assert "tiny/valid_u: weights fitted to the split they are used on flatter it" in capsys.readouterr().err


def test_a_split_that_holds_the_same_video_is_not_fitted_to(fresh, tmp_path, capsys) -> None:
    """Whatever it is called there."""
    flags, _, place = fresh
    root = tmp_path / "data"
    shutil.copytree(place / "data", root)
    images, meta = root / "train/JPEGImages", root / "train/meta_expressions.json"
    shutil.copytree(root / "valid_u/JPEGImages/video1", images / "other")
    index = json.loads(meta.read_text())
    frames = sorted(path.stem for path in (images / "other").iterdir())
    index["videos"]["other"] = {"frames": frames, "expressions": {"0": {"exp": "it", "obj_id": [], "anno_id": []}}}
    meta.write_text(json.dumps(index))
    over = tmp_path / "over.yaml"
    over.write_text(
        f"paths: {{cache: {tmp_path}/cache, results: {tmp_path}/results}}\ndatasets: {{tiny: {{root: {root}}}}}\n"
    )
    flags = [*flags, "--config", str(over)]
    for split in ("train", "valid_u"):
        extract_frames.run(job_of(flags, "tiny", split))
    assert command(flags, *runs(place), "--fit-on", "train") == 2
    assert "tiny/train: 1 of its videos are in tiny/valid_u too, as 'other'" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "nothing to average"),
        (["--run", "a={a}", "--run", "b={a}"], "valid_u/a: given as two runs"),
        (["--run", "a={a}", "--run", "a={b}"], "--run a: given twice"),
        (["--run", "{a}"], "needs NAME=VALUE"),
        (["--run", "mean={a}"], "both called 'mean'"),
        (["--run", "x/y={a}"], "run name 'x/y'"),
        (["--run", "a={a}", "--weight", "b=1"], "--weight b: no such run; there are a"),
        (["--run", "a={a}", "--soft", "b"], "--soft b: no such run"),
        (["--run", "a={a}", "--weight", "a=-1"], "weight -1.0 of run 'a': needs a finite number from 0 on"),
        (["--run", "a={a}", "--weight", "a=nan"], "needs a finite number"),
        (["--run", "a={a}", "--weight", "a=much"], "--weight a=much: needs a number"),
        (["--run", "a={a}", "--weight", "a=0"], "all weights are 0"),
        (["--run", "a={a}", "--threshold", "1"], "threshold 1.0"),
        (["--run", "a={a}/nowhere"], "run 'a': "),
        (["--own", "--soft", "own"], "run 'own': decisions in a cache are masks"),
        (["--run", "a={a}", "--fit-on", "train"], "give --fit-run a=PATH"),
        (
            ["--run", "a={a}", "--own", "--fit-on", "train", "--fit-run", "own={b}"],
            "--fit-run own: its decisions on tiny/train",
        ),
        (["--run", "a={a}", "--fit-run", "a={b}"], "are for --fit-on"),
        (["--run", "a={a}", "--fit-on", "train", "--threshold", "0.4"], "leave --weight and --threshold out"),
        (["--own", "--fit-on", "valid"], "tiny/valid has no ground truth"),
        (["--own", "--fit-on", "elsewhere"], "no split 'elsewhere'"),
    ],
)
def test_what_does_not_fit_together_is_an_error(fresh, capsys, more, words) -> None:
    flags, _, place = fresh
    given = [word.format(a=place / "valid_u/a", b=place / "valid_u/b") for word in more]
    if "own={b}" in more:
        given += ["--fit-run", f"a={place / 'train/a'}"]
    assert command(flags, *given) == 2
    assert words in capsys.readouterr().err


def test_what_a_run_lacks_is_named_or_counts_as_empty(fresh, tmp_path, capsys, caplog) -> None:
    """An expression and a frame; also where they were imported before."""
    flags, job, place = fresh
    part = shutil.copytree(place / "valid_u/a", tmp_path / "part")
    shutil.rmtree(part / "video1/2")
    (part / "video0/1/00010.png").unlink()
    given = [*runs(place, names=("b",)), "--run", f"part={part}"]
    assert command(flags, *given) == 2
    error = capsys.readouterr().err
    assert "run 'part'" in error and "lacks 6 predictions: video0/1/00010.png, video1/2/00010.png" in error
    assert not (place / "results/imports").exists(), "nothing is written"
    with caplog.at_level(logging.WARNING):
        assert command(flags, *given, "--missing", "empty") == 0
    assert "run 'part': 6 predictions are missing and count as empty" in caplog.text
    assert not pixels(place)["video1/2/00010.png"].any()
    usual = [*flags, "--dataset", "tiny", "--split", "valid_u"]
    assert import_predictions.main([*usual, "--from", str(part)]) == 0
    overlay = Import.of(job.config, "part", "tiny", "valid_u").overlay
    assert command(flags, *runs(place, names=("b",)), "--run", f"part={overlay}", name="again") == 2
    assert "lacks 6 predictions: video0/1/00010.png" in capsys.readouterr().err


def test_a_mask_of_another_size_is_named(fresh, tmp_path, capsys) -> None:
    flags, _, place = fresh
    wrong = shutil.copytree(place / "valid_u/a", tmp_path / "wrong")
    Image.new("L", (64, 47)).save(wrong / "video2/0/00020.png")
    assert command(flags, *runs(place, names=("b",)), "--run", f"w={wrong}") == 2
    assert "wrong: video2/0/00020.png is 47×64 (height×width), its frame is 48×64" in capsys.readouterr().err


def test_what_is_given_twice_in_json_is_named(fresh, tmp_path, capsys) -> None:
    flags, _, place = fresh
    usual = [*flags, "--dataset", "tiny", "--split", "valid_u", "--format", "ytvis", "--out", str(tmp_path / "r.json")]
    assert export_predictions.main(usual) == 0
    entries = json.loads((tmp_path / "r.json").read_text())
    (tmp_path / "r.json").write_text(json.dumps([*entries, entries[3]]))
    assert command(flags, *runs(place), "--run", f"r={tmp_path / 'r.json'}") == 2
    assert "run 'r': " in (error := capsys.readouterr().err) and "1 entries repeat an expression, as video0/3" in error


def test_an_import_is_not_replaced_by_an_ensemble(fresh, capsys) -> None:
    flags, _, place = fresh
    usual = [*flags, "--dataset", "tiny", "--split", "valid_u"]
    assert import_predictions.main([*usual, "--from", str(place / "valid_u/a"), "--name", "mean"]) == 0
    assert command(flags, *runs(place)) == 2
    assert "is an import of" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ resume


def test_killed_and_resumed_gives_the_same_bytes(fresh, monkeypatch) -> None:
    flags, _, place = fresh
    more = [*runs(place), "--weight", "a=1.5"]
    assert command(flags, *more, name="whole") == 0
    done = []

    def dies(target: Import, video: Video, *arguments: Any, **more: Any) -> bool:
        if video.id == "video1":
            raise CacheError("killed")
        done.append(video.id)
        return bool(original(target, video, *arguments, **more))

    original = making.import_video
    with monkeypatch.context() as patch:
        patch.setattr(making, "import_video", dies)
        assert command(flags, *more) == 2
    root = place / "results/imports/mean/cache/tiny/valid_u"
    kept = {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*video0*")
        if path.is_file() and "frames" not in path.parts
    }
    assert done == ["video0"] and len(kept) == 2 + 4 and not made(place).exists()
    assert command(flags, *more) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "a finished video is not made again"
    for file in ("submission.zip", "ensemble.md"):
        one, other = (made(place, name=name) / file for name in ("mean", "whole"))
        assert one.read_bytes().replace(b"mean", b"whole") == other.read_bytes().replace(b"mean", b"whole")


def test_other_weights_average_again_and_score_no_run_again(fresh) -> None:
    flags, _, place = fresh
    assert command(flags, *runs(place)) == 0
    root = place / "results/imports/mean/cache/tiny/valid_u"
    before = {path: path.stat().st_mtime_ns for path in (root / "ensemble/runs").rglob("*.json")}
    assert command(flags, *runs(place), "--threshold", "0") == 0
    changed = {path.parent.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert changed == {"mean"} and len(before) == 12
    assert_same(pixels(place), expected(flags, lambda *of: np.any([noise(n, *of) for n in NAMES], axis=0)))
