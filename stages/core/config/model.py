"""The models of the config with the parts that the open tables hold: what config.yaml is validated by.

`Settings` and `Config` are what code is written against; here they get a field per prompt source, selector and role
of a model, and each evidence its kind's keys. A table that changes gives other models.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache, reduce
from operator import or_
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, create_model

from stages.core.backends import BACKENDS, Backed, Backend
from stages.core.config.file import (
    Config,
    Dataset,
    GroundingDinoModel,
    Model,
    Models,
    Preset,
    Sam2Model,
    Sam3Model,
    SegModelEntry,
)
from stages.core.config.section import Parts, Positive, Section
from stages.core.config.sections import Rerank, RuleChoice, Run, Settings, Tracks
from stages.core.config.selector_sections import Detector, Selector, SelectorSources
from stages.core.tables import (
    EVIDENCE,
    FORMATS,
    RULES,
    SELECTORS,
    SOURCES,
    EvidenceKind,
    PromptSource,
    Rule,
    SelectorKind,
)
from stages.core.trackers import TRACKERS

# Roles of models that stages load whatever the tables hold, and what is said of a role's model beside `Model`.
STAGE_ROLES = ("sam2", "text")
ENTRIES: Mapping[str, type[Model]] = {
    "sam2": Sam2Model,
    "grounding_dino": GroundingDinoModel,
    "seg": SegModelEntry,
    "sam3": Sam3Model,
}


def settings_model() -> type[Settings]:
    """`Settings` with the parts of today's tables."""
    return _settings_model(Described.today())


def config_model() -> type[Config]:
    """`Config` with the parts of today's tables."""
    return _config_model(Described.today())


def roles() -> tuple[str, ...]:
    """Every role that a model can have: of the stages, the prompt sources, and the kinds of evidence."""
    return Described.today().roles


@dataclass(frozen=True)
class Described:
    """What the tables hold, in their order."""

    sources: tuple[PromptSource, ...]
    selectors: tuple[SelectorKind, ...]
    kinds: tuple[EvidenceKind, ...]
    backends: tuple[Backend, ...]
    rules: tuple[Rule, ...]
    formats: tuple[str, ...]
    trackers: tuple[str, ...]

    @classmethod
    def today(cls) -> "Described":
        return cls(
            tuple(SOURCES.values()),
            tuple(SELECTORS.values()),
            tuple(EVIDENCE.values()),
            tuple(BACKENDS.values()),
            tuple(RULES.values()),
            tuple(FORMATS),
            tuple(TRACKERS),
        )

    @property
    def roles(self) -> tuple[str, ...]:
        named = [role for source in self.sources for role in source.roles]
        named += [role for kind in self.kinds for role in kind.roles]
        named += [role for backend in self.backends for role in backend.roles]
        return tuple(dict.fromkeys((*STAGE_ROLES, *named)))


@lru_cache(maxsize=8)
def _settings_model(described: Described) -> type[Settings]:
    return create_model("Settings", __base__=Settings, **_settings_fields(described))


@lru_cache(maxsize=8)
def _config_model(described: Described) -> type[Config]:
    models: dict[str, Any] = {role: (ENTRIES.get(role, Model) | None, None) for role in described.roles}
    preset = _extended(Preset, {"models": (_extended(Models, models), ...)})
    dataset = _extended(Dataset, {"format": _narrowed(Dataset, "format", _one_of(described.formats))})
    several: dict[str, Any] = {"presets": (_named(preset), ...), "datasets": (_named(dataset), ...)}
    return create_model("Config", __base__=Config, **several, **_settings_fields(described))


def _settings_fields(described: Described) -> dict[str, Any]:
    """The fields of `Settings` whose parts are in tables."""
    prompts = {source.name: _part(source.settings) for source in described.sources}
    caps = {source.name: _cap() for source in described.sources}
    source = _one_of(source.name for source in described.sources)
    sources = list.__class_getitem__(source)
    chosen = {name: _narrowed(SelectorSources, name, sources) for name in SelectorSources.model_fields}
    selector = {
        "name": _narrowed(Selector, "name", _one_of(kind.name for kind in described.selectors)),
        "sources": (_extended(SelectorSources, chosen), ...),
        "detector": _narrowed(
            Selector, "detector", _extended(Detector, {"source": _narrowed(Detector, "source", source)})
        ),
        **{kind.name: _part(kind.settings) for kind in described.selectors},
    }
    rule = {
        "kind": _narrowed(RuleChoice, "kind", _one_of(rule.name for rule in described.rules)),
        **{rule.name: _part(rule.settings) for rule in described.rules},
    }
    trackers = list.__class_getitem__(_one_of(described.trackers))
    run = {"experiment_trackers": _narrowed(Run, "experiment_trackers", trackers)}
    return {
        "run": (_extended(Run, run), ...),
        "prompts": (_extended(Parts, prompts, "Prompts"), ...),
        "tracks": (_extended(Tracks, {"max_tracks": (_extended(Parts, caps, "MaxTracks"), ...)}), ...),
        "selector": (_extended(Selector, selector), ...),
        "evidence": _narrowed(Settings, "evidence", _named(_entry(described.kinds, described.backends))),
        "rerank": (_extended(Rerank, {"rule": (_extended(RuleChoice, rule), ...)}), ...),
    }


def _part(settings: type[Section]) -> Any:
    """A required section; one whose keys all have values need not be written."""
    required = any(field.is_required() for field in settings.model_fields.values())
    return (settings, ... if required else Field(default_factory=settings))


def _cap() -> Any:
    text = "Tracks of the prompts that serve all expressions, or of one expression's own; null or left out = all"
    return (Positive | None, Field(None, description=text))


def _entry(kinds: tuple[EvidenceKind, ...], backends: tuple[Backend, ...]) -> Any:
    """An entry of `evidence`: the keys of the kind that it says it is of, and of backends where it asks an MLLM."""
    entries = {
        kind.name: _extended(
            _with_backends(kind.settings, backends),
            {"kind": (_one_of([kind.name]), Field(description="Its kind"))},
            f"{kind.name}_evidence",
        )
        for kind in kinds
    }
    if len(entries) == 1:
        return next(iter(entries.values()))
    # Chosen by a function: pydantic takes no field that a validator may change, and `Section` has one of all fields.
    known = f"kind: one of {', '.join(entries)}"
    chosen = Discriminator(_kind_of, custom_error_type="kind", custom_error_message=known)
    tagged: list[Any] = [Annotated[entry, Tag(name)] for name, entry in entries.items()]
    return Annotated[reduce(or_, tagged), chosen]


def _with_backends(settings: type[Section], backends: tuple[Backend, ...]) -> type[Section]:
    if not issubclass(settings, Backed):
        return settings
    names = _narrowed(settings, "backend", _one_of(backend.name for backend in backends))
    bases = (settings, *(backend.settings for backend in backends))
    return create_model(settings.__name__, __base__=bases, __doc__=settings.__doc__, backend=names)


def _kind_of(entry: Any) -> Any:
    return entry.get("kind") if isinstance(entry, Mapping) else getattr(entry, "kind", None)


def _extended(base: type[Section], fields: Mapping[str, Any], name: str = "") -> Any:
    return create_model(name or base.__name__, __base__=base, __doc__=base.__doc__, **fields)


def _narrowed(base: type[Section], name: str, annotation: Any) -> Any:
    """A field of `base` with a narrower type."""
    return (annotation, base.model_fields[name])


def _one_of(names: Iterable[str]) -> Any:
    return Literal[tuple(names)]


def _named(value: Any) -> Any:
    return dict.__class_getitem__((str, value))
