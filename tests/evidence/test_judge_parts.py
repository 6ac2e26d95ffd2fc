"""The parts of judging, with a real tiny VLM: its log-odds, the keyframes, the pictures, the kept replies."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.core.state.cache import Stamp, write_json
from stages.core.state.graph import GATHER_EVIDENCE
from stages.evidence.asked import Asked
from stages.evidence.backends.transformers import load_judge
from stages.evidence.questions import Picture, Question, Reply
from stages.evidence.views.keyframes import Sightings, select_keyframes, visible
from stages.evidence.views.numbered import display_size, draw_outlined, resize_mask
from stages.micro.mllm import build_random_mllm

SIZE = (48, 64)
STAMP = Stamp(GATHER_EVIDENCE.name, GATHER_EVIDENCE.version, {"a": 1})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)


@pytest.fixture(scope="module")
def judge(folder):
    return load_judge(folder, "cpu", "float32")


def picture(seed: int, size=(96, 128)) -> Picture:
    return Picture(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


# ---------------------------------------------------------------- keyframes


def sightings(object_NT, iou_NT=None, area_NT=None) -> Sightings:
    object_NT = np.asarray(object_NT, np.float16)
    iou_NT = np.ones_like(object_NT) if iou_NT is None else np.asarray(iou_NT, np.float16)
    area_NT = np.full(object_NT.shape, 50, np.uint32) if area_NT is None else np.asarray(area_NT, np.uint32)
    return Sightings(object_NT, iou_NT, area_NT, visible(object_NT, area_NT, SIZE))


def test_a_keyframe_of_each_stretch_where_the_object_score_is_highest():
    assert select_keyframes([0.0], sightings([[1, 3, 2, 5, 1, 4]]), 2) == [1, 3]
    assert select_keyframes([0.0], sightings([[1, 3, 2, 5, 1, 4]]), 3) == [1, 3, 5]
    assert select_keyframes([0.0], sightings([[1, 3]]), 4) == [0, 1]  # fewer frames than stretches


def test_the_frames_suit_the_tracks_the_selector_believes_in():
    tracks = sightings([[9, 0.1, 0.1], [0.1, 0.1, 9]])
    assert select_keyframes([5.0, 0.0], tracks, 1) == [0]
    assert select_keyframes([0.0, 5.0], tracks, 1) == [2]
    # Weak in one frame, both fair in another: comparing needs both.
    assert select_keyframes([0.0, 0.0], sightings([[9, 2, -9], [-9, 2, 9]]), 1) == [1]


def test_absent_and_specklike_tracks_do_not_count():
    assert select_keyframes([0.0], sightings([[8, 0.5, -8, -8]], area_NT=[[0, 9, 99, 99]]), 2) == [1]
    assert select_keyframes([0.0], sightings([[-1, 0]]), 2) == []
    assert not visible(np.array([[5.0]]), np.array([[46]]), (720, 1280)).any()
    assert visible(np.array([[5.0]]), np.array([[47]]), (720, 1280)).all()


def test_ties_are_settled_by_iou_then_area_then_time():
    flat = [[2, 2, 2, 2]]
    assert select_keyframes([0.0], sightings(flat, [[0.5, 0.5, 0.9, 0.5]], [[9, 90, 9, 9]]), 1) == [2]
    assert select_keyframes([0.0], sightings(flat, [[0.5, 0.9, 0.9, 0.5]], [[9, 9, 90, 99]]), 1) == [2]
    assert select_keyframes([0.0], sightings(flat), 1) == [0]


@given(
    scores=st.lists(st.floats(-30, 30), min_size=1, max_size=4),
    n_frames=st.integers(1, 12),
    count=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_keyframes_are_ordered_visible_and_the_best_of_their_stretch(scores, n_frames, count, seed):
    rng = np.random.default_rng(seed)
    tracks = sightings(rng.normal(0, 4, (len(scores), n_frames)))
    chosen = select_keyframes(scores, tracks, count)
    assert chosen == sorted(set(chosen)) and len(chosen) <= count
    assert all(tracks.visible_NT[:, t].any() for t in chosen)
    weight_N = np.exp(np.array(scores) - max(scores))
    value_T = (weight_N[:, None] * tracks.visible_NT / (1 + np.exp(-tracks.object_NT.astype(float)))).sum(0)
    for part in np.array_split(np.arange(n_frames), count):
        best = [
            t
            for t in part
            if tracks.visible_NT[:, t].any() and value_T[t] >= value_T[part].max() - 1e-9 * value_T.max()
        ]
        assert not best or set(best) & set(chosen)


# ---------------------------------------------------------------- numbered outlines


def test_images_keep_the_aspect_and_show_outlines_and_numbers():
    assert display_size((720, 1280), 768) == (432, 768) and display_size((1280, 720), 768) == (768, 432)
    assert display_size((48, 64), 128) == (96, 128)
    frame_HW3 = np.full((48, 64, 3), 100, np.uint8)
    mask_HW = np.zeros((48, 64), bool)
    mask_HW[10:40, 20:50] = True
    plain = draw_outlined(frame_HW3, {1: np.zeros_like(mask_HW)}, 128)
    assert plain.shape == (96, 128, 3) and plain.dtype == np.uint8 and (plain == 100).all()
    one, two = draw_outlined(frame_HW3, {1: mask_HW}, 128), draw_outlined(frame_HW3, {2: mask_HW}, 128)
    changed_HW = (one != 100).any(axis=-1)
    assert changed_HW[18:24, 40:100].any() and not changed_HW[:14].any() and not changed_HW[:, :34].any()
    assert (one != two).any()


def test_a_thin_mask_survives_shrinking():
    mask_HW = np.zeros((480, 640), bool)
    mask_HW[101, 200:202] = True
    assert resize_mask(mask_HW, (48, 64)).sum() == 1
    mask_HW[:] = True
    assert resize_mask(mask_HW, (48, 64)).all()


# ---------------------------------------------------------------- replies


class Counting:
    """A real judge that keeps what it is asked."""

    def __init__(self, judge):
        self.judge = judge
        self.asked: list[str] = []

    def log_odds(self, questions):
        self.asked += [question.text for question in questions]
        return self.judge.log_odds(questions)


def test_replies_are_kept_by_everything_they_depend_on(judge, tmp_path):
    path, shown = tmp_path / "a" / "v.json", picture(0)
    questions = [Question((shown,), f"is it {number}?") for number in range(3)]

    def asked(identity, questions) -> list[str]:
        counting = Counting(judge)
        Asked(path, STAMP, identity, 2, {}).ask(counting, questions)
        return counting.asked

    first = Asked(path, STAMP, {"weights": "a"}, 2, {}).ask(judge, questions)
    assert asked({"weights": "a"}, questions) == []
    assert Asked(path, STAMP, {"weights": "a"}, 2, {}).ask(judge, questions) == first
    assert len(asked({"weights": "b"}, questions)) == 3
    assert len(asked({"weights": "a"}, [Question((picture(1),), "is it 0?")])) == 1
    assert len(asked({"weights": "a"}, [Question((shown, shown), "is it 0?")])) == 1
    assert asked({"weights": "a"}, questions) == []


def test_the_file_of_replies_is_hidden_stamped_and_no_videos(judge, tmp_path):
    asked = Asked(tmp_path / "v.json", STAMP, {}, 4, {})
    asked.ask(judge, [Question((picture(0),), "?")])
    assert [path.name for path in tmp_path.iterdir()] == [".v.asked.json"]
    assert json.loads(asked.path.read_text(encoding="utf-8"))["stamp"]["ingredients"] == {"a": 1}


def test_equal_pictures_have_one_key_and_others_another():
    asked = Asked(Path("v.json"), STAMP, {"weights": "a"}, 4, {})
    key = asked.key(Question((picture(0), picture(1)), "?"))
    assert key == asked.key(Question((picture(0), picture(1)), "?"))  # other arrays, the same pixels
    turned = Picture(picture(0).pixels_HW3.reshape(128, 96, 3))  # the same bytes, another shape
    others = [
        Question((picture(1), picture(0)), "?"),
        Question((picture(0),), "?"),
        Question((turned, picture(1)), "?"),
        Question((picture(0), picture(1)), "??"),
    ]
    keys = {asked.key(question) for question in others}
    keys |= {Asked(Path("v.json"), STAMP, other, 4, {}).key(others[0]) for other in ({"weights": "b"}, {})}
    assert len(keys | {key}) == 7


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"replies": []}', None],
    ids=["empty", "cut", "no object", "no stamp", "not finite"],
)
def test_a_damaged_file_of_replies_is_begun_anew(judge, tmp_path, caplog, text):
    questions = [Question((picture(0),), "?")]
    asked = Asked(tmp_path / "v.json", STAMP, {}, 4, {})
    expected = asked.ask(judge, questions)
    whole = asked.path.read_bytes()
    nan = {"replies": [{"key": expected[0].key, "log_odds": "nan", "mass": 1.0}]}
    if text is None:
        write_json(asked.path, nan, STAMP)
    else:
        asked.path.write_text(text, encoding="utf-8")
    counting = Counting(judge)
    assert Asked(tmp_path / "v.json", STAMP, {}, 4, {}).ask(counting, questions) == expected
    assert counting.asked == ["?"] and asked.path.read_bytes() == whole
    assert f"{asked.path}: " in caplog.text and "asked again" in caplog.text


def test_a_judge_that_gives_nan_fails_the_video(tmp_path):
    class Broken:
        def log_odds(self, questions):
            return [Reply(float("nan"), 0.5) for _ in questions]

    asked = Asked(tmp_path / "v.json", STAMP, {}, 4, {})
    with pytest.raises(ValueError, match="not kept"):
        asked.ask(Broken(), [Question((picture(0),), "?")])
    assert not asked.path.exists()
