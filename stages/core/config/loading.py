"""Loads config.yaml (and overlays), explains what is wrong with it, and resolves a data set's settings.

Order of precedence for a data set: base sections ← its preset's `settings` ← its own `settings`.
"""

import difflib
from collections.abc import Hashable, Iterable, Mapping
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, Discriminator, ValidationError

from stages.core.config.file import Config, Dataset, Model
from stages.core.config.model import config_model, settings_model
from stages.core.config.places import check_whole
from stages.core.config.section import Section, Unshown
from stages.core.config.sections import Rerank, Settings
from stages.core.digests import digest
from stages.core.tables import SELECTORS

M = TypeVar("M", bound=BaseModel)
LIKE = "like"  # key of an entry of `evidence` or a preset: another one, whose keys hold where this one says nothing


class ConfigError(ValueError):
    """What is wrong in the config, where, and how to fix it."""


def load_config(*files: str | Path) -> Config:
    """Reads the files, later ones merged over earlier ones, and validates the result.

    Raises:
        ConfigError: a file is missing or not YAML, a key unknown (the nearest known one is named) or a
            value out of range.
    """
    raw: dict[str, Any] = {}
    for file in files:
        raw = merge(raw, read_yaml(Path(file)))
    return parse_config(raw, where=", ".join(map(str, files)))


def parse_config(raw: Mapping[str, Any], where: str = "config") -> Config:
    """Validates a config that is already in memory; every data set's settings are resolved once."""
    config = _validate(config_model(), written_out(raw, where), where)
    for name in config.datasets:
        settings_of(config, name)
    try:
        check_whole(config)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    return config


def settings_of(config: Config, dataset: str) -> Settings:
    """The sections as they hold for `dataset`."""
    if dataset not in config._settings:
        config._settings[dataset] = _resolve(config, dataset)
    return config._settings[dataset]


def dataset_of(config: Config, dataset: str) -> Dataset:
    """The data set's own entry; raises ConfigError naming the nearest where it is unknown."""
    if dataset not in config.datasets:
        raise ConfigError(f"no data set {dataset!r} in config.datasets{nearest(dataset, config.datasets)}")
    return config.datasets[dataset]


def fitting_split(config: Config, dataset: str) -> str:
    """<dataset>/<split> that a data set's fusion is fitted to; raises ConfigError where the config names none."""
    place = settings_of(config, dataset).rerank.fit_on or dataset_of(config, dataset).selector.validate_on
    if place is None:
        raise ConfigError(f"rerank.fit_on and datasets.{dataset}.selector.validate_on are null: name a split to fit to")
    own, _, split = place.partition("/")
    check_split(config, own, split)
    return place


def variant(config: Config, dataset: str, selector: str, seed: int, label: str | None = None) -> Config:
    """The config with another architecture and training seed of a data set's selector, over all that it says.

    Args:
        label: one of compare.variants, whose keys are changed too; None = of none.
    """
    raw = config.model_dump(mode="json")
    known = settings_of(config, dataset).compare.variants
    if label is not None and label not in known:
        raise ConfigError(f"no {label!r} in compare.variants{nearest(label, known)}")
    chosen = {"name": selector, "training": {"seed": seed}}
    over = {"selector": chosen if label is None else merge(known[label], chosen)}
    raw["datasets"][dataset]["settings"] = merge(raw["datasets"][dataset]["settings"], over)
    return parse_config(raw, where=f"selector {selector}, seed {seed}" + (f", variant {label}" if label else ""))


def decider(settings: Settings, line: str) -> Rerank:
    """What `rerank` says for a line of compare.decisions.

    Raises:
        ConfigError: a key or a value of the line is not one of `rerank`, or it names evidence or a selector that there
            is not.
    """
    where = f"compare.decisions.{line}"
    own = settings.compare.decisions[line]
    fitted_anew = {"fusion_file": None}  # to the line's own evidence
    raw = reduce(merge, (settings.rerank.model_dump(mode="json"), fitted_anew, settings.compare.rerank, own.reranked))
    rerank = _validate(type(settings.rerank), raw, where)
    if own.selector is not None and own.selector not in SELECTORS:
        raise ConfigError(f"{where}: no selector {own.selector!r}{nearest(own.selector, SELECTORS)}")
    try:
        settings.check_decider(rerank, where)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return rerank


def check_split(config: Config, dataset: str, split: str) -> None:
    splits = dataset_of(config, dataset).splits
    if split not in splits:
        raise ConfigError(f"no split {split!r} in config.datasets.{dataset}.splits{nearest(split, splits)}")


def model_of(config: Config, preset: str, role: str) -> Model:
    """A preset's model of a role; raises ConfigError where it has none."""
    model = config.presets[preset].models[role]
    if model is None:
        raise ConfigError(f"preset {preset!r} has no model of role {role!r}: give presets.{preset}.models.{role}")
    return model


def section(settings: Settings, name: str) -> Any:
    """What a section means for results, by dotted name as "prompts.grid", as a plain JSON value."""
    value: Any = settings
    for part in name.split("."):
        value = value[part] if isinstance(value, Mapping) else getattr(value, part)
    return plain(value)


def plain(value: Any) -> Any:
    """A value of the config as JSON has it."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return value.stamped() if isinstance(value, Section) else value


def section_digest(settings: Settings, names: Iterable[str]) -> str:
    """A digest of some sections: what Snakemake watches as a rule's `params`."""
    return digest({name: section(settings, name) for name in names})


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Deep merge of mappings; anything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def written_out(raw: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The config with every preset and entry of `evidence` that is `like` another merged over that one.

    Raises:
        ConfigError: the other is not there, or is like this one.
    """
    whole = dict(raw)
    for section in ("presets", "evidence"):
        if isinstance(entries := raw.get(section), Mapping):
            whole[section] = {name: _written_out(entries, name, (), f"{where}: {section}") for name in entries}
    return whole


def _written_out(entries: Mapping[str, Any], name: str, before: tuple[str, ...], where: str) -> Any:
    entry = entries[name]
    if not isinstance(entry, Mapping) or LIKE not in entry:
        return entry
    other = entry[LIKE]
    if other not in entries or other in (*before, name):
        hint = "; it is like itself" if other in entries else nearest(str(other), entries)
        raise ConfigError(f"{where}.{name}.{LIKE}: no {other!r} to be like{hint}")
    own = {key: value for key, value in entry.items() if key != LIKE}
    return merge(_written_out(entries, other, (*before, name), where), own)


class _UniqueKeys(yaml.SafeLoader):
    """YAML in which no key is given twice: the second would silently win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is no key", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def read_yaml(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; raises ConfigError where it does not."""
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file}: is not a file")
    try:
        raw = yaml.load(file.read_text(encoding="utf-8-sig"), _UniqueKeys)
    except FileNotFoundError as error:
        raise ConfigError(f"{file}: no such config file; run from the project's root or give --config") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{file}: not readable as YAML: {error}") from error
    except (AttributeError, LookupError, TypeError) as error:  # the library's, of `!!timestamp x` or `!!bool x`
        raise ConfigError(f"{file}: not readable as YAML: a value is not what its tag says ({error!r})") from error
    except RecursionError as error:
        raise ConfigError(f"{file}: not readable as YAML: nested too deeply") from error
    if raw is None:
        raw = {}  # nothing but comments
    if not isinstance(raw, dict):
        raise ConfigError(f"{file}: a config is a mapping of sections; found {type(raw).__name__}")
    return raw


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean …?' for an error message, or the list of what is known."""
    choices = sorted(known)
    close = difflib.get_close_matches(str(name), choices, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(choices) or 'none'}"


def _resolve(config: Config, dataset: str) -> Settings:
    entry = dataset_of(config, dataset)
    model = settings_model()
    raw = config.model_dump(mode="json", include=set(Settings.model_fields))
    layers = (
        (config.presets[entry.models].settings, f"presets.{entry.models}.settings"),
        (entry.settings, f"datasets.{dataset}.settings"),
    )
    for overrides, where in layers:
        raw = merge(raw, overrides)
        _validate(model, written_out(raw, where), where)
    raw = written_out(raw, f"datasets.{dataset}.settings")
    settings = _validate(model, _with_own_training(raw), f"selector.{raw['selector']['name']}.training")
    for line in settings.compare.decisions:
        decider(settings, line)
    return settings


def _with_own_training(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with what the chosen architecture trains with in other ways than `selector.training` says."""
    own = raw["selector"][raw["selector"]["name"]].get("training") or {}
    if "seed" in own:
        raise ConfigError(f"selector.{raw['selector']['name']}.training.seed: the seed is given in selector.training")
    return merge(raw, {"selector": {"training": own}})


def _validate(model: type[M], raw: Mapping[str, Any], where: str) -> M:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {_explain(model, dict(e))}" for e in error.errors())) from error


def _explain(model: type[BaseModel], error: Mapping[str, Any]) -> str:
    location = [str(part) for part in error["loc"]]
    name = ".".join(part for n, part in enumerate(location) if not _tagged(_at(model, location[:n])))
    if error["type"] == "extra_forbidden":
        return f"{name}: unknown key{nearest(location[-1], _fields_at(model, location[:-1]))}"
    if isinstance(reason := error.get("ctx", {}).get("error"), Unshown):
        return f"{name}: {reason}"
    if error["type"] == "missing":
        return f"{name}: missing; every key has its value in config.yaml"
    return f"{name or 'config'}: {error['msg']} (found {error['input']!r})" if location else str(error["msg"])


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Names of the fields of the model found by following `location` from `model`."""
    annotation = _at(model, location)
    models = [a for a in (annotation, *get_args(annotation)) if isinstance(a, type) and issubclass(a, BaseModel)]
    return list(models[0].model_fields) if models else []


def _at(model: type[BaseModel], location: list[str]) -> Any:
    """The annotation found by following `location` from `model`."""
    return reduce(_inside, location, model)


def _tagged(annotation: Any) -> dict[str, Any]:
    """Models of a union by tag, which pydantic makes a part of the location; {} of any other annotation."""
    kinds = get_args(annotation)
    if not any(isinstance(kind, Discriminator) for kind in kinds):
        return {}
    return {kind.__metadata__[0].tag: kind.__origin__ for kind in get_args(kinds[0])}


def _inside(annotation: Any, part: str) -> Any:
    if tagged := _tagged(annotation):
        return tagged.get(part)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(part)
        return None if field is None else field.annotation
    arguments = get_args(annotation)  # dict[str, Model], list[Model] or Model | None
    return arguments[-1] if get_origin(annotation) is dict else arguments[0] if arguments else None
