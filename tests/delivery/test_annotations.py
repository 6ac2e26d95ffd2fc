"""Pictures, tables and annotations of an answer, opened by readers that we did not write; masks come back exactly."""

import base64
import csv
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from support.project import ROOT
from support.segmented import RENDER, SIZE, TEXTS, TIMES_MS, make_clip, segment, truth

from stages.core.media import masks
from stages.core.media.video import decode
from stages.core.table import UnknownName
from stages.delivery.format import FORMATS, Format, Order, Take
from stages.delivery.segmented import Segmented
from stages.delivery.writing import write

FRAMES = (0, 2, 4, 6, 8, 9)  # processed ones of ten
KINDS = ("masks", "rgba", "coco", "yolo", "labelme", "cvat", "times")


@pytest.fixture(scope="module")
def segmented(tmp_path_factory: pytest.TempPathFactory) -> Segmented:
    return segment(make_clip(tmp_path_factory.mktemp("clip"), seconds=0), FRAMES)


@pytest.fixture(scope="module")
def paths(segmented: Segmented, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Path]]:
    written = write(segmented, KINDS, tmp_path_factory.mktemp("out"), RENDER)
    return {"masks": written[:3], "rgba": written[3:6]} | {kind: [path] for kind, path in zip(KINDS[2:], written[6:])}


def object_mask(segmented: Segmented, sentence: int, number: int, row: int) -> np.ndarray:
    rle = segmented.sentences[sentence].objects[number].rles_T[row]
    return np.zeros(SIZE, bool) if rle is None else masks.decode(rle)


def visible(segmented: Segmented) -> set[tuple[int, int, int]]:
    """(sentence, object, row) of every mask that holds a pixel."""
    return {
        (s, o, row)
        for s, sentence in enumerate(segmented.sentences)
        for o in range(len(sentence.objects))
        for row in range(len(FRAMES))
        if object_mask(segmented, s, o, row).any()
    }


def test_masks_are_pngs_per_object_and_of_all(segmented, paths):
    below = [["object-1", "object-2", "union"], ["object-2", "union"], ["union"]]
    for number, folder in enumerate(paths["masks"]):
        assert sorted(path.name for path in folder.iterdir()) == below[number]
        for name in below[number]:
            files = sorted((folder / name).iterdir())
            assert [file.name for file in files] == [f"frame_{index:06d}.png" for index in FRAMES]
            for row, file in enumerate(files):
                with Image.open(file) as image:
                    assert image.mode == "L"
                    pixels_HW = np.asarray(image)
                place = [found.name for found in segmented.sentences[number].objects]
                mask_HW = truth(segmented, number, row)
                if name != "union":
                    mask_HW = object_mask(segmented, number, place.index(name.replace("-", " ")), row)
                assert np.array_equal(pixels_HW, mask_HW * np.uint8(255))


def test_rgba_pngs_hold_the_object_and_nothing_else(segmented, paths):
    sources = [frame.image_HW3 for frame in decode(segmented.source.path)]
    for number, folder in enumerate(paths["rgba"]):
        for row, file in enumerate(sorted(folder.iterdir())):
            with Image.open(file) as image:
                assert image.mode == "RGBA"
                image_HW4 = np.asarray(image)
            mask_HW = truth(segmented, number, row)
            assert np.array_equal(image_HW4[..., 3], mask_HW * np.uint8(255))
            assert np.array_equal(image_HW4[mask_HW][:, :3], sources[FRAMES[row]][mask_HW])
            assert not image_HW4[~mask_HW].any()


def test_pycocotools_reads_the_coco_file(segmented, paths, capsys):
    coco = COCO(str(paths["coco"][0]))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(TEXTS)
    images = coco.loadImgs(coco.getImgIds())
    assert [image["frame"] for image in images] == list(FRAMES)
    assert [image["seconds"] for image in images] == [TIMES_MS[index] / 1000 for index in FRAMES]
    seen = set()
    tracks = {track["id"]: track for track in coco.dataset["tracks"]}
    for annotation in coco.loadAnns(coco.getAnnIds()):
        row, sentence = annotation["image_id"] - 1, annotation["category_id"] - 1
        names = [found.name for found in segmented.sentences[sentence].objects]
        number = names.index(tracks[annotation["track_id"]]["name"])
        mask_HW = object_mask(segmented, sentence, number, row)
        assert np.array_equal(coco.annToMask(annotation), mask_HW)
        ys, xs = np.nonzero(mask_HW)
        assert annotation["bbox"] == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
        assert annotation["area"] == mask_HW.sum()
        assert annotation["score"] == segmented.sentences[sentence].objects[number].score
        seen.add((sentence, number, row))
    assert seen == visible(segmented)


def test_supervision_reads_the_yolo_set(segmented, paths):
    """Polygons pass through the centres of a mask's border pixels; where they are filled, holes and all come back."""
    import supervision as sv

    (folder,) = paths["yolo"]
    described = yaml.safe_load((folder / "data.yaml").read_text(encoding="utf-8"))
    for split in ("train", "val"):  # Ultralytics refuses a set without them, and takes them from the file's folder on
        assert (folder / described[split]).is_dir()
    names = [f"{folder}/{part}" for part in ("images", "labels", "data.yaml")]
    found = sv.DetectionDataset.from_yolo(*names, force_masks=True)
    assert found.classes == list(TEXTS) and len(found) == len(FRAMES)
    for row, (path, image, detections) in enumerate(sorted(found, key=lambda item: item[0])):
        assert Path(path).stem == f"frame_{FRAMES[row]:06d}" and image.shape == (*SIZE, 3)
        for sentence in range(len(TEXTS)):
            mine = detections[detections.class_id == sentence]
            union_HW = mine.mask.any(0) if len(mine) else np.zeros(SIZE, bool)
            wrong = (union_HW ^ truth(segmented, sentence, row)).sum()
            assert wrong <= 30, "more than the border of the hole"


def test_labelme_files_hold_masks_as_labelme_reads_them(segmented, paths):
    """labelme takes a box whose corners are both inside, and a picture of the box in base64."""
    (folder,) = paths["labelme"]
    seen = set()
    for row, index in enumerate(FRAMES):
        document = json.loads((folder / f"frame_{index:06d}.json").read_text(encoding="utf-8"))
        with Image.open(folder / document["imagePath"]) as image:
            assert image.size == (document["imageWidth"], document["imageHeight"]) == SIZE[::-1]
        for shape in document["shapes"]:
            (x0, y0), (x1, y1) = shape["points"]
            mask_HW = np.zeros(SIZE, bool)
            with Image.open(io.BytesIO(base64.b64decode(shape["mask"]))) as crop:
                mask_HW[y0 : y1 + 1, x0 : x1 + 1] = np.asarray(crop).astype(bool)
            sentence = TEXTS.index(shape["label"])
            names = [found.name for found in segmented.sentences[sentence].objects]
            number = names.index(shape["description"].split(",")[0])
            assert shape["shape_type"] == "mask"
            assert np.array_equal(mask_HW, object_mask(segmented, sentence, number, row))
            seen.add((sentence, number, row))
    assert seen == visible(segmented)


def test_cvat_reads_runs_along_rows(segmented, paths):
    root = xml.parse(paths["cvat"][0]).getroot()
    assert [label.text for label in root.iterfind("meta/task/labels/label/name")] == list(TEXTS)
    images = root.findall("image")
    assert [int(image.get("id", "")) for image in images] == list(FRAMES)
    seen: dict[tuple[int, int], np.ndarray] = {}
    for row, image in enumerate(images):
        assert image.get("name") == f"frame_{FRAMES[row]:06d}"
        for mask in image.findall("mask"):
            left, top, width, height = (int(mask.get(key, "")) for key in ("left", "top", "width", "height"))
            runs = [int(run) for run in mask.get("rle", "").split(",")]
            flat = np.concatenate([np.full(run, number % 2 == 1) for number, run in enumerate(runs)])
            mask_HW = np.zeros(SIZE, bool)
            mask_HW[top : top + height, left : left + width] = flat.reshape(height, width)
            key = (TEXTS.index(mask.get("label", "")), row)
            seen[key] = seen.get(key, np.zeros(SIZE, bool)) | mask_HW
    for sentence in range(len(TEXTS)):
        for row in range(len(FRAMES)):
            mask_HW = seen.get((sentence, row), np.zeros(SIZE, bool))
            assert np.array_equal(mask_HW, truth(segmented, sentence, row))


def test_the_table_has_every_frame_and_its_time(segmented, paths):
    with paths["times"][0].open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["seconds"]) for row in rows] == [time / 1000 for time in TIMES_MS]
    assert [int(row["tick"]) / int(row["ticks_per_second"]) for row in rows] == [time / 1000 for time in TIMES_MS]
    assert [int(row["frame"]) for row in rows if row["processed"] == "1"] == list(FRAMES)
    # at 0, 40, 80, 200, … ms: frame 1 is as near to 0 as to 2, frame 3 (200 ms) nearer to 4 (240 ms)
    assert [int(row["masks_of_frame"]) for row in rows] == [0, 0, 2, 4, 4, 4, 6, 8, 8, 9]
    assert [int(row[TEXTS[0]]) for row in rows] == [1, 1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert {row[TEXTS[2]] for row in rows} == {"0"}


def test_names_carry_the_sentences_and_bytes_repeat(segmented, paths, tmp_path):
    together = "the-dog-that-turns-around+الكلب-البني+a-unicorn"
    assert paths["coco"][0].name == f"{together}.coco.json"
    assert [path.name for path in paths["masks"]] == [
        "the-dog-that-turns-around.masks",
        "الكلب-البني.masks",
        "a-unicorn.masks",
    ]
    write(segmented, KINDS, tmp_path, RENDER)
    first = paths["coco"][0].parent
    files = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file() and path.name[0] != ".")
    assert files == sorted(
        path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file() and path.name[0] != "."
    )
    for path in files:
        assert (first / path).read_bytes() == (tmp_path / path).read_bytes()


def test_an_unknown_format_names_the_nearest(segmented, tmp_path):
    with pytest.raises(UnknownName, match="no format of outputs 'overlays'; did you mean 'overlay'"):
        write(segmented, ["overlays"], tmp_path, RENDER)


def test_what_does_not_fit_together_is_refused(segmented):
    with pytest.raises(ValueError, match="do not fit the 10 frames"):
        Segmented(segmented.source, range(11), FRAMES, ())
    with pytest.raises(ValueError, match="object 1: 6 masks for 2 frames"):
        Segmented(segmented.source, range(10), (0, 1), segmented.sentences)
    with pytest.raises(ValueError, match="'a unicorn': is asked twice"):
        Segmented(segmented.source, range(10), FRAMES, segmented.sentences[2:] * 2)


def test_a_format_is_added_by_its_value(segmented, tmp_path):
    """As docs/extending.md says."""

    @contextmanager
    def write_areas(path: Path, order: Order) -> Iterator[Take]:
        areas: list[int] = []
        yield lambda shot: areas.append(int(shot.union(order.sentence).sum()))
        path.write_text(" ".join(map(str, areas)), encoding="utf-8")

    with FORMATS.extended_by(Format("areas", "areas of the union", ".areas.txt", write_areas, pixels=False)):
        written = write(segmented, ["areas"], tmp_path, RENDER)
    assert [path.name for path in written][1] == "الكلب-البني.areas.txt"
    assert written[2].read_text() == " ".join(["0"] * 10)
    shown = [FRAMES.index(index) for index in (0, 0, 2, 4, 4, 4, 6, 8, 8, 9)]
    assert written[0].read_text().split() == [str(truth(segmented, 0, row).sum()) for row in shown]


def test_every_format_is_documented():
    text = (ROOT / "docs/outputs.md").read_text(encoding="utf-8")
    for kind in FORMATS.values():
        assert f"| `{kind.name}` |" in text and kind.ending in text, kind.name
