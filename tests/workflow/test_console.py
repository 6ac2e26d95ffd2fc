"""What a run says on the terminal, and what its logs hold."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.workspace import make_workspace, overlay, snakemake

FRAMES = "results/cache/tiny/valid_u/done/extract_frames.json"
LOG = Path("results/cache/tiny/valid_u/logs/extract_frames-0-of-1.log")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only for what leaves nothing behind."""
    return make_workspace(tmp_path_factory.mktemp("console"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return make_workspace(tmp_path)


def said(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """Its lines, without the time of day."""
    return [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in (done.stdout + done.stderr).splitlines() if line]


def test_a_job_is_a_line_at_its_start_and_one_at_its_end(own: Path) -> None:
    done = snakemake(own, FRAMES)
    lines = said(done)
    assert done.returncode == 0, lines
    total = next(i for i, line in enumerate(lines) if line.startswith("total "))
    jobs = lines[total + 1 : -1]
    assert jobs == ["extract_frames tiny/valid_u 0-of-1", "1 of 2 done: extract_frames tiny/valid_u 0-of-1"]
    assert lines[-1].startswith("Complete log")
    log = (own / LOG).read_text()
    assert "3 of 3 videos to do" in log  # which the terminal does not show
    assert "3 of 3 videos to do" not in "\n".join(lines)
    (whole,) = (own / ".snakemake/log").glob("*.log")
    assert "reason: Missing output files" in whole.read_text() and "rule collect" in whole.read_text()


def test_the_benchmark_of_a_job_is_beside_its_log_and_makes_nothing_stale(own: Path) -> None:
    assert snakemake(own, FRAMES).returncode == 0
    benchmark = (own / LOG).with_suffix(".jsonl")
    assert '"s":' in benchmark.read_text() and '"max_rss":' in benchmark.read_text()
    benchmark.unlink()
    assert "Nothing to be done" in "\n".join(said(snakemake(own, "-n", FRAMES)))


def test_a_failed_job_says_why_and_where_and_its_status_gets_through(own: Path) -> None:
    frame = next((own / "data/tiny/valid_u/JPEGImages/video1").glob("*.jpg"))
    frame.write_bytes(frame.read_bytes()[:300])
    done = snakemake(own, FRAMES)
    text = "\n".join(said(done))
    assert done.returncode == 1
    assert f"FAILED: extract_frames tiny/valid_u 0-of-1; see {LOG}" in text
    assert text.count("1 of 3 videos failed") == 1 and frame.name in text
    assert "1 of 3 videos failed" in (own / LOG).read_text()
    assert "CalledProcessError" not in text and not (own / FRAMES).exists()


@pytest.mark.parametrize(
    ("target", "nearest"),
    [
        ("results/tiny/valid_uu", "results/tiny/valid_u"),
        ("results/clip/all", "results/clips/all"),
        ("results/compare/tiny/vald", "results/compare/tiny/valid"),
        ("results/mevis/dev", "results/mevis/valid"),  # a split, but of another data set
    ],
)
def test_a_misspelt_target_names_the_nearest(place: Path, target: str, nearest: str) -> None:
    done = snakemake(place, target)
    assert done.returncode == 1
    assert said(done)[-1] == f"error: no target {target!r}; did you mean {nearest!r}?"
    assert len(said(done)) <= 3


def test_a_run_without_cores_says_what_to_type(place: Path) -> None:
    done = snakemake(place, "results/tiny/valid_u", cores=None)
    assert done.returncode == 1
    assert "snakemake --cores 8 results/tiny/valid_u" in said(done)[-1] and len(said(done)) <= 2


def test_without_a_target_the_targets_are_listed(place: Path) -> None:
    done = snakemake(place)
    assert done.returncode == 0
    assert "  results/tiny/  train  valid_u  valid" in done.stdout.splitlines()
    assert len(said(done)) < 25


def test_verbose_shows_what_snakemake_shows(place: Path) -> None:
    text = "\n".join(said(snakemake(place, "-n", "--verbose", FRAMES)))
    assert "reason: Missing output files" in text and "rule collect:" in text


def test_only_models_that_are_loaded_are_fetched(own: Path) -> None:
    def fetched(config: str) -> set[str]:
        lines = said(snakemake(own, "-n", "results/tiny/valid_u", config=config))
        return {line.removeprefix("fetch_weights random ") for line in lines if line.startswith("fetch_weights r")}

    assert fetched("tiny.yaml") == {"sam2", "grounding_dino", "text", "mllm"}
    without = overlay(own, "without.yaml", {"rerank": {"evidence": []}})
    assert fetched(without) == {"sam2", "grounding_dino", "text"}
    sources = {"train": ["gt", "grid"], "evaluate": ["grid"]}
    grid = overlay(own, "grid.yaml", {"rerank": {"evidence": []}, "selector": {"sources": sources}})
    assert fetched(grid) == {"sam2", "text"}


@pytest.fixture
def waiting(own: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A run whose one job waits for the lock that fetching weights is under, in a process group of its own."""
    (own / "weights").mkdir()
    holder = subprocess.Popen(["flock", own / "weights/.lock", "sleep", "60"])
    command = [sys.executable, "-m", "snakemake", "weights/random/text/record.json", "--configfile", "tiny.yaml"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    job = subprocess.Popen(
        [*command, "--cores", "1"],
        cwd=own,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    yield job
    holder.kill()
    holder.wait()
    if job.poll() is None:
        os.killpg(job.pid, signal.SIGKILL)


def test_the_last_words_of_an_interrupted_job_are_in_its_log(own: Path, waiting: "subprocess.Popen[bytes]") -> None:
    """Ctrl-C goes to all processes of a terminal, and so to what writes the log, too."""
    log = own / "results/cache/logs/fetch_weights-random-text.log"
    while waiting.poll() is None and not (log.exists() and "waiting" in log.read_text()):
        time.sleep(0.05)
    os.killpg(waiting.pid, signal.SIGINT)
    text, _ = waiting.communicate(timeout=120)
    assert waiting.returncode == 1 and b"interrupted" in text
    assert log.read_text().splitlines()[-1] == "interrupted"
    assert log.read_text().count("waiting for it") == 1
