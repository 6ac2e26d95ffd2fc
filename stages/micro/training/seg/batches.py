"""A step's batch, ready for the model: a function of seed, step and progress, so that any process can make it.

Legend: V videos, I images of each, N frames with a [SEG] each, R = V · S requests, L tokens of a request with its images and answer, F frames to
decode in, D masks to decode, K = I · h · w image tokens of a video, H × W a frame, Q = 128 the side of SAM2's input.
"""

from dataclasses import dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from stages.micro.mllm import MAX_TOKENS, SEG
from stages.micro.tokenizer import qwen_tokenizer
from stages.micro.training.mllm.scenes import Scenes
from stages.micro.training.sam2.clips import in_light
from stages.micro.training.seg.cells import centres_of, middle_of, middles_of, shares_of, shown_objects
from stages.micro.training.seg.forward import images_in_words
from stages.micro.training.seg.phrases import asked, noun_phrases
from stages.micro.training.seg.recipe import EARLY, FRAMES, Recipe, Stage
from stages.micro.training.seg.scenes import Said, Scene, endless_scene
from stages.prompting.seg.plan import Plan
from stages.prompting.seg.variants import VARIANTS
from stages.prompting.seg.variants.frames import FewFrames
from stages.worlds.shapes.scene import Generator
from stages.worlds.shapes.write import SIZES

VARIANT = VARIANTS["frame_tokens"]
SAM2_SIDE = 128


@dataclass(frozen=True, eq=False)
class Batch:
    """
    Attributes:
        stage: of the recipe.
        images_VIHW3: uint8, what the MLLM sees.
        shown_VK: 1 + object that each image token shows most of; 0 = background, −1 = unclear.
        middles_VIO2: x and y of a pixel of each object near its middle, in shares of the frame; NaN where it cannot be seen.
        looks_VO4: of the objects; −1 = unknown, and for objects that a video does not have.
        ids_RL: tokens of requests, images and answers, padded at the end.
        begin_R: where the images begin; stays on the host.
        shows_RK: whether an image token shows what is asked for: 1, 0; −1 = hardly.
        middle_RI2: x and y of a pixel of the target near its middle in each image, in shares of it; NaN where it is not one object.
        answer_R2: first and one past the last place of each answer.
        seg_RN: places of [SEG].
        frames_FQQ3: uint8, squashed as SAM2 sees them.
        row_D, seg_D, frame_D: which request's [SEG] decodes in which frame.
        truth_DHW: bool.
        pointed_DK: shares of the target in the image tokens of its frame, sum 1; all 0 where it is not there.
        places_D3: centre and size there; NaN where it is not there.
    """

    stage: Stage
    images_VIHW3: Tensor
    shown_VK: Tensor
    middles_VIO2: Tensor
    looks_VO4: Tensor
    ids_RL: Tensor
    begin_R: Tensor
    shows_RK: Tensor
    middle_RI2: Tensor
    answer_R2: Tensor
    seg_RN: Tensor
    frames_FQQ3: Tensor
    row_D: Tensor
    seg_D: Tensor
    frame_D: Tensor
    truth_DHW: Tensor
    pointed_DK: Tensor
    places_D3: Tensor

    def to(self, device: str) -> "Batch":
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            name: x.to(device) if isinstance(x, Tensor) and name != "begin_R" else x for name, x in held.items()
        }
        return Batch(**moved)


class Requests:
    """Requests, images and answers as the model's chat has them: see SENTENCE_FIRST."""

    def __init__(self) -> None:
        self.tokenizer = qwen_tokenizer(MAX_TOKENS, SEG.tokens)
        self.seg_id: int = self.tokenizer.convert_tokens_to_ids("[SEG]")
        self.pad_id: int = self.tokenizer.pad_token_id

    def whole(self, text: str, frames: int, height: int, width: int) -> tuple[list[int], int, int]:
        """Tokens, and where the images and the answer begin among them."""
        settings = FewFrames(frames=frames)
        request = VARIANT.request(text).replace("<image>", "")
        asked = self.tokenizer.encode(f"<|im_start|>user\n{request}")
        images = self.tokenizer.encode(images_in_words(frames, height, width))
        between = self.tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n")
        answer = self.tokenizer.encode(VARIANT.answer(settings, plan_of(frames, frames)) + "<|im_end|>")
        return [*asked, *images, *between, *answer], len(asked), len(asked) + len(images) + len(between)


def plan_of(frames: int, n_frames: int) -> Plan:
    return VARIANT.plan(n_frames, FewFrames(frames=frames), ())


@dataclass(frozen=True, eq=False)
class Draws:
    """The scenes that steps draw from; what `Ahead` asks of them."""

    recipe: Recipe
    scenes: Scenes
    tracks: None = None

    def scenes_of(self, step: int) -> range:
        """The scenes in use: they move on by `fresh` a step."""
        first = int(step * self.recipe.fresh)
        return range(first, first + self.recipe.window)

    def draws_tracks(self, progress: float) -> bool:
        return False


@dataclass(frozen=True, eq=False)
class Batches:
    """What a training learns from; calling it makes the batch of a step.

    Attributes:
        folder: where scenes are kept.
    """

    recipe: Recipe
    seed: int
    folder: Path

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open everything for themselves."""
        return Batches, (self.recipe, self.seed, self.folder)

    @cached_property
    def draws(self) -> Draws:
        make = partial(endless_scene, self.seed)
        return Draws(self.recipe, Scenes(self.folder / "scenes", make, kind=Scene))

    @cached_property
    def requests(self) -> Requests:
        return Requests()

    def __call__(self, step: int, progress: float) -> Batch:
        """On the host."""
        rng = np.random.default_rng([self.seed, 1, step])
        recipe, stage = self.recipe, self.recipe.stage(progress)
        within = self.draws.scenes_of(step)
        like = int(rng.integers(len(SIZES)))  # all frames of a step are of one size
        fitting = [i for i in within if i % len(SIZES) == like]
        late = stage == "all"
        frames = FRAMES if late else EARLY
        count = recipe.frames // frames if stage == "vision" else recipe.videos[late]
        making = Making(rng, recipe, stage, frames, self.requests)
        for index in rng.choice(fitting, count, replace=False).tolist():
            making.add(self.draws.scenes[index])
        return making.batch()


class Making:
    """A batch while it is made."""

    def __init__(self, rng: Generator, recipe: Recipe, stage: Stage, n_shown: int, requests: Requests) -> None:
        self.rng, self.recipe, self.stage, self.n_shown, self.requests = rng, recipe, stage, n_shown, requests
        self.late = stage == "all"
        self.images: list[NDArray[np.uint8]] = []
        self.shown: list[NDArray[np.int64]] = []
        self.looks: list[NDArray[np.int64]] = []
        self.object_middles: list[NDArray[np.float32]] = []
        self.ids: list[list[int]] = []
        self.begins: list[int] = []
        self.shows: list[NDArray[np.int64]] = []
        self.middles: list[NDArray[np.float32]] = []
        self.answers: list[tuple[int, int]] = []
        self.frames: list[NDArray[np.uint8]] = []
        self.decodes: list[tuple[int, int, int]] = []
        self.truths: list[NDArray[np.bool_]] = []
        self.pointed: list[NDArray[np.float32]] = []
        self.places: list[NDArray[np.float32]] = []

    def add(self, scene: Scene) -> None:
        """A video: the whole scene, or before the last stage a short stretch of it; with its sentences."""
        rng, total = self.rng, len(scene.frames_THW3)
        n_frames = total if self.late else int(rng.integers(EARLY, 9))
        start = int(rng.integers(total - n_frames + 1))
        frames_THW3 = in_light(rng, scene.frames_THW3[start : start + n_frames])
        labels_THW = scene.labels_THW[start : start + n_frames]
        plan = plan_of(self.n_shown, n_frames)
        slots = list(plan.slots)
        self.images.append(frames_THW3[slots])
        self.shown.append(shown_objects(labels_THW[slots], len(scene.looks_O4)))
        self.looks.append(scene.looks_O4)
        self.object_middles.append(middles_of(labels_THW[slots], len(scene.looks_O4)))
        if self.stage == "vision":
            return
        seen = [int(label) - 1 for label in np.unique(labels_THW[slots]) if label] or [0]
        count = self.recipe.sentences[self.late]
        own = asked(rng, scene, seen, count, self.recipe) if self.late else noun_phrases(rng, scene, seen, count)
        where: dict[int, int] = {}  # frame → index in self.frames
        for one in own:
            self._ask(one, plan, frames_THW3, labels_THW, where)

    def _ask(
        self,
        said: Said,
        plan: Plan,
        frames_THW3: NDArray[np.uint8],
        labels_THW: NDArray[np.uint8],
        where: dict[int, int],
    ) -> None:
        ids, images_at, answer_at = self.requests.whole(said.text, self.n_shown, *labels_THW.shape[1:])
        self.ids.append(ids)
        self.begins.append(images_at)
        self.answers.append((answer_at, len(ids)))
        target_THW = np.isin(labels_THW, np.asarray(said.referred) + 1)
        self.shows.append(shown_objects(target_THW[list(plan.slots)].astype(np.uint8), 1))
        self.middles.append(np.stack([middle_of_one(target_THW[t], labels_THW[t]) for t in plan.slots]))
        if self.stage == "find":
            return
        decode = plan.decodes[int(self.rng.integers(len(plan.decodes)))]
        frame = decode.frame
        if frame not in where:
            where[frame] = len(self.frames)
            self.frames.append(squashed(frames_THW3[frame]))
        self.decodes.append((len(self.ids) - 1, decode.clip, where[frame]))
        self.truths.append(target_THW[frame])
        own = shares_of(target_THW[frame : frame + 1])
        shares = np.zeros((len(plan.slots), *own.shape[1:]), np.float32)
        shares[decode.clip] = own[0]
        self.pointed.append((shares.reshape(-1) / max(float(shares.sum()), 1e-6)).astype(np.float32))
        self.places.append(centres_of(target_THW[frame : frame + 1])[0])

    def batch(self) -> Batch:
        most = max(map(len, self.looks))
        looks_VO4 = np.stack([_filled(own_O4, most, 0, -1) for own_O4 in self.looks])
        middles_VIO2 = np.stack([_filled(own_IO2, most, 1, np.nan) for own_IO2 in self.object_middles])
        width = max(map(len, self.ids), default=0)
        padded = [ids + [self.requests.pad_id] * (width - len(ids)) for ids in self.ids]
        ids_RL = torch.tensor(padded, dtype=torch.int64).view(len(padded), width)
        images = np.stack(self.images)
        none = np.zeros((0, 1), np.float32)
        decodes = torch.tensor(self.decodes, dtype=torch.int64).view(-1, 3)
        return Batch(
            stage=self.stage,
            images_VIHW3=torch.from_numpy(images),
            shown_VK=torch.from_numpy(np.stack(self.shown)),
            middles_VIO2=torch.from_numpy(middles_VIO2),
            looks_VO4=torch.from_numpy(looks_VO4),
            ids_RL=ids_RL,
            begin_R=torch.tensor(self.begins, dtype=torch.int64),
            shows_RK=torch.from_numpy(np.stack(self.shows) if self.shows else np.zeros((0, 1), np.int64)),
            middle_RI2=torch.from_numpy(np.stack(self.middles) if self.middles else np.zeros((0, 1, 2), np.float32)),
            answer_R2=torch.tensor(self.answers, dtype=torch.int64).view(-1, 2),
            seg_RN=(ids_RL == self.requests.seg_id).nonzero()[:, 1].view(-1, self.n_shown),
            frames_FQQ3=torch.from_numpy(np.stack(self.frames) if self.frames else np.zeros((0, 1, 1, 3), np.uint8)),
            row_D=decodes[:, 0],
            seg_D=decodes[:, 1],
            frame_D=decodes[:, 2],
            truth_DHW=torch.from_numpy(np.stack(self.truths) if self.truths else np.zeros((0, 1, 1), bool)),
            pointed_DK=torch.from_numpy(np.stack(self.pointed) if self.pointed else none),
            places_D3=torch.from_numpy(np.stack(self.places) if self.places else none),
        )


def _filled(own: NDArray[Any], count: int, axis: int, value: float) -> NDArray[Any]:
    """With as many objects as the video that has most."""
    widths = [(0, count - own.shape[axis] if k == axis else 0) for k in range(own.ndim)]
    return np.pad(own, widths, constant_values=value)


def middle_of_one(target_HW: NDArray[np.bool_], labels_HW: NDArray[np.uint8]) -> NDArray[np.float32]:
    """`middle_of` a target that is one object; else NaN."""
    one_object = len(np.unique(labels_HW[target_HW])) == 1
    return middle_of(target_HW) if one_object else np.full(2, np.nan, np.float32)


def squashed(frame_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """As SAM2 sees a frame (decoding.model_pixels)."""
    return np.array(Image.fromarray(frame_HW3).resize((SAM2_SIDE, SAM2_SIDE), Image.Resampling.BICUBIC))
