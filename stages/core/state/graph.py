"""The stages of the pipeline as data: what each reads from the config, and where its files lie.

One table serves the workflow (a changed section reruns the stages that list it), the cache (the same
sections enter every file's fingerprint) and the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.core.config.file import Config
from stages.core.records import Source


@dataclass(frozen=True)
class Stage:
    """A stage that keeps one file a video.

    Attributes:
        name: the module, `stages.<name>`.
        folder: below <cache>/<dataset>/<split>/.
        suffix: of its per-video files.
        version: of their layout; raise it when the layout changes.
        sections: the config sections, or keys of them, that its output depends on; "{source}" is filled in.
        models: roles of the models it loads, by source (None = whatever the source).
        per_source: whether it runs once for every prompt source.
        gpu: devices a job takes (`gpus` knows the exception).
    """

    name: str
    folder: str
    suffix: str
    version: int
    sections: tuple[str, ...]
    models: Mapping[Source | None, tuple[str, ...]]
    per_source: bool = False
    gpu: int = 0

    def reads(self, source: Source | None) -> tuple[str, ...]:
        """The config sections, with the source filled in."""
        return tuple(name.format(source=source) for name in self.sections)

    def roles(self, source: Source | None) -> tuple[str, ...]:
        """The models it needs for a source."""
        return self.models.get(source, self.models.get(None, ()))

    def gpus(self, source: Source | None) -> int:
        """Devices a job takes: none for a source that needs no model."""
        return 0 if self.per_source and not self.roles(source) else self.gpu


EXTRACT_FRAMES = Stage("extract_frames", "frames", ".json", 1, ("frames",), {})
GENERATE_PROMPTS = Stage(
    "generate_prompts",
    "prompts",
    ".h5",
    1,
    ("prompts.{source}",),
    {"gt": (), "grid": ("sam2",), "gdino": ("sam2", "grounding_dino")},
    per_source=True,
    gpu=1,
)
# Key by key, since the cap of another source must not track this one again: tracks are what costs.
TRACK_KEYS = (
    *("engine", "batch_size", "compile", "share_prompts", "share_iou", "prompts_per_pass", "covered_iou"),
    *("max_tracks.{source}", "precision", "label_size"),
)
BUILD_TRACKS = Stage(
    "build_tracks",
    "tracks",
    ".h5",
    1,
    tuple(f"tracks.{key}" for key in TRACK_KEYS),
    {None: ("sam2",)},
    per_source=True,
    gpu=1,
)
ENCODE_TEXT = Stage("encode_text", "text", ".h5", 1, ("text",), {None: ("text",)}, gpu=1)
TRAINING_SECTIONS = tuple(f"selector.{name}" for name in ("name", "sources", "sola", "soc", "tda", "training"))
TRAIN_SELECTOR = Stage("train_selector", "selector", ".json", 1, TRAINING_SECTIONS, {}, gpu=1)
SCORE_TRACKS = Stage("score_tracks", "scores", ".json", 2, ("selector.sources.evaluate",), {}, gpu=1)
RERANK_TRACKS = Stage(
    "rerank_tracks", "decisions", ".json", 1, ("rerank", "selector.threshold"), {None: ("mllm",)}, gpu=1
)
EVALUATE = Stage("evaluate", "evaluation", ".json", 2, ("evaluate",), {})
RENDER_PREDICTIONS = Stage("render_predictions", "render", ".json", 1, ("render",), {})

STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        EXTRACT_FRAMES,
        GENERATE_PROMPTS,
        BUILD_TRACKS,
        ENCODE_TEXT,
        TRAIN_SELECTOR,
        SCORE_TRACKS,
        RERANK_TRACKS,
        EVALUATE,
        RENDER_PREDICTIONS,
    )
}


@dataclass(frozen=True)
class Layout:
    """Where the state of one split lies."""

    cache: Path
    dataset: str
    split: str

    @classmethod
    def of(cls, config: Config, dataset: str, split: str) -> "Layout":
        return cls(Path(config.paths.cache), dataset, split)

    @property
    def root(self) -> Path:
        return self.cache / self.dataset / self.split

    def folder(self, stage: Stage, source: Source | None = None) -> Path:
        """The folder of a stage's per-video files."""
        assert stage.per_source == (source is not None), f"{stage.name} with source {source}"
        return self.root / stage.folder / source if source else self.root / stage.folder

    def file(self, stage: Stage, video: str, source: Source | None = None) -> Path:
        """A stage's file of one video; a video id with "/" makes subfolders."""
        return self.folder(stage, source) / f"{video}{stage.suffix}"

    def variant(self, selector: str, seed: int) -> Path:
        """The folder of a training on this split with another architecture or seed than the config's."""
        return self.folder(TRAIN_SELECTOR) / f"{selector}-{seed}"

    def frames(self, video: str) -> Path:
        """The folder that holds exactly the frames of a video, extracted or linked."""
        return self.root / EXTRACT_FRAMES.folder / video

    def verified(self, stage: Stage, source: Source | None = None) -> Path:
        """What `collect` writes once every video of the split is complete."""
        return self.root / "done" / f"{stage.name}{'-' + source if source else ''}.json"

    def errors(self, stage: Stage, source: Source | None = None) -> Path:
        """The folder of what failed and why, one file a video."""
        return self.root / "errors" / f"{stage.name}{'-' + source if source else ''}"
