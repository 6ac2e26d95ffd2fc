"""The evidence file: what it keeps, and what it refuses."""

import pytest

from stages.core.records import TrackId
from stages.core.state.cache import CacheError, Stamp, write_json
from stages.core.state.evidence_file import ExpressionEvidence, TrackEvidence, read_evidence, write_evidence
from stages.core.state.graph import GATHER_EVIDENCE

GRID = [TrackId("grid", 0), TrackId("grid", 1)]
STAMP = Stamp(GATHER_EVIDENCE.name, GATHER_EVIDENCE.version, {"a": 1})
TRACKS = [TrackId("gdino", 0), *GRID]


def test_an_evidence_file_keeps_what_it_is_given(tmp_path):
    path = tmp_path / "v.json"
    entries = tuple(TrackEvidence(track, x, {"n": [1]}) for track, x in zip(TRACKS, (0.1, -3.5, 1e-9), strict=True))
    evidence = {"0": ExpressionEvidence(entries, -1.25, {"frames": ["a"]}), "1": ExpressionEvidence(())}
    write_evidence(path, STAMP, evidence, {"batches": 1})
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
        write_evidence(path, STAMP, {"7": known}, {})
    assert not path.exists()


ENTRY = {"source": "grid", "track": 0, "log_odds": 1.0, "provenance": {}}


@pytest.mark.parametrize(
    ("tracks", "reason"),
    [
        ([{**ENTRY, "log_odds": "nan"}], "grid track 0 are not finite"),
        ([ENTRY, ENTRY], "a track is there twice"),
        ([{"track": 0}], "KeyError"),
        ([[0]], "TypeError"),
        (None, "KeyError"),
    ],
)
def test_content_that_is_no_evidence_is_named_with_the_command(tmp_path, tracks, reason):
    path = tmp_path / "v.json"
    known = {"existence": None, "provenance": {}, "tracks": tracks}
    write_json(path, {"words": {}} if tracks is None else {"expressions": {"0": known}}, STAMP)
    with pytest.raises(CacheError, match=rf"{path}: damaged .*{reason}.*python -m stages\.gather_evidence"):
        read_evidence(path)


@pytest.mark.parametrize("change", ["cut", "another version", "missing"])
def test_a_file_that_cannot_be_used_is_named_with_the_command(tmp_path, change):
    path = tmp_path / "v.json"
    if change != "missing":
        version = STAMP.version + (change == "another version")
        write_evidence(path, Stamp(STAMP.stage, version, {}), {"0": ExpressionEvidence(())}, {})
    if change == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CacheError, match=rf"{path}: .*python -m stages\.gather_evidence"):
        read_evidence(path)
