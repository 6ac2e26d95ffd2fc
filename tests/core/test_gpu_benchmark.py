"""benchmarks.gpu on micro models on the CPU: parts run, what is known is not measured again, tables are printed."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu.__main__ import PARTS, main, tables
from benchmarks.gpu.ledger import Ledger

QUICK = (
    "object_frame",
    "judge",
    "masks",
    "parity",
)  # the others use what benchmarks.tracking, prompts and selectors do


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("gpu")
    for part in QUICK:
        assert one(part, out) == 0
    return out


def one(part: str, out: Path) -> int:
    return main(["--one", part, "--tiny", "--device", "cpu", "--out", str(out)])


def parts(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "gpu.json").read_text())["parts"])


def test_every_row_is_measured(measured: Path) -> None:
    written = parts(measured)
    assert set(written) == set(QUICK) <= set(PARTS)
    for part, entry in written.items():
        assert entry["complete"], f"{part}: {entry['rows']}"
        assert entry["key"]["tiny"] and entry["key"]["device"] == "cpu"


def test_parity_on_the_cpu_is_exact_or_rounding(measured: Path) -> None:
    rows = parts(measured)["parity"]["rows"]
    assert rows["tracks, micro, stock, float32"]["mask IoU, least"] > 0.99
    assert rows["boxes, stock, float32"]["at IoU .9"] == "1.000"
    assert rows["masks of points, stock, float32"]["at IoU .99"] == "1.000"
    for name in ("sola", "soc", "course"):  # the same device twice
        assert rows[f"{name}, CPU, float32"]["score Δ"] < 1e-6


def test_tables_name_every_part(measured: Path) -> None:
    text = tables(Ledger(measured / "gpu.json"))
    for part in QUICK:
        assert f"#### {part.replace('_', ' ').capitalize()}: cpu" in text
    assert "times fewer FLOPs" in text


def test_it_goes_on_where_it_was_interrupted(measured: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = parts(measured)
    assert one("masks", measured) == 0
    assert "masks: known" in capsys.readouterr().out
    document = {"command": "", "parts": before}
    before["judge"]["complete"] = False
    first, second = before["judge"]["rows"]
    del before["judge"]["rows"][second]
    (measured / "gpu.json").write_text(json.dumps(document))
    assert one("judge", measured) == 0
    out = capsys.readouterr().out
    assert f"judge: {second}" in out and f"judge: {first}" not in out
    assert parts(measured)["judge"]["complete"]
