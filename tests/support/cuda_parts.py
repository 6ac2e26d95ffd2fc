"""The parts of the pipeline that run on a device, on micro models, each with one unit of work and what it gave.

The embedded weights where there are some, else tiny random ones. What a unit gives is a flat list of arrays.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sam2.modeling.sam2_base import SAM2Base
from support.detectors import build_wide
from support.detectors import prompts as detector_settings
from support.detectors import weights as detector_weights
from support.project import CONFIG, ROOT
from support.samples import MODELS, C, D, sample
from support.seg_checkpoints import entry, write_internvl
from support.seg_qwen import write_qwen

from stages.core.config.loading import load_config, settings_of
from stages.core.config.sections import Run
from stages.core.config.selector_sections import Tda
from stages.core.media import masks
from stages.core.records import Expression, Rle, Video
from stages.core.run.batches import Batches
from stages.core.state.frames import FrameFolder
from stages.core.state.weights import Weights
from stages.evidence.backends.transformers import load_judge
from stages.evidence.questions import Picture, Question
from stages.micro.training.sam2.tracked import held_out_clip
from stages.prompting.grid.automatic_masks import AutomaticMasks
from stages.prompting.grounding_dino.detector import load_detector
from stages.prompting.grounding_dino.prompter import BoxMasker
from stages.prompting.seg.checkpoint.loading import load_seg_model
from stages.prompting.seg.prompter import SegPrompter
from stages.selectors.architectures import Architecture
from stages.selectors.scoring import logits_of
from stages.selectors.text_encoder import TransformersTextEncoder
from stages.tracking.lockstep import LockstepTracker
from stages.tracking.sam2_model import load_image_model
from stages.tracking.tracker import PromptBatch

BUNDLE = ROOT / "stages/micro/weights"
Arrays = list[NDArray[Any]]
Unit = Callable[[], Arrays]
CAPTIONS = ["the green squares", "a yellow star"]
GB = 10**9


@dataclass(frozen=True)
class Place:
    """What parts work on.

    Attributes:
        folder: for weights that have to be written.
        clip: a drawn clip.
        prompts: masks of two of its objects in its first frame.
    """

    folder: Path
    clip: FrameFolder
    prompts: list[Rle]

    @property
    def image(self) -> NDArray[np.uint8]:
        return self.clip.load(0)

    def written(self, name: str, write: Callable[[Path], Any]) -> Path:
        folder = self.folder / name
        if not folder.exists():
            write(folder)
        return folder


def make_place(folder: Path, n_frames: int) -> Place:
    """With a held-out clip of the embedded models' trainings."""
    clip = held_out_clip(3)
    (folder / "clip").mkdir()
    names = tuple(f"{t:05}" for t in range(n_frames))
    for t, name in enumerate(names):
        Image.fromarray(clip.frames_THW3[t % len(clip.frames_THW3)]).save(folder / "clip" / f"{name}.png")
    height, width = clip.frames_THW3.shape[1:3]
    frames = FrameFolder(folder / "clip", names, ".png", (height, width), None, "held-out")
    return Place(folder, frames, masks.encode_all(clip.masks_NTHW[:2, 0]))


def bundled(role: str) -> Weights:
    return Weights(BUNDLE / role, "id", load_config(CONFIG).presets["micro"].models[role])


# ------------------------------------------------------------- SAM2


def tracking(place: Place, device: str, precision: Any = "float32", **run_settings: Any) -> Unit:
    """Two tracks through the clip; `run_settings` are of the config's section `run`."""
    settings = settings_of(load_config(CONFIG), "shapes")
    tracks = settings.tracks.model_copy(update={"precision": precision, "compile": False})
    run = Run.model_validate(settings.run.model_dump() | run_settings)
    tracker = LockstepTracker.load(bundled("sam2"), device, tracks, run)

    def unit() -> Arrays:
        tracker.close()
        [masklets] = tracker.track(place.clip, [PromptBatch(0, place.prompts)])
        said = [array for m in masklets for array in (m.tokens_TC, m.score_T, m.iou_T)]
        return [*said, *(masks.decode(rle) for m in masklets for rle in m.rles_T)]

    return unit


def image_model(device: str) -> SAM2Base:
    return load_image_model(bundled("sam2"), device)


def automatic_masks(place: Place, device: str, precision: Any = "float32") -> Unit:
    """Those of one frame."""
    published = settings_of(load_config(CONFIG), "mevis").prompts.grid
    settings = published.model_copy(update={"points_per_side": 4, "precision": precision, "pred_iou_thresh": 0.5})
    generator = AutomaticMasks(image_model(device), settings, 8)

    def unit() -> Arrays:
        made = generator.generate(place.image)
        return [np.array([[m.predicted_iou, m.stability] for m in made]), *(masks.decode(m.rle) for m in made)]

    return unit


def box_masks(place: Place, device: str, precision: Any = "float32") -> Unit:
    """Those of three boxes in a frame."""
    masker = BoxMasker(image_model(device), precision)
    boxes_N4 = np.array([[4, 4, 30, 30], [20, 10, 60, 50], [0, 0, 20, 44]], np.float32)

    def unit() -> Arrays:
        made = masker.masks(place.image, boxes_N4)
        return [np.array([[m.score, m.stability] for m in made]), *(masks.decode(m.rle) for m in made)]

    return unit


# ------------------------------------------------------------- detectors


def detector(place: Place, device: str, backend: str = "transformers", precision: str = "float32") -> Unit:
    """Two captions in one frame."""
    settings = detector_settings(backend, precision=precision, box_threshold=0.1)
    if backend == "transformers":
        loaded = load_detector(bundled("grounding_dino"), settings, device, 4)
    else:
        loaded = load_detector(detector_weights(place.written("wide", build_wide)), settings, device, 4)

    def unit() -> Arrays:
        [found] = loaded.detect([place.image], CAPTIONS)
        return [array for d in found for array in (d.boxes_N4, d.scores_N)]

    return unit


# ------------------------------------------------------------- words, tracks, questions


def text(place: Place, device: str) -> Unit:
    """The features of a sentence."""
    encoder = TransformersTextEncoder(BUNDLE / "text", 64, device)
    return lambda: [encoder.encode("the red square moving left", "test").words_WD]


def selector(place: Place, device: str, kind: str = "sola") -> Unit:
    """The logits of two samples in a pass."""
    model = Architecture(kind, MODELS[kind], Tda(alpha=0.0, temperature=1.0)).build(C, D, 0).eval().to(device)
    samples = [sample(3, 5, 4), sample(2, 7, 6)]
    return lambda: list(logits_of(model, samples, device, 10**6))


def judge(place: Place, device: str, precision: Any = "float32") -> Unit:
    """Six questions of one context: three of one candidate, then of another."""
    loaded = load_judge(BUNDLE / "mllm", device, precision, Batches(4, "questions"))
    asked = [("Is it red?", "Does it move left?", "Is it a square?"), ("Is it blue?", "Is it a star?", "Is it large?")]
    pictures = [Picture(place.clip.load(t)) for t in range(3)]
    questions = [
        Question(("Frames: ", pictures[0]), ("Object: ", pictures[1 + i], words))
        for i, several in enumerate(asked)
        for words in several
    ]

    def unit() -> Arrays:
        loaded.prefixes.forget()
        replies = loaded.answer(questions)
        assert loaded.sharing
        return [np.array([*reply.scores, reply.mass]) for reply in replies]

    return unit


def seg(place: Place, device: str, family: str = "internvl", answer: str = "forced", follow: str = "engine") -> Unit:
    """Two sentences of the clip."""
    write = {"internvl": write_internvl, "qwen3_vl": lambda folder: write_qwen(folder, "qwen3_vl")}[family]
    folder = place.written(f"seg-{family}", write)
    changes = {} if family == "internvl" else {"template": "published", "state": "before_norm"}
    model = load_seg_model(folder, entry(f"sa2va_{family}", **changes), device, "float32")
    published = settings_of(load_config(CONFIG), "shapes").prompts["seg"]
    update = {"variant": "sa2va_i", "answer": answer, "follow": follow, "max_new_tokens": 6, "chosen_frames": None}
    prompter = SegPrompter(model, published.model_copy(update={**update, "precision": "float32"}), 4, 4, 4)
    sentences = ("the red square", "the blue star")
    expressions = tuple(Expression(str(i), x, None, x) for i, x in enumerate(sentences))
    video = Video("v", place.clip.names, place.clip.directory, expressions, len(place.clip))

    def unit() -> Arrays:
        made = prompter.prompts(video, place.clip)
        where = np.array([(p.frame, p.expression) for p in made], np.float64).reshape(-1, 2)
        return [where, np.array([p.mask_score for p in made]), *(masks.decode(p.mask) for p in made)]

    return unit
