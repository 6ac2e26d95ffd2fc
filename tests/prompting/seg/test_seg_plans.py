"""What each variant of [SEG] models does to a video: against plain code that follows the published scripts."""

import math

import numpy as np
import pytest
from PIL import Image
from support.project import CONFIG

from stages.core.config.loading import load_config, parse_config, read_yaml, settings_of
from stages.prompting.seg.pictures import draw_images, tiled
from stages.prompting.seg.plan import Decode
from stages.prompting.seg.variants import VARIANTS

LENGTHS = (1, 7, 10, 50, 99, 100, 101, 250)
MODES = ("uniform", "uniform_plus", "q_frame", "wrap_around", "wrap_around_plus")


@pytest.fixture(scope="module")
def settings():
    return settings_of(load_config(CONFIG), "mevis").prompts["seg"]


def plan_of(settings, name, n_frames, chosen=(), **changed):
    return VARIANTS[name].plan(n_frames, settings[name].model_copy(update=changed), tuple(chosen))


def chosen_of(n_frames):
    """100 frames in order, unevenly spread."""
    return sorted((i * i + 3 * i) % n_frames for i in range(100))


def published_slots(mode, n_frames, chosen):
    """The branches of SaSaSa2VA's predict_forward, in its own order."""
    if mode in ("wrap_around", "wrap_around_plus"):
        if n_frames <= 100 or mode == "wrap_around":
            slots = np.arange(100) % n_frames
            slots.sort()
            return slots.tolist()
        return [int(i * n_frames / 100) for i in range(100)]
    if mode == "q_frame":
        return list(chosen)
    return [int(i * n_frames / 100) for i in range(100)]


def published_clips(mode, n_frames, slots):
    """The clip of every frame after its reverse_index; None for frames that are propagated to.

    Of two things the note says otherwise than the script: q_frame prompts the true frames, and clips of frames that are
    averaged are those of `uniform`.
    """
    if mode == "q_frame":
        return [next((s // 10 for s, frame in enumerate(slots) if frame == f), None) for f in range(n_frames)]
    if mode.startswith("wrap_around") and n_frames < 100:
        return [int(np.where(np.array(slots) == f)[0][0]) // 10 for f in range(n_frames)]
    if mode == "wrap_around" and n_frames > 100:
        return [f // 10 if f < 100 else None for f in range(n_frames)]
    return [f * 10 // n_frames for f in range(n_frames)]


@pytest.mark.parametrize("n_frames", LENGTHS)
@pytest.mark.parametrize("mode", MODES)
def test_sasasa2va_shows_and_decodes_the_published_frames(settings, mode, n_frames):
    chosen = chosen_of(n_frames) if mode == "q_frame" else ()
    plan = plan_of(settings, "sasasa2va", n_frames, chosen, mode=mode)
    slots = published_slots(mode, n_frames, chosen)
    said = plan.to_json()
    assert said["slots"] == slots
    images = []
    for start in range(0, 100, 10):
        images += [slots[start : start + 1], slots[start + 1 : start + 10]]
    assert said["images"] == images and len(images) == 20
    clips = published_clips(mode, n_frames, slots)
    assert said["clips"] == clips
    assert said["propagate"] == (None in clips)
    assert plan.frames == tuple(f for f, clip in enumerate(clips) if clip is not None)


@pytest.mark.parametrize("n_frames", LENGTHS)
def test_uniform_plus_averages_the_slots_of_a_frame(settings, n_frames):
    plan = plan_of(settings, "sasasa2va", n_frames, mode="uniform_plus")
    rng = np.random.default_rng(n_frames)
    logits = rng.normal(size=(10, 4))  # of each clip's token, whatever the frame
    for frame in range(n_frames):
        own = [d for d in plan.decodes if d.frame == frame]
        mine = sum(d.weight * logits[d.clip] for d in own) / sum(d.weight for d in own)
        if n_frames < 100:
            slots = [s for s in range(100) if int(s * n_frames / 100) == frame]
            expected = np.mean([logits[s // 10] for s in slots], axis=0)
        else:
            expected = logits[frame * 10 // n_frames]
        np.testing.assert_allclose(mine, expected, atol=1e-12)


def test_other_modes_decode_a_frame_once(settings):
    for mode in ("uniform", "wrap_around", "wrap_around_plus"):
        plan = plan_of(settings, "sasasa2va", 7, mode=mode)
        assert [d.frame for d in plan.decodes] == list(range(7)) and {d.weight for d in plan.decodes} == {1}
    wrapped = plan_of(settings, "sasasa2va", 7, mode="wrap_around")
    assert wrapped.slots.count(0) == 15 and wrapped.slots.count(6) == 14
    assert wrapped.clips == (0, 1, 3, 4, 5, 7, 8)


def test_q_frame_averages_frames_that_were_chosen_twice_and_refuses_others(settings):
    chosen = sorted([*range(0, 196, 2), 0, 194])
    plan = plan_of(settings, "sasasa2va", 200, chosen, mode="q_frame")
    assert plan.decodes[0] == Decode(0, 0, 2) and plan.propagate
    assert plan.clips[1] is None and plan.clips[194] == 9
    for wrong in (chosen[1:], [*chosen[1:], 200], ()):
        with pytest.raises(ValueError, match="needs 100 chosen frames from 0 to 199"):
            plan_of(settings, "sasasa2va", 200, wrong, mode="q_frame")


@pytest.mark.parametrize("n_frames", LENGTHS)
def test_sa2va_sees_the_first_frames_and_sa2va_i_spreads_them(settings, n_frames):
    first = plan_of(settings, "sa2va", n_frames).to_json()
    shown = [f for f in range(n_frames) if f < 5]
    assert first == {
        "slots": shown,
        "images": [[f] for f in shown],
        "clips": [0 if f < 5 else None for f in range(n_frames)],
        "propagate": n_frames > 5,
    }
    spread = plan_of(settings, "sa2va_i", n_frames).to_json()
    slots = [math.floor(i * (n_frames - 1) / 4) for i in range(5)]
    assert spread["slots"] == slots
    assert spread["images"] == [[f] for f in range(n_frames) if f in slots]
    assert spread["clips"] == [0 if f in slots else None for f in range(n_frames)]


@pytest.mark.parametrize("n_frames", LENGTHS)
@pytest.mark.parametrize(("clips", "grid"), [(1, 1), (4, 2), (10, 3)])
def test_svac_cuts_the_video_into_clips(settings, n_frames, clips, grid):
    plan = plan_of(settings, "svac", n_frames, clips=clips, grid=grid)
    per_clip = 1 + grid * grid
    assert plan.slots == tuple(math.floor(i * n_frames / (clips * per_clip)) for i in range(clips * per_clip))
    assert [len(image) for image in plan.images] == [1, grid * grid] * clips
    assert [f for image in plan.images for f in image] == list(plan.slots)
    assert plan.clips == tuple(math.floor(f * clips / n_frames) for f in range(n_frames)) and not plan.propagate
    if (clips, grid) == (10, 3):
        assert plan == plan_of(settings, "sasasa2va", n_frames, mode="uniform")


@pytest.mark.parametrize("n_frames", LENGTHS)
def test_frame_tokens_decode_the_middles_of_equal_stretches(settings, n_frames):
    plan = plan_of(settings, "frame_tokens", n_frames)
    middles = sorted({(2 * i + 1) * n_frames // 10 for i in range(5)})
    assert list(plan.slots) == middles and plan.images == tuple((frame,) for frame in middles)
    assert plan.decodes == tuple(Decode(frame, k, 1) for k, frame in enumerate(middles))
    assert plan.propagate == (len(middles) < n_frames)
    answer = VARIANTS["frame_tokens"].answer(settings["frame_tokens"], plan)
    assert answer.count("[SEG]") == len(middles) and answer.endswith(f"Clip_{len(middles)} [SEG].")


@pytest.mark.parametrize("n_frames", LENGTHS)
def test_vrs_hq_sees_frames_around_the_one_that_fits_best(settings, n_frames):
    for best in {0, n_frames // 3, n_frames - 1}:
        plan = plan_of(settings, "vrs_hq", n_frames, [best])
        step = math.ceil(n_frames / 11)
        slots = list(range(best % step, n_frames, step))
        assert list(plan.slots) == slots and best in slots and len(slots) <= 12
        assert plan.images == tuple((f,) for f in slots)
        assert [clip for clip in plan.clips if clip is not None] == list(range(len(slots)))
        assert plan.propagate == (n_frames > 1)
        answer = VARIANTS["vrs_hq"].answer(settings["vrs_hq"], plan)
        assert answer.count("[SEG]") == len(slots) and f"({len(slots) - 1}) [SEG]," in answer
        assert answer.startswith("Sure, the segmentation result of each frame is (0) [SEG], ")
        assert answer.endswith(", while for the entire video it is [TAK].")
    with pytest.raises(ValueError, match="the video has"):
        plan_of(settings, "vrs_hq", n_frames, [n_frames])


def test_answers_and_requests_are_the_published_ones(settings):
    def said(name):
        return VARIANTS[name].answer(settings[name], plan_of(settings, name, 30))

    assert said("sa2va") == said("sa2va_i") == "It is [SEG]."
    assert said("sasasa2va").startswith("Clip_1 [SEG], Clip_2 [SEG], ") and said("sasasa2va").endswith("Clip_10 [SEG].")
    ask = VARIANTS["sasasa2va"].request
    assert ask("the red car") == "<image>\nPlease segment the red car."
    assert ask("Who runs?") == "<image>\n Who runs? Please respond with a segmentation mask."
    assert VARIANTS["vrs_hq"].request("The  Red car") == (
        "Reference Video: <image> \nWhat is the red car in the Reference Video? Please respond with segmentation masks "
        "for each frame and for the entire video separately."
    )


def test_packed_images_are_what_plain_code_pastes(settings):
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (23, 9, 14, 3), dtype=np.uint8)
    plan = plan_of(settings, "sasasa2va", len(frames), mode="wrap_around")
    images = draw_images(plan, lambda index: frames[index])
    assert len(images) == 20
    for k in range(10):
        slots = plan.slots[10 * k : 10 * k + 10]
        grid = Image.new("RGB", (14 * 3, 9 * 3))
        for i, frame in enumerate(slots[1:]):
            grid.paste(Image.fromarray(frames[frame]), (i % 3 * 14, i // 3 * 9))
        assert images[2 * k].tobytes() == frames[slots[0]].tobytes()
        assert images[2 * k + 1].tobytes() == np.array(grid).tobytes() and images[2 * k + 1].shape == (27, 42, 3)


def test_tiles_that_are_missing_are_black():
    frames = [np.full((2, 3, 3), value, np.uint8) for value in (1, 2, 3)]
    image = tiled(frames)
    assert image.shape == (4, 6, 3)
    assert (image[:2, :3] == 1).all() and (image[:2, 3:] == 2).all() and (image[2:, :3] == 3).all()
    assert (image[2:, 3:] == 0).all()


def test_only_the_chosen_variant_enters_a_stamp(settings):
    raw = read_yaml(CONFIG)

    def stamp(**changed):
        return (
            parse_config({**raw, "prompts": {**raw["prompts"], "seg": {**raw["prompts"]["seg"], **changed}}})
            .prompts["seg"]
            .stamped()
        )

    usual = stamp()
    assert usual == stamp(sasasa2va={"clips": 2, "grid": 2, "tokens": 1, "mode": "wrap_around"}, max_new_tokens=3)
    assert usual != stamp(sa2va_i={"frames": 7}) and usual != stamp(variant="sa2va")
    assert stamp(answer="generated") != stamp(answer="generated", max_new_tokens=3)
    with pytest.raises(ValueError, match="chosen_frames"):
        stamp(variant="sasasa2va", sasasa2va={"clips": 10, "grid": 3, "tokens": 10, "mode": "q_frame"})
    with pytest.raises(ValueError, match="follow: tuned has no meaning for vrs_hq"):
        stamp(variant="vrs_hq", follow="tuned")
