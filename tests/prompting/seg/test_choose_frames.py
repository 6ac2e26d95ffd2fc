"""Frames that fit a sentence best: CLIP's own logits, the file that is written, and source seg reading it."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from support.jobs import folder_job
from support.sam2 import draw_frames
from support.tiny_clip import build_clip

from stages import extract_frames
from stages.prompting.seg.chosen import chosen_frames
from stages.prompting.seg.fitting import FrameFitter, best_frames
from stages.tools import choose_frames

TEXTS = ["the red square", "what moves?"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return build_clip(tmp_path_factory.mktemp("clip"))


def test_fit_is_in_the_order_of_clips_own_logits(clip, tmp_path):
    from transformers import CLIPModel, CLIPProcessor

    frames = draw_frames(tmp_path / "f", 20)  # two passes
    fit_ET = FrameFitter.load(clip, "cpu").fit(frames, TEXTS)
    model, processor = CLIPModel.from_pretrained(clip).eval(), CLIPProcessor.from_pretrained(clip)
    images = [Image.fromarray(frames.load(t)) for t in range(20)]
    with torch.no_grad():
        inputs = processor(text=TEXTS, images=images, padding=True, return_tensors="pt")
        logits_TE = model(**inputs).logits_per_image
    scale = model.logit_scale.exp().item()
    np.testing.assert_allclose(fit_ET * scale, logits_TE.T.numpy(), atol=1e-4)
    assert fit_ET.shape == (2, 20) and len(set(fit_ET[0].round(6))) > 10


def test_the_best_frames_by_hand():
    fit_T = np.array([0.2, 0.9, 0.9, 0.1], np.float32)
    assert best_frames(fit_T, 1) == [1] and best_frames(fit_T, 3) == [0, 1, 2]
    assert best_frames(fit_T, 6) == [0, 1, 1, 2, 2, 3]


def test_the_tool_writes_what_the_source_reads(clip, tmp_path):
    draw_frames(tmp_path / "data" / "a", 7)
    job = folder_job(tmp_path, {"a": TEXTS})
    extract_frames.run(job)
    out = tmp_path / "best.json"
    choose_frames.run(job, clip, 3, out)
    from stages.core.state.frames import open_frames
    from stages.datasets import open_split

    [video] = open_split(job.config, job.dataset, job.split).videos()
    fit_ET = FrameFitter.load(clip, "cpu").fit(open_frames(job.layout, "a"), TEXTS)
    expected = {e.id: tuple(best_frames(fit_T, 3)) for e, fit_T in zip(video.expressions, fit_ET, strict=True)}
    assert chosen_frames(str(out), video, 3) == expected
    assert list(json.loads(out.read_text())) == ["a"]
    with pytest.raises(ValueError, match="3 frames are chosen, and the variant shows 100"):
        chosen_frames(str(out), video, 100)


def test_a_folder_without_a_clip_is_refused(clip, tmp_path):
    with pytest.raises(ValueError, match="does not load as a CLIP"):
        FrameFitter.load(tmp_path, "cpu")
    broken = tmp_path / "broken"
    shutil.copytree(clip, broken)
    (broken / "model.safetensors").write_bytes(b"x")
    with pytest.raises(ValueError, match="does not load as a CLIP"):
        FrameFitter.load(broken, "cpu")
    for text in ("[1]", "{", '{"a": {"selected_frames": {"0": ["x"]}}}'):
        (tmp_path / "c.json").write_text(text)
        with pytest.raises(ValueError, match=r"c\.json"):
            from stages.core.records import Expression, Video

            chosen_frames(
                str(tmp_path / "c.json"), Video("a", ("0",), tmp_path, (Expression("0", "x", None, "x"),), 1), 0
            )
