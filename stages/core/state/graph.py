"""The stages of the pipeline as data: what each reads from the config, and where its files are stored.

One table serves the workflow (a changed section reruns the stages that list it), the cache (the same
sections enter every file's fingerprint) and the command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stages.core.backends import Backed, identity_keys, roles_of
from stages.core.config.file import Config
from stages.core.config.sections import Settings, Tracks
from stages.core.tables import EVIDENCE, FORMATS, SOURCES


@dataclass(frozen=True)
class Stage:
    """A stage that keeps one file per video.

    A stage may run several times on a video, once per *branch*: per prompt source, or per name of evidence.

    Attributes:
        name: the module, `stages.<name>`.
        folder: below <cache>/<dataset>/<split>/.
        suffix: of its per-video files.
        version: of their layout; raise it when the layout changes.
        sections: the config sections, or keys of them, that its output depends on; "{branch}" and "{selector}" (the
            chosen architecture) are filled in. Nothing of `run` is among them: it changes no result.
        fixed_roles: roles of the models it loads, whatever the branch.
        per: what its branches are; None = it has none.
        device: whether a job takes a device; None = if the branch loads a model, or its kind of evidence says so.
        asks: whether its files depend on the sentences; None = as its prompt source says.
    """

    name: str
    folder: str
    suffix: str
    version: int
    sections: tuple[str, ...]
    fixed_roles: tuple[str, ...] = ()
    per: Literal["source", "evidence"] | None = None
    device: bool | None = False
    asks: bool | None = True

    def reads(self, settings: Settings, branch: str | None) -> tuple[str, ...]:
        """The config sections, with the branch and the chosen selector filled in; and of an MLLM that the branch's source
        asks, the keys that its answers depend on."""
        own = tuple(name.format(branch=branch, selector=settings.selector.name) for name in self.sections)
        return own + (identity_keys(*asked) if (asked := self._asked(settings, branch)) else ())

    def roles(self, settings: Settings, branch: str | None) -> tuple[str, ...]:
        """The models it loads."""
        if self.device is not None or branch is None:
            return self.fixed_roles
        if self.per == "source":
            asked = self._asked(settings, branch)
            return self.fixed_roles + SOURCES[branch].roles + (asked[1].chosen.roles if asked else ())
        entry = settings.evidence[branch]
        return self.fixed_roles + roles_of(EVIDENCE[entry.kind], entry)

    def _asked(self, settings: Settings, branch: str | None) -> tuple[str, Backed] | None:
        """The entry of `evidence` whose MLLM the branch's source asks for words."""
        if self.per != "source" or self.device is not None or branch is None:
            return None
        name = SOURCES[branch].asks_by(settings.prompts[branch])
        return None if name is None else (name, settings.evidence[name])

    def gpus(self, settings: Settings, branch: str | None) -> int:
        """Devices a job takes."""
        if self.device is not None:
            return int(self.device)
        without_role = self.per == "evidence" and branch and EVIDENCE[settings.evidence[branch].kind].device
        return int(bool(self.roles(settings, branch) or without_role))

    def asks_for(self, branch: str | None) -> bool:
        """Whether a file of the branch depends on the sentences; tracks that were imported do."""
        if self.asks is not None:
            return self.asks
        return branch is None or branch not in SOURCES or SOURCES[branch].asks

    def task(self, branch: str | None) -> str:
        """The name of what it does for a branch, as "build_tracks-grid"."""
        return f"{self.name}-{branch}" if branch else self.name


ERRORS = "errors"  # folder of a split's cache: what failed and why

# Another source's changed cap must not cause this one to be tracked again: tracking is the expensive part.
TRACK_KEYS = (*(key for key in Tracks.model_fields if key != "max_tracks"), "max_tracks.{branch}")
TRAINING_KEYS = ("name", "sources", "{selector}", "tda", "inputs", "detector", "training")

EXTRACT_FRAMES = Stage("extract_frames", "frames", ".json", 2, ("frames",), asks=False)
GENERATE_PROMPTS = Stage(
    "generate_prompts", "prompts", ".h5", 2, ("prompts.{branch}",), per="source", device=None, asks=None
)
BUILD_TRACKS = Stage(
    "build_tracks",
    "tracks",
    ".h5",
    2,
    tuple(f"tracks.{key}" for key in TRACK_KEYS),
    fixed_roles=("sam2",),
    per="source",
    device=True,
    asks=None,
)
ENCODE_TEXT = Stage("encode_text", "text", ".h5", 2, ("text",), fixed_roles=("text",), device=True)
TRAIN_SELECTOR = Stage(
    "train_selector", "selector", ".json", 2, tuple(f"selector.{key}" for key in TRAINING_KEYS), device=True
)
TRAIN_SEG = Stage(
    "train_seg", "seg", ".json", 1, ("seg_training", "prompts.seg"), fixed_roles=("sam2", "seg"), device=True
)
SCORE_TRACKS = Stage("score_tracks", "scores", ".json", 3, ("selector.sources.evaluate",), device=True)
GATHER_EVIDENCE = Stage("gather_evidence", "evidence", ".json", 1, ("evidence.{branch}",), per="evidence", device=None)
FUSION_KEYS = tuple(
    f"rerank.{key}" for key in ("evidence", "objective", "behind_best", "looks_apart", "same_iou", "rule")
)
FIT_FUSION = Stage(
    "fit_fusion", "fusion", ".json", 1, (*FUSION_KEYS, "selector.training.positive_iou", "evaluate.boundary_ratio")
)
RERANK_TRACKS = Stage("rerank_tracks", "decisions", ".json", 2, ("rerank", "selector.threshold"))
EVALUATE = Stage("evaluate", "evaluation", ".json", 3, ("evaluate",))
RENDER_PREDICTIONS = Stage("render_predictions", "render", ".json", 3, ("render",))

STAGES: Mapping[str, Stage] = {
    stage.name: stage
    for stage in (
        EXTRACT_FRAMES,
        GENERATE_PROMPTS,
        BUILD_TRACKS,
        ENCODE_TEXT,
        TRAIN_SELECTOR,
        TRAIN_SEG,
        SCORE_TRACKS,
        GATHER_EVIDENCE,
        FIT_FUSION,
        RERANK_TRACKS,
        EVALUATE,
        RENDER_PREDICTIONS,
    )
}


@dataclass(frozen=True)
class Layout:
    """Where the state of one split is stored.

    Attributes:
        per_sentence: its records are sentences of videos, <video>/<sentence> (`stages.core.tables.Format`).
    """

    cache: Path
    dataset: str
    split: str
    per_sentence: bool = False

    @classmethod
    def of(cls, config: Config, dataset: str, split: str) -> "Layout":
        entry = config.datasets.get(dataset)
        return cls(Path(config.paths.cache), dataset, split, entry is not None and FORMATS[entry.format].per_sentence)

    @property
    def root(self) -> Path:
        return self.cache / self.dataset / self.split

    def folder(self, stage: Stage, branch: str | None = None) -> Path:
        """The folder of a stage's per-video files."""
        assert (stage.per is not None) == (branch is not None), f"{stage.name} with branch {branch}"
        return self.root / stage.folder / branch if branch else self.root / stage.folder

    def key(self, stage: Stage, video: str, branch: str | None = None) -> str:
        """What a record's file goes by: its id, or that of its video alone where it is a sentence and none enters."""
        return video.rpartition("/")[0] if self.per_sentence and not stage.asks_for(branch) else video

    def file(self, stage: Stage, video: str, branch: str | None = None) -> Path:
        """A stage's file of one video; an id with "/" makes subfolders."""
        return self.folder(stage, branch) / f"{self.key(stage, video, branch)}{stage.suffix}"

    def variant(self, selector: str, seed: int, label: str | None = None) -> Path:
        """The folder of a training on this split with another architecture or seed than the config's, and other settings
        where there is a label (compare.variants)."""
        return self.folder(TRAIN_SELECTOR) / "-".join([selector, *([label] if label else []), str(seed)])

    def runtime(self, stage: Stage, video: str, branch: str | None = None) -> Path:
        """What a stage took for a video, which no stage reads: a file has the same bytes however long it took."""
        return self.root / "runtime" / stage.task(branch) / f"{self.key(stage, video, branch)}.json"

    @property
    def fusion(self) -> Path:
        """The fusion that was fitted to this split."""
        return self.root / f"{FIT_FUSION.folder}{FIT_FUSION.suffix}"

    def frames(self, video: str) -> Path:
        """The folder that holds exactly the frames of a video, extracted or linked."""
        return self.root / EXTRACT_FRAMES.folder / self.key(EXTRACT_FRAMES, video)

    def verified(self, stage: Stage, branch: str | None = None) -> Path:
        """What `collect` writes once every video of the split is complete."""
        return self.root / "done" / f"{stage.task(branch)}.json"

    def errors(self, stage: Stage, branch: str | None = None) -> Path:
        """The folder of what failed and why, one file per video."""
        return self.root / ERRORS / stage.task(branch)
