"""The embedded data set: what is drawn, what is said, and that both agree."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages import make_shapes
from stages.core import masks
from stages.core.config import load_config
from stages.core.config_file import Config
from stages.core.frames import load_image
from stages.datasets import open_split
from stages.datasets.shapes import meaning
from stages.datasets.shapes.draw import SHAPES, footprint, full_area, visible_masks
from stages.datasets.shapes.grammar import FAMILIES, NUMBERS, _family
from stages.datasets.shapes.meaning import CLAUSES, Facts, Judge
from stages.datasets.shapes.motion import HEIGHT, MOTIONS, WIDTH
from stages.datasets.shapes.scene import COLOURS, RADII, Scene, Thing
from stages.datasets.shapes.write import Parameters, content_digest, make_clip, make_data_set

CONFIG = Path(__file__).parents[1] / "config.yaml"
SMALL = Parameters(seed=7, counts={"train": 3, "valid_u": 1, "valid": 1})
# Of the index and the masks; a change here means another data set: raise write.VERSION with it.
DIGESTS = {"train": "fb9862becc344cf5", "valid_u": "66be42dae0c13f20", "valid": "6cc90619c41e6a33"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "shapes"
    assert make_data_set(root, SMALL)
    return root


def config_for(root: Path, folder: Path) -> tuple[Config, list[str]]:
    overlay = folder / "overlay.yaml"
    overlay.write_text(f"datasets: {{shapes: {{root: {root}}}}}")
    return load_config(CONFIG, overlay), ["--config", str(CONFIG), "--config", str(overlay)]


def thing(path: list[tuple[float, float]], shape: str = "circle", radius: float = 8, colour: str = "red") -> Thing:
    return Thing(shape, colour, "small" if radius < 10 else "large", "straight", radius, np.array(path, float))


def facts(path: list[tuple[float, float]]) -> Facts:
    return Facts.of(Scene((thing(path),), len(path)))[0]


def line(start: tuple[float, float], step: tuple[float, float], n: int = 12) -> list[tuple[float, float]]:
    return [(start[0] + i * step[0], start[1] + i * step[1]) for i in range(n)]


# ------------------------------------------------------------------------------------------------ drawing
def test_footprints_by_hand() -> None:
    disc = footprint("circle", 2.0, 10.0, 10.0)
    assert disc.sum() == 12 and disc[8:12, 8:12].sum() == 12  # 4×4 without its corners
    square = footprint("square", 2.0, 10.0, 20.0)  # half side 1.75: centres of pixels 8.5 … 11.5
    assert square.sum() == 16 and square[18:22, 8:12].all()
    triangle = footprint("triangle", 10.0, 60.0, 40.0)
    widths = triangle.sum(1)
    assert (np.diff(widths[widths > 0]) >= 0).all() and (
        triangle == triangle[:, (119 - np.arange(WIDTH)) % WIDTH]
    ).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_have_like_areas_and_leave_the_image_whole(shape: str) -> None:
    area = full_area(shape, 14.0)
    assert 0.5 < area / (np.pi * 14**2) < 1.15
    assert footprint(shape, 14.0, -1.5 * 14, 40).sum() == 0
    assert footprint(shape, 14.0, 0, 40).sum() == pytest.approx(area / 2, rel=0.15)


def test_nearer_objects_hide_farther_ones() -> None:
    far, near = thing([(40, 40), (80, 40)]), thing([(40, 40), (100, 40)], radius=14)
    masks_NTHW, full_N = visible_masks((far, near))
    assert masks_NTHW[0, 0].sum() == 0 and masks_NTHW[1, 0].sum() == full_N[1]
    assert 0 < masks_NTHW[0, 1].sum() < full_N[0]
    assert not (masks_NTHW[0] & masks_NTHW[1]).any()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(sorted(MOTIONS)), st.integers(12, 16), st.sampled_from(sorted(RADII)))
def test_every_motion_does_what_its_name_says(seed: int, motion: str, n_frames: int, size: str) -> None:
    radius = RADII[size][1]
    path = MOTIONS[motion](np.random.default_rng(seed), n_frames, radius)
    assert path.shape == (n_frames, 2) and (path * 16 == np.round(path * 16)).all()
    found = Facts.of(Scene((Thing("circle", "red", size, motion, radius, path),), n_frames))[0]
    words = {"stop and go": "stops", "bounce": "bounces", "orbit": "circles"}
    if motion in words:
        assert CLAUSES[words[motion]].means(found) is True
    if motion in ("enter", "leave"):
        outside, within = (0, -1) if motion == "enter" else (-1, 0)
        assert found.coverage_T[outside] == 0 and found.coverage_T[within] > 0.3
    else:
        assert (found.coverage_T > 0.95).all()
    for word in {"stops", "bounces", "circles"} - {words.get(motion, "")}:
        assert CLAUSES[word].means(found) is not True


# ------------------------------------------------------------------------------------------------ meaning
def test_words_on_paths_by_hand() -> None:
    left = facts(line((100, 40), (-5, 0.5)))
    assert [meaning.moves(d, left) for d in ("left", "right", "up", "down")] == [True, False, False, None]
    assert (meaning.stops(left), meaning.bounces(left), meaning.circles(left)) == (False, False, False)
    standing = facts([*line((20, 40), (5, 0), 5), *[(45, 40)] * 5, *line((50, 40), (5, 0), 4)])
    assert meaning.stops(standing) is True and meaning.moves("right", standing) is True
    assert meaning.stops(facts([(50, 40)] * 12)) is None  # never moved: has it stopped?
    back = facts([*line((60, 40), (10, 0), 7), *line((110, 40), (-10, 0), 5)])
    assert meaning.bounces(back) is True and meaning.moves("right", back) is None
    in_mid_air = facts([*line((30, 40), (5, 0), 7), *line((55, 40), (-5, 0), 5)])
    assert meaning.bounces(in_mid_air) is None


def test_entering_and_leaving_by_hand() -> None:
    enters = facts(line((-16, 40), (6, 0)))
    assert meaning.enters(enters) is True and meaning.leaves(enters) is False
    leaves = facts(line((50, 40), (-6, 0)))
    assert meaning.leaves(leaves) is True and meaning.enters(leaves) is False
    assert meaning.enters(facts(line((2, 40), (6, 0)))) is None  # half in at the start


def test_places_by_hand() -> None:
    assert meaning.lies("left", facts(line((12, 40), (2, 0)))) is True
    assert meaning.lies("right", facts(line((12, 40), (2, 0)))) is False
    assert meaning.lies("left", facts(line((12, 40), (5, 0)))) is None
    assert meaning.lies("up", facts(line((12, 20), (5, 0)))) is True
    assert meaning.lies("down", facts(line((12, 90), (5, 0)))) is True


def test_a_hidden_motion_is_not_spoken_of() -> None:
    path = line((40, 40), (4, 0))
    hidden = Facts.of(Scene((thing(path), thing(path, radius=14)), len(path)))[0]
    assert meaning.moves("right", hidden) is True and CLAUSES["moves right"].holds(hidden) is None
    assert CLAUSES["moves left"].holds(hidden) is False


def parse(text: str) -> tuple[str, dict[str, str | None], str | None]:
    """A second reading of a sentence, from its text alone: number word, looks, clause."""
    wordings = {w: name for name, clause in CLAUSES.items() for pair in clause.wordings for w in pair}
    clause = max((w for w in wordings if text.endswith(" " + w)), key=len, default=None)
    words = text.removesuffix(f" {clause}").split()
    assert words.pop(0) == "the"
    number = words.pop(0) if words[0] in ("two", "three") else ""
    noun = words.pop()
    singular = noun if not number else noun.removesuffix("es") if noun.endswith("sses") else noun.removesuffix("s")
    looks: dict[str, str | None] = {"shape": None if singular == "object" else singular}
    looks |= {
        "size": next((w for w in words if w in RADII), None),
        "colour": next((w for w in words if w in COLOURS), None),
    }
    assert singular == "object" or singular in SHAPES
    assert len(words) == sum(looks[name] is not None for name in ("size", "colour"))
    return number, looks, wordings[clause] if clause else None


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_sentences_are_true_of_exactly_the_objects_they_name(seed: int) -> None:
    scene, sentences = make_clip(seed, "clip")
    found = Facts.of(scene)
    assert 3 <= len(sentences) <= 5 and len({s.text for s in sentences}) == len(sentences)
    for sentence in sentences:
        number, looks, clause = parse(sentence.text)
        assert NUMBERS[len(sentence.referred)].strip() == number
        for i, candidate in enumerate(scene.things):
            fits = all(value in (None, getattr(candidate, name)) for name, value in looks.items())
            truth = CLAUSES[clause].means(found[i]) if clause else True
            assert (i in sentence.referred) == (fits and truth is True)
            assert not (fits and truth is None)


def test_an_unclear_object_makes_a_sentence_unusable() -> None:
    slanted = thing(line((100, 20), (-5, 1)))
    judge = Judge(Scene((slanted, thing(line((20, 70), (5, 0)), "square")), 12))
    assert judge.referred(meaning.Description(clause="moves left")) == (0,)
    assert judge.referred(meaning.Description(clause="moves down")) is None
    assert judge.referred(meaning.Description(shape="square", clause="moves down")) == ()


# ------------------------------------------------------------------------------------------------- layout
def test_the_content_is_pinned(root: Path) -> None:
    assert {split: content_digest(root / split) for split in SMALL.counts} == DIGESTS


def test_a_video_does_not_depend_on_the_others(root: Path, tmp_path: Path) -> None:
    make_data_set(tmp_path / "one", Parameters(7, {"train": 1, "valid_u": 1, "valid": 1}))
    few, many = (json.loads((r / "train/meta_expressions.json").read_text()) for r in (tmp_path / "one", root))
    assert few["videos"]["train_0000"] == many["videos"]["train_0000"]
    few, many = (json.loads((r / "train/mask_dict.json").read_text()) for r in (tmp_path / "one", root))
    assert few.items() <= many.items()
    frame = "train/JPEGImages/train_0000/00003.jpg"
    assert (tmp_path / "one" / frame).read_bytes() == (root / frame).read_bytes()


def test_the_reader_finds_it_sound(root: Path, tmp_path: Path) -> None:
    config, _ = config_for(root, tmp_path)
    for name, has_truth in (("train", True), ("valid_u", True), ("valid", False)):
        split = open_split(config, "shapes", name)
        assert split.has_truth is has_truth and len(split.videos()) == SMALL.counts[name]
        for video in split.videos():
            assert video.defect == "" and 12 <= len(video.frames) <= 16 and 3 <= len(video.expressions) <= 5
            on_disk = sorted(video.location.iterdir())
            assert [f.name for f in on_disk] == [f"{frame}.jpg" for frame in video.frames]
            assert all(Image.open(f).size == (WIDTH, HEIGHT) for f in on_disk)
            for annotation in split.annotations(video).values():
                sizes = {rle["size"] for rle in annotation if rle is not None}
                assert sizes == {(HEIGHT, WIDTH)} and all(rle is None or masks.area([rle])[0] for rle in annotation)


def test_masks_lie_on_their_objects(root: Path, tmp_path: Path) -> None:
    """The colour inside a mask is nearer to its object's than to any other's."""
    config, _ = config_for(root, tmp_path)
    split = open_split(config, "shapes", "train")
    checked = 0
    for video in split.videos():
        scene, sentences = make_clip(SMALL.seed, video.id)
        annotations = split.annotations(video)
        for expression, sentence in zip(video.expressions, sentences):
            for key, i in zip(expression.annotations or (), sentence.referred):
                for frame, rle in zip(video.frames, annotations[key]):
                    if rle is not None and masks.area([rle])[0] > 40:
                        pixels = load_image(video.location / f"{frame}.jpg")[masks.decode(rle)].mean(0)
                        distance = {c: np.abs(pixels - rgb).sum() for c, rgb in COLOURS.items()}
                        assert min(distance, key=lambda c: distance[c]) == scene.things[i].colour
                        checked += 1
    assert checked > 50


def test_the_default_clips_hold_every_kind_of_sentence_and_of_absence() -> None:
    clips = {
        split: [make_clip(0, f"{split}_{n:04d}") for n in range(count)]
        for split, count in (("train", 12), ("valid_u", 4))
    }
    for split, expected in (("train", set(FAMILIES)), ("valid_u", set(FAMILIES) - {"position"})):
        families = {_family(s.description, len(s.referred)) for _, sentences in clips[split] for s in sentences}
        assert families >= expected, split
        assert {t.motion for scene, _ in clips[split] for t in scene.things} == set(MOTIONS)
    found = [f for scene, _ in clips["train"] for f in Facts.of(scene)]
    assert any((f.coverage_T == 0).any() for f in found)
    assert any(((f.coverage_T > 0.9) & (f.sight_T == 0)).any() for f in found)  # wholly hidden by another


def test_complete_data_is_left_alone_and_other_parameters_replace_it(tmp_path: Path) -> None:
    root = tmp_path / "shapes"
    _, flags = config_for(root, tmp_path)
    counts = ["--train", "1", "--valid-u", "1", "--valid", "1"]
    assert make_shapes.main([*flags, *counts]) == 0
    frame = root / "train/JPEGImages/train_0000/00000.jpg"
    before = (frame.stat().st_mtime_ns, frame.read_bytes())
    assert make_shapes.main([*flags, *counts]) == 0
    assert frame.stat().st_mtime_ns == before[0]
    assert make_shapes.main([*flags, *counts, "--seed", "1"]) == 0
    assert frame.read_bytes() != before[1]
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
    assert make_shapes.main([*flags, "--valid", "0"]) == 2


def test_a_killed_run_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        make_data_set(tmp_path / "shapes", SMALL)
    assert list(tmp_path.iterdir()) == []
