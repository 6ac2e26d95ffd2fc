"""The pydantic models of config.yaml as a file: places, presets of models, data sets, and the sections."""

import re
from typing import Any, ClassVar, Literal

from pydantic import Field, PrivateAttr, field_validator, model_validator

from stages.core.config.section import Parts, Positive, PositiveFloat, Section
from stages.core.config.sections import Settings

# In paths, which become parts of Snakemake's patterns and of shell commands.
UNFIT = re.compile(r"""[\s{}'"$`\\;&|<>*?\[\]()!#\0]""")


class Paths(Section):
    """Folders that Referee writes to."""

    weights: str = Field(description="Folder of model weights")
    weights_lock: str = Field(description="Lock file of sizes and sha256 of downloaded weights")
    cache: str = Field(description="Folder of per-video state; safe to delete, costly to rebuild")
    results: str = Field(description="Folder of deliverables, one subfolder per data set and split")

    @field_validator("*")
    @classmethod
    def _fits_a_command(cls, path: str) -> str:
        if not path or path.startswith(("-", "~")):
            raise ValueError("write the folder's path in full, from / or from the project's root")
        if unfit := UNFIT.search(path):
            raise ValueError(f"holds {unfit[0]!r}, which rules and shell commands cannot carry; take another path")
        return path


ADDRESS = "https://"
RESERVED = ("cache", "compare", "imports")  # folders of paths.results that are no data set's


class Model(Section):
    """One model of a preset: from a hub and from https addresses, from a seed, or from a local path.

    Attributes:
        one_file: its weights are a single file; otherwise it is a folder of transformers.
        kinds: what the folder's config.json may say as model_type; none = anything.
    """

    one_file: ClassVar[bool] = False
    kinds: ClassVar[tuple[str, ...]] = ()

    hub: str | None = Field(description="Repository id on the hub; null = not from a hub")
    revision: str | None = Field(description="Branch, tag or commit on the hub")
    files: list[str] = Field(description="Files to fetch: patterns of the hub's, and https addresses of single files")
    seed: int | None = Field(
        description="Build tiny random weights of the real class from this seed; null = none are built"
    )
    path: str | None = Field(description="Local folder or file that overrides hub and seed; null = none")
    license: str | None = Field(description="SPDX id of the weights' licence; null = not known, or made from a seed")
    size_gb: PositiveFloat | None = Field(
        None, description="Size of the files in 10⁹ bytes; null or left out = not known, or they are here"
    )

    billions: PositiveFloat | None = Field(
        default=None, description="Parameters in 10⁹, for `referee estimate`; null or left out = not known"
    )

    @property
    def addresses(self) -> list[str]:
        """The files that have an address of their own."""
        return [file for file in self.files if file.startswith(ADDRESS)]

    @property
    def patterns(self) -> list[str]:
        """The files of the hub, or of a local folder."""
        return [file for file in self.files if not file.startswith(ADDRESS)]

    @model_validator(mode="after")
    def _has_a_source(self) -> "Model":
        fetched = self.hub is not None or bool(self.addresses)
        if self.path is None and fetched == (self.seed is not None):
            raise ValueError("give exactly one of hub (or https addresses in files) and seed, or a local path")
        if self.hub is not None and (self.revision is None or not self.patterns):
            raise ValueError("a model from a hub needs revision and files")
        if self.hub is None and self.addresses and self.patterns:
            raise ValueError(
                f"files holds {', '.join(self.patterns)}, but there is no hub, and they do not start with https://"
            )
        names = [address.split("?")[0].rsplit("/", 1)[-1] for address in self.addresses]
        if len(set(names)) < len(names) or any(name in ("", "..") or "%2f" in name.lower() for name in names):
            raise ValueError("each https address in files must end with a file name of its own")
        return self


class Sam2Model(Model):
    one_file = True

    config: str = Field(description="SAM2 config: a name inside the sam2 package, or a YAML file of this repository")


class GroundingDinoModel(Model):
    kinds = ("grounding-dino",)


class Sam3Model(Model):
    kinds = ("sam3_video", "sam3")


class SegModelEntry(Model):
    """A [SEG] checkpoint. Its keys below say what a wrong choice would make silently wrong: no file of a checkpoint does."""

    family: str = Field(description="What it is built on: a name of stages/prompting/seg/checkpoint/listed.py")
    template: str = Field(
        description="Chat template that it was trained with: a name of stages/prompting/seg/checkpoint/templates.py, or "
        "published = the one in its files"
    )
    sam2: str = Field(
        description="Config of its SAM2: a name inside the sam2 package, or a YAML file of this repository"
    )
    decoder: str | None = Field(
        description="Name of the tuned mask decoder in the checkpoint: sam_mask_decoder, or sam_mask_decoder_modified "
        "beside an untouched one, or sam_mask_decoder_attention = its cross-attention alone, the rest is SAM2's own; "
        "null = none, SAM2's own is used"
    )
    state: Literal["before_norm", "after_norm"] = Field(
        description="Which state of the language model's last layer a [SEG] is read from: before or after the final norm"
    )
    object_score: Literal["forced", "predicted"] = Field(
        description="Where SAM2 sees no object (object score ≤ 0): forced = mask logits stay, predicted = they become −1024"
    )


class Models(Parts):
    """A model per role, null where the preset has none; the roles are those of `stages.core.config.model.roles`."""

    def __getitem__(self, name: str) -> Model | None:
        model: Model | None = super().__getitem__(name)
        return model


class Preset(Section):
    models: Models
    settings: dict[str, Any] = Field(description="Overrides of the sections below, for data sets of this preset")


class SplitConfig(Section):
    role: Literal["train", "evaluate"] = Field(description="Which grid frames it gets")
    limit: Positive | None = Field(description="Only the first videos of the index; null = all")


class SelectorChoice(Section):
    """Where a data set's selector comes from; nulls alone = there is none, and evidence decides (rerank.evidence)."""

    weights: str | None = Field(description="A selector's safetensors file; null = train one, or none")
    train: str | None = Field(description="<dataset>/<split> to train on")
    validate_on: str | None = Field(description="<dataset>/<split> that chooses the best checkpoint")

    @model_validator(mode="after")
    def _has_a_source(self) -> "SelectorChoice":
        if self.weights is None and (self.train is None) != (self.validate_on is None):
            raise ValueError(
                "give selector.weights, or both selector.train and selector.validate_on, or none of them: then evidence "
                "decides alone"
            )
        for reference in (self.train, self.validate_on):
            if reference is not None and not re.fullmatch(r"[^/]+/[^/]+", reference):
                raise ValueError(f"{reference!r} is not of the form <dataset>/<split>")
        return self

    @property
    def is_none(self) -> bool:
        """Whether no selector scores the tracks: evidence decides alone."""
        return self.weights is None and self.train is None


class Dataset(Section):
    format: str = Field(description="Layout on disk (stages/datasets)")
    published: bool = Field(
        False, description="Whether it is the published data set of its format: counts that differ give a warning"
    )
    root: str = Field(min_length=1, description="Folder of the data set")
    generate: bool = Field(description="true = the embedded data set: made by `stages.make_shapes`")
    models: str = Field(description="Preset of models")
    selector: SelectorChoice
    splits: dict[str, SplitConfig]
    settings: dict[str, Any] = Field(description="Overrides of the sections below, over the preset's")

    @field_validator("splits")
    @classmethod
    def _plain_names(cls, splits: dict[str, SplitConfig]) -> dict[str, SplitConfig]:
        for name in splits:
            check_name(name, "split")
        return splits


class Segment(Section):
    """What `referee segment` does where its flags say nothing."""

    preset: str = Field(description="Preset of models")
    formats: list[str] = Field(min_length=1, description="What is written (stages/delivery)")
    decided_as: dict[str, str | None] = Field(
        description="Preset → data set whose selector, evidence and rerank decide with it; null = as the preset's own settings "
        "say; another preset's videos are decided as datasets.own says"
    )


class Config(Settings):
    """The whole of config.yaml."""

    paths: Paths
    segment: Segment
    presets: dict[str, Preset]
    datasets: dict[str, Dataset]
    _settings: dict[str, Settings] = PrivateAttr(default_factory=dict)  # as they hold for each data set

    @field_validator("datasets")
    @classmethod
    def _plain_names(cls, datasets: dict[str, Dataset]) -> dict[str, Dataset]:
        for name in datasets:
            check_name(name, "data set")
            if name in RESERVED:
                raise ValueError(f"a data set cannot be called {name!r}: results/{name} is taken")
        return datasets

    @model_validator(mode="after")
    def _references_exist(self) -> "Config":
        for name, dataset in self.datasets.items():
            if dataset.models not in self.presets:
                raise ValueError(
                    f"datasets.{name}.models: no preset {dataset.models!r}; there are {sorted(self.presets)}"
                )
            for reference in (dataset.selector.train, dataset.selector.validate_on):
                if reference is not None:
                    self._check_split(reference, f"datasets.{name}.selector")
        for preset, dataset_name in self.segment.decided_as.items():
            if preset not in self.presets or dataset_name not in (None, *self.datasets):
                raise ValueError(f"segment.decided_as: no preset {preset!r} or no data set {dataset_name!r}")
        if self.segment.preset not in self.presets:
            raise ValueError(f"segment.preset: no preset {self.segment.preset!r}; there are {sorted(self.presets)}")
        return self

    def _check_split(self, reference: str, where: str) -> None:
        dataset, split = reference.split("/")
        if dataset not in self.datasets or split not in self.datasets[dataset].splits:
            raise ValueError(f"{where}: {reference!r} is not a configured <dataset>/<split>")


def check_name(name: str, what: str) -> None:
    """Data set and split names become folders, Snakemake wildcards and words of a command."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", name):
        raise ValueError(f"{what} name {name!r}: letters a to z, digits, '_' and '-' only, and no '-' first")
