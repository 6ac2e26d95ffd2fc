"""The evidence file: what it keeps, and what it refuses."""

import json

import pytest

from stages.core.records import TrackId
from stages.core.state.cache import CacheError, Stamp
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, read_evidence, write_evidence

GRID = [TrackId("grid", 0), TrackId("grid", 1)]
TRACKS = [TrackId("gdino", 0), *GRID]


def test_an_evidence_file_keeps_what_it_is_given(tmp_path):
    path, stamp = tmp_path / "v.json", Stamp("gather_evidence", 1, {})
    entries = tuple(TrackEvidence(track, x, {"n": [1]}) for track, x in zip(TRACKS, (0.1, -3.5, 1e-9), strict=True))
    evidence = {"0": ExpressionEvidence(entries, -1.25, {"frames": ["a"]}), "1": ExpressionEvidence(())}
    write_evidence(path, stamp, evidence, {"batches": 1})
    assert read_evidence(path) == evidence
    assert read_evidence(path)["0"].log_odds == {("gdino", 0): 0.1, ("grid", 0): -3.5, ("grid", 1): 1e-9}


@pytest.mark.parametrize(
    ("known", "reason"),
    [
        (ExpressionEvidence((TrackEvidence(GRID[0], float("nan")),)), "grid track 0 are not finite"),
        (ExpressionEvidence((TrackEvidence(GRID[1], float("inf")),)), "grid track 1 are not finite"),
        (ExpressionEvidence((), float("-inf")), "existence is -inf, not finite"),
        (ExpressionEvidence((TrackEvidence(GRID[0], 0.0), TrackEvidence(GRID[0], 1.0))), "a track is there twice"),
    ],
)
def test_numbers_that_are_none_are_not_written(tmp_path, known, reason):
    path = tmp_path / "v.json"
    with pytest.raises(ValueError, match=rf"v\.json: evidence on expression '7': .*{reason}"):
        write_evidence(path, Stamp("gather_evidence", 1, {}), {"7": known}, {})
    assert not path.exists()


@pytest.mark.parametrize("change", ["nan", "twice", "no source", "a list", "no expressions", "cut", "another version"])
def test_a_file_that_cannot_be_used_is_named_with_the_command(tmp_path, change):
    path = tmp_path / "v.json"
    entry = {"source": "grid", "track": 0, "log_odds": 1.0, "provenance": {}}
    tracks = {
        "nan": [{**entry, "log_odds": float("nan")}],
        "twice": [entry, entry],
        "no source": [{"track": 0}],
        "a list": [[0]],
    }
    expressions = {"0": {"existence": None, "provenance": {}, "tracks": tracks.get(change, [entry])}}
    stamp = {"stage": "gather_evidence", "version": 1 + (change == "another version"), "ingredients": {}}
    document = {"stamp": stamp, "expressions": expressions}
    if change == "no expressions":
        del document["expressions"]
    text = json.dumps(document)
    path.write_text(text[:-9] if change == "cut" else text, encoding="utf-8")
    with pytest.raises(CacheError, match=rf"{path}: .*python -m stages\.gather_evidence"):
        read_evidence(path)
