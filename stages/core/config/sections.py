"""The pydantic models of config.yaml's sections: type, range, unit and meaning of every key.

Values live in config.yaml alone, so no field has a default. `Settings` are the sections that a preset or
a data set may override; the rest of the file is in `stages.core.config.file`.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Unit = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
Threshold = Unit | Literal["auto"]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureCache(Section):
    """What features of a video's frames may take in memory; the rest lies in a temporary file (TMPDIR)."""

    device: Annotated[float, Field(ge=0)] = Field(description="GB of the device's memory, where it has its own")
    host: Annotated[float, Field(ge=0)] = Field(description="GB of the host's memory")


class Run(Section):
    n_pids: Positive = Field(description="Shards a stage is cut into, each one job")
    threads: Positive = Field(description="CPU threads of one job")
    device: Device = Field(description="Where models run; auto = cuda where there is one")
    feature_cache_gb: FeatureCache
    on_stale: Literal["recompute", "stop"] = Field(description="What to do with a cache file made by another config")


class Frames(Section):
    fps: PositiveFloat | None = Field(description="Frames a second to keep of a video file; null = all")
    max_side: Positive | None = Field(
        description="Longest side in pixels of frames taken from a video file; null = native"
    )
    max_frames: Positive | None = Field(description="Frames to keep of a video file, from its start; null = all")
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = Field(description="Quality of the JPEGs written")


class GroundTruthPrompts(Section):
    frame: Literal["first", "largest"] = Field(
        description="Which frame of an annotation is its prompt: the first it is seen in, or where it is largest"
    )


class FrameChoice(Section):
    """Either every `step`-th frame or `count` frames evenly spaced from 0 (2 = frames 0 and n//2)."""

    step: Positive | None = Field(description="Every step-th frame; null = use count")
    count: Positive | None = Field(description="That many frames, i·n//count; null = use step")

    @model_validator(mode="after")
    def _one_of(self) -> "FrameChoice":
        if (self.step is None) == (self.count is None):
            raise ValueError("give exactly one of step and count, the other null")
        return self

    def select(self, n_frames: int) -> list[int]:
        """Indices of the chosen frames of a video of `n_frames`."""
        if self.step is not None:
            return list(range(0, n_frames, self.step))
        assert self.count is not None
        return sorted({i * n_frames // self.count for i in range(self.count)})


class GridPrompts(Section):
    frames_train: FrameChoice = Field(description="Frames that get automatic masks in splits of role train")
    frames_evaluate: FrameChoice = Field(description="Frames that get automatic masks in splits of role evaluate")
    points_per_side: Positive = Field(description="Side of the grid of point prompts")
    points_per_batch: Positive = Field(description="Points decoded together (memory only)")
    pred_iou_thresh: Unit = Field(description="Masks of lower predicted IoU are dropped")
    stability_score_thresh: Unit = Field(description="Masks of lower stability are dropped")
    stability_score_offset: Annotated[float, Field(ge=0)] = Field(
        description="Shift of the logit threshold that stability is measured with"
    )
    box_nms_thresh: Unit = Field(description="IoU of boxes above which the worse of two masks is dropped")
    min_mask_region_area: Annotated[int, Field(ge=0)] = Field(
        description="Holes and islands below this area in pixels are cleaned; 0 = off"
    )
    part_overlap: Unit = Field(
        description="A mask with more than this share inside a kept larger one is a part, and dropped"
    )
    precision: Precision = Field(description="Arithmetic of SAM2 here")


class GroundingDinoPrompts(Section):
    backend: Literal["transformers", "groundingdino"] = Field(
        description="What runs the detector: transformers, or the authors' package; the weights are the same"
    )
    frames: FrameChoice = Field(description="Frames the detector looks at")
    box_threshold: Unit = Field(description="Boxes of lower score are dropped")
    text_threshold: Unit = Field(description="Tokens of lower score are left out of a box's phrase")
    max_boxes: Positive = Field(description="Best boxes kept a frame and expression")
    pairs_per_pass: Positive = Field(
        description="Pairs of a frame and an expression the detector reads together (memory; transformers backend only)"
    )
    stability_min: Unit = Field(description="Box masks of lower stability are dropped")
    precision: Precision = Field(description="Arithmetic of the detector, and of SAM2 for its boxes")


class Prompts(Section):
    gt: GroundTruthPrompts
    grid: GridPrompts
    gdino: GroundingDinoPrompts


class MaxTracks(Section):
    gt: Positive | None = Field(description="Ground-truth tracks a video; null = all")
    grid: Positive | None = Field(description="Grid tracks a video; null = all")
    gdino: Positive | None = Field(description="GroundingDINO tracks an expression; null = all")


class Tracks(Section):
    engine: Literal["lockstep", "stock"] = Field(
        description="lockstep = all tracks a frame together; stock = the sam2 package's own video predictor, the reference"
    )
    batch_size: Positive = Field(description="Tracks computed together (lockstep); halves where memory is short")
    compile: bool = Field(description="lockstep: torch.compile, batches padded to powers of two")
    share_prompts: Literal["off", "iou"] = Field(
        description="off = every prompt is tracked, as published; iou = prompts of a frame that agree share a track"
    )
    share_iou: Unit = Field(description="From this IoU on two prompts of a frame agree")
    prompts_per_pass: Positive = Field(
        description="Prompts of one frame propagated together before the IoU filter runs"
    )
    covered_iou: Unit = Field(description="A prompt whose IoU with a track in its frame exceeds this is dropped")
    max_tracks: MaxTracks
    precision: Precision = Field(description="Arithmetic of SAM2; float32 also stores tokens in float32")
    label_size: tuple[Positive, Positive] = Field(
        description="(short, long) side in pixels at which tracks are compared with annotations"
    )

    @field_validator("share_prompts", mode="before")
    @classmethod
    def _yaml_off(cls, value: object) -> object:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value


class Text(Section):
    max_tokens: Positive = Field(description="Longer captions are cut to this many tokens, with a warning")


class SelectorSources(Section):
    train: list[Literal["gt", "grid", "gdino"]] = Field(
        min_length=1, description="Track sources the selector is trained on"
    )
    evaluate: list[Literal["gt", "grid", "gdino"]] = Field(min_length=1, description="Track sources it chooses from")


class SolaModel(Section):
    hidden_dim: Positive = Field(description="Width of the motion encoder")
    n_layers: Positive = Field(description="Alignment layers")
    n_heads: Positive = Field(description="Attention heads")
    n_groups: Positive = Field(description="Groups of every GroupNorm")
    n_negatives: Positive = Field(description="Learned negative tokens")
    dropout: Unit = Field(description="Dropout of the motion encoder")
    attention_dropout: Unit = Field(description="Dropout inside attention")


class SocModel(Section):
    dim: Positive = Field(description="Width of tokens, words and slots")
    ffn_dim: Positive = Field(description="Inner width of the feed-forward blocks")
    n_heads: Positive = Field(description="Attention heads")
    n_proxies: Positive = Field(description="Learned proxies between tracks and words")
    n_encoder_layers: Positive = Field(description="Layers over the frames of a track")
    n_slots: Positive = Field(description="Slots that a video is gathered in")
    n_slot_layers: Positive = Field(description="Layers of the slots")
    dropout: Unit = Field(description="Dropout after attention and in the feed-forward blocks")
    attention_dropout: Unit = Field(description="Dropout inside attention; 0 is a third faster on a CPU")


class Tda(Section):
    alpha: Annotated[float, Field(ge=0)] = Field(
        description="Share of the frames that are like the track's vector; 0 = off"
    )
    temperature: PositiveFloat = Field(description="τ of the softmax over the visible frames")


class LearningRate(Section):
    sola: PositiveFloat = Field(description="Of AdamW, for sola")
    soc: PositiveFloat = Field(description="Of AdamW, for soc")


class SelectorTraining(Section):
    epochs: Positive = Field(description="Passes over the training expressions")
    patience: Positive | None = Field(description="Epochs without a better validation J&F that end it; null = all run")
    batch_size: Positive = Field(description="Expressions a step, over all processes")
    expressions_per_video: Positive = Field(
        description="Most expressions of one video in a step; they share its tracks, and what knows no words"
    )
    tokens_per_pass: Positive = Field(
        description="Padded tokens of one forward pass; gradients of a larger step are accumulated (memory only)"
    )
    foreign_tracks: Annotated[int, Field(ge=0)] = Field(
        description="gdino tracks of a video's other expressions added to each as hard negatives, drawn every epoch"
    )
    learning_rate: LearningRate
    weight_decay: Annotated[float, Field(ge=0)] = Field(description="AdamW")
    plateau_factor: Unit = Field(description="Learning rate is multiplied by this on a plateau of the validation loss")
    plateau_patience: Annotated[int, Field(ge=0)] = Field(description="Epochs without improvement before that")
    clip_norm: PositiveFloat = Field(description="Gradient norm is clipped to this")
    precision: Precision = Field(description="Arithmetic on a GPU; the CPU trains in float32")
    positive_iou: Unit = Field(description="A track is positive above this mean IoU with a referred annotation")
    positive_weight: PositiveFloat = Field(description="Weight of positives")
    alignment_weight: Annotated[float, Field(ge=0)] = Field(description="Weight of sola's alignment loss")
    temperature: float = Field(description="τ of sola's alignment loss, used as exp(τ)")
    contrastive_weight: Annotated[float, Field(ge=0)] = Field(description="Weight of soc's contrastive loss")
    gate_weight: Annotated[float, Field(ge=0)] = Field(description="Weight of soc's loss of visibility a frame")
    validation_threshold: Threshold = Field(
        description="Decision threshold of the J&F that picks the best epoch; auto = that of the epoch's best J&F"
    )
    seed: int = Field(description="Of initialisation, order and dropout")


class Selector(Section):
    name: Literal["sola", "soc"] = Field(description="The architecture; its own section is sola or soc")
    sources: SelectorSources
    sola: SolaModel
    soc: SocModel
    tda: Tda
    training: SelectorTraining
    threshold: Threshold = Field(
        description="A track is chosen when sigmoid(score) exceeds this; auto = as calibrated in training, .5 for an "
        "imported checkpoint"
    )


class Rerank(Section):
    enabled: bool = Field(description="false = the selector's decision stands")
    weight: Annotated[float, Field(ge=0)] = Field(description="β: score + β·log-odds of the MLLM")
    keyframes: Positive = Field(description="Frames the MLLM sees of a video")
    max_candidates: Annotated[int, Field(ge=1, le=8)] = Field(description="Best tracks shown an expression")
    frame_side: Positive = Field(description="Longest side in pixels of the images shown")
    questions_per_pass: Positive = Field(description="Questions answered in one forward pass (memory only)")
    precision: Precision = Field(description="Arithmetic of the MLLM")


class Evaluate(Section):
    boundary_ratio: Unit = Field(description="Tolerance of F as a share of the image diagonal; 0.008 is official")


class Compare(Section):
    selectors: list[str] = Field(description="NAME=PLACE of selectors to compare (stages/comparison/selectors.py)")
    seeds: list[int] = Field(min_length=1, description="Seeds of trained selectors and of the random baseline")
    baselines: list[str] = Field(description="Baselines to compare with (stages/comparison/baselines.py)")
    sources: list[str] = Field(min_length=1, description="Track sources to choose from, each as grid or grid+gdino")
    thresholds: list[str | float] = Field(
        description="Where scores are decided: numbers; calibrated = the one a selector's training found; config = "
        "selector.threshold; best = the one that does best on the split itself"
    )


class Render(Section):
    overlays: bool = Field(description="Draw an overlay video an expression")
    fps: PositiveFloat = Field(description="Frames a second of overlays where the source has no timestamps")
    max_side: Positive = Field(description="Longest side of overlays in pixels")
    opacity: Unit = Field(description="Of the mask's tint")
    crf: Annotated[int, Field(ge=0, le=51)] = Field(description="H.264 quality of overlays; lower is better")


class Settings(Section):
    """The sections that a preset or a data set may override."""

    run: Run
    frames: Frames
    prompts: Prompts
    tracks: Tracks
    text: Text
    selector: Selector
    rerank: Rerank
    evaluate: Evaluate
    compare: Compare
    render: Render
