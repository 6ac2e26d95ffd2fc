"""selector.inputs: courses of boxes and a detector's scores. Off = the published networks; on = as sound as they are."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.samples import MODELS, C, D, sample, score, tracks
from support.trainings import selector_section

from stages.core.config.selector_sections import Tda
from stages.core.tables import SELECTORS
from stages.selectors.architectures import Architecture
from stages.selectors.batch import Batch, Sample, TrackFeatures, collate
from stages.selectors.course_input import N_FEATURES, SPEED, course_features
from stages.selectors.detector_input import detector_features
from stages.selectors.network import Network

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}
BOTH = ("course", "detector")
NAMES = pytest.mark.parametrize("name", [name for name in MODELS if SELECTORS[name].inputs])
INPUTS = pytest.mark.parametrize("inputs", [("course",), ("detector",), BOTH], ids="+".join)

NEXT_DRAW = {"sola": 1528988926, "soc": 301770692}  # of the generator after either network, before it could have inputs


def build(name: str, inputs: tuple[str, ...]) -> Network:
    return Architecture(name, MODELS[name], Tda(alpha=0.1, temperature=1.0), inputs).build(C, D, seed=2)


def trained(name: str, inputs: tuple[str, ...]) -> Network:
    """A network whose inputs no longer give zeros, in evaluation mode."""
    model = build(name, inputs)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.startswith(BOTH):
                parameter.normal_(std=0.5, generator=torch.Generator().manual_seed(len(key)))
    return model.eval()


def detected(n: int, t: int, w: int, seed: int = 0) -> Sample:
    """A sample with a detector's scores for about half of the tracks."""
    rng = np.random.default_rng([seed, n])
    best_N1 = np.where(rng.random((n, 1)) < 0.5, rng.random((n, 1)), np.nan)
    return replace(
        sample(n, t, w, seed=seed), detections_N2=np.concatenate([best_N1, best_N1 * 0.8], 1).astype(np.float32)
    )


# ------------------------------------------------------------- off


@NAMES
def test_without_inputs_a_network_is_the_published_one(name: str) -> None:
    """Same parameters by name and value, the same draws from the generator behind them, and the same scores."""
    off = build(name, ())
    assert torch.randint(1 << 31, (1,)).item() == NEXT_DRAW[name]
    on = build(name, BOTH)
    extra = {key for key in on.state_dict() if key.startswith(("course.", "detector."))}
    assert extra and on.state_dict().keys() - extra == off.state_dict().keys()
    assert all(torch.equal(tensor, on.state_dict()[key]) for key, tensor in off.state_dict().items())
    samples = [detected(4, 25, 6), detected(3, 1, 4)]
    for plain_N, started_N in zip(score(off.eval(), samples), score(on.eval(), samples), strict=True):
        torch.testing.assert_close(plain_N, started_N, atol=1e-6, rtol=1e-6)
    blank = [replace(s, detections_N2=None, tracks=without_boxes(s.tracks)) for s in samples]
    for plain_N, blank_N in zip(score(off, samples), score(off, blank), strict=True):
        assert torch.equal(plain_N, blank_N), "what is not asked for changes nothing"
    assert (off.needs_detections, on.needs_detections) == (False, True)


def without_boxes(features: TrackFeatures) -> TrackFeatures:
    return replace(features, boxes_MT4=np.zeros_like(features.boxes_MT4))


def test_an_architecture_gets_the_inputs_that_it_takes() -> None:
    config = selector_section("soc").model_copy(update={"inputs": ["detector", "course"]})
    assert Architecture.of(config).inputs == BOTH, "in an order of their own"
    with pytest.raises(ValueError, match="selector 'soc' takes no input 'smell'; train it again"):
        Architecture.parse("soc", MODELS["soc"].model_dump(), {"alpha": 0, "temperature": 1}, ["smell"])


# ------------------------------------------------------------- on


@NAMES
@INPUTS
def test_inputs_change_scores_and_padding_does_not(name: str, inputs: tuple[str, ...]) -> None:
    model = trained(name, inputs)
    shapes = [(4, 25, 6), (2, 9, 3), (6, 17, 8), (3, 1, 4), (1, 30, 1)]
    samples = [detected(*shape, seed=i) for i, shape in enumerate(shapes)]
    plain = score(build(name, ()).eval(), samples)
    for together_N, s, plain_N in zip(score(model, samples), samples, plain, strict=True):
        torch.testing.assert_close(together_N, score(model, [s])[0], **TOLERANCE)
        assert not torch.allclose(together_N, plain_N, atol=1e-3)
    logits_BN = model(collate(samples)).logits_BN
    assert not any(logits_BN[i, len(s) :].any() for i, s in enumerate(samples))


@NAMES
def test_permuting_tracks_permutes_scores(name: str) -> None:
    model, s = trained(name, BOTH), detected(6, 20, 5)
    order = np.array([3, 0, 5, 1, 4, 2])
    permuted = replace(s, rows_N=order, detections_N2=s.detections_N2[order], iou_N=None, labels_N=None, seen_NT=None)
    torch.testing.assert_close(score(model, [permuted])[0], score(model, [s])[0][torch.from_numpy(order)], **TOLERANCE)


@NAMES
def test_scenes_of_a_video_do_not_see_each_other(name: str) -> None:
    """The median motion is that of a sample's own tracks, also where a batch holds the video's others."""
    model, shared = trained(name, BOTH), tracks(5, 12)
    samples = [sample(5, 12, 4, of=shared), replace(sample(2, 12, 4, of=shared), rows_N=np.array([1, 4]))]
    for together_N, s in zip(score(model, samples), samples, strict=True):
        torch.testing.assert_close(together_N, score(model, [s])[0], **TOLERANCE)


@NAMES
def test_absent_tracks_and_silent_detectors_give_finite_scores_and_gradients(name: str) -> None:
    model = trained(name, BOTH).train()
    batch = collate([detected(1, 1, 1), sample(4, 9, 3, absent=1.0), detected(5, 30, 7)])
    losses = model.losses(model(batch), batch, selector_section(name))
    assert losses.total_B.isfinite().all()
    losses.total_B.sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), key


@NAMES
def test_inputs_learn_from_their_zero_start(name: str) -> None:
    model = build(name, BOTH).eval()
    batch = collate([detected(5, 30, 7)])
    model.losses(model(batch), batch, selector_section(name)).total_B.sum().backward()
    for module in (model.course, model.detector):
        assert module.project[-1].weight.grad.abs().max() > 0


# ------------------------------------------------------------- what they see


def moving(*paths: list[tuple[float, float] | None], side: float = 0.2) -> Batch:
    """Tracks of boxes around these centres, None = absent, as one sample."""
    boxes_MT4 = np.array(
        [[(0,) * 4 if c is None else (c[0] - side / 2, c[1] - side / 2, c[0] + side / 2, c[1] + side / 2) for c in path]
         for path in paths], np.float32)  # fmt: skip
    features = replace(TrackFeatures.of_tokens(np.zeros((*boxes_MT4.shape[:2], C), np.float32)), boxes_MT4=boxes_MT4)
    return collate([replace(sample(*boxes_MT4.shape[:2], 3), tracks=features)])


def test_courses_by_hand() -> None:
    """Two objects stand in a picture that a camera moves to the left, a third keeps its place in the picture."""
    pan = [0.5 - 0.02 * t for t in range(6)]
    found_NTF = course_features(moving([(x, 0.5) for x in pan], [(x, 0.3) for x in pan], [(0.5, 0.1)] * 6))[0].numpy()
    assert found_NTF.shape == (3, 6, N_FEATURES)
    standing_TF, following_TF = found_NTF[0], found_NTF[2]
    np.testing.assert_allclose(standing_TF[:, 0], [0, -0.04, -0.08, -0.12, -0.16, -0.2], atol=1e-6)
    np.testing.assert_allclose(standing_TF[:, 2], 0, atol=1e-6, err_msg="its place in the scene")
    np.testing.assert_allclose(following_TF[:, 2], [0, 0.04, 0.08, 0.12, 0.16, 0.2], atol=1e-6)
    np.testing.assert_allclose(found_NTF[:, :, 4:6], 0.2, atol=1e-6)
    np.testing.assert_allclose(standing_TF[:, 6], -0.02 * SPEED, atol=1e-5)
    np.testing.assert_allclose(standing_TF[:, 8:10], 0, atol=1e-5)
    np.testing.assert_allclose(following_TF[:, [6, 8]], [[0, 0.02 * SPEED]] * 6, atol=1e-5)
    assert (found_NTF[:, :, 10] == 1).all()


def test_courses_of_absent_frames_are_zero_and_jumps_over_them_are_no_motion() -> None:
    path = [(0.2, 0.2), (0.2, 0.2), None, None, (0.8, 0.8), (0.8, 0.8)]
    found_TF = course_features(moving(path))[0, 0].numpy()
    assert found_TF[:, 10].tolist() == [1, 1, 0, 0, 1, 1]
    assert not found_TF[2:4].any()
    assert not found_TF[:, 6:10].any()
    np.testing.assert_allclose(found_TF[4, :2], 0.6, atol=1e-6)
    never = course_features(moving([None] * 4))
    assert not never.any()


def test_a_detector_that_said_nothing_is_told_from_one_that_said_little() -> None:
    s = replace(sample(3, 4, 2), detections_N2=np.array([[0.0, 0.0], [np.nan] * 2, [0.5, 0.25]], np.float32))
    batch = collate([s, sample(4, 4, 2)])
    assert batch.detections_BN2.isnan()[..., 0].tolist() == [[False, True, False, True], [True] * 4]
    expected = [[0, 0, 1], [0, 0, 0], [0.5, 0.25, 1], [0, 0, 0]]
    assert detector_features(batch)[0].tolist() == expected
    assert not detector_features(batch)[1].any()


@NAMES
def test_bfloat16_gives_float32_scores_near_those_of_float32(name: str) -> None:
    model, batch = trained(name, BOTH), collate([detected(4, 25, 6), detected(3, 9, 4)])
    with torch.no_grad():
        exact_BN = model(batch).logits_BN
        with torch.autocast("cpu", torch.bfloat16):
            rough_BN = model(batch).logits_BN
    assert rough_BN.dtype == torch.float32
    assert (rough_BN - exact_BN).abs().max() < 0.1 * exact_BN.abs().max()
