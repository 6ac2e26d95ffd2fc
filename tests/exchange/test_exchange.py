"""Exports and imports: what goes out comes back as it was, and other systems' answers are scored as our own."""

import importlib.util
import io
import json
import logging
import re
import shutil
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from support.answers import answer, config_files, finished_split, job_of, squares
from support.project import ROOT
from support.tiny_mevis import SIZE

from stages import assemble, evaluate, render_predictions, rerank_tracks
from stages.__main__ import MODULES
from stages.core.media import masks
from stages.core.records import Video
from stages.core.run.cli import Job, stage_parser
from stages.core.state.frames import open_frames
from stages.core.state.graph import EVALUATE, RERANK_TRACKS
from stages.datasets import open_split
from stages.exchange.check import png_defect
from stages.exchange.importing import Import
from stages.exchange.predictions import read_predictions
from stages.exchange.submission import write_zip
from stages.tools import export_predictions, import_predictions

AFTER = (evaluate, render_predictions, assemble)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Job, Path]:
    """The tiny split, answered and assembled, and its folder of results."""
    place = tmp_path_factory.mktemp("exchange")
    return *finished_split(place), place / "results/tiny/valid_u"


@pytest.fixture
def fresh(finished: tuple[list[str], Job, Path]) -> Any:
    """The same without what other tests have imported."""
    yield finished
    shutil.rmtree(finished[2].parents[1] / "imports", ignore_errors=True)


def command(module: Any, flags: list[str], *more: object, dataset: str = "tiny", split: str = "valid_u") -> int:
    return module.main([*flags, "--dataset", dataset, "--split", split, *map(str, more)])


def of_import(flags: list[str], job: Job, name: str) -> Job:
    """The job with the overlay that an import leaves."""
    made = Import.of(job.config, name, job.dataset, job.split)
    return job_of([*flags, "--config", str(made.overlay)], job.dataset, job.split)


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text())


def videos_of(job: Job) -> list[Video]:
    return open_split(job.config, job.dataset, job.split).videos()


# ------------------------------------------------------------------------------------------ export


def test_ytvis_holds_every_answer(finished, tmp_path) -> None:
    flags, job, _ = finished
    assert command(export_predictions, flags, "--format", "ytvis", "--out", tmp_path / "y.json") == 0
    entries = {(e["video_id"], e["expression_id"]): e for e in json.loads((tmp_path / "y.json").read_text())}
    assert len(entries) == 12
    for video in videos_of(job):
        for expression in video.expressions:
            entry = entries[video.id, expression.id]
            assert (
                entry["category_id"] == 1 and entry["score"] == 0.5 and len(entry["segmentations"]) == len(video.frames)
            )
            for index, rle in enumerate(entry["segmentations"]):
                mask_HW = squares(video, expression, index, SIZE)
                assert (rle is None) == (not mask_HW.any())
                assert rle is None or np.array_equal(coco.decode(rle), mask_HW)


def test_coco_has_an_entry_a_frame_that_shows_the_object(finished, tmp_path) -> None:
    flags, job, _ = finished
    assert command(export_predictions, flags, "--format", "coco", "--out", tmp_path / "c.json") == 0
    entries = json.loads((tmp_path / "c.json").read_text())
    shown = [
        f"{video.id}/{expression.id}/{frame}"
        for video in videos_of(job)
        for expression in video.expressions
        for index, frame in enumerate(video.frames)
        if squares(video, expression, index, SIZE).any()
    ]
    assert [entry["image_id"] for entry in entries] == shown and 0 < len(shown) < 60
    assert all(coco.area(entry["segmentation"]) == 12 * 16 for entry in entries)


def test_png_is_the_submission_and_palette_has_number_1(finished, tmp_path) -> None:
    flags, _, results = finished
    assert command(export_predictions, flags, "--format", "png", "--out", tmp_path / "x.zip") == 0
    assert (tmp_path / "x.zip").read_bytes() == (results / "submission.zip").read_bytes()
    assert command(export_predictions, flags, "--format", "png", "--out", tmp_path / "pngs") == 0
    assert command(export_predictions, flags, "--format", "palette", "--out", tmp_path / "palette") == 0
    for path in sorted((results / "predictions").rglob("*.png")):
        name = path.relative_to(results / "predictions")
        assert (tmp_path / "pngs" / name).read_bytes() == path.read_bytes()
        with Image.open(path) as binary, Image.open(tmp_path / "palette" / name) as labelled:
            assert labelled.mode == "P" and labelled.getpalette()[3:6] == [128, 0, 0]
            assert np.array_equal(np.asarray(labelled) * np.uint8(255), np.asarray(binary))


def test_exports_do_not_mix_with_what_is_there(finished, tmp_path, capsys) -> None:
    (tmp_path / "old.png").touch()
    assert command(export_predictions, finished[0], "--format", "png", "--out", tmp_path) == 2
    assert "is not an empty folder" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ import


@pytest.mark.parametrize("kind", ["submission.zip", "predictions", "ytvis", "palette", "nested"])
def test_a_round_trip_gives_the_same_metrics(fresh, tmp_path, kind) -> None:
    """assemble → import → evaluate, render, assemble: figures, rows and zip are the same."""
    flags, job, results = fresh
    origin = results / kind
    if kind == "ytvis":
        origin = tmp_path / "y.json"
        assert command(export_predictions, flags, "--format", "ytvis", "--out", origin) == 0
    if kind == "palette":
        origin = tmp_path / "palette"
        assert command(export_predictions, flags, "--format", "palette", "--out", origin) == 0
    if kind == "nested":  # one folder too deep: read all the same
        origin = tmp_path / "nested"
        shutil.copytree(results / "predictions", origin / "Annotations")
    assert command(import_predictions, flags, "--from", origin, "--name", "other") == 0
    imported = of_import(flags, job, "other")
    for stage in AFTER:
        stage.run(imported)
    again = results.parents[1] / "imports/other/tiny/valid_u"
    assert scores(again) == scores(results) and scores(results)["figures"]["J"] > 0
    assert (again / "submission.zip").read_bytes() == (results / "submission.zip").read_bytes()
    provenance = json.loads((again / "provenance.json").read_text())
    assert provenance["weights"] == {} and provenance["imported"]["from"] == str(origin)
    assert provenance["imported"]["counts"] == {"videos": 3, "expressions": 12, "missing": 0, "surplus": 0}


def test_what_is_missing_is_empty_and_listed(fresh, tmp_path, caplog) -> None:
    flags, job, results = fresh
    with zipfile.ZipFile(results / "submission.zip") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    lost = [name for name in entries if name.startswith("video1/")] + ["video0/2/00005.png"]
    kept = {name: data for name, data in entries.items() if name not in lost}
    write_zip(tmp_path / "part.zip", [*kept.items(), ("video9/0/00000.png", b"whatever")])
    with caplog.at_level(logging.WARNING):
        assert command(import_predictions, flags, "--from", tmp_path / "part.zip") == 0
    assert f"{len(lost)} predictions are missing" in caplog.text and "1 predictions are of no use" in caplog.text
    imported = of_import(flags, job, "part")
    record = json.loads((imported.layout.root / "import.json").read_text())
    assert sorted(record["missing"]) == sorted(lost) and record["surplus"] == ["video9/0/00000.png"]
    for stage in AFTER:
        stage.run(imported)
    again = results.parents[1] / "imports/part/tiny/valid_u"
    for name in entries:
        ours, theirs = results / "predictions" / name, again / "predictions" / name
        if name in lost:
            with Image.open(theirs) as image:
                assert image.size == SIZE[::-1] and not np.asarray(image).any()
        else:
            assert ours.read_bytes() == theirs.read_bytes()
    assert scores(again)["missing"] == [f"video1/{e}" for e in "0123"]  # of the other mask there are neighbours
    assert scores(again)["figures"]["T-acc"] < scores(results)["figures"]["T-acc"]


def png(mask_HW: np.ndarray, mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask_HW).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (png(np.zeros((48, 65), np.uint8)), "is 48×65 (height×width), its frame is 48×64"),
        (png(np.zeros((48, 64), np.uint8), "RGB"), "is of mode RGB"),
        (png(np.zeros((48, 64), np.uint8), "RGBA"), "is of mode RGBA"),
        (b"", "is no readable PNG (it is empty)"),
        (b"\xff\xd8\xff\xe0 a JPEG", "is no readable PNG (it is a JPEG)"),
        (b"not a PNG", "is no readable PNG"),
    ],
    ids=["size", "RGB", "RGBA", "empty", "jpeg", "damaged"],
)
def test_a_mask_that_cannot_be_used_is_an_error(fresh, tmp_path, capsys, data, words) -> None:
    write_zip(tmp_path / "bad.zip", [("video2/1/00025.png", data)])
    assert command(import_predictions, fresh[0], "--from", tmp_path / "bad.zip") == 2
    error = capsys.readouterr().err
    assert "bad.zip: video2/1/00025.png " in error and words in error


def entry(**over: Any) -> dict[str, Any]:
    rle = masks.encode(np.ones(SIZE, bool))
    whole = {"video_id": "video0", "expression_id": "0", "score": 0.9, "segmentations": [dict(rle), None, None, None]}
    return {**whole, **over}


WRONG_SIZE = dict(masks.encode(np.ones((48, 63), bool)))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ("{", "broken JSON"),
        ({}, "are a list; found dict"),
        ([{"video_id": "video0"}], "entry 0: needs video_id, expression_id, score and segmentations"),
        ([entry(score="high")], "score 'high' is not a finite number"),
        ([entry(score=float("nan"))], "not a finite number"),
        ([entry(video_id="other")], "nothing in it fits"),
        ([entry(segmentations=[None])], "list of 4 masks, one per frame; found 1 masks"),
        ([entry(segmentations=[WRONG_SIZE, None, None, None])], "mask 0: is of size [48, 63]"),
        ([entry(segmentations=[{"size": [48, 64], "counts": "00000"}, None, None, None])], "mask 0: RLE of size"),
        ([entry(segmentations=[7, None, None, None])], "mask 0: is not {'size'"),
    ],
)
def test_json_that_cannot_be_used_is_an_error(fresh, tmp_path, capsys, document, words) -> None:
    path = tmp_path / "y.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    assert command(import_predictions, fresh[0], "--from", path) == 2
    error = capsys.readouterr().err
    assert str(path) in error and words in error


def test_of_several_entries_the_best_counts(fresh, tmp_path, caplog) -> None:
    flags, job, _ = fresh
    left = np.zeros(SIZE, bool)
    left[:, :20] = True
    better = entry(score=0.95, segmentations=[dict(masks.encode(left)), None, None, None])
    (tmp_path / "y.json").write_text(json.dumps([entry(), better, entry(score=0.2)]))
    assert command(import_predictions, flags, "--from", tmp_path / "y.json") == 0
    assert "2 entries repeat an expression" in caplog.text
    imported = of_import(flags, job, "y")
    render_predictions.run(imported)
    made = imported.layout.root / "render/video0/predictions/0/00000.png"
    assert np.array_equal(np.asarray(Image.open(made)), left * np.uint8(255))


@pytest.mark.parametrize("origin", ["nowhere.zip", "nowhere.json", "text.zip", "empty"])
def test_a_source_that_is_none(fresh, tmp_path, capsys, origin) -> None:
    (tmp_path / "text.zip").write_text("hello")
    (tmp_path / "empty").mkdir()
    assert command(import_predictions, fresh[0], "--from", tmp_path / origin, "--name", "x") == 2
    assert origin in capsys.readouterr().err
    assert command(import_predictions, fresh[0], "--from", tmp_path / "empty", "--name", "../x") == 2


# ------------------------------------------------------------------------------------------ forms of masks

OBJECT = np.zeros(SIZE, bool)
OBJECT[5:20, 10:30] = True
RED, WHITE, BLACK = [128, 0, 0], [255, 255, 255], [0, 0, 0]


def saved(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


def grey(on: int, off: int = 0, dtype: Any = np.uint8) -> bytes:
    return saved(Image.fromarray(np.where(OBJECT, on, off).astype(dtype)))


def palette(on: int, off: int, *colours: list[int], **options: Any) -> bytes:
    image = Image.fromarray(np.where(OBJECT, on, off).astype(np.uint8))
    image.putpalette([value for colour in colours for value in colour])
    return saved(image, **options)


def soft() -> bytes:
    """Shades from left to right over the object's rows; half of them from column 32 on."""
    shades_HW = np.zeros(SIZE, np.uint8)
    shades_HW[5:20] = np.arange(SIZE[1]) * 4
    return saved(Image.fromarray(shades_HW))


def animated() -> bytes:
    pictures = [Image.fromarray(mask_HW * np.uint8(255)) for mask_HW in (OBJECT, ~OBJECT)]
    return saved(pictures[0], save_all=True, append_images=pictures[1:])


def interlaced() -> bytes:
    """Adam7, which Pillow reads and does not write."""
    image_HW, raw = OBJECT * np.uint8(255), b""
    for x, y, dx, dy in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        raw += b"".join(b"\0" + row.tobytes() for row in image_HW[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 8, 0, 0, 0, 1)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b"")]
    packed = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


RIGHT = {
    "0 and 255": grey(255),
    "0 and 1": grey(1),
    "two levels": saved(Image.fromarray(OBJECT)),
    "interlaced": interlaced(),
    "palette": palette(1, 0, BLACK, RED),
    "palette 255": palette(255, 0, *[[i, i, i] for i in range(256)]),
    "palette on transparency": palette(1, 0, WHITE, RED, transparency=b"\x00\xff"),
}
# name → the file, and the words that refuse it.
WRONG = {
    "grey": (grey(200), "holds values 200; allowed are 0 and 255, or 0 and 1; if they are shades, --threshold"),
    "soft": (soft(), "holds values 4, 8, 12, 16, 20, …"),
    "0, 1 and 255": (grey(255, 1), "holds values 1; allowed are 0 and 255, or 0 and 1"),
    "label map": (saved(Image.fromarray(OBJECT * np.uint8(2))), "holds values 2; allowed are"),
    "label map with palette": (palette(3, 0, BLACK, RED, WHITE, [9, 9, 9]), "holds values 3; allowed are"),
    "16 bits": (grey(65535, dtype=np.uint16), "is of mode I;16 (16-bit grey)"),
    "grey and alpha": (png(OBJECT * np.uint8(255), "LA"), "is of mode LA"),
    "transparent grey": (saved(Image.fromarray(OBJECT * np.uint8(255)), transparency=255), "to be transparent"),
    "palette upside down": (
        palette(0, 1, WHITE, BLACK),
        "whose value 0 is not the background: it is RGB 255, 255, 255",
    ),
    "palette of two objects": (palette(0, 1, RED, WHITE), "whose value 0 is not the background: it is RGB 128, 0, 0"),
    "palette all black": (palette(1, 0, BLACK, BLACK), "shows value 1 as the background"),
    "palette with hidden object": (
        palette(1, 0, BLACK, RED, transparency=b"\xff\x00"),
        "shows value 1 as the background",
    ),
    "animation": (animated(), "is an animation of 2 pictures"),
}


def import_one(flags: list[str], folder: Path, data: bytes, *more: str) -> int:
    """Imports an archive that holds one mask, of the frame 00010 of video0/0, under the name "one"."""
    write_zip(folder / "one.zip", [("video0/0/00010.png", data)])
    return command(import_predictions, flags, "--from", folder / "one.zip", "--overwrite", *more)


def imported_mask(flags: list[str], job: Job) -> np.ndarray:
    layout = of_import(flags, job, "one").layout
    video = videos_of(job)[0]
    prediction = next(iter(read_predictions(layout, video, open_frames(layout, video.id))))
    return masks.decode(prediction.rles_T[video.frames.index("00010")])


@pytest.mark.parametrize("form", RIGHT)
def test_forms_that_mean_one_thing_are_read(fresh, tmp_path, form) -> None:
    flags, job, _ = fresh
    assert import_one(flags, tmp_path, RIGHT[form]) == 0
    assert np.array_equal(imported_mask(flags, job), OBJECT)


@pytest.mark.parametrize("form", WRONG)
def test_forms_that_may_mean_several_things_are_refused(fresh, tmp_path, capsys, form) -> None:
    """By the import and by the check of submissions."""
    data, words = WRONG[form]
    assert import_one(fresh[0], tmp_path, data) == 2
    error = capsys.readouterr().err
    assert "one.zip: video0/0/00010.png " in error and words in error
    assert png_defect(data, SIZE, "L", (255,)) is not None


@pytest.mark.parametrize(
    ("data", "share", "expected"),
    [
        (grey(200), "0.5", OBJECT),
        (grey(65535, dtype=np.uint16), "1", OBJECT),
        (grey(20000, dtype=np.uint16), "0.5", np.zeros(SIZE, bool)),
        (soft(), "0.5", np.pad(np.ones((15, 32), bool), ((5, 28), (32, 0)))),
        (palette(1, 0, BLACK, RED), "0.5", OBJECT),
    ],
)
def test_a_threshold_says_which_shade_is_the_object(fresh, tmp_path, caplog, data, share, expected) -> None:
    flags, job, _ = fresh
    assert import_one(flags, tmp_path, data, "--threshold", share) == 0
    assert np.array_equal(imported_mask(flags, job), expected)
    assert f"grey values from {share} of white on are taken for the object" in caplog.text


def test_another_threshold_imports_again(fresh, tmp_path) -> None:
    flags, job, _ = fresh
    write_zip(tmp_path / "one.zip", [("video0/0/00010.png", grey(100))])
    for share, shown in (("0.3", True), ("0.5", False)):
        assert command(import_predictions, flags, "--from", tmp_path / "one.zip", "--threshold", share) == 0
        assert imported_mask(flags, job).any() == shown
    with pytest.raises(SystemExit):
        command(import_predictions, flags, "--from", tmp_path / "one.zip", "--threshold", "128")


def test_files_of_desktops_and_a_wrapping_folder_are_a_note_each(fresh, tmp_path, caplog) -> None:
    flags, job, results = fresh
    with zipfile.ZipFile(results / "submission.zip") as archive:
        entries = {f"my results/{name}": archive.read(name) for name in archive.namelist()}
    litter = {f"__MACOSX/{name.replace('000', '._000', 1)}": b"x" for name in entries} | {"my results/.DS_Store": b"x"}
    write_zip(tmp_path / "mac.zip", [*entries.items(), *litter.items()])
    assert command(import_predictions, flags, "--from", tmp_path / "mac.zip") == 0
    record = json.loads((of_import(flags, job, "mac").layout.root / "import.json").read_text())
    assert record["missing"] == record["surplus"] == [] and len(record["notes"]) == 2
    assert record["notes"][0].startswith("60 files are one folder too deep: take 'my results' away; read all the same")
    assert record["notes"][1].startswith("61 files of a desktop are left out, as ")


def test_forms_of_json(fresh, tmp_path, capsys) -> None:
    """A mark of the byte order and uncompressed RLEs are read; a dict is refused with the key of its list."""
    flags, job, _ = fresh
    runs = [len(part) for part in re.findall(r"0+|1+", "".join(map(str, OBJECT.astype(int).ravel("F"))))]
    listed = [entry(segmentations=[None, None, {"size": list(SIZE), "counts": runs}, None])]
    (tmp_path / "one.json").write_bytes(b"\xef\xbb\xbf" + json.dumps(listed).encode())
    assert command(import_predictions, flags, "--from", tmp_path / "one.json") == 0
    layout, video = of_import(flags, job, "one").layout, videos_of(job)[0]
    prediction = next(iter(read_predictions(layout, video, open_frames(layout, video.id))))
    assert np.array_equal(masks.decode(prediction.rles_T[2]), OBJECT)
    for wrong, words in (([*runs[:-1], runs[-1] + 1], "runs hold 3073 pixels instead of 3072"), ([-1, 3073], "whole")):
        listed[0]["segmentations"][2]["counts"] = wrong
        (tmp_path / "one.json").write_text(json.dumps(listed))
        assert command(import_predictions, flags, "--from", tmp_path / "one.json") == 2
        assert words in capsys.readouterr().err
    (tmp_path / "one.json").write_text(json.dumps({"annotations": listed}))
    assert command(import_predictions, flags, "--from", tmp_path / "one.json") == 2
    assert "found dict; give the list under 'annotations' alone" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------ state


def state(job: Job) -> dict[str, int]:
    root = job.layout.root
    return {
        str(p.relative_to(root)): p.stat().st_mtime_ns for s in ("tracks", "decisions") for p in (root / s).rglob("*.*")
    }


def test_what_is_imported_is_left_and_what_has_changed_is_made_again(fresh, tmp_path) -> None:
    flags, job, results = fresh
    shutil.copytree(results / "predictions", tmp_path / "pngs")
    assert command(import_predictions, flags, "--from", tmp_path / "pngs") == 0
    imported = of_import(flags, job, "pngs")
    evaluate.run(imported)
    before, scored = state(imported), imported.layout.file(EVALUATE, "video0").stat().st_mtime_ns
    assert command(import_predictions, flags, "--from", tmp_path / "pngs") == 0
    assert state(imported) == before
    (tmp_path / "pngs/video1/0/00010.png").unlink()
    assert command(import_predictions, flags, "--from", tmp_path / "pngs") == 0
    changed = {name for name, time in state(imported).items() if time != before[name]}
    assert changed == {"tracks/import/video1.h5", "decisions/video1.json"}
    fingerprint = imported.layout.file(EVALUATE, "video1").read_text()
    evaluate.run(imported)
    assert imported.layout.file(EVALUATE, "video1").read_text() != fingerprint
    assert imported.layout.file(EVALUATE, "video0").stat().st_mtime_ns == scored
    assert command(import_predictions, flags, "--from", tmp_path / "pngs", "--overwrite") == 0
    assert state(imported).items().isdisjoint(before.items())


def test_the_pipelines_own_state_is_not_touched(fresh) -> None:
    flags, job, results = fresh
    before = state(job)
    assert command(import_predictions, flags, "--from", results / "submission.zip") == 0
    assert state(job) == before
    assert open_frames(of_import(flags, job, "submission").layout, "video0") is not None


def test_rerank_does_not_overwrite_an_import_nor_an_import_a_decision(fresh, capsys) -> None:
    flags, job, results = fresh
    assert command(import_predictions, flags, "--from", results / "submission.zip", "--name", "theirs") == 0
    imported = of_import(flags, job, "theirs")
    before = state(imported)
    with pytest.raises((SystemExit, ValueError)):
        rerank_tracks.run(imported)
    assert state(imported) == before
    ours, theirs = (j.layout.file(RERANK_TRACKS, "video0") for j in (job, imported))
    shutil.copy(ours, theirs)
    assert command(import_predictions, flags, "--from", results / "submission.zip", "--name", "theirs") == 2
    assert "was made by rerank_tracks, not by an import" in capsys.readouterr().err
    assert theirs.read_bytes() == ours.read_bytes()


def test_the_command_line_offers_no_source_import() -> None:
    with pytest.raises(SystemExit):
        stage_parser("", source=True).parse_args(["--dataset", "d", "--split", "s", "--source", "import"])


def test_without_frames_the_stage_is_named(fresh, tmp_path, capsys) -> None:
    over = tmp_path / "over.yaml"
    over.write_text(f"paths: {{cache: {tmp_path / 'cache'}}}\n")
    flags = [*fresh[0], "--config", str(over)]
    assert command(import_predictions, flags, "--from", fresh[2] / "submission.zip") == 2
    assert "stages.extract_frames" in capsys.readouterr().err


def test_the_documents_commands_are_real() -> None:
    text = (ROOT / "docs/exchange.md").read_text()
    said = {MODULES[verb] for verb in re.findall(r"^referee ([a-z-]+)", text, re.MULTILINE)}
    said |= set(re.findall(r"python -m (stages\.[a-z_.]+)", text))
    assert {f"stages.tools.{verb}_predictions" for verb in ("export", "import")} <= said
    assert {"stages.tools.check_submission", "stages.evaluate", "stages.assemble"} <= said
    assert all(importlib.util.find_spec(name) for name in said)


# ------------------------------------------------------------------------------------------ other data sets


def other_split(place: Path, dataset_format: str, split: str) -> tuple[list[str], Job]:
    """Flags and job of a data set at <place>/data, in another format than MeViS."""
    entry_of_set = {
        "format": dataset_format,
        "root": str(place / "data"),
        "generate": False,
        "models": "micro",
        "selector": {"weights": None, "train": "tiny/train", "validate_on": "tiny/valid_u"},
        "splits": {split: {"role": "evaluate", "limit": None}},
        "settings": {"render": {"overlays": False}},
    }
    flags = config_files(place, {"datasets": {"other": entry_of_set}})
    return flags, job_of(flags, "other", split)


def small(video: Video, expression: Any, index: int, size: tuple[int, int]) -> np.ndarray:
    """Objects that overlap in the middle; every annotator of Ref-DAVIS17 means another row of the picture."""
    mask_HW = np.zeros(size, bool)
    number = int(expression.id)
    mask_HW[number % 4 + index % 2 : size[0] // 2 + number % 4, number // 4 : number // 4 + size[1] // 2] = True
    return mask_HW


def test_ref_youtube_vos_valid(tmp_path, capsys) -> None:
    from support.trees_ytvos import plant_valid

    from stages.tools import check_submission

    plant_valid(tmp_path / "data")
    root = tmp_path / "data/meta_expressions"
    for split in ("valid", "test"):  # the helper's index also lists a video without frames
        path = root / split / "meta_expressions.json"
        index = json.loads(path.read_text())
        index["videos"].pop("8d803e87f7", None)
        path.write_text(json.dumps(index))
    flags, job = other_split(tmp_path, "ytvos", "valid")
    answer(job, small)
    for stage in AFTER:
        stage.run(job)
    zip_file = tmp_path / "results/other/valid/submission.zip"
    with zipfile.ZipFile(zip_file) as archive:
        assert archive.namelist() == [
            f"Annotations/1335b16cf9/{expression}/{frame}.png" for expression in "01" for frame in ("00005", "00015")
        ]
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert command(check_submission, flags, zip_file, dataset="other", split="valid") == 0
    write_zip(tmp_path / "flat.zip", [(name.removeprefix("Annotations/"), data) for name, data in entries.items()])
    capsys.readouterr()
    assert command(check_submission, flags, tmp_path / "flat.zip", dataset="other", split="valid") == 1
    assert "put everything into a folder 'Annotations'" in capsys.readouterr().out
    assert command(import_predictions, flags, "--from", zip_file, dataset="other", split="valid") == 0
    imported = of_import(flags, job, "submission")
    for stage in AFTER:
        stage.run(imported)
    again = tmp_path / "results/imports/submission/other/valid/submission.zip"
    assert again.read_bytes() == zip_file.read_bytes()


def test_ref_davis_both_protocols(tmp_path) -> None:
    """Label maps by annotator and masks by expression; either comes back."""
    from support.trees_davis import plant_davis

    from stages.tools import check_submission

    plant_davis(tmp_path / "data")
    flags, job = other_split(tmp_path, "davis17", "val")
    answer(job, small, finals={"0": 1.0, "4": 2.0, "1": 2.0, "5": 1.0, "2": 0.5, "6": 0.5})
    for stage in AFTER:
        stage.run(job)
    results = tmp_path / "results/other/val"
    frames = {"dogs-scale": 3, "classic-car": 2}
    with zipfile.ZipFile(results / "submission.zip") as archive:
        assert sorted(archive.namelist()) == sorted(
            f"anno_{a}/{video}/{t:05d}.png" for a in range(4) for video, n in frames.items() for t in range(n)
        )
        maps = {}
        for a in range(4):
            with archive.open(f"anno_{a}/dogs-scale/00000.png") as file, Image.open(file) as image:
                assert image.mode == "P" and set(np.unique(image)) == {0, 1, 2}
                maps[a] = np.asarray(image)
    # the middle column belongs to both: to the higher score, and of equal ones to the lower number
    assert [int(maps[a][4, 4]) for a in range(4)] == [2, 1, 1, 1]
    for zip_name, layout in (
        ("submission", "davis17_annotators"),
        ("submission_per_expression", "davis17_per_expression"),
    ):
        path = results / f"{zip_name}.zip"
        assert command(check_submission, flags, path, dataset="other", split="val") == 0
        wrong = [name for name in ("davis17_annotators", "davis17_per_expression") if name != layout]
        assert command(check_submission, flags, path, "--layout", *wrong, dataset="other", split="val") == 1
        assert command(import_predictions, flags, "--from", path, dataset="other", split="val") == 0
        imported = of_import(flags, job, zip_name)
        for stage in AFTER:
            stage.run(imported)
        again = tmp_path / "results/imports" / zip_name / "other/val" / path.name
        assert again.read_bytes() == path.read_bytes()
    assert command(
        export_predictions, flags, "--format", "palette", "--out", tmp_path / "p.zip", dataset="other", split="val"
    ) == 0  # fmt: skip
    assert (tmp_path / "p.zip").read_bytes() == (results / "submission.zip").read_bytes()


def test_jhmdb_goes_by_its_samples(tmp_path) -> None:
    """Only scored frames are part of a submission, and COCO results carry the published image ids."""
    from support.trees_sentences import write_jhmdb

    from stages.tools import check_submission

    write_jhmdb(tmp_path / "data")
    flags, job = other_split(tmp_path, "jhmdb", "test")
    answer(job, small)
    for stage in AFTER:
        stage.run(job)
    split = open_split(job.config, "other", "test")
    samples = [(video.id, index) for video in split.videos() for index in split.scored_frames(video)]
    assert len(samples) == 7  # three a clip, but one clip has a single mask
    with zipfile.ZipFile(tmp_path / "results/other/test/submission.zip") as archive:
        assert archive.namelist() == [f"{video}/0/{index + 1:05d}.png" for video, index in samples]
    zip_file = tmp_path / "results/other/test/submission.zip"
    assert command(check_submission, flags, zip_file, dataset="other", split="test") == 0
    target = tmp_path / "c.json"
    assert command(export_predictions, flags, "--format", "coco", "--out", target, dataset="other", split="test") == 0
    assert [e["image_id"] for e in json.loads(target.read_text())] == [f"v_{video}_f_{i + 1}" for video, i in samples]
    assert command(import_predictions, flags, "--from", zip_file, dataset="other", split="test") == 0
    imported = of_import(flags, job, "submission")
    for stage in AFTER:
        stage.run(imported)
    assert scores(tmp_path / "results/imports/submission/other/test") == scores(tmp_path / "results/other/test")


def test_a2d_image_ids_name_the_instance(tmp_path) -> None:
    """Of an annotated frame only the instances that the annotators saw in it are samples."""
    from support.trees_sentences import write_a2d

    write_a2d(tmp_path / "data")
    flags, job = other_split(tmp_path, "a2d", "test")
    answer(job, small)
    target = tmp_path / "c.json"
    assert command(export_predictions, flags, "--format", "coco", "--out", target, dataset="other", split="test") == 0
    found = [e["image_id"] for e in json.loads(target.read_text()) if e["video_id"] == "-cat1"]
    assert sorted(found) == ["v_-cat1_f_3_i_1", "v_-cat1_f_3_i_2", "v_-cat1_f_7_i_2"]
