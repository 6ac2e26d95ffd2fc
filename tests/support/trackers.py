"""What experiment trackers have stored, read as their packages read it: run → step → figures by name."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Figures = dict[int, dict[str, float]]
BLOCK = 32768  # of a W&B log, which is LevelDB's: records of 7 bytes (crc, length, kind) and their part of the data
FULL, LAST = 1, 4


def of_wandb(folder: Path) -> tuple[dict[str, Figures], list[dict[str, Any]]]:
    """Of the logs that offline runs leave, in their order; and the config of each. Raises where a figure is there twice."""
    runs: dict[str, Figures] = {}
    configs = []
    for log in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        figures = runs.setdefault(log.stem.removeprefix("run-"), {})
        config: dict[str, Any] = {}
        for record in _wandb_records(log.read_bytes()):
            if record.WhichOneof("record_type") == "run":
                config = {item.key: item.value_json for item in record.run.config.update}
            if record.WhichOneof("record_type") == "history":
                items = {item.key or "/".join(item.nested_key): float(item.value_json) for item in record.history.item}
                _add(figures, int(items["_step"]), {name: value for name, value in items.items() if name[0] != "_"})
        configs.append(config)
    return runs, configs


def _wandb_records(log: bytes) -> Iterator[Any]:
    from wandb.proto.wandb_internal_pb2 import Record

    assert log[:4] == b":W&B"
    place, data = 7, b""
    while place + 7 <= len(log):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", log[place : place + 7])
        data += log[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(data)
            data = b""
            yield record


def of_mlflow(_: Path) -> tuple[dict[str, Figures], list[dict[str, Any]]]:
    from mlflow import MlflowClient

    client = MlflowClient()
    experiment = client.get_experiment_by_name("referee")
    assert experiment is not None
    runs: dict[str, Figures] = {}
    parameters = []
    for run in client.search_runs([experiment.experiment_id]):
        assert run.info.status == "FINISHED"
        figures = runs.setdefault(run.info.run_id, {})
        parameters.append(dict(run.data.params))
        for name in run.data.metrics:
            for metric in client.get_metric_history(run.info.run_id, name):
                _add(figures, metric.step, {name: metric.value})
    return runs, parameters


def of_trackio(_: Path) -> tuple[dict[str, Figures], list[dict[str, Any]]]:
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    runs: dict[str, Figures] = {}
    configs = []
    for run in trackio.Api().runs("referee"):
        figures = runs.setdefault(run.name, {})
        configs.append(dict(run.config or {}))
        for entry in SQLiteStorage.get_logs("referee", run.name):
            step = int(entry.pop("step"))
            entry.pop("timestamp")
            _add(figures, step, entry)
    return runs, configs


def _add(figures: Figures, step: int, more: dict[str, float]) -> None:
    known = figures.setdefault(step, {})
    assert not known.keys() & more.keys(), f"step {step} has {known.keys() & more.keys()} twice"
    known |= more
