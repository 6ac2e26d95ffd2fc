"""The embedded data set: what is drawn and how it is written. What is said: test_shapes_meaning.py."""

import filecmp
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.project import CONFIG

from stages import make_shapes
from stages.core.config.file import Config
from stages.core.config.loading import load_config
from stages.core.media import masks
from stages.core.state.frames import load_image
from stages.datasets import open_split
from stages.worlds.shapes import Clip, sample_clip, sheet
from stages.worlds.shapes.facts import facts_of
from stages.worlds.shapes.outlines import SHAPES, Window, footprints, visible_masks, wall_masks, window_in, window_of
from stages.worlds.shapes.sample import sample_scene
from stages.worlds.shapes.scene import COLOURS, Scene, Thing, Wall
from stages.worlds.shapes.statistics import statistics
from stages.worlds.shapes.write import (
    FRAMES,
    SIZES,
    STAMP,
    TWIN,
    Parameters,
    content_digest,
    make_data_set,
    make_scene,
)

SMALL = Parameters(seed=0, counts={"train": 4, "valid_u": 2, "valid": 1})
# Of the index and the masks of the first videos; a change here means another data set: raise write.VERSION with it.
DIGESTS = {"train": "ce43893054981112", "valid_u": "9a536663150157f7", "valid": "b378160a26147d28"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    assert make_data_set(root, SMALL)
    return root


def config_for(root: Path, folder: Path) -> tuple[Config, list[str]]:
    overlay = folder / "overlay.yaml"
    overlay.write_text(f"datasets: {{shapes: {{root: {root}}}}}")
    return load_config(CONFIG, overlay), ["--config", str(CONFIG), "--config", str(overlay)]


def window(shape: str, radius: float, x: float, y: float, angle: float = 0) -> Window:
    return window_of(shape, np.array([[x, y]]), np.array([radius]), np.array([angle]))


def footprint(shape: str, radius: float, x: float, y: float, angle: float = 0) -> np.ndarray:
    return footprints([window(shape, radius, x, y, angle)], (96, 128))[0, 0]


def thing(path: list[tuple[float, float]], radius: float = 8) -> Thing:
    n = len(path)
    return Thing("circle", "red", "plain", "small", "", np.array(path, float), np.full(n, float(radius)), np.zeros(n))


# ------------------------------------------------------------------------------------------------- drawing
def test_footprints_by_hand() -> None:
    disc = footprint("circle", 2.0, 10.0, 10.0)
    assert disc.sum() == 12 and disc[8:12, 8:12].sum() == 12  # 4×4 without its corners
    square = footprint("square", 2.0, 10.0, 20.0)  # half side 1.75: centres of pixels 8.5 … 11.5
    assert square.sum() == 16 and square[18:22, 8:12].all()
    triangle = footprint("triangle", 10.0, 60.0, 40.0)
    widths = triangle.sum(1)
    assert (np.diff(widths[widths > 0]) >= 0).all() and (triangle == triangle[:, (119 - np.arange(128)) % 128]).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_like_areas_and_leave_the_image_whole(shape: str) -> None:
    area = window(shape, 14.0, 60, 40).mask_TSS.sum()
    assert 0.5 < area / (np.pi * 14**2) < 1.15
    assert footprint(shape, 14.0, -1.5 * 14, 40).sum() == 0
    assert footprint(shape, 14.0, 0, 40).sum() == pytest.approx(area / 2, rel=0.15)
    assert footprint(shape, 14.0, 60, 40).sum() == area


@pytest.mark.parametrize("shape", SHAPES)
def test_turning_keeps_the_area_and_stays_in_the_window(shape: str) -> None:
    areas = [window(shape, 14.0, 60, 40, angle).mask_TSS.sum() for angle in range(0, 360, 30)]
    assert max(areas) - min(areas) < 0.07 * max(areas)
    edges = [window(shape, 14.0, 60, 40, angle).mask_TSS[0] for angle in range(0, 360, 30)]
    assert not any(edge[[0, -1]].any() or edge[:, [0, -1]].any() for edge in edges)
    upright, lying = footprint("bar", 14.0, 60, 40, 90), footprint("bar", 14.0, 60, 40)
    assert (np.ptp(np.argwhere(upright), 0) == np.ptp(np.argwhere(lying), 0)[::-1]).all()


def test_nearer_objects_and_walls_hide_farther_ones() -> None:
    far, near = thing([(40, 40), (80, 40), (110, 90)]), thing([(40, 40), (100, 40), (20, 20)], radius=14)
    scene = Scene((far, near), (Wall(95, 75, 125, 105),), np.zeros((3, 2)), (128, 128))
    masks_NTHW = visible_masks(scene)
    full_N = [window_in(scene, t).mask_TSS[0].sum() for t in (far, near)]
    assert masks_NTHW[0, 0].sum() == 0 and masks_NTHW[1, 0].sum() == full_N[1]
    assert 0 < masks_NTHW[0, 1].sum() < full_N[0]
    assert masks_NTHW[0, 2].sum() == 0 and wall_masks(scene)[0].sum() == 30 * 30
    assert not (masks_NTHW[0] & masks_NTHW[1]).any() and not (masks_NTHW & wall_masks(scene)).any()
    found = facts_of(scene)
    assert found.hidden_NN[0, 1] == 1 and found.objects[0].walled_T.tolist() == [0, 0, 1]


def test_the_camera_moves_everything_else() -> None:
    scene = Scene((thing([(40, 40), (40, 40)]),), (Wall(90, 90, 100, 100),), np.array([[0, 0], [3, -2]]), (128, 128))
    first, second = visible_masks(scene)[0]
    assert (np.roll(first, (2, -3), (0, 1)) == second).all()
    wall_first, wall_second = wall_masks(scene)
    assert (np.roll(wall_first, (2, -3), (0, 1)) == wall_second).all()


# ------------------------------------------------------------------------------------------- clips in memory
def clip(seed: int, **over: object) -> Clip:
    return sample_clip(np.random.default_rng(seed), **over)  # type: ignore[arg-type]


@pytest.mark.parametrize(("n_frames", "size"), [(1, (128, 128)), (5, (112, 192)), (12, (128, 160)), (30, (192, 192))])
def test_clips_have_the_shapes_asked_for(n_frames: int, size: tuple[int, int]) -> None:
    found = clip(3, n_frames=n_frames, size=size)
    n = len(found.scene.things)
    assert found.frames_THW3.shape == (n_frames, *size, 3) and found.frames_THW3.dtype == np.uint8
    assert found.masks_NTHW.shape == (n, n_frames, *size) and found.masks_NTHW.dtype == bool
    assert (found.masks_NTHW.sum(0) <= 1).all() and 2 <= n <= 8
    assert len(clip(3, n_objects=7).scene.things) == 7
    assert (found.masks_NTHW == visible_masks(found.scene)).all()


def test_clips_depend_on_the_stream_alone() -> None:
    one, same, other = clip(1), clip(1), clip(2)
    assert (one.frames_THW3 == same.frames_THW3).all() and (one.masks_NTHW == same.masks_NTHW).all()
    assert not np.array_equal(one.frames_THW3, other.frames_THW3)


def test_a_scene_too_small_or_short_is_refused() -> None:
    with pytest.raises(ValueError, match="112"):
        clip(0, size=(96, 128))
    with pytest.raises(ValueError, match="got 5"):
        sample_scene(np.random.default_rng(0), 5, (128, 128))


def test_masks_lie_on_their_objects() -> None:
    """The colour inside the mask of a plain object is nearer to its own than to any other's."""
    checked, right = 0, 0
    for seed in range(12):
        found = clip(seed)
        for one, masks_THW in zip(found.scene.things, found.masks_NTHW):
            for frame_HW3, mask_HW in zip(found.frames_THW3, masks_THW):
                if one.texture == "plain" and mask_HW.sum() > 80:
                    pixels = np.median(frame_HW3[mask_HW], 0)
                    distance = {
                        c: np.abs(pixels / pixels.max() - np.array(v) / max(v)).sum() for c, v in COLOURS.items()
                    }
                    greys = ("white", "black")
                    nearest = min(distance, key=lambda c: distance[c])
                    right += nearest == one.colour or {nearest, one.colour} <= {*greys}
                    checked += 1
    assert checked > 100 and right / checked > 0.97


# --------------------------------------------------------------------------------------------------- layout
def test_the_content_is_pinned(root: Path) -> None:
    assert {split: content_digest(root / split) for split in SMALL.counts} == DIGESTS


def test_a_larger_set_begins_with_the_smaller_one_in_any_number_of_processes(root: Path, tmp_path: Path) -> None:
    make_data_set(tmp_path / "one", Parameters(0, {"train": 2, "valid_u": 1, "valid": 1}), n_jobs=2)
    for name in ("meta_expressions.json", "mask_dict.json", "scenes.json"):
        few, many = (json.loads((r / "train" / name).read_text()) for r in (tmp_path / "one", root))
        few, many = (content.get("videos", content) for content in (few, many))
        assert list(many)[: len(few)] == list(few) and few.items() <= many.items()
    folders = [r / "train/JPEGImages/train_0001" for r in (tmp_path / "one", root)]
    names = [path.name for path in folders[0].iterdir()]
    assert len(names) >= FRAMES[0]
    assert filecmp.cmpfiles(*folders, names, shallow=False)[0] == names
    assert (tmp_path / "one" / "train/JPEGImages/train_0002").exists() is False


def test_the_reader_finds_it_sound(root: Path, tmp_path: Path) -> None:
    config, _ = config_for(root, tmp_path)
    for name, has_truth in (("train", True), ("valid_u", True), ("valid", False)):
        split = open_split(config, "shapes", name)
        assert split.has_truth is has_truth and len(split.videos()) == SMALL.counts[name]
        for video in split.videos():
            assert video.defect == "" and FRAMES[0] <= len(video.frames) <= FRAMES[1]
            on_disk = sorted(video.location.iterdir())
            assert [f.name for f in on_disk] == [f"{frame}.jpg" for frame in video.frames]
            sizes = {Image.open(f).size[::-1] for f in on_disk}
            assert len(sizes) == 1 and sizes <= set(SIZES)
            for annotation in split.annotations(video).values():
                assert {rle["size"] for rle in annotation if rle is not None} == sizes
                assert all(rle is None or masks.area([rle])[0] for rle in annotation)


def test_files_tell_what_was_drawn(root: Path, tmp_path: Path) -> None:
    config, _ = config_for(root, tmp_path)
    split = open_split(config, "shapes", "train")
    index, scenes = (json.loads((root / "train" / f"{n}.json").read_text()) for n in ("meta_expressions", "scenes"))
    for video in split.videos():
        scene, sentences = make_scene(SMALL.seed, video.id)
        annotations, record = split.annotations(video), scenes[video.id]
        masks_NTHW = visible_masks(scene)
        assert [one["visible_area"] for one in record["objects"]] == masks_NTHW.sum((2, 3)).tolist()
        for one, drawn in zip(record["objects"], scene.things):
            assert (one["size"], one["colour"], one["texture"], one["shape"]) == drawn.looks
            assert np.allclose(one["centre"], scene.seen_path(drawn), atol=1e-4)
        for expression, sentence in zip(video.expressions, sentences, strict=True):
            raw = index["videos"][video.id]["expressions"][expression.id]
            assert (raw["exp"], raw["kind"], raw["motion"]) == (sentence.text, sentence.kind, sentence.motion)
            for key, i in zip(expression.annotations or (), sentence.referred, strict=True):
                for rle, mask_HW in zip(annotations[key], masks_NTHW[i], strict=True):
                    assert (masks.decode(rle) == mask_HW).all() if rle else not mask_HW.any()
        frame_HW3 = load_image(video.location / f"{video.frames[0]}.jpg")
        assert frame_HW3.shape == (*scene.size, 3)


def test_no_truth_is_written_of_valid(root: Path) -> None:
    assert {path.name for path in (root / "valid").iterdir()} == {"JPEGImages", "meta_expressions.json"}
    entries = json.loads((root / "valid/meta_expressions.json").read_text())["videos"].values()
    assert all(set(e) == {"exp"} for entry in entries for e in entry["expressions"].values())


# ------------------------------------------------------------------------------------------------- commands
@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"train": 1, "valid_u": 1, "valid": 1}
    monkeypatch.setattr(make_shapes, "SIZES", {"demo": counts, "full": counts | {"train": 2}})


def test_what_is_there_stays_unless_another_size_is_asked_for(quick: None, tmp_path: Path) -> None:
    root = tmp_path / "shapes"
    _, flags = config_for(root, tmp_path)
    assert make_shapes.main(flags) == 0
    frame = root / "train/JPEGImages/train_0000/00000.jpg"
    before = (frame.stat().st_mtime_ns, frame.read_bytes())
    assert make_shapes.main([*flags, "--size", "full"]) == 0
    assert (root / "train/JPEGImages/train_0001").is_dir() and frame.read_bytes() == before[1]
    written = frame.stat().st_mtime_ns
    (root / STAMP).unlink()  # as Snakemake does with an output before it runs its rule
    assert make_shapes.main(flags) == 0
    assert frame.stat().st_mtime_ns == written and (root / STAMP).read_bytes() == (root / TWIN).read_bytes()
    assert (root / "train/JPEGImages/train_0001").is_dir()
    assert make_shapes.main([*flags, "--seed", "1"]) == 0
    assert frame.read_bytes() != before[1] and (root / "train/JPEGImages/train_0001").is_dir()
    assert make_shapes.main([*flags, "--size", "demo"]) == 0
    assert not (root / "train/JPEGImages/train_0001").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_files_of_others_are_never_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "shapes"
    root.mkdir()
    (root / "thesis.txt").write_text("mine")
    _, flags = config_for(root, tmp_path)
    assert make_shapes.main(flags) == 2
    assert "make_shapes did not make" in capsys.readouterr().err
    assert (root / "thesis.txt").read_text() == "mine"
    assert make_shapes.main([*flags, "--dataset", "mevis"]) == 2
    assert "generate is false" in capsys.readouterr().err
    assert make_shapes.main([*flags, "--statistics"]) == 2
    assert "run `python -m stages.make_shapes` first" in capsys.readouterr().err
    (root / STAMP).write_text("{")
    assert make_shapes.main(flags) == 2
    assert "damaged" in capsys.readouterr().err


def test_a_killed_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        make_data_set(tmp_path / "shapes", SMALL)
    assert list(tmp_path.iterdir()) == []


def test_statistics_count(root: Path) -> None:
    lines = {line[:36].strip(): line[36:].split() for line in statistics(root).splitlines()}
    assert lines["videos"] == ["4", "2"]
    index = json.loads((root / "train/meta_expressions.json").read_text())["videos"]
    kinds = [e["kind"] for video in index.values() for e in video["expressions"].values()]
    assert lines["expressions"][0] == str(len(kinds))
    assert lines["statements"] == ["192", "0"]
    assert lines["motion"][0] == f"{kinds.count('motion') / len(kinds):.1%}"


def test_the_sheet_shows_rows_of_frames(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert sheet.main(["--out", str(out), "--videos", "2", "--split", "train"]) == 0
    with Image.open(out) as image:
        assert image.width >= 8 * 128 and image.height > 2 * 128
