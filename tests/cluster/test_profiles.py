"""Profiles: sound as they are shipped, and what is wrong with an edited one is named with its line, key and fix."""

import os
import subprocess
from pathlib import Path

import pytest
import yaml
from support.project import ROOT

from stages.core.run.kubernetes import Place, quantity, read_place
from stages.core.run.needs import NEEDS
from stages.core.run.profiles import Profile, find_profile, read_profile
from stages.core.run.slurm import Facts, Partition, gpus_of, how_ends_are_seen, minutes_of, too_much
from stages.core.run.snakemake_words import snakemake_options
from stages.tools.check_profile import check, check_cluster, check_kubernetes, main

NAMES = ("default", "slurm", "slurm-gres", "generic", "kubernetes")
BIG = Partition(memory=500_000, cpus=64, gpus=8, minutes=None)
SMALL = Partition(memory=24_000, cpus=4, gpus=1, minutes=600)


def facts(partition: Partition = BIG, *, accounting: bool = False, min_job_age: int = 300) -> Facts:
    return Facts(accounting, min_job_age, {"gpu": partition, "cpu": Partition(8000, 8, 0, 60)}, "cpu")


def profile(name: str) -> Profile:
    return read_profile(ROOT / "workflow/profiles" / name / "profile.yaml")


def edited(tmp_path: Path, name: str, old: str, new: str) -> Profile:
    text = profile(name).file.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "profile.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    return read_profile(tmp_path / "profile.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_profile_is_sound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    problems = [f"{key}: {words}" for key, words in check(profile(name), snakemake_options())]
    # Commands of clusters are not on this machine; everything else is right.
    commands = ("sbatch", "scancel", "kubectl")
    absent = [line for line in problems if "no such command here" in line and any(name in line for name in commands)]
    packages = [line for line in problems if "needs the package" in line]
    image = [line for line in problems if "job.yaml:" in line and "names no image of yours" in line]
    assert len(image) == (name == "kubernetes" and not packages)
    assert sorted(problems) == sorted(absent + packages + image)
    assert find_profile(name) == profile(name).file.relative_to(ROOT)


@pytest.mark.parametrize("name", ["slurm", "slurm-gres"])
def test_a_cluster_that_gives_all_that_is_asked_for_is_sound(name: str) -> None:
    problems, notes = check_cluster(profile(name), facts())
    assert problems == []
    assert "squeue" in notes[0] and "gpu: up to 500000 MB, 64 cores, 8 GPUs, any time" in notes[1]


@pytest.mark.parametrize(
    ("old", "new", "key", "line", "words"),
    [
        ("keep-going: true", "keep-gooing: true", "keep-gooing", "keep-gooing", "did you mean 'keep-going'"),
        ("rerank_tracks=", "rerank_trakcs=", "groups/rerank_trakcs", "- rerank_trakcs", "did you mean 'rerank_tracks'"),
        ("jobs: 500", "slurm-array-jobs: all", "slurm-array-jobs", "slurm-array-jobs: all", "take it out"),
        ("retries: 2", "", "executor", "executor: slurm", "a preempted or lost job ends the run"),
        ("- rerank=4", "- rerank", "group-components", "group-components:", "an entry is name=value"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path: Path, old: str, new: str, key: str, line: str, words: str) -> None:
    found = edited(tmp_path, "slurm", old, new)
    assert words in dict(check(found, snakemake_options()))[key]
    assert line in found.file.read_text(encoding="utf-8").splitlines()[found.line(key) - 1]


def test_what_is_no_profile_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["slrum"]) == 2 and "did you mean 'slurm'" in capsys.readouterr().err
    for text, words in (
        ("a: [", "not YAML"),
        ("- a", "holds no keys"),
        ("jobs: 1\njobs: 2", "profile.yaml:2: jobs is there twice, first in line 1"),
    ):
        (tmp_path / "profile.yaml").write_text(text)
        assert main([str(tmp_path)]) == 2 and words in capsys.readouterr().err


def test_the_default_profile_is_checked_by_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["default"]) == 0 and capsys.readouterr().out == "workflow/profiles/default/profile.yaml: sound\n"


# ---------------------------------------------------------------- what Slurm would refuse


def test_a_small_node_is_named_with_what_fits(tmp_path: Path) -> None:
    problems = dict(check_cluster(profile("slurm"), facts(SMALL))[0])
    text = problems["set-resources"]
    assert "asks for mem_mb=" in text and "no node of partition gpu gives more than 24000" in text
    own = "set-resources:\n" + "".join(
        f'  {rule}: {{mem_mb: "min({memory} * attempt, 24000)", runtime: "min({minutes} * attempt, 600)"}}\n'
        for rule, (memory, minutes) in NEEDS.items()
    )
    fitted = edited(tmp_path, "slurm", "retries: 2", f"{own}retries: 2")
    assert check_cluster(fitted, facts(SMALL))[0] == []


def test_a_retry_that_outgrows_every_node_is_seen_before_it_happens() -> None:
    problems, _ = check_cluster(profile("slurm"), facts(Partition(70_000, 64, 8, None)))
    assert any("train_selector asks for mem_mb=192000" in words and "at attempt 3" in words for _, words in problems)
    assert any(
        'set-resources: train_selector: {mem_mb: "min(64000 * attempt, 70000)"}' in words for _, words in problems
    )


def test_partitions_are_looked_up(tmp_path: Path) -> None:
    none = edited(tmp_path, "slurm", "slurm_partition=gpu", "slurm_partition=gpus")
    (key, words), *_ = check_cluster(none, facts())[0]
    assert key == "default-resources/slurm_partition" and "no such partition; name one of cpu, gpu" in words
    assert none.line(key) == 1 + none.file.read_text().splitlines().index("  - slurm_partition=gpus       # yours")
    several = edited(tmp_path, "slurm", "slurm_partition=gpu", "slurm_partition=cpu,gpu")
    assert check_cluster(several, facts())[0] == []
    without = Facts(True, 300, {"gpu": Partition(500_000, 64, 0, None)}, None)
    problems = check_cluster(profile("slurm"), without)[0]
    assert any("asks for gpu=1" in words and "name a partition with GPUs" in words for _, words in problems)


@pytest.mark.parametrize(
    ("accounting", "age", "asked", "command"),
    [
        (True, 300, "sacct", "sacct"),
        (True, 300, "squeue", "squeue"),
        (False, 300, "sacct", "squeue"),
        (True, 2, None, "sacct"),
    ],
)
def test_how_ends_are_seen(accounting: bool, age: int, asked: str | None, command: str) -> None:
    assert how_ends_are_seen(facts(accounting=accounting, min_job_age=age), asked)[0] == command


@pytest.mark.parametrize(
    ("accounting", "asked", "fix"), [(False, "sacct", "have MinJobAge set"), (True, "squeue", "leave out")]
)
def test_where_no_end_can_be_seen_nothing_starts(accounting: bool, asked: str, fix: str) -> None:
    with pytest.raises(ValueError, match=fix):
        how_ends_are_seen(facts(accounting=accounting, min_job_age=2), asked)


def test_slurms_words_are_read() -> None:
    limits = {"1-00:00:00": 1440, "infinite": None, "30:00": 30, "2:00:00": 120, "2-12": 3600, "UNLIMITED": None}
    assert {text: minutes_of(text) for text in limits} == limits
    gpus = {"gpu:4": 4, "gpu:a100:4(S:0-1)": 4, "(null)": 0, "gpu:a:2,gpu:b:1,tmp:9": 3, "": 0}
    assert {text: gpus_of(text) for text in gpus} == gpus
    assert too_much("r", "partition p", SMALL, {"mem_mb": 24_000, "runtime": 600, "gpu": 1, "threads": 4}) == []
    assert len(too_much("r", "partition p", SMALL, {"mem_mb": 24_001, "runtime": 601, "gpu": 2, "threads": 5})) == 4


# ---------------------------------------------------------------- Kubernetes


def test_a_job_of_kubernetes_is_complete(tmp_path: Path) -> None:
    """What the profile's command hands to kubectl; a kubectl that prints it stands in for the cluster, which is not here."""
    (tmp_path / "kubectl").write_text("#!/bin/sh\ncat\n")
    (tmp_path / "kubectl").chmod(0o755)
    submit = ROOT / "workflow/profiles/kubernetes/submit.sh"
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = [str(submit), "build_tracks", "4", "32000", "720", "1", "/shared/referee/.snakemake/tmp.x/job 1.sh"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, env=environment)
    assert "@" not in done.stdout.split("\n", 1)[1]
    job = yaml.safe_load(done.stdout)
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["activeDeadlineSeconds"] == 720 * 60 and job["metadata"]["generateName"] == "referee-build-tracks-"
    assert container["resources"]["limits"] == {"memory": "32000M", "nvidia.com/gpu": 1}
    shell, wrapper, script = container["command"]
    assert (shell, script) == ("/bin/sh", "/shared/referee/.snakemake/tmp.x/job 1.sh") and Path(wrapper).is_file()
    assert container["workingDir"] == str(tmp_path) == container["volumeMounts"][0]["mountPath"]


def test_a_place_of_kubernetes_is_read_before_it_is_filled_in(tmp_path: Path) -> None:
    assert read_place(ROOT / "workflow/profiles/kubernetes/job.yaml") == Place("default", ("referee",))
    (tmp_path / "job.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match=r"job\.yaml: is no manifest of a Job"):
        read_place(tmp_path / "job.yaml")


def test_quantities_of_kubernetes() -> None:
    numbers = {
        "24581696Ki": 24581696 * 1024,
        "64Gi": 64 << 30,
        "32000M": 32e9,
        "500m": 0.5,
        "2": 2,
        "1e3": 1000,
        "1.5G": 1.5e9,
    }
    assert {text: quantity(text) for text in numbers} == numbers
    with pytest.raises(ValueError, match="no quantity"):
        quantity("64 GB")


@pytest.mark.parametrize(
    "answer", ["exit 1", "echo 'The connection to the server localhost:8080 was refused' >&2; exit 1"]
)
def test_a_kubectl_that_reaches_nothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """On a real cluster: tests/cluster/test_kubernetes.py."""
    (tmp_path / "kubectl").write_text(f"#!/bin/sh\n{answer}\n")
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    problems, notes = check_kubernetes(profile("kubernetes"), ROOT / "workflow/profiles/kubernetes/job.yaml")
    assert notes == [] and "kubectl reaches no cluster" in problems[0][1]
