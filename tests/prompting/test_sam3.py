"""Source sam3 with a tiny SAM3 of random weights: what it finds means nothing, and every step is the real one."""

import gc
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from support.jobs import folder_job
from support.sam2 import draw_frames
from support.sam3 import build_sam3

from stages import build_tracks, extract_frames, generate_prompts
from stages.core.config.loading import settings_of
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.cache import read_stamp
from stages.core.state.frames import FrameFolder
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import Prompt, read_prompts
from stages.core.state.track_file import read_masks, read_tracks
from stages.prompting.sam3.naming import ByRule, Sought
from stages.prompting.sam3.network import Instance, Sam3Network, load
from stages.prompting.sam3.own_tracks import OwnTracker
from stages.prompting.sam3.prompter import Sam3Prompter
from stages.prompting.sam3.search import Search
from stages.prompting.sam3.settings import Sam3Prompts
from stages.weights.fetch import fetch_preset

CHUNK, OVERLAP, THRESHOLD = 44, 4, 0.2  # random scores are about 0.3
SENTENCES = ("the red car on the left", "a dog and a man", "THE red car on the left", "...")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_sam3(tmp_path_factory.mktemp("sam3"))


def settings(**over: Any) -> Sam3Prompts:
    own = {"chunk": CHUNK, "overlap": OVERLAP, "join_iou": 0.5, "new_threshold": 0.9}  # only where nothing is followed
    base = {
        "phrases_by": None,
        "phrase_frames": 4,
        "retries": 3,
        "embeddings": None,
        "frames": {"step": 4, "count": None},
        "score_threshold": THRESHOLD,
    }
    base |= {"nms_iou": 0.5, "max_instances": 4, "follow": "engine", "own": own, "precision": "float32"}
    return Sam3Prompts.model_validate(base | over)


@pytest.fixture(scope="module")
def network(folder: Path) -> Sam3Network:
    return load(folder, settings(), "cpu", 8)[0]


@pytest.fixture(scope="module")
def own(folder: Path) -> OwnTracker:
    alone = {"chunk": CHUNK, "overlap": OVERLAP, "join_iou": 1.0, "new_threshold": 0.9}  # no track is another's double
    few = settings(follow="own", max_instances=2, own=alone)
    found, model = load(folder, few, "cpu", 8)
    return OwnTracker(model, found)


def video_of(frames: FrameFolder, *captions: str) -> Video:
    expressions = tuple(Expression(str(i), text.lower(), (), text) for i, text in enumerate(captions))
    return Video("v", frames.names, frames.directory, expressions, len(frames))


# ---------------------------------------------------------------- instances


def test_concepts_of_a_frame_are_found_together_as_each_alone_and_the_image_is_read_once(
    network: Sam3Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = draw_frames(tmp_path / "f", 1).load(0)
    words = [network.words(phrase) for phrase in ("red car", "dog", "man with a hat")]
    alone = [network.find(3, image, [each])[0] for each in words]
    encoded = Counter[str]()
    encode = network.model.get_vision_features
    monkeypatch.setattr(
        network.model, "get_vision_features", lambda **image: encoded.update(["image"]) or encode(**image)
    )
    for at_once in (2, 8):
        monkeypatch.setattr(network.batches, "limit", at_once)
        together = network.find(3, image, words)
        for one, other in zip(alone, together, strict=True):
            assert [found.rle for found in one] == [found.rle for found in other] and one
            np.testing.assert_allclose([f.score for f in one], [f.score for f in other], atol=1e-5)
    assert encoded == {"image": 2} and alone[0] != alone[1]
    for found in (found for instances in alone for found in instances):
        assert found.frame == 3 and found.score > THRESHOLD and masks.area([found.rle])[0] > 0
    for instances in alone:
        overlaps_NN = masks.iou_matrix(rles := [found.rle for found in instances], rles)
        assert len(instances) <= 4 and [f.score for f in instances] == sorted(
            (f.score for f in instances), reverse=True
        )
        assert (overlaps_NN - np.eye(len(rles))).max() < 0.6, (
            "doubles are gone; overlaps are measured at the model's size"
        )


def test_vectors_stand_for_a_phrase(network: Sam3Network, tmp_path: Path) -> None:
    frames = draw_frames(tmp_path / "f", 5)
    words = network.words("red car")
    file = tmp_path / "vectors.safetensors"
    save_file({"v/1": words.vectors_LC[words.valid_L].clone(), "other/0": torch.ones(2, 3)}, file)
    by_vectors = settings(embeddings=str(file))
    prompts = Sam3Prompter(network, ByRule(), by_vectors, None).prompts(video_of(frames, "a car", "it"), frames)
    expected = [found for t in (0, 4) for found in network.find(t, frames.load(t), [words])[0]]
    given = [prompt for prompt in prompts if prompt.expression == 1]
    assert [(prompt.frame, prompt.mask) for prompt in given] == [(found.frame, found.rle) for found in expected]
    assert {prompt.phrase for prompt in prompts} - {"car", "vehicle"} == {""}
    save_file({"v/1": torch.ones(2, 3)}, file)
    with pytest.raises(ValueError, match=r"v/1: has the shape \(2, 3\); a prompt is \(tokens, 128\)"):
        Sam3Prompter(network, ByRule(), by_vectors, None).prompts(video_of(frames, "a car", "it"), frames)


def test_every_expression_gets_the_instances_of_what_it_names(network: Sam3Network, tmp_path: Path) -> None:
    frames = draw_frames(tmp_path / "f", 6)
    prompts = Sam3Prompter(network, ByRule(), settings(), None).prompts(video_of(frames, *SENTENCES), frames)
    assert {prompt.frame for prompt in prompts} == {0, 4}
    order = [(prompt.frame, prompt.expression, -prompt.box_score) for prompt in prompts]
    assert order == sorted(order)
    of = [[prompt for prompt in prompts if prompt.expression == e] for e in range(4)]
    assert not of[3], "a sentence without a word is not asked"
    assert [(p.frame, p.mask, p.phrase) for p in of[0]] == [(p.frame, p.mask, p.phrase) for p in of[2]]
    assert len({p.phrase for p in of[0]}) == 1 and len({p.phrase for p in of[1]}) == 2
    assert prompts == Sam3Prompter(network, ByRule(), settings(), None).prompts(video_of(frames, *SENTENCES), frames)


class Found:
    """A network that finds as often as it is told, and notes what it was asked for."""

    def __init__(self, often: Mapping[str, int]) -> None:
        self.often, self.asked = often, list[str]()

    def words(self, phrase: str) -> Any:
        return phrase

    def find(self, frame: int, image: object, phrases: Sequence[str]) -> list[list[Instance]]:
        self.asked += phrases
        rle = masks.empty((2, 2))
        return [[Instance(frame, rle, (0, 0, 1, 1), 0.5)] * self.often.get(phrase, 0) for phrase in phrases]


@pytest.mark.parametrize(
    ("often", "kept", "asked"),
    [
        ({"white dog": 1, "dog": 1}, "white dog", ["white dog", "dog"]),
        ({"white dog": 1, "dog": 3}, "dog", ["white dog", "dog"]),
        ({"animal": 2}, "animal", ["white dog", "dog", "animal"]),
        ({}, None, ["white dog", "dog", "animal"]),
    ],
)
def test_the_phrase_with_more_instances_is_kept_and_where_none_has_any_broader_ones_are_tried(
    often: dict[str, int], kept: str | None, asked: list[str], tmp_path: Path
) -> None:
    network, frames = Found(often), draw_frames(tmp_path / "f", 1)
    search = Search(network, frames, [0])  # type: ignore[arg-type]
    (sought,) = ByRule().sought_in("the white dog")
    search.settle([sought], ByRule(), 3)
    assert sought.kept == kept and network.asked == asked and sought.tried == asked
    again = Sought("a white dog")
    search.settle([again], ByRule(), 0)
    assert network.asked == asked, "nothing is looked for twice"


def test_arithmetic_in_bfloat16(folder: Path, tmp_path: Path) -> None:
    frames = draw_frames(tmp_path / "f", 3)
    short = settings(follow="own", precision="bfloat16")
    network, model = load(folder, short, "cpu", 8)
    prompts = Sam3Prompter(network, ByRule(), short, model).prompts(video_of(frames, "a dog"), frames)
    assert next(model.parameters()).dtype == torch.bfloat16 and all(np.isfinite(p.box_score) for p in prompts)


# ---------------------------------------------------------------- own tracks


def test_a_chunk_is_what_transformers_own_loop_gives(own: OwnTracker, folder: Path, tmp_path: Path) -> None:
    """Sessions that see a frame together, and a video that is read as it goes, change nothing; nor do other sessions."""
    from transformers import Sam3VideoModel, Sam3VideoProcessor

    frames = draw_frames(tmp_path / "f", 14)
    theirs, processor = Sam3VideoModel.from_pretrained(folder), Sam3VideoProcessor.from_pretrained(folder)
    theirs.score_threshold_detection, theirs.new_det_thresh = THRESHOLD, 0.9
    theirs.det_nms_thresh, detect = 0.0, theirs.run_detection
    theirs.run_detection = lambda **named: own.suppress(detect(**named))
    session = processor.init_video_session(video=[frames.load(t) for t in range(14)])
    processor.add_text_prompt(session, "dog")
    expected: dict[int, dict[int, Any]] = {}
    for output in theirs.propagate_in_video_iterator(session):
        found = processor.postprocess_outputs(session, output)
        for identity, mask in zip(found["object_ids"].tolist(), found["masks"], strict=True):
            if mask.any():
                expected.setdefault(identity, {})[output.frame_idx] = masks.encode(mask.numpy())
    words = {phrase: own.network.words(phrase) for phrase in ("red car", "dog")}
    tracks = own.tracks(frames, words)
    assert len(expected) > 1 and sum(map(len, expected.values())) > 14
    assert [track.masks for track in tracks["dog"]] == [seen for _, seen in sorted(expected.items())]
    assert [track.masks for track in tracks["red car"]] != [track.masks for track in tracks["dog"]]


def test_what_is_kept_of_300_frames_is_no_more_than_of_the_first_chunks(
    own: OwnTracker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every chunk shows the same frames, so that each one's sessions hold the same tensors at its end."""
    seen = draw_frames(tmp_path / "f", CHUNK - OVERLAP)
    repeated = Repeated(seen, 300)
    last = {start + CHUNK - 1 for start in range(0, 300 - CHUNK, CHUNK - OVERLAP)}
    kept: list[tuple[int, int]] = []

    def load_and_count(index: int) -> Any:
        if index in last:  # for the first time at the end of a chunk, then as a shared frame of the next one
            last.remove(index)
            kept.append(tensors_alive())
        return seen.load(index % len(seen))

    monkeypatch.setattr(repeated, "load", load_and_count)
    monkeypatch.setattr(own, "settings", own.settings.model_copy(update={"max_instances": 1}))
    words = own.network.words("dog")
    before = tensors_alive()
    own.tracks(repeated, {"dog": words})  # type: ignore[arg-type]
    assert len(kept) == 7 and kept[0] > before
    assert set(kept[1:]) == {kept[1]}, "numbers of tensors and of bytes"
    assert tensors_alive()[1] <= before[1]


class Repeated:
    """A video of some frames again and again."""

    def __init__(self, frames: FrameFolder, length: int) -> None:
        self.size, self._length = frames.size, length

    def __len__(self) -> int:
        return self._length

    def load(self, index: int) -> Any:
        raise NotImplementedError


def tensors_alive() -> tuple[int, int]:
    """How many storages of tensors there are, and their bytes."""
    gc.collect()
    tensors = [value for value in gc.get_objects() if type(value) is torch.Tensor]
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return len(storages), sum(storages.values())


# ---------------------------------------------------------------- the stage


def sam3_job(place: Path, folder: Path, **over: Any) -> Job:
    """Two short videos of frames, with the tiny SAM3 among the micro models."""
    for name, n in (("one", 10), ("two", 6)):
        if not (place / "data" / name).exists():
            draw_frames(place / "data" / name, n)
    index = {"one": list(SENTENCES[:2]), "two": ["a bird", "the one"]}
    model = {"hub": None, "revision": None, "files": [], "seed": None, "path": str(folder), "license": None}
    prompts = settings(own={**settings().own.model_dump(), "chunk": 6, "overlap": 2}, **over)
    mine = {
        "paths": {"weights": str(place / "weights")},
        "presets": {"micro": {"models": {"sam3": model}}},
        "datasets": {"clips": {"settings": {"prompts": {"sam3": prompts.model_dump(mode="json")}}}},
    }
    job = folder_job(place, index, mine)
    for role in ("sam2", "sam3"):
        fetch_preset(job.config, "micro", role, overwrite=False, source=None)
    extract_frames.run(job)
    return Job(**{**vars(job), "source": "sam3"})


def test_a_stopped_run_goes_on_to_the_same_bytes(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, stopped = sam3_job(tmp_path / "a", folder), sam3_job(tmp_path / "b", folder)
    generate_prompts.run(whole)
    prompts_of = Sam3Prompter.prompts

    def stop_at_two(self: Sam3Prompter, video: Video, frames: FrameFolder) -> list[Prompt]:
        if video.id == "two":
            raise KeyboardInterrupt
        return prompts_of(self, video, frames)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Sam3Prompter, "prompts", stop_at_two)
        generate_prompts.run(stopped)
    one, two = (stopped.layout.file(GENERATE_PROMPTS, name, "sam3") for name in ("one", "two"))
    made = one.stat().st_mtime_ns
    assert not two.exists()
    generate_prompts.run(stopped)
    assert one.stat().st_mtime_ns == made, "what was finished is not made again"
    for path in (one, two):
        assert path.read_bytes() == whole.layout.file(GENERATE_PROMPTS, path.stem, "sam3").read_bytes()
    assert {prompt.phrase for prompt in read_prompts(one)} and all(p.box_score > THRESHOLD for p in read_prompts(one))


def test_the_mllm_of_an_entry_of_evidence_is_asked(folder: Path, tmp_path: Path) -> None:
    """The micro one says yes and no alone, so that the rule goes on."""
    job = sam3_job(tmp_path, folder, phrases_by="judge", phrase_frames=1)
    with pytest.raises(ValueError, match="no weights for mllm of preset 'micro'"):
        generate_prompts.run(job)
    fetch_preset(job.config, "micro", "mllm", overwrite=False, source=None)
    generate_prompts.run(Job(**{**vars(job), "limit": 1}))
    path = job.layout.file(GENERATE_PROMPTS, "one", "sam3")
    assert {prompt.phrase for prompt in read_prompts(path)} <= {"red car", "car", "vehicle", "dog", "animal"}
    stamp = read_stamp(path, GENERATE_PROMPTS.name).ingredients
    assert set(stamp["weights"]) == {"sam3", "mllm"} and stamp["config"]["evidence.judge.precision"] == "float32"


def test_own_tracks_become_tracks_as_they_are(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = sam3_job(tmp_path, folder, follow="own")
    generate_prompts.run(job)
    build_tracks.run(job)
    prompts = read_prompts(job.layout.file(GENERATE_PROMPTS, "one", "sam3"))
    path = job.layout.file(BUILD_TRACKS, "one", "sam3")
    tracks = read_tracks(path)
    assert len(tracks) > 1 and [len(rows) > 0 for rows in tracks.expression_tracks] == [True, True]
    given = {(p.frame, p.mask["counts"]) for p in prompts}
    rles_NT = read_masks(path, range(len(tracks)))
    seen = {(t, rle["counts"]) for row in rles_NT for t, rle in enumerate(row) if masks.area([rle])[0]}
    assert seen == given, "no mask is followed further"
    assert "random" in caplog.text and settings_of(job.config, "clips").prompts.sam3.follow == "own"


def test_weights_that_are_no_sam3_or_not_whole_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sam3_video or sam3"):
        sam3_job(tmp_path / "kind", Path("stages/micro/weights/text").resolve())
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in folder.iterdir():
        (broken / file.name).write_bytes(file.read_bytes()[: 4000 if file.suffix == ".safetensors" else None])
    with pytest.raises(ValueError, match="broken: SAM3 does not load"):
        load(broken, settings(), "cpu", 8)
