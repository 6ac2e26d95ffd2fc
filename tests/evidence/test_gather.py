"""The stage gather_evidence with a real tiny VLM: what is asked, what is kept, and what a killed job leaves."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.evidence import (
    CAPTIONS,
    SIZE,
    VIDEOS,
    decide,
    gather,
    job_of,
    layout_of,
    make_config,
    picture,
    write_index,
    write_project,
    write_scores,
    write_source,
)
from support.project import ROOT

from stages import collect, gather_evidence
from stages.core.records import TrackId
from stages.core.state.cache import CacheError, Stamp, read_json, read_stamp, write_json
from stages.core.state.evidence_file import ExpressionEvidence, asked_path, read_evidence
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.weights import RECORD_STAGE, RECORD_VERSION
from stages.evidence.judging import model
from stages.evidence.prompts import ask_of_block
from stages.evidence.questions import Picture
from stages.evidence.views.numbered import Numbered, draw_outlined
from stages.evidence.views.video import VideoView
from stages.micro.mllm import build_random_mllm

GRID = [TrackId("grid", 0), TrackId("grid", 1)]  # numbers follow the source and the row, not the score
SHOWN = {"0": [*GRID, TrackId("gdino", 0)], "1": GRID, "2": GRID}
# Both polarities: expression 0: gdino's track and two visible grid tracks; 1 and 2: the two grid tracks.
N_QUESTIONS = 2 * (3 + 2 + 2)
ANOTHER = {**CAPTIONS, "3": "the second square"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build_random_mllm(tmp_path_factory.mktemp("weights") / "mllm", 0)


@pytest.fixture
def project(tmp_path, folder, monkeypatch) -> Path:
    monkeypatch.chdir(ROOT)
    write_project(tmp_path, folder)
    return tmp_path


def file_of(root: Path, video: str = "v") -> Path:
    return layout_of(root).file(GATHER_EVIDENCE, video, "judge")


def add_an_expression(root: Path) -> None:
    write_index(root, ANOTHER)
    write_scores(layout_of(root), "v", {"grid": 3, "gdino": 1}, "another expression", list(ANOTHER))


# ---------------------------------------------------------------- what is asked, and what is said of it


def test_both_ways_are_asked_and_every_number_says_where_it_comes_from(project, monkeypatch):
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == N_QUESTIONS
    evidence = read_evidence(file_of(project))
    assert list(evidence) == list(CAPTIONS)
    for key, known in evidence.items():
        assert known.existence is None and [entry.track for entry in known.tracks] == SHOWN[key]
        [shown] = known.provenance["shown"]
        assert [len(name) for name in shown["frames"]] == [5, 5]
        for number, entry in enumerate(known.tracks, 1):
            pair = [asked[words] for words in ask_of_block(CAPTIONS[key], number)]
            assert entry.log_odds == (pair[0].log_odds - pair[1].log_odds) / 2
            [judged] = entry.provenance["judged"]
            assert judged["number"] == number and judged["log_odds"] == entry.log_odds
            for way, reply in zip(("for", "against"), pair, strict=True):
                said = judged[way]
                assert (tuple(said["scores"]), said["mass"]) == (reply.scores, reply.mass)
    assert read_evidence(file_of(project, "empty")) == {"0": ExpressionEvidence(())}
    assert (
        read_json(file_of(project), GATHER_EVIDENCE.name, GATHER_EVIDENCE.version)["history"]["batches"]["questions"]
        == 3
    )


def test_a_track_is_drawn_only_where_it_is_visible(project):
    layout = layout_of(project)
    write_source(layout, "v", "grid", 2, absent_at=3)
    view = VideoView(layout, "v")
    shown = Numbered(96).shared(view.scene(GRID[:1]), [3, 4])
    absent, present = (part.pixels_HW3 for part in shown if isinstance(part, Picture))
    assert (absent == draw_outlined(picture(3, SIZE), {}, 96)).all()
    assert (present != draw_outlined(picture(4, SIZE), {}, 96)).any()
    assert not view.sightings(GRID).visible_NT[:, 3].any()


def test_only_the_best_candidates_are_shown(project, monkeypatch):
    asked = gather(project, monkeypatch, max_candidates=1)
    assert asked is not None and len(asked) == 2 * 3
    assert [entry.track for entry in read_evidence(file_of(project))["0"].tracks] == [("grid", 0)]


def test_what_has_no_word_is_not_asked_about_and_answered_with_nothing(project, monkeypatch):
    write_index(project, CAPTIONS | {"1": "???"})
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == N_QUESTIONS - 2 * 2
    assert list(read_evidence(file_of(project))) == ["0", "2"]
    decided = decide(project, {"selector": {"threshold": 0.0}})["v"]
    assert list(decided) == list(CAPTIONS)
    assert {e: sum(c.chosen for c in candidates) for e, candidates in decided.items()} == {"0": 4, "1": 0, "2": 3}


def test_replies_off_the_format_are_warned_of_once(project, monkeypatch, caplog):
    gather(project, monkeypatch)  # random weights put next to nothing on yes or no
    assert caplog.text.count("of the answers' probability is on the options") == 1


def test_scores_of_other_tracks_fail_their_video_and_name_the_file(project, monkeypatch):
    layout = layout_of(project)
    write_source(layout, "v", "grid", 1)
    with pytest.raises(SystemExit) as stopped:
        gather(project, monkeypatch)
    assert stopped.value.code == 1
    error = json.loads((layout.errors(GATHER_EVIDENCE, "judge") / "v.json").read_text(encoding="utf-8"))["error"]
    assert "has 1 tracks, the scores name row" in error and "score_tracks" in error
    assert file_of(project, "empty").exists() and not file_of(project).exists()


def test_an_unknown_name_is_one_line_with_the_nearest(project, capsys):
    make_config(project)
    where = ["--config", "config.yaml", "--config", str(project / "overlay.yaml")]
    assert gather_evidence.main([*where, "--dataset", "shapes", "--split", "valid_u", "--name", "juge"]) == 2
    assert capsys.readouterr().err == "error: no 'juge' in `evidence`; did you mean 'judge'?\n"


def test_collect_verifies_a_name(project, monkeypatch):
    job = job_of(make_config(project))
    with pytest.raises(CacheError, match=r"gather_evidence-judge is incomplete for 2 videos"):
        collect.run(job, "gather_evidence-judge")
    gather(project, monkeypatch)
    collect.run(job, "gather_evidence-judge")
    assert set(json.loads(job.layout.verified(GATHER_EVIDENCE, "judge").read_text())["videos"]) == set(VIDEOS)


# ---------------------------------------------------------------- nothing is asked twice


def test_a_finished_file_is_left_alone_whatever_a_pass_holds(project, monkeypatch):
    gather(project, monkeypatch)
    before = file_of(project).read_bytes()
    assert gather(project, monkeypatch, {"run": {"batches": {"questions": 5}}}) is None
    assert file_of(project).read_bytes() == before


@pytest.mark.parametrize("setting", [{"precision": "bfloat16"}, {"frame_side": 64}, {"frames": {"count": 1}}])
def test_a_changed_setting_asks_anew(project, monkeypatch, setting):
    gather(project, monkeypatch)
    asked = gather(project, monkeypatch, **setting)
    assert asked is not None and len(asked) == N_QUESTIONS


def test_other_weights_or_another_prompt_ask_anew(project, monkeypatch):
    gather(project, monkeypatch)
    monkeypatch.setattr(model, "PROMPT_VERSION", -1)
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == N_QUESTIONS
    record = next((project / "weights").rglob("record.json"))
    raw = read_json(record, RECORD_STAGE, RECORD_VERSION)
    files = raw["files"] | {"model.safetensors": raw["files"]["model.safetensors"] | {"sha256": "another"}}
    write_json(record, {"path": raw["path"], "files": files}, Stamp(RECORD_STAGE, RECORD_VERSION, {}))
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == N_QUESTIONS


def test_overwriting_asks_anew(project, monkeypatch):
    gather(project, monkeypatch)
    before = file_of(project).read_bytes()
    asked = gather(project, monkeypatch, overwrite=True)
    assert asked is not None and len(asked) == N_QUESTIONS and file_of(project).read_bytes() == before


def test_an_added_expression_asks_about_itself_alone(project, monkeypatch):
    gather(project, monkeypatch)
    before = read_evidence(file_of(project))
    add_an_expression(project)
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == 2 * 2 and all(ANOTHER["3"] in words for words in asked)
    after = read_evidence(file_of(project))
    assert {key: after[key] for key in CAPTIONS} == before and len(after["3"].tracks) == 2


def test_fewer_candidates_load_no_model(project, monkeypatch):
    """What is asked again has its reply in the stale file: expressions 1 and 2 keep their pictures."""
    gather(project, monkeypatch)
    layout = layout_of(project)
    write_scores(layout, "v", {"grid": 2, "gdino": 1}, "fewer")
    assert gather(project, monkeypatch) is None
    write_scores(layout, "v", {"grid": 2, "gdino": 0}, "still fewer")
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == 2 * 2 and all(CAPTIONS["0"] in words for words in asked)


def test_a_damaged_file_is_made_again_with_the_same_bytes(project, monkeypatch, caplog):
    gather(project, monkeypatch)
    whole = file_of(project).read_bytes()
    file_of(project).write_bytes(whole[: len(whole) // 2])
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == N_QUESTIONS and file_of(project).read_bytes() == whole
    assert "video v is made again" in caplog.text and "damaged" in caplog.text


# ---------------------------------------------------------------- kill -9

# The stage as a person runs it, with the real model noting each question before it answers, and killed for good in
# its nth pass.
DRIVER = """
import os, signal, sys
from pathlib import Path
from stages import gather_evidence
from stages.evidence.backends import transformers
import torch
torch.set_num_threads(1)

log, die_at, *arguments = sys.argv[1:]
real, passes = transformers.LocalJudge.answer, 0

def answer(self, questions):
    global passes
    passes += 1
    if passes == int(die_at):
        os.kill(os.getpid(), signal.SIGKILL)
    with Path(log).open("a") as file:
        file.writelines(repr(question.asked[-1]) + "\\n" for question in questions)
    return real(self, questions)

transformers.LocalJudge.answer = answer
raise SystemExit(gather_evidence.main(arguments))
"""


def run_until(root: Path, die_at: int) -> tuple[int, list[str]]:
    """The exit status, and what was asked."""
    make_config(root)
    log = root / "asked.txt"
    log.unlink(missing_ok=True)
    log.touch()
    flags = ["--config", "config.yaml", "--config", str(root / "overlay.yaml"), "--dataset", "shapes"]
    flags += ["--split", "valid_u", "--name", "judge"]
    done = subprocess.run([sys.executable, "-c", DRIVER, str(log), str(die_at), *flags], cwd=ROOT, capture_output=True)
    assert done.returncode in (0, -9), done.stderr.decode()
    return done.returncode, log.read_text().splitlines()


def files_below(root: Path) -> Iterator[str]:
    folder = file_of(root).parent
    return (str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_job_killed_for_good_asks_nothing_twice_and_ends_in_the_same_bytes(project, monkeypatch):
    asked = gather(project, monkeypatch)
    assert asked is not None and len(asked) == N_QUESTIONS
    whole = file_of(project).read_bytes()
    shutil.rmtree(file_of(project).parent)
    status, before = run_until(project, 4)
    assert status == -9 and len(before) == 9  # three passes: 3 + 3 of one expression, 3 of the next
    assert not file_of(project).exists() and asked_path(file_of(project)).exists()
    assert kept_by(project) == 9
    status, after = run_until(project, 0)
    assert status == 0 and sorted(before + after) == sorted(map(repr, asked))
    assert file_of(project).read_bytes() == whole and list(files_below(project)) == ["empty.json", "v.json"]


def test_a_job_killed_right_after_a_file_is_done_leaves_nothing(project, monkeypatch):
    gather(project, monkeypatch)
    path = file_of(project)
    stamp = read_stamp(path, GATHER_EVIDENCE.name)
    write_json(asked_path(path), {"replies": []}, stamp)
    assert gather(project, monkeypatch) is None and list(files_below(project)) == ["empty.json", "v.json"]
    write_json(asked_path(path), {"replies": []}, Stamp(stamp.stage, stamp.version, {"another": "making"}))
    assert gather(project, monkeypatch) is None and asked_path(path).exists()


def kept_by(root: Path) -> int:
    """How many replies the killed job left."""
    return len(json.loads(asked_path(file_of(root)).read_text())["replies"])


def test_a_job_killed_on_a_stale_file_uses_both(project, monkeypatch):
    """An expression is added, and the job that asks about it is killed: what either file knows is not asked again."""
    gather(project, monkeypatch)
    add_an_expression(project)
    status, before = run_until(project, 2)
    assert status == -9 and len(before) == 3
    status, after = run_until(project, 0)
    assert status == 0 and len(after) == 1
    together = read_evidence(file_of(project))
    shutil.rmtree(file_of(project).parent)
    gather(project, monkeypatch)
    anew = read_evidence(file_of(project))
    assert list(anew) == list(together) == list(ANOTHER)
    for key, known in anew.items():  # asked in other company, and so with other rounding
        assert known.log_odds == pytest.approx(together[key].log_odds, abs=1e-4)
