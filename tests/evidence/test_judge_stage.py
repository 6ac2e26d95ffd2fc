"""Kinds judge and exists through the stage, with a real tiny VLM: every view and frame mode, choices, duplicates, resume."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.drawn_tracks import tracks_of
from support.evidence import (
    CAPTIONS,
    N_FRAMES,
    SIZE,
    gather,
    job_of,
    layout_of,
    make_config,
    write_project,
    write_scores,
    write_source,
)
from support.project import ROOT

from stages import gather_evidence
from stages.core.config.loading import ConfigError
from stages.core.media import masks
from stages.core.records import TrackId
from stages.core.state.cache import Stamp
from stages.core.state.evidence_file import ExpressionEvidence, asked_path, read_evidence
from stages.core.state.graph import BUILD_TRACKS, GATHER_EVIDENCE, SCORE_TRACKS
from stages.core.state.track_file import write_tracks
from stages.evidence.backends import transformers
from stages.evidence.judging.asking import pooled
from stages.evidence.questions import Reply
from stages.micro.mllm import build_random_mllm

VIEWS = ("numbered", "highlight", "trail", "card", "facts")
ALL = [TrackId("grid", 0), TrackId("grid", 1), TrackId("gdino", 0)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)


@pytest.fixture
def project(tmp_path, folder, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    write_project(tmp_path, folder)
    return tmp_path


def evidence_in(root: Path, name: str = "judge") -> dict[str, ExpressionEvidence]:
    return read_evidence(layout_of(root).file(GATHER_EVIDENCE, "v", name))


def write_many(root: Path, n: int, twice: bool = False) -> None:
    """`n` squares far from each other as tracks of grid; with `twice`, each has a second, nearly equal track."""
    masks_NTHW = np.zeros((n, N_FRAMES, *SIZE), bool)
    for k in range(n):
        y, x = 2 + 16 * (k // 4), 1 + 16 * (k % 4)
        masks_NTHW[k, :, y : y + 12, x : x + 12] = True
    if twice:
        near = masks_NTHW.copy()
        near[:, :, :, 0] = True  # a column more
        masks_NTHW = np.concatenate([masks_NTHW, masks_NTHW & near])
        masks_NTHW[n:, 0] = False
    rles_NT = [masks.encode_all(masks_THW) for masks_THW in masks_NTHW]
    tracks = tracks_of(
        SIZE, rles_NT, len(CAPTIONS), N_FRAMES, score_NT=np.full((len(rles_NT), N_FRAMES), 3, np.float16)
    )
    layout = layout_of(root)
    for source, of in (("grid", tracks), ("gdino", tracks_of(SIZE, [], len(CAPTIONS), N_FRAMES))):
        rles = rles_NT if source == "grid" else []
        write_tracks(
            layout.file(BUILD_TRACKS, "v", source), Stamp(BUILD_TRACKS.name, BUILD_TRACKS.version, {}), of, rles
        )


# ---------------------------------------------------------------- views and frames


@pytest.mark.parametrize(
    ("ask", "views"),
    [
        *(("yes_no", [view]) for view in VIEWS),
        ("yes_no", [*VIEWS]),
        ("choose", ["numbered"]),
        ("choose", ["trail", "facts"]),
    ],
    ids=str,
)
def test_every_view_gives_evidence_on_all_that_can_be_seen(project, monkeypatch, views, ask):
    asked = gather(project, monkeypatch, views=views, ask=ask)
    assert asked is not None and len(asked) == (14 if ask == "yes_no" else 3)
    known = evidence_in(project)
    assert [entry.track for entry in known["0"].tracks] == ALL and len(known["1"].tracks) == 2
    values = [entry.log_odds for entry in known["0"].tracks]
    assert np.isfinite(values).all() and len(set(values)) == 3
    assert (known["0"].existence is None) == (ask == "yes_no")
    if ask == "choose":
        reply = Reply(*(known["0"].provenance["choices"][0]["choice"][key] for key in ("scores", "mass")))
        assert values == [reply.odds_of(n) for n in range(3)] and known["0"].existence == -reply.odds_of(3)


@pytest.mark.parametrize(
    ("mode", "quality"), [("uniform", "balanced"), ("keyframes", "faithful"), ("packed", "balanced")]
)
def test_every_frame_mode_gives_evidence(project, monkeypatch, mode, quality):
    frames = {"mode": mode, "count": 2, "quality": quality}
    gather(project, monkeypatch, frames=frames)
    known = evidence_in(project)["0"]
    [shown] = known.provenance["shown"]
    assert len(shown["frames"]) == 2 and [TrackId(**track) for track in shown["tracks"]] == ALL
    assert ("tiles" in shown) == (mode == "packed")
    if mode == "packed":  # every frame is shown once: anchors and tiles
        frames = [*shown["frames"], *(name for tiles in shown["tiles"] for name in tiles)]
        assert sorted(frames) == [f"{t:05d}" for t in range(N_FRAMES)]
    assert len(known.tracks) == 3


def test_clips_are_judged_apart_and_pooled(project, monkeypatch):
    write_source(layout_of(project), "v", "gdino", 1, absent_at=0)
    asked = gather(project, monkeypatch, views=["card"], frames={"mode": "clips", "clips": 3, "count": 1})
    assert asked is not None and len(asked) == 3 * 14
    known = evidence_in(project)["0"]
    assert [len(shown["frames"]) for shown in known.provenance["shown"]] == [1, 1, 1]
    for entry in known.tracks:
        parts = [judged["log_odds"] for judged in entry.provenance["judged"]]
        assert len(parts) == 3 and len(set(parts)) == 3 and entry.log_odds == pooled(parts)


def test_a_candidate_that_no_frame_shows_is_not_asked_about_unless_its_own_block_does(project, monkeypatch):
    """One frame, chosen for the tracks that the selector believes in; the other is there only when they are gone."""
    layout = layout_of(project)
    write_source(layout, "v", "grid", 3, absent_at=5)
    write_source(layout, "v", "gdino", 1, absent_at=slice(0, 5))
    gather(project, monkeypatch, frames={"mode": "keyframes", "count": 1, "quality": "balanced"})
    shown = evidence_in(project)["0"]
    assert TrackId("gdino", 0) not in [entry.track for entry in shown.tracks] and len(shown.tracks) == 2
    gather(project, monkeypatch, views=["numbered", "card"], frames={"mode": "keyframes", "count": 1})
    assert len(evidence_in(project)["0"].tracks) == 3


# ---------------------------------------------------------------- candidates


def test_more_than_eight_candidates_are_shown_in_several_lists(project, monkeypatch):
    write_many(project, 9)
    gather(project, monkeypatch, views=["card"], max_candidates=None)
    known = evidence_in(project)["1"]
    assert [len(shown["tracks"]) for shown in known.provenance["shown"]] == [5, 4]
    assert [entry.provenance["judged"][0]["number"] for entry in known.tracks] == [1, 2, 3, 4, 5, 1, 2, 3, 4]
    gather(project, monkeypatch, views=["card"], ask="choose", max_candidates=None)
    known = evidence_in(project)["1"]
    assert len(known.tracks) == 9 and len(known.provenance["choices"]) == 2
    assert known.existence is not None and np.isfinite(known.existence)


def test_near_duplicates_get_the_same_number_and_are_shown_once(project, monkeypatch):
    write_many(project, 3, twice=True)
    asked = gather(project, monkeypatch, views=["card"], max_candidates=None, same_iou=0.8)
    assert asked is not None and len(asked) == 3 * 3 * 2
    known = evidence_in(project)["1"]
    value = known.log_odds
    assert len(value) == 6 and len(set(value.values())) == 3
    for entry in known.tracks:
        twin = TrackId("grid", (entry.track.track + 3) % 6)
        assert value[twin] == entry.log_odds and entry.provenance.keys() in ({"judged"}, {"same_as"})
    asked = gather(project, monkeypatch, views=["card"], max_candidates=None, same_iou=1.0)
    assert asked is not None and len(asked) == 3 * 6 * 2


def test_without_a_limit_scores_are_not_read(project, monkeypatch):
    layout = layout_of(project)
    shutil.rmtree(layout.folder(SCORE_TRACKS))
    gather(project, monkeypatch, max_candidates=None)
    before = layout.file(GATHER_EVIDENCE, "v", "judge").read_bytes()
    assert len(evidence_in(project)["1"].tracks) == 3  # drawn tracks belong to all expressions
    write_scores(layout, "v", {"grid": 3, "gdino": 1})
    assert gather(project, monkeypatch, max_candidates=None) is None
    assert layout.file(GATHER_EVIDENCE, "v", "judge").read_bytes() == before


# ---------------------------------------------------------------- nothing is asked twice


def test_content_free_questions_are_asked_once_per_block(project, monkeypatch):
    """Expressions 1 and 2 show the same two candidates, 0 shows three: five blocks, two polarities."""
    asked = gather(project, monkeypatch, calibrate=True)
    assert asked is not None and len(asked) == 14 + 2 * 5
    for entry in evidence_in(project)["1"].tracks:
        [judged] = entry.provenance["judged"]
        odds = {way: np.subtract(*judged[way]["scores"]) for way in ("for", "against", "free_for", "free_against")}
        expected = (odds["for"] - odds["against"] - odds["free_for"] + odds["free_against"]) / 2
        assert entry.log_odds == pytest.approx(expected)


@pytest.mark.parametrize(
    "change",
    [
        {"views": ["numbered", "facts"]},
        {"ask": "choose"},
        {"frames": {"mode": "uniform"}},
        {"frames": {"count": 3}},
        {"frame_side": 64},
        {"precision": "bfloat16"},
    ],
    ids=str,
)
def test_what_changes_a_question_asks_it_anew(project, monkeypatch, change):
    gather(project, monkeypatch)
    asked = gather(project, monkeypatch, **change)
    assert asked is not None and len(asked) == (3 if "ask" in change else 14)


@pytest.mark.parametrize("change", [{"card_side": 20}, {"frames": {"grid": 3}}, {"max_candidates": 7}], ids=str)
def test_what_does_not_change_a_question_asks_nothing_again(project, monkeypatch, change):
    gather(project, monkeypatch)
    assert gather(project, monkeypatch, **change) is None


def test_calibration_asks_for_nothing_but_what_says_nothing(project, monkeypatch):
    gather(project, monkeypatch)
    asked = gather(project, monkeypatch, calibrate=True)
    assert asked is not None and len(asked) == 10 and all("no: something" in words for words in asked)


# ---------------------------------------------------------------- existence


def gather_existence(root: Path, **change: Any) -> dict[str, ExpressionEvidence]:
    entry = {"frame_side": 64, "card_side": 32, "same_iou": 1.0, **change}
    gather_evidence.run(job_of(make_config(root, {"evidence": {"exists": entry}})), "exists")
    return evidence_in(root, "exists")


@pytest.mark.parametrize("views", [["plain"], ["card", "facts"], ["numbered"]], ids="+".join)
def test_existence_is_asked_apart_and_a_no_is_audited(project, views):
    known = gather_existence(project, views=views, frames={"count": 2})
    assert list(known) == list(CAPTIONS)
    for of_expression in known.values():
        assert of_expression.tracks == () and of_expression.existence is not None
        [asked] = of_expression.provenance["asked"]
        odds = (np.subtract(*asked["for"]["scores"]) - np.subtract(*asked["against"]["scores"])) / 2
        assert ("audit" in asked) == (odds <= 0) == ("contradiction" in asked)
        if "audit" in asked:
            audit = Reply(tuple(asked["audit"]["scores"]), asked["audit"]["mass"])
            assert of_expression.existence == pytest.approx(max(odds, audit.odds_of(4)))
        else:
            assert of_expression.existence == pytest.approx(odds)
    path = layout_of(project).file(GATHER_EVIDENCE, "v", "exists")
    before = path.read_bytes()
    assert not asked_path(path).exists()
    gather_existence(project, views=views, frames={"count": 2})
    assert path.read_bytes() == before


def test_without_an_audit_a_first_no_stands(project):
    known = gather_existence(project, views=["card"], audit=False, both_polarities=False)
    assert all("audit" not in asked for e in known.values() for asked in e.provenance["asked"])
    audited = gather_existence(project, views=["card"], audit=True, both_polarities=False)
    for e, of_expression in known.items():
        assert of_expression.existence is not None and audited[e].existence is not None
        assert audited[e].existence >= of_expression.existence
        assert of_expression.existence > 0 or "audit" in audited[e].provenance["asked"][0]


def test_a_video_without_tracks_has_no_existence(project):
    gather_existence(project, views=["plain"])
    assert read_evidence(layout_of(project).file(GATHER_EVIDENCE, "empty", "exists")) == {"0": ExpressionEvidence(())}


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"views": ["numberd"]}, "no view 'numberd'; there are plain, numbered"),
        ({"views": []}, "needs at least one view"),
        ({"views": ["card", "card"]}, "names a view twice"),
        ({"views": ["plain"]}, "plain shows no candidate"),
        ({"frames": {"mode": "first"}}, "frames.mode"),
        ({"same_iou": 1.5}, "same_iou"),
    ],
)
def test_settings_that_cannot_be_shown_are_refused_at_load(project, change, reason):
    with pytest.raises(ConfigError, match=reason):
        make_config(project, **change)


# ---------------------------------------------------------------- dry run


def files_below(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "change",
    [{}, {"views": ["card", "facts"]}, {"ask": "choose"}, {"calibrate": True}, {"frames": {"mode": "packed"}}],
    ids=str,
)
def test_a_dry_run_counts_what_is_then_asked(project, monkeypatch, change):
    job = job_of(make_config(project, **change))
    monkeypatch.setattr(transformers, "load_judge", lambda *_: pytest.fail("a model is loaded"))
    before = files_below(project)
    bill = gather_evidence.dry_run(job, "judge")
    assert files_below(project) == before
    tokens: list[int] = []
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    real = transformers.LocalJudge.answer

    def answer(self: Any, questions: Any) -> Any:
        tokens.extend(int(self.chats.prepare([question])["attention_mask"].sum()) for question in questions)
        return real(self, questions)

    monkeypatch.setattr(transformers.LocalJudge, "answer", answer)
    asked = gather(project, monkeypatch, **change)
    assert asked is not None and bill.questions == len(asked) and bill.perhaps == 0 and bill.known == 0
    assert bill.tokens == sum(tokens) > bill.encoded and "counted by the processor of" in bill.counted_by
    assert (bill.videos, bill.finished, bill.unready) == (2, 0, {})
    after = gather_evidence.dry_run(job, "judge")
    assert (after.videos, after.finished, after.questions, after.tokens) == (0, 2, 0, 0)


def test_a_dry_run_leaves_out_what_is_known_and_says_what_cannot_be_planned(project, monkeypatch):
    gather(project, monkeypatch)
    job = job_of(make_config(project, calibrate=True))
    bill = gather_evidence.dry_run(job, "judge")
    assert (bill.videos, bill.questions, bill.known) == (2, 10, 14)
    layout_of(project).file(BUILD_TRACKS, "v", "grid").unlink()
    bill = gather_evidence.dry_run(job, "judge")
    assert bill.videos == 1 and list(bill.unready) == ["v"] and "build_tracks" in bill.unready["v"]


def test_a_dry_run_of_existence_counts_audits_as_possible(project):
    job = job_of(make_config(project, {"evidence": {"exists": {"views": ["plain"], "same_iou": 1.0}}}))
    bill = gather_evidence.dry_run(job, "exists")
    assert (bill.questions, bill.perhaps) == (6, 3)


def test_a_dry_run_without_weights_estimates_and_prices_are_applied(project, monkeypatch, capsys, caplog):
    shutil.rmtree(project / "weights")
    server = {
        "url": "http://localhost:9/v1",
        "model": "m",
        "key_env": None,
        "concurrency": 2,
        "timeout_s": 1,
        "retries": 0,
    }
    bill = gather_evidence.dry_run(job_of(make_config(project)), "judge")
    assert bill.questions == 14 and bill.tokens > 0 and bill.cost is None and "estimate" in bill.counted_by
    assert "tokens are estimated" in caplog.text
    priced = {"backend": "openai", "server": {**server, "prices": {"input": 2.0, "output": 10.0}}}
    bill = gather_evidence.dry_run(job_of(make_config(project, **priced)), "judge")
    assert bill.cost == pytest.approx((2 * bill.tokens + 10 * 14) / 1e6) and "estimate" in bill.counted_by
    where = ["--config", "config.yaml", "--config", str(project / "overlay.yaml")]
    command = [*where, "--dataset", "shapes", "--split", "valid_u", "--name", "judge", "--dry-run"]
    assert gather_evidence.main(command) == 0
    printed = capsys.readouterr().out
    assert "questions  14; 0 replies are known" in printed and "cost" in printed and "2 to do, 0 finished" in printed
    assert gather_evidence.main([*command[:-2], "detector", "--dry-run"]) == 0
    assert "asks nothing" in capsys.readouterr().out
