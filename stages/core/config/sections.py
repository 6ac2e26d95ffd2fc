"""The pydantic models of config.yaml's sections: type, range, unit and meaning of every key.

Values live in config.yaml alone, so no field has a default. `Settings` are the sections that a preset or
a data set may override; the rest of the file is in `stages.core.config.file`. What is a `Parts` here gets its
parts from the open tables, in `stages.core.config.model`.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stages.core.backends import writing_entry
from stages.core.config.section import (
    NAME,
    Device,
    FrameRate,
    NonNegative,
    Partial,
    Parts,
    Positive,
    Precision,
    Section,
    Unit,
)
from stages.core.config.seg_training_section import SegTraining
from stages.core.config.selector_sections import Selector
from stages.core.tables import SOURCES


class FeatureCache(Section):
    """What features of a video's frames may take in memory; the rest is stored in a temporary file (TMPDIR)."""

    device: NonNegative = Field(description="GB of the device's memory, where it has its own")
    host: NonNegative = Field(description="GB of the host's memory")


class Batches(Section):
    """How much is computed at once: it decides memory and time. Results do not depend on it but for rounding,
    so it is in no stamp; what a file was made with is in the file's history."""

    points: Positive = Field(description="Point prompts of a frame decoded together (source grid)")
    pairs: Positive = Field(
        description="Pairs of a frame and a sentence or phrase that a detector reads together (gdino with its transformers "
        "backend, sam3)"
    )
    tracks: Positive = Field(description="Tracks that advance together (engine lockstep); halves where memory is short")
    tokens: Positive = Field(
        description="Padded tokens of one forward pass of a selector; gradients of a larger step are accumulated"
    )
    questions: Positive = Field(description="Questions that an MLLM answers in one forward pass")


class Run(Section):
    n_pids: Positive = Field(description="Shards a stage is cut into, each one job")
    threads: Positive = Field(description="CPU threads of one job")
    device: Device = Field(description="Where models run; auto = cuda where there is one")
    slots_per_device: Positive = Field(
        description="Jobs that share a device, where the pipeline leases devices itself; the profile's resource gpu counts them"
    )
    batches: Batches
    feature_cache_gb: FeatureCache
    on_failure: Literal["stop", "leave_out"] = Field(
        description="What a video that fails does to the others' results: stop = they wait until it is fixed or taken "
        "out of the data set; leave_out = they are made without it, and name it"
    )
    on_stale: Literal["recompute", "stop"] = Field(description="What to do with a cache file made by another config")
    experiment_trackers: list[str] = Field(
        description="Experiment trackers that are told the learning curves of trainings, beside curve.jsonl; [] = none"
    )


class Frames(Section):
    fps: FrameRate | None = Field(description="Frames per second to keep of a video file; null = all")
    max_side: Positive | None = Field(
        description="Longest side in pixels of frames taken from a video file; null = native"
    )
    max_frames: Positive | None = Field(description="Frames to keep of a video file, from its start; null = all")
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = Field(description="Quality of the JPEGs written")


class Tracks(Section):
    engine: Literal["lockstep", "stock"] = Field(
        description="lockstep = all tracks advance together, frame by frame; stock = the sam2 package's own video predictor, the reference"
    )
    compile: bool = Field(description="lockstep: torch.compile, batches padded to powers of two")
    share_prompts: Literal["off", "iou"] = Field(
        description="off = every prompt is tracked, as published; iou = prompts of a frame that agree share a track"
    )
    share_iou: Unit = Field(description="Two prompts of a frame agree from this IoU on")
    prompts_per_pass: Positive = Field(
        description="Prompts of one frame propagated together before the IoU filter runs"
    )
    covered_iou: Unit = Field(description="A prompt whose IoU with a track in its frame exceeds this is dropped")
    max_tracks: Parts
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


class RuleChoice(Parts):
    """Its parts are the rules' own sections; only the chosen one's is looked at."""

    kind: str = Field(description="The rule; its own section is rerank.rule.<kind>")

    @property
    def own(self) -> Any:
        """The section of the chosen rule."""
        return self[self.kind]


class Rerank(Section):
    evidence: list[str] = Field(description="Names of `evidence` that decide beside the selector; none = it alone")
    fusion: Literal["fixed", "fitted"] = Field(
        description="Where weights come from: fixed = from here, the selector's score weighs 1; fitted = from labelled "
        "tracks of another split (referee fit-fusion)"
    )
    weights: dict[str, float] = Field(description="fixed: name → weight of its log-odds of tracks")
    existence_weights: dict[str, float] = Field(
        description="fixed: name → weight of its log-odds that there is such an object at all; left out = 0"
    )
    fit_on: str | None = Field(
        description="fitted: <dataset>/<split> that the fusion is fitted to, never the one that is decided; null = "
        "selector.validate_on of the data set"
    )
    fusion_file: str | None = Field(
        description="fitted: a fusion that was written before (referee fit-fusion --out); null = it is fitted to fit_on"
    )
    objective: Literal["j_and_f", "final"] = Field(
        description="fitted: what the rule's parameters are best by, mean J&F or Final, which also counts whether there "
        "is an answer at all"
    )
    behind_best: bool = Field(
        description="fitted: whether a value's distance from the best of its sentence is weighed too"
    )
    looks_apart: bool = Field(
        description="fitted: whether sentences that say nothing but looks, as 'the red car', have weights of their own"
    )
    same_iou: Unit | None = Field(
        description="Tracks that share more than this as tubes are one object: judged by the mean of their log-odds, and "
        "counted once; null = every track is an object"
    )
    rule: RuleChoice


class Evaluate(Section):
    boundary_ratio: Unit = Field(description="Tolerance of F as a share of the image diagonal; 0.008 is official")


class DecisionLine(Partial):
    """A line of the table: whose scores, which evidence, and how they decide. Keys of `rerank` that are left out are as
    in compare.rerank, or else as in `rerank`."""

    selector: str | None = Field(
        None, description="Architecture whose trainings score; left out = selector.name; null = evidence decides alone"
    )
    variant: str | None = Field(
        None, description="One of compare.variants that its trainings are of; left out = as `selector` says"
    )
    seeds: Positive = Field(1, description="Runs with the first so many of compare.seeds; left out = 1")
    mean_of_seeds: bool = Field(
        False, description="Whether they are one run by the mean of their logits, not a run each; left out = no"
    )
    evidence: list[str] = Field([], description="As rerank.evidence")
    fusion: Literal["fixed", "fitted"] = Field("fitted", description="As rerank.fusion")
    weights: dict[str, float] = Field({}, description="As rerank.weights; names that are left out are as there")
    existence_weights: dict[str, float] = Field({}, description="As rerank.existence_weights")
    objective: Literal["j_and_f", "final"] = Field("j_and_f", description="As rerank.objective")
    behind_best: bool = Field(False, description="As rerank.behind_best")
    looks_apart: bool = Field(False, description="As rerank.looks_apart")
    same_iou: Unit | None = Field(None, description="As rerank.same_iou")
    rule: dict[str, Any] = Field({}, description="As rerank.rule; keys that are left out are as there")

    @model_validator(mode="after")
    def _varies_something(self) -> "DecisionLine":
        if self.variant is not None and self.is_without_selector:
            raise ValueError(f"variant {self.variant}: selector: null has no trainings; leave one of them out")
        if self.mean_of_seeds and (self.is_without_selector or self.seeds < 2):
            raise ValueError("mean_of_seeds: a mean is over several trainings; give a selector, and seeds: 2 or more")
        return self

    @property
    def is_without_selector(self) -> bool:
        return self.selector is None and "selector" in self.model_fields_set

    @property
    def reranked(self) -> dict[str, Any]:
        """What it says in other ways than `rerank`."""
        return self.model_dump(mode="json", exclude={"selector", "variant", "seeds", "mean_of_seeds"})


class Compare(Section):
    selectors: list[str] = Field(description="NAME=PLACE of selectors to compare (stages/comparison/selectors.py)")
    seeds: list[int] = Field(min_length=1, description="Seeds of trained selectors and of the random baseline")
    baselines: list[str] = Field(description="Baselines to compare with (stages/comparison/baselines.py)")
    sources: list[str] = Field(min_length=1, description="Track sources to choose from, each as grid or grid+gdino")
    thresholds: list[str | float] = Field(
        description="Where scores are decided: numbers; calibrated = the one a selector's training found; config = "
        "selector.threshold; best = the one that does best on the split itself"
    )
    variants: dict[str, dict[str, Any]] = Field(
        description="Name → keys of `selector` that trainings of that name change, as {inputs: [course]}"
    )
    rerank: dict[str, Any] = Field(description="Keys of `rerank` that `decisions` have in other ways than there")
    decisions: dict[str, DecisionLine] = Field(
        description="Name of a line → a decision from scores and evidence, made in memory (stages/comparison/decisions.py)"
    )

    @model_validator(mode="after")
    def _variants_exist(self) -> "Compare":
        for label in self.variants:
            if not NAME.fullmatch(label):  # it becomes part of a folder and a wildcard of the workflow
                raise ValueError(f"variants: {label!r}: a name has lower-case letters, digits and '_'")
        for name, line in self.decisions.items():
            if line.variant is not None and line.variant not in self.variants:
                raise ValueError(f"decisions: {name}: no {line.variant!r} in compare.variants")
        return self


class Render(Section):
    overlays: bool = Field(description="Draw an overlay video per expression")
    fps: FrameRate = Field(description="Frames per second of overlays where the source has no timestamps")
    max_side: Positive = Field(description="Longest side of overlays in pixels")
    opacity: Unit = Field(description="Opacity of the mask's tint")
    crf: Annotated[int, Field(ge=0, le=51)] = Field(description="H.264 quality of overlays; lower is better")
    captions: bool = Field(description="Write the sentence and the scores of its objects into overlays")
    font: str | None = Field(
        description="Font file that is tried first in overlays; null = an installed font, chosen by script"
    )


class Settings(Section):
    """The sections that a preset or a data set may override."""

    run: Run
    frames: Frames
    prompts: Parts
    seg_training: SegTraining
    tracks: Tracks
    text: Text
    selector: Selector
    evidence: dict[str, Any] = Field(
        description="Name → what is gathered about tracks and expressions: kind, and its keys"
    )
    rerank: Rerank
    evaluate: Evaluate
    compare: Compare
    render: Render

    @model_validator(mode="after")
    def _evidence_exists(self) -> "Settings":
        for name in self.evidence:
            if not NAME.fullmatch(name):  # it becomes a folder and a wildcard of the workflow
                raise ValueError(
                    f"evidence: {name!r} is not a valid name; a name has lower-case letters, digits and '_'"
                )
        self.check_decider(self.rerank, "rerank")
        for name, source in SOURCES.items():
            if name in type(self.prompts).model_fields and (asked := source.asks_by(self.prompts[name])) is not None:
                writing_entry(self.evidence, asked, f"prompts.{name}")
        return self

    def check_decider(self, rerank: Rerank, where: str) -> None:
        """Raises ValueError where it names evidence that there is not, or that has no weight."""
        for name in (*rerank.evidence, *rerank.weights, *rerank.existence_weights):
            if name not in self.evidence:
                raise ValueError(f"{where}: no {name!r} in `evidence`; there are {sorted(self.evidence)}")
        for name in rerank.evidence if rerank.fusion == "fixed" else ():
            if name not in rerank.weights and name not in rerank.existence_weights:
                raise ValueError(f"{where}.weights: {name} has no weight; give one, or take it out of {where}.evidence")
        if len(set(rerank.evidence)) < len(rerank.evidence):
            raise ValueError(f"{where}.evidence: {rerank.evidence} names one of them twice")
