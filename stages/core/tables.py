"""Open tables: what can be added to the pipeline, each a value described once, in the file that implements it.

| table | what its values are | listed in |
|---|---|---|
| SOURCES | where prompts come from | stages/prompting/sources.py |
| SELECTORS | networks that choose tracks | stages/selectors/kinds.py |
| EVIDENCE | what can be known about a track and an expression | stages/evidence/kinds/__init__.py |
| BACKENDS | ways of running an MLLM (stages/core/backends.py) | stages/evidence/backends/__init__.py |
| RULES | which of a sentence's objects are probable enough | stages/evidence/fusion/rules.py |
| FORMATS | layouts of data sets on disk | stages/datasets/formats.py |
| TRACKERS | experiment trackers (stages/core/trackers.py) | stages/training/trackers/__init__.py |

Everything else derives from these values: sections of the config, stages of the graph, roles of models, flags,
wildcards and index files of the workflow. docs/extending.md says how to add one. A list is imported when it is first used.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stages.core.config.section import Section
from stages.core.table import Table

if TYPE_CHECKING:
    from stages.core.records import Split, Video
    from stages.core.run.cli import Job
    from stages.core.state.cache import Stamp
    from stages.core.state.evidence_file import VideoEvidence
    from stages.core.state.frames import FrameFolder
    from stages.core.state.prompt_file import Prompt
    from stages.core.work import Load

# Split → (videos, expressions) of each published version; None = not known.
Counts = Mapping[str, Sequence[tuple[int, int | None]]]


# A video and its frames → its prompts, in the order of the source.
PromptsOf = Callable[["Video", "FrameFolder"], "list[Prompt]"]


@dataclass(frozen=True)
class PromptSource:
    """Where prompts come from.

    The prompt, not its source, says which expression it serves (`expression`, −1 = all of them).

    Attributes:
        name: in the config, the cache and on the command line.
        settings: the model of its section `prompts.<name>`.
        roles: models it loads, and so whether it takes a device.
        needs_truth: it reads the ground truth, and is refused where a split has none.
        filtered: a prompt that a track covers is dropped; otherwise every prompt becomes a track.
        ingredients: what its prompts depend on beside frames, weights and settings, as JSON values by name.
        load: (job, split, device) → what makes a video's prompts. Loads models, so it imports them itself.
        first: which of a chain's prompts are tracked first: the largest, or those of highest predicted IoU, where all are
            of one object.
        asks: whether its prompts depend on the sentences.
        asks_by: settings → the entry of `evidence` whose MLLM it asks for words; None = none.
        whole: settings → whether its prompts are whole tracks, which build_tracks takes as they are: those of one
            expression with one `annotation` are the masks of one object.
        work: (settings, the preset's models by role, frames and expressions of a video) → what it computes for the video, for
            `referee estimate`; raises ValueError where that was never counted. None = nothing that takes long.
    """

    name: str
    settings: type[Section]
    roles: tuple[str, ...]
    needs_truth: bool
    filtered: bool
    ingredients: Callable[["Job", "Split", "Video"], Mapping[str, Any]]
    load: Callable[["Job", "Split", str], PromptsOf]
    first: Literal["largest", "surest"] = "largest"
    asks: bool = True
    asks_by: Callable[[Any], str | None] = lambda _: None
    whole: Callable[[Any], bool] = lambda _: False
    work: Callable[[Any, Any, int, int], "Sequence[Load]"] | None = None

    def check(self) -> None:
        check_settings("prompt source", self.name, self.settings)


@dataclass(frozen=True)
class SelectorKind:
    """An architecture of a track selector.

    Attributes:
        name: what `selector.name` says.
        network: the model of what shapes the network; it is stored in a selector's file.
        settings: the model of its section `selector.<name>`: the keys of `network`, `learning_rate`, and the
            weights and temperatures of its losses.
        build: (token width, text width, an instance of `network`, selector.tda, inputs) → the network.
        inputs: those of `selector.inputs` that it can take beside tokens and words; it gets those that are asked for.
        needs_detections: (an instance of `network`, inputs) → whether it reads what a detector said about the tracks.
    """

    name: str
    network: type[Section]
    settings: type[Section]
    build: Callable[[int, int, Any, Any, Sequence[str]], Any]
    inputs: tuple[str, ...] = ()
    needs_detections: Callable[[Any, Sequence[str]], bool] = lambda network, inputs: "detector" in inputs

    def check(self) -> None:
        check_settings("selector", self.name, self.settings)
        if not issubclass(self.settings, self.network) or "learning_rate" not in self.settings.model_fields:
            raise ValueError(f"selector {self.name!r}: its settings extend its network's, and say its learning_rate")

    def network_of(self, settings: Section) -> Section:
        """The part of a section `selector.<name>` that shapes the network."""
        return self.network.model_validate({name: getattr(settings, name) for name in self.network.model_fields})

    def taken(self, inputs: Sequence[str]) -> tuple[str, ...]:
        """Those of `inputs` that it can take, in its own order."""
        return tuple(name for name in self.inputs if name in inputs)


# (video, path and stamp of its evidence file) → what the file should say. The stage writes it; a kind may read an older
# file there, and keep beside it what it has so far (stages/evidence/asked.py).
Gather = Callable[["Video", Path, "Stamp"], "VideoEvidence"]


@dataclass(frozen=True)
class EvidenceKind:
    """Something that says how well a track fits an expression. Several names of the config may be of one kind.

    Attributes:
        name: what `evidence.<name>.kind` says.
        settings: the model of the other keys of `evidence.<name>`.
        roles: models it loads; with any it takes a device.
        uses_scores: settings → whether it looks at the selector's scores. Where not, it is about all tracks of
            `selector.sources.evaluate`, and is gathered without a selector (stages/evidence/candidates.py).
        ingredients: (job, settings, video) → what it depends on beside scores or tracks, weights and settings.
        load: (job, settings, device) → what gathers a video's evidence. Imports its models itself.
        tasks: settings → what must be complete for the split beside scores or tracks, as "generate_prompts-gdino".
        fitted_to: settings → the same of the split that fusions are fitted to.
        files: settings → key → the user's file that it names: where one changes, its jobs run again.
        device: whether it takes a device although it loads no model of `roles`.
        plan: (settings, stages.evidence.judging.asker.Subject, video) → what is asked about it
            (stages.evidence.judging.plan.Plan), without a model; None = it asks nothing.
        asked: (job, settings, video, known replies by key, what replies depend on beside the question) → the questions that
            have these replies, where later ones depend on earlier replies; None = all of them are in `plan`.
    """

    name: str
    settings: type[Section]
    roles: tuple[str, ...]
    uses_scores: Callable[[Any], bool]
    ingredients: Callable[["Job", Any, "Video"], Mapping[str, Any]]
    load: Callable[["Job", Any, str], Gather]
    tasks: Callable[[Any], tuple[str, ...]] = lambda _: ()
    fitted_to: Callable[[Any], tuple[str, ...]] = lambda _: ()
    files: Callable[[Any], Mapping[str, str]] = lambda _: {}
    device: bool = False
    plan: Callable[[Any, Any, "Video"], Any] | None = None
    asked: Callable[["Job", Any, "Video", Mapping[str, Any], Mapping[str, Any]], Sequence[Any]] | None = None

    def check(self) -> None:
        check_settings("evidence kind", self.name, self.settings)


@dataclass(frozen=True)
class Rule:
    """A rule that says which of a sentence's objects are probable enough.

    Attributes:
        name: what `rerank.rule.kind` says.
        settings: the model of its section `rerank.rule.<name>`, numbers all; a key of `grid` may be "auto".
        grid: key → the values among which a fitted fusion finds the best; the others are fixed by the config.
        choose: (stages.evidence.fusion.rules.Objects, parameters by name) → (G,) bool, which are chosen.
    """

    name: str
    settings: type[Section]
    grid: Mapping[str, Sequence[float]] = field(hash=False)
    choose: Callable[[Any, Mapping[str, float]], Any]

    def check(self) -> None:
        check_settings("rule", self.name, self.settings)
        if unknown := self.grid.keys() - self.settings.model_fields.keys():
            raise ValueError(f"rule {self.name!r}: its settings have no {sorted(unknown)}, which its grid names")


@dataclass(frozen=True)
class Format:
    """A layout of data sets on disk.

    Attributes:
        name: what `datasets.<name>.format` says.
        open_split: (root, split, limit, published) → the reader of a split; with `published`, counts that
            differ from those of the published set give a warning.
        index_files: patterns below the root, "{split}" filled in, of the files that say what there is: when one
            of them changes, or a file that the split's records name, everything is checked again
            (stages/datasets/listing.py).
        counts: of the published set.
        split_folders: whether a split is the folder <root>/<split>.
        per_sentence: whether each record is one sentence of a video, with the id <video>/<sentence>: then what no sentence
            enters (frames, tracks of the grid) is stored once per video, and another sentence finds it there.
    """

    name: str
    open_split: Callable[[Path, str, int | None, bool], "Split"]
    index_files: tuple[str, ...]
    counts: Counts = field(default_factory=dict, hash=False)
    split_folders: bool = False
    per_sentence: bool = False

    def check(self) -> None:
        if not self.index_files:
            raise ValueError(f"format {self.name!r}: name the files that say what a data set holds (index_files)")


def check_settings(what: str, name: str, settings: object) -> None:
    """Raises TypeError where `settings` is not a model of a section."""
    if not (isinstance(settings, type) and issubclass(settings, Section)):
        raise TypeError(f"{what} {name!r}: settings is a subclass of Section, not {settings!r}")


SOURCES = Table[PromptSource]("prompt source", "stages.prompting.sources:LISTED")
SELECTORS = Table[SelectorKind]("selector", "stages.selectors.kinds:LISTED")
EVIDENCE = Table[EvidenceKind]("evidence kind", "stages.evidence.kinds:LISTED")
RULES = Table[Rule]("rule", "stages.evidence.fusion.rules:LISTED")
FORMATS = Table[Format]("format", "stages.datasets.formats:LISTED")
