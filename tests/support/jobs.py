"""Jobs as the command line would make them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.project import CONFIG

from stages.core.config.file import Config
from stages.core.config.loading import merge, parse_config, read_yaml
from stages.core.run.cli import Job


def make_job(config: Config, dataset: str, split: str, **flags: Any) -> Job:
    """The one shard of a split, unless `flags` says otherwise."""
    usual = {"source": None, "pid": 0, "n_pids": 1, "overwrite": False, "limit": None}
    return Job(config=config, dataset=dataset, split=split, **(usual | flags))


def folder_job(tmp_path: Path, index: Mapping[str, Any], over: Mapping[str, Any] | None = None) -> Job:
    """A job on <tmp_path>/data, of format `folder`, with its cache in <tmp_path>/cache; `over` changes config.yaml."""
    root = tmp_path / "data"
    root.mkdir(exist_ok=True)
    (root / "expressions.json").write_text(json.dumps(index), encoding="utf-8")
    stop = {"run": {"on_failure": "stop"}}  # a failure is an exit status; leaving out is tests/core/test_failures.py's
    clips = {"root": str(root), "models": "micro", "settings": stop}
    mine = {"paths": {"cache": str(tmp_path / "cache")}, "datasets": {"clips": clips}}
    config = parse_config(merge(merge(read_yaml(CONFIG), mine), over or {}))
    return make_job(config, "clips", "all")
