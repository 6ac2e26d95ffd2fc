"""The report as files: what is in it, what it says of what is missing, and what it leaves alone. In a browser: test_browser.py."""

import filecmp
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.jobs import make_job
from support.reports import NASTY, make_run

from stages.core.config.loading import load_config
from stages.core.media import masks
from stages.core.records import Expression
from stages.core.state.graph import GATHER_EVIDENCE
from stages.core.state.marks import MARK
from stages.report.entries import Entry, by_cost
from stages.report.motion import motion_words
from stages.report.names import page_names
from stages.report.small import joined, shrink_mask, small_size, worst_frame
from stages.tools import report


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run and its report, in <folder>/results/report/tiny/valid_u."""
    folder = tmp_path_factory.mktemp("report")
    config = make_run(folder)
    assert report.main(["tiny/valid_u", "--config", str(config)]) == 0
    yield folder
    shutil.rmtree(folder)


def site_of(folder: Path) -> Path:
    return folder / "results/report/tiny/valid_u"


def data_of(path: Path) -> Any:
    """The value that a script of data hands over."""
    return json.loads(path.read_text(encoding="utf-8").splitlines()[1].partition(" = ")[2].rstrip(";"))


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def build(folder: Path, out: Path, *more: str) -> int:
    return report.main(["tiny/valid_u", "--config", str(folder / "config.yaml"), "--out", str(out), *more])


# ---------------------------------------------------------------- what is in it


def test_every_expression_is_in_the_table_and_every_video_has_a_page(made: Path) -> None:
    table = data_of(site_of(made) / "data/table.js")
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    metrics = json.loads((made / "results/tiny/valid_u/metrics.json").read_text())
    assert len(rows) == metrics["counts"]["expressions"] == 12
    assert sum(row["jf"] for row in rows) / len(rows) == pytest.approx(metrics["figures"]["J&F"], abs=1e-4)
    for row in rows:
        assert row["choice"] + row["tracks"] == pytest.approx(row["cost"], abs=2e-4), "what was lost is split"
        assert (site_of(made) / "videos" / f"{row['page']}.html").is_file()
        assert (site_of(made) / "thumbs" / row["page"] / f"{row['id']}.jpg").is_file()
    assert {row["outcome"] for row in rows} >= {"right", "false alarm", "wrong choice"}


def test_the_first_page_has_the_figures_the_oracle_and_the_curves(made: Path) -> None:
    text = (site_of(made) / "index.html").read_text(encoding="utf-8")
    metrics = json.loads((made / "results/tiny/valid_u/metrics.json").read_text())
    for name, value in metrics["figures"].items():
        assert f"<dt>{name.replace('&', '&amp;')}</dt>" in text and f"{100 * value:.1f}" in text
    for words in (
        "Objects referred to",
        "Length of the expression",
        "Final score",
        "<td>oracle</td>",
        "<td>this run</td>",
    ):
        assert words in text
    assert "Not in this report" not in text


def test_the_weights_sum_to_the_score(made: Path) -> None:
    video = data_of(site_of(made) / "data/video1.js")
    for expression in video["expressions"]:
        sums: dict[int, list[float]] = {}
        for candidate in expression["candidates"]:
            sums.setdefault(candidate["object"], []).append(video["fusion"]["bias"] + sum(candidate["terms"]))
        assert len(sums) == 2, "the square that is tracked twice is one object"
        for candidate in expression["candidates"]:
            group = sums[candidate["object"]]
            assert candidate["final"] == pytest.approx(sum(group) / len(group), abs=1e-3)


def test_what_was_asked_is_drawn_again_to_the_last_pixel(made: Path) -> None:
    video = data_of(site_of(made) / "data/video0.js")
    asked = video["asked"]
    assert asked["unknown"] == {}
    known = video["expressions"][0]["evidence"]["judge"]
    keys = [
        entry[way]["key"]
        for track in known["tracks"].values()
        for entry in track.get("judged", ())
        for way in ("for", "against")
    ]
    assert keys and set(keys) <= set(asked["questions"])
    parts = [
        asked["parts"][n] for key in keys for n in asked["questions"][key]["context"] + asked["questions"][key]["asked"]
    ]
    pictures = {part["picture"] for part in parts if isinstance(part, dict)}
    assert pictures and all((site_of(made) / f"pictures/{name}.jpg").is_file() for name in pictures)
    assert any(NASTY.lower() in part for part in parts if isinstance(part, str))
    rounds = video["expressions"][0]["evidence"]["agent"]["provenance"]["rounds"]
    said = [look[way] for each in rounds for look in each["looks"] for way in ("verdicts", "repair") if way in look]
    assert len(said) == 3 and {one["key"] for one in said} <= set(asked["questions"]), "later rounds depend on answers"


def test_sentences_are_data(made: Path) -> None:
    for path in site_of(made).rglob("*.html"):
        assert "window.broken" not in path.read_text(encoding="utf-8").replace("&lt;script&gt;window.broken", "")
    assert data_of(site_of(made) / "data/video0.js")["expressions"][0]["sentence"] == NASTY


def test_the_same_run_gives_the_same_bytes(made: Path, tmp_path: Path) -> None:
    assert build(made, tmp_path / "again") == 0
    names = files_of(site_of(made))
    assert files_of(tmp_path / "again") == names
    _, different, failed = filecmp.cmpfiles(site_of(made), tmp_path / "again", names, shallow=False)
    assert not different and not failed


def test_nothing_is_fetched(made: Path) -> None:
    """Every address in pages and styles is of a file of the site."""
    for path in [*site_of(made).rglob("*.html"), site_of(made) / "assets/report.css"]:
        text = path.read_text(encoding="utf-8")
        assert "http:" not in text.replace("http://www.w3.org", "") and "https:" not in text, path


# ---------------------------------------------------------------- what is missing


def test_without_truth_there_are_candidates_and_a_word_about_it(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    usual = str(made / "results/report/tiny/valid")  # as the workflow asks for it
    assert report.main(["tiny/valid", "--config", str(made / "config.yaml"), "--no-media", "--out", usual]) == 0
    assert "not in the report: Scores: this split has no ground truth here" in caplog.text
    site = made / "results/report/tiny/valid"
    assert "no ground truth" in (site / "index.html").read_text(encoding="utf-8")
    video = data_of(site / "data/video0.js")
    assert video["truth"] is None and video["media"] is None and len(video["expressions"][0]["candidates"]) == 3
    assert not (site / "media").exists()


def test_what_is_not_there_is_named_with_the_command(made: Path, tmp_path: Path) -> None:
    """No scores, no evidence: another cache, from which they are taken."""
    copy = tmp_path / "copy"
    shutil.copytree(made / "cache", copy)
    text = (made / "config.yaml").read_text().replace(str(made / "cache"), str(copy))
    (tmp_path / "config.yaml").write_text(text)
    shutil.rmtree(copy / "tiny/valid_u/evaluation")
    shutil.rmtree(copy / "tiny/valid_u/evidence")
    job = make_job(load_config(tmp_path / "config.yaml"), "tiny", "valid_u")
    assert not job.layout.folder(GATHER_EVIDENCE, "judge").exists()
    words = [
        "tiny/valid_u",
        "--config",
        str(tmp_path / "config.yaml"),
        "--out",
        str(tmp_path / "site"),
        "--quick",
        "--no-media",
    ]
    assert report.main(words) == 0
    page = (tmp_path / "site/index.html").read_text(encoding="utf-8")
    assert "3 of 3 videos are not evaluated; " in page and "python -m stages.evaluate" in page and "--quick" in page


# ---------------------------------------------------------------- what it leaves alone, and refuses


def test_a_folder_of_somebody_else_stays(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("everything")
    assert build(made, tmp_path / "mine") == 2
    assert "Referee did not make" in capsys.readouterr().err
    assert files_of(tmp_path / "mine") == ["thesis.txt"]
    assert (site_of(made) / MARK).is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["results"], "give the results of a run"),
        (["tiny/valid_x"], "valid_u"),
        (["elsewhere/results/tiny/valid_u"], "where results of this config are"),
        (["tiny/train"], "nothing is decided yet"),
        (["tiny/valid_u", "--compare", "nowhere"], "--compare nowhere: holds no results of a run"),
    ],
)
def test_bad_input_is_one_sentence(made: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    if words == ["tiny/train"]:
        shutil.copytree(made / "data/tiny/valid_u", made / "data/tiny/train", dirs_exist_ok=True)
    assert report.main([*words, "--config", str(made / "config.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("error: ") and said in lines[-1]
    assert not any("Traceback" in line for line in lines)


# ---------------------------------------------------------------- parts


def entry(jf: float | None, *, objects: int = 1, empty: bool = False, oracle: float | None = None) -> Entry:
    row = {"J&F": jf, "predicted_empty": empty, "no_target": not objects}
    return Entry("v", 9, Expression("0", "a dog", tuple("ab"[:objects]), "a dog"), row, oracle)


@pytest.mark.parametrize(
    ("made_of", "outcome"),
    [
        (entry(0.9, oracle=0.95), "right"),
        (entry(1.0, objects=0, empty=True), "right"),
        (entry(0.6, oracle=0.9), "partly"),
        (entry(0.2, oracle=0.9), "wrong choice"),
        (entry(0.2), "wrong choice"),
        (entry(0.4, oracle=0.45), "weak tracks"),
        (entry(0.0, empty=True, oracle=0.9), "missed"),
        (entry(0.0, objects=0, oracle=1.0), "false alarm"),
        (entry(None), "not scored"),
    ],
)
def test_outcomes(made_of: Entry, outcome: str) -> None:
    assert made_of.outcome == outcome


def test_failures_come_first() -> None:
    listed = [entry(0.9), entry(None), entry(0.1), entry(0.5)]
    assert [e.jf for e in by_cost(listed)] == [0.1, 0.5, 0.9]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("the dog that turns around", ("turn", "around")),
        ("a red car", ()),
        ("the one on the left", ()),
        ("monkeys running and then flying away", ("run", "fly", "away")),
        ("it hopped, then hops", ("hop",)),
    ],
)
def test_words_of_motion(text: str, words: tuple[str, ...]) -> None:
    assert motion_words(text) == words


def test_pages_of_two_videos_are_two() -> None:
    assert page_names(["a/b", "a-b", "A-B", "ü"]) == {"a/b": "a-b", "a-b": "a-b-1", "A-B": "A-B-2", "ü": "-"}


def test_masks_are_shrunk_by_leaving_rows_and_columns_out() -> None:
    import numpy as np

    mask_HW = np.zeros((600, 961), bool)
    mask_HW[300:450, 30:330] = True
    small = shrink_mask(masks.encode(mask_HW), (600, 961))
    assert small is not None and tuple(small["size"]) == small_size((600, 961)) == (200, 321)
    assert np.array_equal(masks.decode(small), mask_HW[::3, ::3])
    assert shrink_mask(masks.encode(mask_HW & False), (600, 961)) is None
    assert joined([[None, small], [None, None]], (200, 321), 2) == [None, small]
    assert worst_frame([None, small, None], [None, small, small], (200, 321)) == 2
    assert worst_frame([None, None, None], None, (200, 321)) == 1
