"""The resolved config as a file: what the workflow hands to every stage, and keeps with the results."""

from pathlib import Path

import yaml

from stages.core.config.file import Config
from stages.core.config.loading import settings_of
from stages.core.digests import digest
from stages.core.state.cache import atomic_path


def save_config(config: Config) -> Path:
    """Writes the whole config to <cache>/config/<digest>.yaml, once.

    Its name says what is in it, so a dry run with other values never touches the file of a running job.
    """
    document = config.model_dump(mode="json")
    path = Path(config.paths.cache) / "config" / f"{digest(document)}.yaml"
    if not path.exists():
        with atomic_path(path) as temporary:
            temporary.write_text(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def dataset_config(config: Config, dataset: str) -> str:
    """The config as it held for one data set, with presets and overrides resolved, as YAML."""
    entry = config.datasets[dataset]
    document = {
        "dataset": entry.model_dump(mode="json"),
        "models": config.presets[entry.models].models.model_dump(mode="json"),
        **settings_of(config, dataset).model_dump(mode="json"),
    }
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
