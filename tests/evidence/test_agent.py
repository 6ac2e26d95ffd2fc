"""Kind agent through the stage, against a real server on good days and bad ones, and with a real tiny VLM."""

import json
import math
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.evidence import SHOWN, Counting, job_of, make_config, write_project
from support.openai_server import Behaviour, Log, Said, completion, failure, in_tokens, serving, words_of

from stages import gather_evidence
from stages.core.config.loading import ConfigError
from stages.core.records import TrackId
from stages.core.state.evidence_file import ExpressionEvidence, read_evidence
from stages.datasets import open_split
from stages.evidence.asked import keys_in
from stages.evidence.backends import transformers
from stages.evidence.backends.server import PROBE
from stages.micro.mllm import build_random_mllm
from stages.report.asked import redraw

GRID_0, GRID_1, GDINO = TrackId("grid", 0), TrackId("grid", 1), TrackId("gdino", 0)
STATED = 3.0
# Verdicts of the answers: of the objects that a question shows, in order.
Labels = Sequence[str]


def settings(**change: Any) -> dict[str, Any]:
    budget = {"questions": None, "tokens": None, "money": None, "unanswered": 2, **change.pop("budget", {})}
    given = {"verdicts": "json", "views": ["numbered"], "frame_side": 96, "frames": {"mode": "seen", "count": 3}}
    return {
        "evidence": {
            "agent": {**given, "max_candidates": 8, "same_iou": 1.0, "stated": STATED, "budget": budget, **change}
        }
    }


def of_server(log: Log, **change: Any) -> dict[str, Any]:
    server = {"url": log.url, "model": "m", "key_env": None, "concurrency": 2, "timeout_s": 20, "retries": 0}
    server |= {"prices": None, **change.pop("server", {})}
    return settings(backend="openai", server=server, **change)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two projects: of a server, and of a model that runs here."""
    roots = {name: tmp_path_factory.mktemp(name) for name in ("server", "local")}
    (roots["server"] / "mllm").mkdir()
    (roots["server"] / "mllm/model.safetensors").write_bytes(b"")
    write_project(roots["server"], roots["server"] / "mllm")
    write_project(roots["local"], build_random_mllm(roots["local"] / "mllm", 0))
    return roots


@pytest.fixture
def project(places: dict[str, Path]) -> Path:
    """Without evidence."""
    shutil.rmtree(evidence(places["server"]).parent, ignore_errors=True)
    return places["server"]


@pytest.fixture
def local(places: dict[str, Path]) -> Path:
    """Without evidence."""
    shutil.rmtree(evidence(places["local"]).parent, ignore_errors=True)
    return places["local"]


def run(root: Path, over: Mapping[str, Any]) -> dict[str, ExpressionEvidence]:
    gather_evidence.run(job_of(make_config(root, over)), "agent")
    return read_evidence(evidence(root))


def evidence(root: Path) -> Path:
    return root / "cache/shapes/valid_u/evidence/agent/v.json"


def ended(found: Mapping[str, ExpressionEvidence]) -> dict[str, str]:
    return {e: str(known.provenance["ended"]) for e, known in found.items()}


# ---------------------------------------------------------------- the server's side


def answer(labels: Labels) -> str:
    entries = [{"object": n + 1, "reason": f"it is {label}", "verdict": label} for n, label in enumerate(labels)]
    return f"Here it is:\n```json\n{json.dumps({'verdicts': entries})}\n```"


def n_objects(body: Mapping[str, Any]) -> int:
    [listed] = re.findall(r"label each of the objects ([\d, ]+) by", words_of(body))
    return len(listed.split(","))


def sentence(body: Mapping[str, Any]) -> str:
    return words_of(body).split(" the words: ")[1].split(" your answer was: ")[0]


def is_probe(body: Mapping[str, Any]) -> bool:
    return words_of(body) == PROBE.asked[0]


def is_repair(body: Mapping[str, Any]) -> bool:
    return "it cannot be used" in words_of(body)


def saying(say: Any) -> Behaviour:
    """(a question's JSON) → its answer in words, or all of the response; no probabilities."""

    def behave(body: dict[str, Any], before: int) -> Said:
        if is_probe(body):
            return completion(None, "Yes")
        said = say(body)
        return completion(None, said) if isinstance(said, str) else said

    return behave


def labelling(body: dict[str, Any]) -> str:
    """Every object but the first is uncertain, until it is alone."""
    n = n_objects(body)
    return answer(["accept" if "red" in sentence(body) else "reject", *["uncertain"] * (n - 1)])


def asked(log: Log) -> int:
    return sum(n for words, n in log.tries.items() if words != PROBE.asked[0])


# ---------------------------------------------------------------- rounds


def test_each_round_shows_the_uncertain_ones_alone(project: Path) -> None:
    with serving(saying(labelling)) as log:
        found = run(project, of_server(log))
    assert found["0"].log_odds == {GRID_0: STATED, GRID_1: STATED, GDINO: STATED}
    assert found["1"].log_odds == {GRID_0: -STATED, GRID_1: -STATED}
    rounds = found["0"].provenance["rounds"]
    shown = [[TrackId(**track) for track in look["tracks"]] for each in rounds for look in each["looks"]]
    assert shown == [[GRID_0, GRID_1, GDINO], [GRID_1, GDINO], [GDINO]]
    assert set(ended(found).values()) == {"all are decided"}
    words = [words_of(body) for body in log.bodies if "red" in words_of(body)]
    assert "not shown any more" not in words[0] and " 1 were accepted and 0 rejected" in words[1]
    [last] = [entry for entry in found["0"].tracks if entry.track == GDINO]
    judged = [(each["round"], each["number"], each["verdict"]) for each in last.provenance["judged"]]
    assert judged == [(1, 3, "uncertain"), (2, 2, "uncertain"), (3, 1, "accept")]
    assert asked(log) == 3 + 2 + 2 == len(log.tries) - 1, "none is asked twice; the other one is the probe"


@pytest.mark.parametrize("rounds", [1, 2])
def test_after_the_last_round_what_is_left_is_uncertain(project: Path, rounds: int) -> None:
    with serving(saying(labelling)) as log:
        found = run(project, of_server(log, rounds=rounds))
    left = 3 - rounds
    assert found["0"].provenance["ended"] == f"{left} are uncertain after {rounds} rounds"
    assert list(found["0"].log_odds.values()) == [STATED] * rounds + [0.0] * left


def test_verdicts_have_the_log_odds_of_the_models_probabilities(project: Path) -> None:
    likely = {
        "accept": {"accept": math.log(0.7), "un": math.log(0.2), "reject": math.log(0.1)},
        "reject": {"reject": math.log(0.9), "acc": math.log(0.05), "maybe": math.log(0.05)},
    }

    def behave(body: dict[str, Any], before: int) -> Said:
        if is_probe(body):
            return completion({"Yes": -0.1, "No": -2.4})
        return in_tokens(answer(["accept", "reject", "accept"][: n_objects(body)]), likely)

    with serving(behave) as log:
        found = run(project, of_server(log))
    assert found["0"].log_odds == pytest.approx({GRID_0: math.log(7), GRID_1: math.log(1 / 18), GDINO: math.log(7)})
    body = log.bodies[-1]
    assert body["logprobs"] and body["top_logprobs"] == 20 and body["max_tokens"] == 512
    [look] = found["0"].provenance["rounds"][0]["looks"]
    assert look["verdicts"]["text"] == answer(["accept", "reject", "accept"])


# ---------------------------------------------------------------- bad days

NEVER = "another look would be the same"
BAD_DAYS: dict[str, tuple[Any, str]] = {
    "broken JSON": (lambda body: '{"verdicts": [{"object": 1, "verd', NEVER),
    "JSON of another form": (lambda body: '{"verdicts": [1, 2]}', NEVER),
    "an unknown verdict": (lambda body: answer(["perhaps"] * n_objects(body)), NEVER),
    "refuses in words": (lambda body: "I'm sorry, I cannot help with that.", NEVER),
    "says nothing": (lambda body: "", NEVER),
    "contradicts itself": (
        lambda body: answer(["accept"] * n_objects(body)).replace('"object": 2', '"object": 1'),
        NEVER,
    ),
    "forgets one": (lambda body: answer(["accept"] * (n_objects(body) - 1)), NEVER),
    "names one that is not shown": (lambda body: answer(["accept"] * (n_objects(body) + 1)), NEVER),
    "is never sure": (lambda body: answer(["uncertain"] * n_objects(body)), NEVER),
    "never accepts": (lambda body: answer(["reject"] * n_objects(body)), "all are decided"),
    "refuses the request": (lambda body: failure(400, "content policy"), "content policy"),
    "fails": (lambda body: failure(500, "out of order"), "out of order"),
    "is no chat completion": (lambda body: (200, "<html>", {}), "no chat completion"),
    "gives no answer in time": (lambda body: time.sleep(0.6), "gave no answer within 0.2 s"),
}


@pytest.mark.parametrize("day", BAD_DAYS)
def test_every_video_ends_and_says_why(project: Path, day: str, caplog: pytest.LogCaptureFixture) -> None:
    say, why = BAD_DAYS[day]
    hurry = {"server": {"timeout_s": 0.2}} if "in time" in day else {}
    with serving(saying(say)) as log:
        over = of_server(log, **hurry)
        bill = gather_evidence.dry_run(job_of(make_config(project, over)), "agent")
        found = run(project, over)
    reasons = ended(found)
    assert len(reasons) == 3 and all(why in reason for reason in reasons.values()), reasons
    assert 3 <= asked(log) <= bill.questions + bill.perhaps
    assert all(abs(value) in (0.0, STATED) for known in found.values() for value in known.log_odds.values())
    no_answer = why not in (NEVER, "all are decided")
    assert ("have no answer" in caplog.text) == no_answer
    assert all(len(known.tracks) == (0 if no_answer else 3 if e == "0" else 2) for e, known in found.items())


def test_an_answer_that_cannot_be_used_is_asked_for_once_more(project: Path) -> None:
    def say(body: dict[str, Any]) -> str:
        return answer(["accept"] * n_objects(body)) if is_repair(body) else "[1, 2]"

    with serving(saying(say)) as log:
        found = run(project, of_server(log))
    assert asked(log) == 6 and set(found["0"].log_odds.values()) == {STATED}
    [look] = found["0"].provenance["rounds"][0]["looks"]
    assert look["fault"] == "there is no JSON object" and look["verdicts"]["text"] == "[1, 2]"
    [repair] = [words_of(body) for body in log.bodies if is_repair(body) and "red" in words_of(body)]
    assert " your answer was: [1, 2] it cannot be used: there is no JSON object." in repair


def test_one_question_without_an_answer_leaves_the_others_alone(project: Path) -> None:
    def say(body: dict[str, Any]) -> Any:
        return failure(400, "not that") if "left" in sentence(body) else answer(["accept"] * n_objects(body))

    with serving(saying(say)) as log:
        found = run(project, of_server(log))
    reasons = ended(found)
    assert "not that" in reasons.pop("1") and set(reasons.values()) == {"all are decided"}
    assert not found["1"].tracks and len(found["0"].tracks) == 3


@pytest.mark.parametrize(
    ("said", "change"),
    [
        (failure(401, "who are you"), {}),
        (failure(429, "quota"), {}),
        (failure(500, "x"), {"budget": {"unanswered": 0}}),
    ],
    ids=["key", "quota", "no patience"],
)
def test_what_is_not_the_matter_of_a_question_fails_the_video(project: Path, said: Said, change: Any) -> None:
    with serving(saying(lambda body: said)) as log, pytest.raises(SystemExit):
        run(project, of_server(log, **change))
    assert not evidence(project).exists()


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"questions": 2}, "budget.questions, 2 per video, allows no more"),
        ({"tokens": 1500}, "budget.tokens, 1500 per video, allows no more"),
        ({"money": 0.0035}, "budget.money, 0.0035 per video, allows no more"),
    ],
    ids=["questions", "tokens", "money"],
)
def test_a_budget_ends_the_questions_and_says_so(project: Path, budget: Any, reason: str) -> None:
    with serving(saying(labelling)) as log:
        over = of_server(log, budget=budget, server={"prices": {"input": 1.0, "output": 2.0}})
        bill = gather_evidence.dry_run(job_of(make_config(project, over)), "agent")
        found = run(project, over)
    assert asked(log) == 2 == bill.questions + bill.perhaps or "questions" not in budget
    assert 1 <= asked(log) <= 2, "each takes 512 tokens of an answer beside its own"
    assert bill.cost is not None and bill.cost <= budget.get("money", 1) and bill.tokens <= budget.get("tokens", 1e9)
    assert all(reason in why for why in ended(found).values())
    assert len(found["0"].tracks) == 3 and not found["2"].tracks, "what was asked about counts"


def test_a_budget_covers_repairs(project: Path) -> None:
    with serving(saying(lambda body: "no")) as log:
        found = run(project, of_server(log, budget={"questions": 4}))
    assert asked(log) == 4
    assert "budget.questions" in ended(found)["1"] and NEVER in ended(found)["0"]
    assert set(found["2"].log_odds.values()) == {0.0}


def test_a_killed_job_goes_on_where_it_was(project: Path) -> None:
    budget = {"questions": 6}
    with serving(saying(labelling)) as log:
        over = of_server(log, budget=budget)
        whole = run(project, over)
        assert asked(log) == 6
        evidence(project).unlink()
    answered = 0
    broken = True

    def say(body: dict[str, Any]) -> Any:
        nonlocal answered
        answered += 1
        return failure(401, "gone") if broken and answered > 4 else labelling(body)

    with serving(saying(say)) as again:
        over = of_server(again, budget=budget)
        with pytest.raises(SystemExit):
            run(project, over)
        assert not evidence(project).exists()
        broken = False
        assert {e: each.log_odds for e, each in run(project, over).items()} == {
            e: each.log_odds for e, each in whole.items()
        }
        counts = [n for words, n in again.answered.items() if words != PROBE.asked[0]]
    assert sum(counts) == len(counts) == 6, "none is answered twice"


def test_a_dry_run_counts_all_that_may_follow(project: Path) -> None:
    with serving(saying(labelling)) as log:
        job = job_of(make_config(project, of_server(log)))
        bill = gather_evidence.dry_run(job, "agent")
        assert not log.bodies
        assert (bill.questions, bill.perhaps) == (3, 3 * 2 + 3 * 3), "two more rounds, and a repair in each"
        assert bill.answered == 18 * 512 and bill.images == 18 * 3
        run(project, of_server(log))
        after = gather_evidence.dry_run(job, "agent")
    assert (after.finished, after.questions, after.perhaps) == (2, 0, 0)


# ---------------------------------------------------------------- the report


def test_the_report_shows_every_round_to_the_last_pixel(project: Path) -> None:
    def say(body: dict[str, Any]) -> str:
        return labelling(body) if is_repair(body) or n_objects(body) < 3 else "what?"

    with serving(saying(say)) as log:
        job = job_of(make_config(project, of_server(log)))
        found = run(project, of_server(log))
        n_asked = asked(log)
    [video] = [video for video in open_split(job.config, "shapes", "valid_u").videos() if video.id == "v"]
    redrawn = redraw(job, video, {"agent": found})
    assert redrawn.unknown == {} and redrawn.questions.keys() == keys_in(found) and len(keys_in(found)) == n_asked
    assert asked(log) == n_asked, "nothing is asked for it"


# ---------------------------------------------------------------- a model that runs here


def of_likelihood(**change: Any) -> dict[str, Any]:
    return settings(verdicts="likelihood", views=["numbered", "facts"], precision="float32", **change)


def test_likelihoods_are_verdicts_beyond_the_margin(local: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Counting] = []
    real = transformers.load_judge
    monkeypatch.setattr(transformers, "load_judge", lambda *a: made.append(Counting(real(*a))) or made[-1])
    first = run(local, of_likelihood(rounds=1, margin=0))
    assert len(made.pop().asked) == 14 and set(ended(first).values()) == {"all are decided"}
    values = sorted(abs(value) for each in first.values() for value in each.log_odds.values())
    middle = (values[2] + values[3]) / 2
    found = run(local, of_likelihood(margin=middle))
    assert {e: each.provenance["judged"][0]["log_odds"] for e, each in pairs(found)} == {
        e: each.provenance["judged"][0]["log_odds"] for e, each in pairs(first)
    }
    for _, entry in pairs(found):
        judged = entry.provenance["judged"]
        assert all(abs(each["log_odds"]) < middle for each in judged[:-1]), "what was decided is not asked again"
        assert entry.log_odds == judged[-1]["log_odds"] and judged[-1]["for"]["kind"] == "logprobs"
    job = job_of(make_config(local, of_likelihood(margin=middle)))
    [video] = [video for video in open_split(job.config, "shapes", "valid_u").videos() if video.id == "v"]
    redrawn = redraw(job, video, {"agent": found})
    assert redrawn.unknown == {} and redrawn.questions.keys() == keys_in(found)
    assert len(keys_in(found)) > 14, "some were looked at again"
    unsure = run(local, of_likelihood(margin=1e9))
    assert all(NEVER in reason for reason in ended(unsure).values())


def pairs(found: Mapping[str, ExpressionEvidence]) -> list[tuple[Any, Any]]:
    return [((e, entry.track), entry) for e, each in found.items() for entry in each.tracks]


def test_a_model_that_writes_nonsense_is_uncertain(local: Path) -> None:
    found = run(local, settings(precision="float32", answer_tokens=4))
    assert all(NEVER in reason for reason in ended(found).values())
    assert {value for each in found.values() for value in each.log_odds.values()} == {0.0}
    [look] = found["0"].provenance["rounds"][0]["looks"]
    assert look["verdicts"]["text"] and look["repair"]["key"] != look["verdicts"]["key"]


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"views": ["plain"]}, "plain shows no candidate"),
        ({"frames": {**SHOWN["frames"], "mode": "clips"}}, "clips are judged apart"),
        ({"budget": {"money": 1.0}}, "needs server.prices"),
        ({"rounds": 4}, "rounds"),
        ({"budget": {"questions": 0}}, "budget.questions"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(project: Path, change: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        make_config(project, settings(**change))
