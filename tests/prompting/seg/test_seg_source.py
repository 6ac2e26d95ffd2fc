"""Source seg as a stage: tiny random checkpoints in published naming, real files, from frames to tracks."""

import json
import weakref
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.jobs import folder_job
from support.project import CONFIG
from support.sam2 import draw_frames
from support.seg_checkpoints import entry, write_internvl
from support.seg_qwen import write_qwen

from stages import build_tracks, extract_frames, generate_prompts
from stages.core.config.loading import load_config, settings_of
from stages.core.media import masks
from stages.core.records import Expression, Video
from stages.core.run.cli import Job
from stages.core.state.frames import open_frames
from stages.core.state.graph import BUILD_TRACKS, GENERATE_PROMPTS
from stages.core.state.prompt_file import Prompt, read_prompts
from stages.core.state.track_file import read_membership
from stages.datasets import open_split
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.prompter import SegPrompter
from stages.weights.fetch import fetch_preset

SENTENCES = ["the red square", "the blue square [SEG]", "the red square", "What moves to the left?"]
ASKED = (0, 1, 2, 3)
N_FRAMES = {"a": 9, "b": 3}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """family → the entry of the config of a tiny checkpoint."""
    root = tmp_path_factory.mktemp("checkpoints")
    write_internvl(root / "internvl")
    write_qwen(root / "qwen3", "qwen3_vl")
    qwen = entry("sa2va_qwen3_vl", template="published", state="before_norm")
    return {
        name: {**model.model_dump(), "path": str(root / name)}
        for name, model in {"internvl": entry("sa2va_internvl"), "qwen3": qwen}.items()
    }


def job_in(place: Path, model: dict[str, Any], settings: dict[str, Any] | None = None, **flags: Any) -> Job:
    """A job on two drawn clips, with frames extracted and weights in place."""
    for name, n_frames in N_FRAMES.items():
        if not (place / "data" / name).exists():
            draw_frames(place / "data" / name, n_frames)
    over = {
        "paths": {"weights": str(place / "weights"), "weights_lock": str(place / "lock.json")},
        "presets": {"micro": {"models": {"seg": model}}},
        "datasets": {
            "clips": {
                "settings": {
                    "prompts": {"seg": {"variant": "sa2va_i", **(settings or {})}},
                    "tracks": {"max_tracks": {"seg": 2}},
                }
            }
        },
    }
    job = folder_job(place, dict.fromkeys(N_FRAMES, SENTENCES), over)
    for role in ("seg", "sam2"):
        fetch_preset(job.config, "micro", role, overwrite=False, source=None)
    extract_frames.run(job)
    return Job(**{**vars(job), "source": "seg", **flags})


def prompts_in(job: Job, video: str) -> list[Prompt]:
    return read_prompts(job.layout.file(GENERATE_PROMPTS, video, "seg"))


def bytes_of(job: Job) -> dict[str, bytes]:
    return {video: job.layout.file(GENERATE_PROMPTS, video, "seg").read_bytes() for video in N_FRAMES}


@pytest.mark.parametrize("base", ["internvl", "qwen3"])
def test_from_frames_and_sentences_to_tracks(checkpoints, tmp_path, base):
    job = job_in(tmp_path, checkpoints[base])
    generate_prompts.run(job)
    shown = {"a": [0, 2, 4, 6, 8], "b": [0, 1, 2]}
    for video, frames in shown.items():
        prompts = prompts_in(job, video)
        assert [(p.frame, p.expression) for p in prompts] == [(f, e) for f in frames for e in ASKED]
        for prompt in prompts:
            assert tuple(prompt.mask["size"]) == (48, 64) and 0 < prompt.mask_score < 1 and np.isnan(prompt.box_score)
            assert prompt.box == tuple(map(float, masks.boxes([prompt.mask])[0]))
        of = {(p.frame, p.expression): p for p in prompts}
        assert all(of[f, 0].mask == of[f, 2].mask and of[f, 0].mask_score == of[f, 2].mask_score for f in frames)
        assert any(of[f, 0].mask_score != of[f, 1].mask_score for f in frames)  # the sentence is read
    build_tracks.run(job)
    tracks = read_membership(job.layout.file(BUILD_TRACKS, "a", "seg"))
    assert all(len(rows) <= 2 for rows in tracks.expression_tracks)
    assert len(tracks.expression_tracks[0]) > 0


def test_killed_and_resumed_is_the_same_to_the_byte(checkpoints, tmp_path):
    once, twice = tmp_path / "once", tmp_path / "twice"
    for place in (once, twice):
        place.mkdir()
    whole = job_in(once, checkpoints["internvl"])
    generate_prompts.run(whole)
    generate_prompts.run(job_in(twice, checkpoints["internvl"], limit=1))
    resumed = job_in(twice, checkpoints["internvl"])
    assert sum(resumed.layout.file(GENERATE_PROMPTS, video, "seg").exists() for video in N_FRAMES) == 1
    generate_prompts.run(resumed)
    assert bytes_of(resumed) == bytes_of(whole)
    before = {v: resumed.layout.file(GENERATE_PROMPTS, v, "seg").stat().st_mtime_ns for v in N_FRAMES}
    generate_prompts.run(resumed)
    assert before == {v: resumed.layout.file(GENERATE_PROMPTS, v, "seg").stat().st_mtime_ns for v in N_FRAMES}


def test_batches_change_nothing_but_rounding(checkpoints, tmp_path):
    job = job_in(tmp_path, checkpoints["internvl"])
    split, settings = open_split(job.config, job.dataset, job.split), job.settings.prompts["seg"]
    [video] = [video for video in split.videos() if video.id == "a"]
    model = load_seg_model(Path(checkpoints["internvl"]["path"]), entry("sa2va_internvl"), "cpu", "float32")
    frames = open_frames(job.layout, "a")
    silent = Expression("9", "...", None, "...")
    video = replace(video, expressions=(silent, *video.expressions))
    many, one = (SegPrompter(model, settings, *[n] * 3).prompts(video, frames) for n in (8, 1))
    assert {p.expression for p in many} == {1, 2, 3, 4}  # what has no word is not asked
    assert [(p.frame, p.expression) for p in many] == [(p.frame, p.expression) for p in one]
    assert max(abs(a.mask_score - b.mask_score) for a, b in zip(many, one, strict=True)) < 1e-4


def test_images_and_frames_are_encoded_once_and_no_frame_is_kept(checkpoints, tmp_path, monkeypatch):
    folder, alive, most = draw_frames(tmp_path / "f", 150), set(), []

    class Frames(type(folder)):
        def load(self, index):
            most.append(len(alive))
            image = super().load(index)
            alive.add(id(image))
            weakref.finalize(image, alive.discard, id(image))
            return image

    frames = Frames(*(getattr(folder, f.name) for f in fields(folder)))
    model = load_seg_model(Path(checkpoints["internvl"]["path"]), entry("sa2va_internvl"), "cpu", "float32")
    calls = {"encode": 0, "forward_image": 0}

    def count(owner, name):
        whole = getattr(owner, name)

        def counted(*arguments):
            calls[name] += 1
            return whole(*arguments)

        monkeypatch.setattr(owner, name, counted)

    count(model, "encode")
    count(model.sam2, "forward_image")
    settings = settings_of(load_config(CONFIG), "shapes").prompts["seg"].model_copy(update={"variant": "sasasa2va"})
    expressions = tuple(Expression(str(e), text, None, text) for e, text in enumerate(SENTENCES))
    prompts = SegPrompter(model, settings, 2, 3, 8).prompts(
        Video("v", frames.names, folder.directory, expressions, 150), frames
    )
    assert len(prompts) == 150 * 4 and calls == {"encode": 1, "forward_image": 150}
    shown, decoded = most[:100], most[100:]
    assert len(decoded) == 150 and max(decoded) <= 2, "frames are freed when their masks are made"
    assert max(shown) <= 10 + 10, "of frames that are shown, the whole ones and a clip that is tiled"


@pytest.mark.parametrize("variant", ["sa2va", "frame_tokens", "svac", "sasasa2va"])
def test_every_variant_decodes_the_frames_of_its_plan(checkpoints, tmp_path, variant):
    small = {"clips": 3, "grid": 2, "tokens": 2}
    settings = {"variant": variant, "svac": small, "sasasa2va": {**small, "mode": "uniform_plus"}}
    job = job_in(tmp_path, checkpoints["internvl"], settings)
    generate_prompts.run(job)
    decoded = {"sa2va": range(5), "frame_tokens": range(1, 9, 2)}.get(variant, range(9))
    assert [(p.frame, p.expression) for p in prompts_in(job, "a")] == [(f, e) for f in decoded for e in ASKED]


def test_vrs_hq_gives_one_mask_at_the_keyframe(checkpoints, tmp_path):
    chosen = tmp_path / "chosen.json"
    chosen.write_text(json.dumps({"a": {"selected_frames": {"0": 3, "1": [8]}}}))
    settings = {"variant": "vrs_hq", "vrs_hq": {"frames": 4, "alpha": 0.1}, "chosen_frames": str(chosen)}
    job = job_in(tmp_path, checkpoints["internvl"], settings)
    generate_prompts.run(job)
    prompts = prompts_in(job, "a")
    assert sorted(p.expression for p in prompts) == list(ASKED)
    step = {0: (0, 3, 6), 1: (2, 5, 8), 2: (0, 3, 6), 3: (0, 3, 6)}  # ⌈9/3⌉ = 3
    assert all(prompt.frame in step[prompt.expression] for prompt in prompts)
    chosen.write_text(json.dumps({"a": {"selected_frames": {"0": 4}}}))
    generate_prompts.run(job)  # what the file says is in the stamp
    [first] = [p for p in prompts_in(job, "a") if p.expression == 0]
    assert first.frame in (1, 4, 7)


def test_q_frame_needs_its_file_and_tracks_the_rest(checkpoints, tmp_path):
    chosen = tmp_path / "chosen.json"
    own = {"clips": 2, "grid": 1, "tokens": 2, "mode": "q_frame"}
    settings = {"variant": "sasasa2va", "sasasa2va": own, "chosen_frames": str(chosen)}
    chosen.write_text(json.dumps({"a": {"selected_frames": {"0": [1, 1, 7]}}}))
    with pytest.raises(SystemExit):
        generate_prompts.run(job_in(tmp_path, checkpoints["internvl"], settings, limit=1))
    frames = {str(e): [1, 1, 7, 8] for e in ASKED}
    chosen.write_text(json.dumps({video: {"selected_frames": frames} for video in ("a",)}))
    job = job_in(tmp_path, checkpoints["internvl"], settings, limit=1)
    generate_prompts.run(job)
    assert [(p.frame, p.expression) for p in prompts_in(job, "a")] == [(f, e) for f in (1, 7, 8) for e in ASKED]


def test_the_tuned_sam2_may_follow_first(checkpoints, tmp_path):
    job = job_in(tmp_path, checkpoints["internvl"], {"variant": "sa2va", "follow": "tuned"}, limit=1)
    generate_prompts.run(job)
    followed = prompts_in(job, "a")
    assert [(p.frame, p.expression) for p in followed] == [(f, e) for f in range(9) for e in ASKED]
    generate_prompts.run(job_in(tmp_path, checkpoints["internvl"], {"variant": "sa2va"}, limit=1))
    decoded = {(p.frame, p.expression): p for p in prompts_in(job, "a")}
    for prompt in followed:
        if prompt.frame < 5:  # its masks know no memory
            assert masks.iou_matrix([prompt.mask], [decoded[prompt.frame, prompt.expression].mask])[0, 0] > 0.999


def test_a_generated_answer_gives_masks_if_it_has_a_token(checkpoints, tmp_path):
    settings = {"answer": "generated", "max_new_tokens": 12}
    job = job_in(tmp_path, checkpoints["internvl"], settings, limit=1)
    generate_prompts.run(job)
    model = load_seg_model(Path(checkpoints["internvl"]["path"]), entry("sa2va_internvl"), "cpu", "float32")
    frames, key = open_frames(job.layout, "a"), ("the red square", ())
    for said, frames_with_mask in (("It is [SEG].", [0, 2, 4, 6, 8]), ("It is gone.", [])):
        with Obliging(model, model.tokenizer.encode(said, add_special_tokens=False)):
            sentence = SegPrompter(model, job.settings.prompts["seg"], 8, 8, 8).segment([key], frames)[key]
        assert sentence.answered.text.startswith("It is") and sorted(sentence.masks) == frames_with_mask
    assert all("[SEG]" in p.phrase for p in prompts_in(job, "a"))


def test_forced_states_are_those_of_generation(checkpoints):
    """A model that is made to answer "It is [SEG]." has the same states either way."""
    model = load_seg_model(Path(checkpoints["internvl"]["path"]), entry("sa2va_internvl"), "cpu", "float32")
    rng = np.random.default_rng(0)
    seen = model.encode([rng.integers(0, 256, (30, 40, 3), dtype=np.uint8) for _ in range(2)])
    texts = ["<image>\nPlease segment the red square.", "<image>\nPlease segment all that moves."]
    answer = "It is [SEG]."
    start = len(model.side.ids(seen, texts[0]))
    said_ids = model.side.ids(seen, texts[0], answer + model.side.ends[0])[start:]
    with torch.inference_mode():
        forced = model.states(seen, texts, [answer] * 2)
        with Obliging(model, said_ids):
            generated = model.generate(seen, texts, 16)
    for state, said in zip(forced, generated, strict=True):
        assert said.text == answer
        assert (state - said.states_nD).abs().max() <= 5e-6


class Obliging:
    """While it is open, the model's head prefers the tokens of an answer, in order; the last again and again."""

    def __init__(self, model, ids):
        self.tail, self.step, self.model = ids, 0, model

    def __enter__(self):
        def prefer(_module, _arguments, logits):
            wanted = self.tail[min(self.step, len(self.tail) - 1)]
            self.step += 1
            out = torch.zeros_like(logits)
            out[..., wanted] = 1
            return out

        self.handle = self.model.side.head.register_forward_hook(prefer)

    def __exit__(self, *_):
        self.handle.remove()


def test_config_of_the_source_is_checked(tmp_path, checkpoints):
    with pytest.raises(ValueError, match="variant"):
        job_in(tmp_path, checkpoints["internvl"], {"variant": "sa2va_j"})
