"""Submission zips and their check: what we write passes, and every way to spoil a zip is named."""

import io
import json
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support.answers import finished_split, squares
from support.pngs import pixels_of, runs_of
from support.tiny_mevis import SIZE

from stages import assemble, render_predictions
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.datasets import open_split
from stages.exchange.archives import open_archive
from stages.exchange.check import check_zip, png_defect
from stages.exchange.layouts import LAYOUTS, PerAnnotator, PerExpression
from stages.exchange.names import Expected, match
from stages.exchange.png import davis_palette, label_map, label_png
from stages.exchange.submission import write_zip
from stages.tools import check_submission

Entries = dict[str, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Job, Path]:
    """The tiny split, answered, evaluated, rendered and assembled; and its submission."""
    place = tmp_path_factory.mktemp("submission")
    return *finished_split(place), place / "results/tiny/valid_u/submission.zip"


@pytest.fixture
def entries(finished: tuple[list[str], Job, Path]) -> Entries:
    """The files of the sound submission, to be spoiled."""
    with zipfile.ZipFile(finished[2]) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def check(
    finished: tuple[list[str], Job, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict]]:
    """Writes a zip of the given files and runs the command on it: exit status and report."""

    def run(files: Entries | Path, *more: str) -> tuple[int, dict]:
        path = files if isinstance(files, Path) else tmp_path / "x.zip"
        if not isinstance(files, Path):
            write_zip(path, files.items())
        capsys.readouterr()
        flags = [*finished[0], "--dataset", "tiny", "--split", "valid_u", "--json", *more]
        status = check_submission.main([*flags, str(path)])
        return status, json.loads(capsys.readouterr().out)

    return run


def png(array: np.ndarray, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, "PNG")
    return buffer.getvalue()


def zeros(height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    return np.zeros((height, width), np.uint8)


# ------------------------------------------------------------------------------------------ writing


def test_the_zip_is_exact_and_holds_the_answers(finished) -> None:
    _, job, path = finished
    with zipfile.ZipFile(path) as archive:
        names = iter(archive.namelist())
        for video in open_split(job.config, "tiny", "valid_u").videos():
            for expression in video.expressions:
                for index, frame in enumerate(video.frames):
                    name = next(names)
                    assert name == f"{video.id}/{expression.id}/{frame}.png"
                    with archive.open(name) as file, Image.open(file) as image:
                        assert (image.mode, image.size) == ("L", SIZE[::-1])
                        assert np.array_equal(
                            np.asarray(image), squares(video, expression, index, SIZE) * np.uint8(255)
                        )
        assert next(names, None) is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}


def test_equal_predictions_give_equal_bytes(finished) -> None:
    _, job, path = finished
    before = path.read_bytes()
    shutil.rmtree(job.layout.root / "render")
    render_predictions.run(job)
    assemble.run(job)
    assert path.read_bytes() == before


def test_a_lost_png_is_an_error_not_a_smaller_zip(finished, tmp_path) -> None:
    from stages.exchange.submission import write_submissions

    _, job, path = finished
    copy = tmp_path / "predictions"
    shutil.copytree(path.parent / "predictions", copy)
    (copy / "video0/0/00000.png").unlink()
    split = open_split(job.config, "tiny", "valid_u")
    with pytest.raises(ValueError, match=r"video0/0/00000\.png: was not rendered"):
        write_submissions(job.layout, split, split.videos(), copy, tmp_path)
    assert not list(tmp_path.glob("*.zip"))


def expression(identifier: str) -> Expression:
    return Expression(identifier, "a dog", None, "a dog")


def video_of(identifier: str, expressions: list[str], frames: tuple[str, ...]) -> Video:
    return Video(identifier, frames, Path("x"), tuple(map(expression, expressions)), len(frames))


def test_layouts_of_other_sets() -> None:
    video = video_of("UVO/all/x", ["0", "1"], ("00150", "00160"))
    (ytvos,), (revos,), (a2d,) = LAYOUTS["ytvos"], LAYOUTS["revos"], LAYOUTS["a2d"]
    assert [entry.path for entry in ytvos.entries(video, video.frames, None)][:2] == [
        "Annotations/UVO/all/x/0/00150.png",
        "Annotations/UVO/all/x/0/00160.png",
    ]
    assert [entry.path for entry in revos.entries(video, video.frames, [1])][1] == "UVO/all/x/0/00160.png"
    assert [entry.path for entry in a2d.entries(video, video.frames, [1])] == [
        "UVO/all/x/0/00160.png",
        "UVO/all/x/1/00160.png",
    ]


def test_annotators_of_ref_davis() -> None:
    layout = LAYOUTS["davis17"][0]
    assert isinstance(layout, PerAnnotator)
    video = video_of("dogs", [str(i) for i in range(12)], ("00000", "00001"))
    entries = list(layout.entries(video, video.frames, None))
    assert [entry.path for entry in entries][:3] == [
        "anno_0/dogs/00000.png",
        "anno_0/dogs/00001.png",
        "anno_1/dogs/00000.png",
    ]
    assert entries[2].labels == {1: "1", 2: "5", 3: "9"} and entries[-1].labels == {1: "3", 2: "7", 3: "11"}
    with pytest.raises(ValueError, match="'cat' is not a number"):
        list(layout.entries(video_of("v", ["cat"], ("0",)), ("0",), None))


def half(left: bool) -> dict[str, object]:
    mask_HW = np.zeros((4, 6), bool)
    mask_HW[:, :4] = left
    mask_HW[:, 2:] |= not left
    return masks.encode(mask_HW)


@pytest.mark.parametrize(("first", "second", "winner"), [(0.9, 0.6, 1), (0.6, 0.9, 2), (0.7, 0.7, 1)])
def test_overlaps_go_to_the_higher_score_then_to_the_lower_number(first, second, winner) -> None:
    """The published rule on maps of constant scores: background .1, argmax, the first of equals."""
    labels_HW = pixels_of(label_map({1: half(True), 2: half(False)}, {1: first, 2: second}, (4, 6)))
    scores_KHW = np.stack([np.full((4, 6), 0.1), first * masks.decode(half(True)), second * masks.decode(half(False))])
    assert np.array_equal(labels_HW, scores_KHW.argmax(0))
    assert labels_HW[0].tolist() == [1, 1, winner, winner, 2, 2]


def test_label_maps_have_the_davis_palette() -> None:
    labels = label_map({1: half(True), 2: half(False)}, {1: 1, 2: 0}, (4, 6))
    with Image.open(io.BytesIO(label_png(labels))) as image:
        assert image.mode == "P" and np.array_equal(np.asarray(image), pixels_of(labels))
        palette = image.getpalette()
        assert palette is not None and palette == davis_palette() and len(palette) == 768
    assert palette[:9] == [0, 0, 0, 128, 0, 0, 0, 128, 0] and palette[27:30] == [191, 0, 0] and palette[-1] == 255
    with pytest.raises(ValueError, match="object 256"):
        label_map({256: half(True)}, {256: 1}, (4, 6))
    with pytest.raises(ValueError, match=r"\(4, 6\), the label map of \(4, 7\)"):
        label_map({1: half(True)}, {1: 1}, (4, 7))


# ------------------------------------------------------------------------------------------ checking


def test_our_own_zip_is_sound(finished, check, capsys) -> None:
    status, report = check(finished[2])
    assert status == 0 and report["ok"] and report["defects"] == {}
    counts = report["counts"]
    assert counts["expected"] == counts["found"] == counts["sound"] == 60 and counts["size_unknown"] == 0
    flags = [*finished[0], "--dataset", "tiny", "--split", "valid_u"]
    assert check_submission.main([*flags, str(finished[2])]) == 0
    assert "60 masks expected, 60 found, 60 sound" in capsys.readouterr().out


def test_deflated_zips_and_folders_in_them_are_fine(entries, check, tmp_path) -> None:
    path = tmp_path / "deflated.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("video0")
        for name, data in entries.items():
            archive.writestr(name, data)
    assert check(path)[0] == 0


FIRST = "video0/0/00000.png"


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("mode", png(zeros(), "RGB"), "is of mode RGB instead of L"),
        ("mode", png(zeros(), "1"), "is of mode 1 instead of L"),
        ("mode", png(zeros(), "P"), "is of mode P instead of L"),
        ("size", png(zeros(SIZE[1], SIZE[0])), "is 64×48 (height×width), its frame is 48×64"),
        ("values", png(zeros() + 1), "holds values 1; allowed are 0 and 255"),
        ("values", png(np.arange(48 * 64).reshape(48, 64).astype(np.uint8)), "holds values 1, 2, 3, 4, 5, …"),
        ("unreadable", b"", "no readable PNG"),
        ("unreadable", png(zeros())[:-20], "no readable PNG"),
        ("unreadable", b"\xff\xd8\xff\xe0 a JPEG", "no readable PNG"),
    ],
    ids=lambda value: "png" if isinstance(value, bytes) else None,
)
def test_a_wrong_mask_is_named(entries, check, kind, data, words) -> None:
    status, report = check(entries | {FIRST: data})
    assert status == 1 and set(report["defects"]) == {kind}
    assert report["defects"][kind][0].startswith(f"{FIRST}: ") and words in report["defects"][kind][0]
    assert report["counts"]["sound"] == 59


def test_missing_and_surplus_are_listed(entries, check) -> None:
    del entries[FIRST], entries["video2/3/00020.png"]
    status, report = check(entries | {"video0/0/99999.png": b"", "__MACOSX/x": b"", "video7/0/00000.png": b""})
    assert status == 1 and report["defects"] == {
        "missing": [FIRST, "video2/3/00020.png"],
        "surplus": ["video0/0/99999.png", "__MACOSX/x", "video7/0/00000.png"],
    }


def test_only_the_first_are_shown_but_all_are_counted(entries, check) -> None:
    _, report = check({FIRST: entries[FIRST]}, "--show", "2")
    assert len(report["defects"]["missing"]) == 2 and report["counts"]["missing"] == 59


@pytest.mark.parametrize(
    ("move", "words"),
    [
        (lambda name: f"Annotations/{name}", "60 files are one folder too deep: take 'Annotations' away"),
        (lambda name: f"a/b/{name}", "60 files are 2 folders too deep: take 'a/b' away"),
        (lambda name: name.split("/", 1)[1], "files are one folder too shallow: the folder of the video is missing"),
    ],
)
def test_displaced_folders_are_recognised(entries, check, move, words) -> None:
    status, report = check({move(name): data for name, data in entries.items()})
    assert status == 1 and words.removeprefix("60 ") in report["defects"]["folders"][0]
    if words.startswith("60"):  # told apart all the same, and looked into
        assert set(report["defects"]) == {"folders"} and report["counts"]["sound"] == 60


def test_annotations_folder_of_youtube_vos() -> None:
    (layout,) = LAYOUTS["ytvos"]
    video = video_of("v", ["0"], ("00005", "00015"))
    expected = {entry.path: Expected(entry, None) for entry in layout.entries(video, video.frames, None)}
    for prefix, words in (("", "one folder too shallow: put everything into a folder 'Annotations'"),
                          ("results/", "in the wrong folder: rename 'results' to 'Annotations'"),
                          ("x/Annotations/", "one folder too deep: take 'x' away")):  # fmt: skip
        matching = match([f"{prefix}v/0/{name}.png" for name in video.frames], expected, layout)
        assert len(matching.found) == 2 and words in next(iter(matching.shifts))


def test_displaced_copies_are_duplicates(entries, check) -> None:
    status, report = check(entries | {f"Annotations/{FIRST}": entries[FIRST]})
    assert status == 1 and report["defects"]["duplicate"] == [f"Annotations/{FIRST}"]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_given_twice(entries, check, tmp_path) -> None:
    path = tmp_path / "twice.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in [*entries.items(), (FIRST, b"not looked at")]:
            archive.writestr(name, data)
    status, report = check(path)
    assert status == 1 and report["defects"]["duplicate"] == [FIRST]


@pytest.mark.parametrize("name", ["../x.png", "/etc/x.png", "video0/../../x.png", "C:/x.png", "video0\\0\\00000.png"])
def test_names_that_escape_are_refused(entries, check, name) -> None:
    status, report = check(entries | {name: entries[FIRST]})
    assert status == 1 and list(report["defects"]) == ["refused"] and repr(name) in report["defects"]["refused"][0]


def test_links_are_refused(entries, check, tmp_path) -> None:
    path = tmp_path / "link.zip"
    del entries[FIRST]
    write_zip(path, entries.items())
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo(FIRST)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    status, report = check(path)
    assert status == 1 and "symbolic link" in report["defects"]["refused"][0]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_unread(entries, check, tmp_path) -> None:
    """Zeros that deflate to nothing, and a PNG whose header promises 100 megapixels."""
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (entries | {FIRST: bytes(32 << 20)}).items():
            archive.writestr(name, data)
    assert path.stat().st_size < 1 << 20
    status, report = check(path)
    assert status == 1 and f"{FIRST}: declares {32 << 20} bytes" in report["defects"]["refused"][0]
    large = bytearray(png(zeros()))
    large[16:24] = (10000).to_bytes(4, "big") * 2  # width and height of IHDR, its checksum stays wrong
    import zlib

    large[29:33] = zlib.crc32(large[12:29]).to_bytes(4, "big")
    assert png_defect(bytes(large), None, "L", (255,)) == (
        "refused",
        "declares 10000×10000 pixels; no frame is that large",
    )
    assert png_defect(bytes(large), SIZE, "L", (255,))[0] == "size"


def test_damaged_entries_and_archives(entries, check, tmp_path) -> None:
    path = tmp_path / "damaged.zip"
    write_zip(path, entries.items())
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF  # inside the first PNG: its checksum no longer fits
    path.write_bytes(data)
    status, report = check(path)
    assert status == 1 and "CRC" in report["defects"]["unreadable"][0]
    path.write_bytes(data[:-100])
    status, report = check(path)
    assert status == 1 and "no readable zip" in report["defects"]["archive"][0]
    path.write_bytes(b"hello")
    assert check(path)[0] == 1


def test_what_cannot_be_checked_exits_with_2(finished, tmp_path, capsys) -> None:
    flags = [*finished[0], "--dataset", "tiny", "--split", "valid_u"]
    assert check_submission.main([*flags, str(tmp_path / "none.zip")]) == 2
    assert check_submission.main([*flags, "--layout", "ytvos", str(finished[2])]) == 2
    assert "this data set has no layout 'ytvos'" in capsys.readouterr().err


def test_sizes_come_from_the_data_set_where_nothing_is_extracted(finished, tmp_path, check) -> None:
    """A fresh cache: names from the index, sizes from the headers of the frames."""
    over = tmp_path / "fresh.yaml"
    over.write_text(f"paths: {{cache: {tmp_path / 'fresh'}}}\n")
    status, report = check(finished[2], "--config", str(over))
    assert status == 0 and report["counts"]["size_unknown"] == 0 and not (tmp_path / "fresh").exists()


def test_palettes_and_numbers_of_label_maps() -> None:
    labels_HW = np.array([[0, 1], [2, 2]], np.uint8)
    labels = runs_of(labels_HW)
    assert png_defect(label_png(labels), (2, 2), "P", (1, 2)) is None
    assert png_defect(label_png(labels), (2, 2), "P", (1,)) == ("values", "holds values 2; allowed are 0 and 1")
    grey = Image.fromarray(labels_HW)
    grey.putpalette([value for i in range(256) for value in (i, i, i)])
    buffer = io.BytesIO()
    grey.save(buffer, "PNG")
    assert png_defect(buffer.getvalue(), (2, 2), "P", (1, 2)) == ("values", "its palette is not that of DAVIS")


@pytest.fixture(scope="module")
def sound_entry() -> Iterator[bytes]:
    yield png(squares(video_of("v", ["2"], ("0",)), expression("2"), 1, SIZE) * np.uint8(255))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_png_gets_through_as_a_traceback(sound_entry: bytes, data: st.DataObject) -> None:
    spoiled = bytearray(sound_entry)
    for _ in range(data.draw(st.integers(1, 4))):
        spoiled[data.draw(st.integers(0, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    spoiled = spoiled[: data.draw(st.integers(0, len(spoiled)))]
    found = png_defect(bytes(spoiled), SIZE, "L", (255,))
    assert found is None or found[0] in {"unreadable", "mode", "size", "values", "refused"}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_to_a_zip_gets_through_as_a_traceback(
    finished, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes of the directory at its end, or of anything; the check reports, the import's archive says ValueError."""
    video = video_of("v", ["0"], ("a", "b", "c"))
    (layout,) = LAYOUTS["mevis"]
    expected = {entry.path: Expected(entry, SIZE) for entry in layout.entries(video, video.frames, None)}
    path = tmp_path_factory.mktemp("fuzz") / "x.zip"
    write_zip(path, ((name, png(zeros())) for name in expected))
    spoiled = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.sampled_from([0, len(spoiled) // 2]))
        spoiled[data.draw(st.integers(start, len(spoiled) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(spoiled)
    report = check_zip(path, layout, expected)
    assert report.ok == (report.sound == 3 and not report.defects)
    try:
        with open_archive(path) as archive:
            for name in archive.facts:
                archive.read(name)
    except ValueError as error:
        assert str(path) in str(error)


def test_every_protocol_has_a_layout() -> None:
    known = {"mevis", "ytvos", "davis17", "revos", "long_rvos", "a2d", "jhmdb", "none"}
    assert set(LAYOUTS) == known
    assert all(isinstance(layout, (PerExpression, PerAnnotator)) for layouts in LAYOUTS.values() for layout in layouts)
