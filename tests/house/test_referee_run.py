"""`referee run` and `referee demo`: how words reach snakemake, what is a target, and what is said of one misspelt."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from support.project import ROOT, make_config, referee

from stages.core.config.loading import load_config
from stages.core.run import starting
from stages.core.run.snakemake_words import Nargs, Option, arrange, snakemake_options
from stages.core.run.targets import Targets
from stages.tools import run as run_tool

# ---------------------------------------------------------------- words for snakemake

OPTIONS: Mapping[str, Nargs] = {
    "-n": 0, "-p": 0, "--dry-run": 0, "--keep-going": 0, "-c": None, "--cores": None, "--directory": None,
    "--resources": "+", "--configfile": "+", "--config": "*", "-R": "*", "--forcerun": "*", "--quiet": "*",
    "--report": "?", "--dag": "?", "--until": "+", "--deploy-sources": 2,
}  # fmt: skip
U, M = "results/shapes/valid_u", "mevis/valid_u"


@pytest.fixture
def targets() -> Targets:
    return Targets(load_config(ROOT / "config.yaml"))


@pytest.mark.parametrize(
    ("words", "flags", "asked"),
    [
        (f"{U}", "", U),
        (f"{U} --cores 8", "--cores 8", U),
        (f"--cores 8 {U}", "--cores 8", U),
        (f"--cores=8 {U}", "--cores=8", U),
        (f"-c8 {U} -np", "-c8 -np", U),
        (f"-nc 8 {U}", "-nc 8", U),
        (f"--resources gpu=4 {U}", "--resources gpu=4", U),
        (f"--resources gpu=4 mem_mb=100 {M} {U} --cores 8", "--resources gpu=4 mem_mb=100 --cores 8", f"{M} {U}"),
        (f"{M} --resources gpu=4 {U} -n", "--resources gpu=4 -n", f"{M} {U}"),
        (f"--resources gpu=4 -- {U} -n", "--resources gpu=4", f"{U} -n"),
        ("--resources gpu=4 result/mevis/valid_u", "--resources gpu=4", "result/mevis/valid_u"),  # misspelt
        (f"--configfile a/b.yaml {U}", "--configfile a/b.yaml", U),
        (f"--configfile a.yaml b.yml {M} --cores 1", "--configfile a.yaml b.yml --cores 1", M),
        ("--configfile results/imports/x/config.yaml shapes/dev", "--configfile results/imports/x/config.yaml", "shapes/dev"),
        (f"--config a=1 b={{c: d/e}} {M}".replace(": ", ":"), "--config a=1 b={c:d/e}", M),
        (f"--quiet {U}", "--quiet", U),
        (f"--quiet rules {U}", "--quiet rules", U),
        (f"-R build_tracks {U}", "-R build_tracks", U),
        (f"-R {U} {U}", f"-R {U}", U),
        (f"--until build_tracks evaluate {M}", "--until build_tracks evaluate", M),
        (f"--report {U}", "--report", U),
        (f"{U} --report out/report.zip", "--report out/report.zip", U),
        (f"--report report.html {U}", "--report report.html", U),
        (f"--directory some/where {U}", "--directory some/where", U),
        (f"--deploy-sources q s {U}", "--deploy-sources q s", U),
        (f"--dry --keep {U}", "--dry --keep", U),  # argparse's abbreviations
        ("--resources gpu=1 results/cache/shapes/train/done/train_selector.json", "--resources gpu=1",
         "results/cache/shapes/train/done/train_selector.json"),
        ("--resources gpu=1 data/shapes/shapes.json", "--resources gpu=1", "data/shapes/shapes.json"),
        ("--unlock -n", "--unlock -n", ""),
    ],
)  # fmt: skip
def test_targets_may_stand_anywhere(words: str, flags: str, asked: str, targets: Targets) -> None:
    options, found = arrange(words.split(), OPTIONS | {"--unlock": 0}, targets.looks_like_one)
    assert " ".join(word for option in options for word in option.words) == flags
    assert " ".join(found) == asked


def test_options_carry_their_names_and_values(targets: Targets) -> None:
    words = ["--cores=8", "-c4", "--resources", "gpu=4", "mem=1", M, "--keep"]
    options, _ = arrange(words, OPTIONS, targets.looks_like_one)
    assert [(option.name, option.values) for option in options] == [
        ("--cores", ("8",)),
        ("-c", ("4",)),
        ("--resources", ("gpu=4", "mem=1")),
        ("--keep-going", ()),
    ]


@pytest.mark.parametrize(("word", "nearest"), [("--coers", "--cores"), ("-x", ""), ("-nx", "")])
def test_an_unknown_option_names_the_nearest(word: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=rf"snakemake has no option .*{nearest}"):
        arrange([word, U], OPTIONS, lambda _: False)


def test_the_installed_snakemake_says_how_many_values_an_option_takes() -> None:
    known = snakemake_options()
    assert {name: known[name] for name in ("-n", "--cores", "--resources", "--report", "-R", "--workflow-profile")} == {
        "-n": 0, "--cores": None, "--resources": "+", "--report": "?", "-R": "*", "--workflow-profile": None
    }  # fmt: skip


# ---------------------------------------------------------------- targets


@pytest.mark.parametrize(
    ("word", "target"),
    [
        ("shapes/valid_u", U),
        (U, U),
        (f"./{U}/", U),
        (str(ROOT / U), U),
        ("compare/shapes/valid_u", "results/compare/shapes/valid_u"),
        ("results/compare/shapes/valid_u", "results/compare/shapes/valid_u"),
        ("results/cache/shapes/train/done/x.json", "results/cache/shapes/train/done/x.json"),
        ("weights/micro/text/record.json", "weights/micro/text/record.json"),
        ("data/shapes/shapes.json", "data/shapes/shapes.json"),
        ("make_shapes", "make_shapes"),
    ],
)
def test_targets_are_known_with_or_without_the_results_folder(
    word: str, target: str, targets: Targets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert targets.resolve(word) == target


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("mevs/valid_u", "did you mean 'mevis/valid_u'?"),
        ("result/mevis/valid_u", "did you mean 'results/mevis/valid_u'?"),
        ("results/mevs/valid_u", "did you mean 'results/mevis/valid_u'?"),
        ("shapes/valid_x", "no split 'valid_x' in config.datasets.shapes.splits; did you mean 'valid_u'?"),
        ("results/compare/shapes/valid_x", "did you mean 'valid_u'?"),
        ("results/mevis", "name a split of mevis, one of train, valid_u, valid"),
        (f"{U}/metrics.json", f"a split is made as a whole; ask for {U}"),
        ("results/compare/shapes/valid_u/table.md", "ask for results/compare/shapes/valid_u"),
        ("make_shape", "did you mean 'make_shapes'?"),
        ("results", "no target 'results'"),
    ],
)
def test_a_misspelt_target_names_the_nearest(word: str, message: str, targets: Targets) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        targets.resolve(word)
    assert "\n" not in str(error.value)


def test_absolute_results_are_found_by_name_and_by_path(tmp_path: Path) -> None:
    targets = Targets(make_config(tmp_path))
    assert targets.resolve("shapes/valid_u") == str(tmp_path / "results" / "shapes" / "valid_u")
    assert targets.resolve(str(tmp_path / "results/shapes/dev")) == str(tmp_path / "results/shapes/dev")


# ---------------------------------------------------------------- run


def profile_of(words: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    options, _ = arrange(words, snakemake_options(), lambda _: False)
    return [word for option in starting.with_profile(options, variables) for word in option.words]


def test_the_default_profile_holds_unless_another_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    gpu = {"CUDA_VISIBLE_DEVICES": "0"}
    default, slurm = (
        ["--workflow-profile", "workflow/profiles/default"],
        ["--workflow-profile", "workflow/profiles/slurm"],
    )
    assert profile_of(["-n"], gpu) == ["-n", *default]
    assert profile_of(["-n"], gpu | {"SNAKEMAKE_PROFILE": "mine"}) == ["-n"]
    assert profile_of(["--profile", "mine"], gpu) == ["--profile", "mine"]
    assert profile_of(["--workflow-profile", "none"], gpu) == ["--workflow-profile", "none"]
    assert profile_of(["--workflow-profile=slurm"], gpu) == profile_of(["--workflow-profile", "slurm"], gpu) == slurm
    assert profile_of(slurm, gpu) == slurm
    with pytest.raises(ValueError, match="no profile 'slrm' in workflow/profiles; did you mean 'slurm'"):
        profile_of(["--workflow-profile", "slrm"], gpu)


def test_without_a_gpu_jobs_do_not_wait_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    cpu = {"CUDA_VISIBLE_DEVICES": ""}
    assert profile_of([], cpu)[-2:] == ["--resources", f"gpu={os.cpu_count()}"]
    assert profile_of(["--resources", "gpu=3"], cpu)[:2] == ["--resources", "gpu=3"]
    assert "--resources" not in profile_of(["--resources=gpu=3"], cpu)
    assert "--resources" not in profile_of(["--workflow-profile", "slurm"], cpu)


def test_config_of_is_what_the_workflow_will_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("paths: {results: a, cache: c}\nrun: {threads: 1}\n")
    (tmp_path / "mine.yaml").write_text("paths: {results: b}\n")
    options = [Option("--configfile", (), ("mine.yaml",)), Option("--config", (), ("run={threads: 4}", "x=yes"))]
    assert run_tool.config_of(options) == {"paths": {"results": "b", "cache": "c"}, "run": {"threads": 4}, "x": True}
    assert run_tool.config_of([])["paths"]["results"] == "a"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code, no data, no results."""
    place = tmp_path_factory.mktemp("checkout")
    for name in ("Snakefile", "workflow", "stages", "envs", "config.yaml", "tests"):
        (place / name).symlink_to(ROOT / name)
    return place


def test_a_dry_run_with_the_target_behind_greedy_flags(checkout: Path) -> None:
    """Through exec, by the short name, with an overlay whose data set is not in config.yaml."""
    done = referee(
        "run", "-n", "--resources", "gpu=4", "--configfile", "tests/configs/tiny.yaml", "tiny/valid_u", cwd=checkout
    )
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert re.search(r"^assemble +1$", text, re.MULTILINE) and "tiny/valid_u" in text
    assert "workflow/profiles/default" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shapes/valid_x"], "did you mean 'valid_u'?"),
        (["--resources", "gpu=4", "result/mevis/valid_u"], "did you mean 'results/mevis/valid_u'?"),
        (["shapes/valid_u", "--coers", "8"], "did you mean '--cores'?"),
        (["shapes/valid_u", "--configfile", "no.yaml"], "no.yaml: no such config file"),
    ],
)
def test_what_cannot_be_run_is_one_line(words: list[str], message: str, checkout: Path) -> None:
    done = referee("run", *words, cwd=checkout)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("error: ") and message in done.stderr and done.stderr.count("\n") == 1


def test_elsewhere_it_says_where_to_go(tmp_path: Path) -> None:
    done = referee("run", "shapes/valid_u", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == f"error: {tmp_path}: no Snakefile here; cd {ROOT}\n"


def test_without_a_target_it_says_what_can_be_made(checkout: Path) -> None:
    done = referee("run", "--cores", "2", cwd=checkout)
    assert done.returncode == 0 and "shapes/valid_u" in done.stdout and "mevis/valid_u" in done.stdout


def test_without_a_target_snakemake_is_asked_what_needs_none(checkout: Path) -> None:
    done = referee("run", "--list-rules", cwd=checkout)
    assert done.returncode == 0 and "build_tracks" in done.stdout + done.stderr


def test_the_demo_is_a_run_of_the_embedded_data_set(checkout: Path) -> None:
    done = referee("demo", "-n", "--resources", "gpu=2", cwd=checkout)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    assert re.search(r"^make_shapes +1$", text, re.MULTILINE) and "Done." not in text


def test_the_demo_leaves_signals_to_snakemake_and_gives_back_its_status() -> None:
    """The child answers SIGTERM in its own way; the parent waits for that."""
    code = (
        "import os, signal, subprocess, sys, threading\n"
        "from stages.tools.demo import wait_for\n"
        "child = 'import signal, sys, time\\n' \\\n"
        "    'signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\\n' \\\n"
        "    'print(1, flush=True)\\n' \\\n"
        "    'time.sleep(60)'\n"
        "process = subprocess.Popen([sys.executable, '-c', child], stdout=subprocess.PIPE)\n"
        "process.stdout.readline()\n"
        "threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
        "threading.Timer(0.6, os.kill, (os.getpid(), signal.SIGTERM)).start()\n"
        "assert wait_for(process) == 7\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
