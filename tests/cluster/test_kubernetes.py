"""The whole pipeline through a real Kubernetes: Jobs and pods deleted, a server that does not answer; every file as on one machine.

Minutes long, and root's business: `make test-kubernetes`. Elsewhere it is skipped, and says why.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.finished import FRAMES, TARGET, assert_same, finish, workspace
from support.kubernetes import Kubernetes, lacking, one_node
from support.project import ROOT

from stages.core.run.needs import NEEDS

PROGRAMS = os.environ.get("REFEREE_TEST_KUBERNETES", "")
WHY_NOT = lacking(Path(PROGRAMS)) if PROGRAMS else "the tests on a real Kubernetes take minutes: make test-kubernetes"
pytestmark = [pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT), pytest.mark.timeout(3600)]

# A node cannot pretend to have more memory than there is.
SMALL = [f"{rule}:mem_mb=3000" for rule in NEEDS]


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubernetes]:
    with one_node(tmp_path_factory.mktemp("kubernetes"), Path(PROGRAMS)) as running:
        yield running


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finish(tmp_path_factory.mktemp("local"))


@pytest.fixture
def place(tmp_path: Path, kubernetes: Kubernetes) -> Iterator[Path]:
    """A project on the volume that the profile names."""
    workspace(tmp_path)
    kubernetes.claim(tmp_path)
    yield tmp_path
    kubernetes.forget()


def run(place: Path, kubernetes: Kubernetes, target: str, *resources: str) -> subprocess.Popen[str]:
    """The head of a run; what it says is in <place>/head.log."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--workflow-profile",
        "workflow/profiles/kubernetes",
        "--latency-wait",
        "20",
    ]
    paths = f"{Path(sys.executable).parent}:{kubernetes.environment['PATH']}"
    environment = kubernetes.environment | {"PATH": paths, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    with (place / "head.log").open("a") as log:
        return subprocess.Popen(
            [*command, "--set-resources", *SMALL, *resources, "--configfile", "tiny.yaml", "--", target],
            cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip


def wait_for_job(kubernetes: Kubernetes, head: subprocess.Popen[str], rule: str) -> str:
    """The name of a Job of a rule whose pod runs."""
    while head.poll() is None:
        pods = kubernetes.ask(
            "get", "pods", f"--selector=rule={rule}", "--field-selector=status.phase=Running", "-o", JOBS
        )
        if pods:
            return pods.split()[0]
        time.sleep(0.5)
    raise AssertionError(f"the run ended before a job of {rule} ran")


JOBS = "jsonpath={.items[*].metadata.labels.job-name}"


def wait(head: subprocess.Popen[str], place: Path) -> str:
    """What the head of a run said, once it has ended well."""
    status = head.wait()
    text = (place / "head.log").read_text()
    assert status == 0, text[-10000:]
    return text


def test_a_run_whose_jobs_and_pods_are_ended(place: Path, kubernetes: Kubernetes, local: Path) -> None:
    started = time.monotonic()
    head = run(place, kubernetes, TARGET)
    deleted = wait_for_job(kubernetes, head, "generate-prompts")
    kubernetes.ask("delete", "job", deleted, "--wait=false")
    killed = kill_a_stage(place, head, "build_tracks")
    # As where a node is drained: the pod is told to end, has 60 s for it, and the Job starts another one.
    drained = wait_for_job(kubernetes, head, "gather-evidence")
    kubernetes.ask("delete", "pod", f"--selector=job-name={drained}", "--wait", "--timeout=40s")
    text = wait(head, place)
    print(f"kubernetes: {len(kubernetes.jobs())} jobs, {time.monotonic() - started:.0f} s")
    assert f"external_jobid: default/{deleted}" in text and len(kubernetes.jobs("failed")) == 1, killed
    assert drained in kubernetes.jobs("succeeded")
    assert_same(place, local)


def kill_a_stage(place: Path, head: subprocess.Popen[str], stage: str) -> int:
    """The process of a stage in a container, which is one of this machine, killed as the kernel does where memory ends."""
    while head.poll() is None:
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if f"stages.{stage}".encode() in words and (entry / "cwd").readlink() == place:
                    os.kill(int(entry.name), signal.SIGKILL)
                    return int(entry.name)
        time.sleep(0.1)
    raise AssertionError(f"the run ended before {stage} was seen")


def test_a_server_that_does_not_answer_is_asked_again(place: Path, kubernetes: Kubernetes) -> None:
    head = run(place, kubernetes, FRAMES)
    wait_for_job(kubernetes, head, "extract-frames")
    with kubernetes.unreachable():
        time.sleep(45)  # a question waits 30 s for an answer
    wait(head, place)
    assert (place / FRAMES).is_file() and not kubernetes.jobs("failed")


def test_time_in_the_queue_is_not_a_jobs_own(place: Path, kubernetes: Kubernetes) -> None:
    """A job of a minute waits for longer than that."""
    with kubernetes.starting_nothing():
        head = run(place, kubernetes, FRAMES, "extract_frames:runtime=1")
        time.sleep(80)
        assert kubernetes.jobs("active") and head.poll() is None
    wait(head, place)
    assert (place / FRAMES).is_file() and not kubernetes.jobs("failed")


def test_a_profile_is_checked_against_its_cluster(place: Path, kubernetes: Kubernetes) -> None:
    def check() -> str:
        command = [sys.executable, "-m", "stages", "check-profile", "kubernetes"]
        done = subprocess.run(command, cwd=place, env=kubernetes.environment, capture_output=True, text=True)
        assert done.returncode in (0, 1) and not done.stderr, done.stderr
        return done.stdout

    image = "job.yaml:20: image: names no image of yours"
    assert image in check()
    shutil.copytree(ROOT / "workflow", place / "own")
    (place / "workflow").unlink()
    (place / "own").rename(place / "workflow")
    manifest = place / "workflow/profiles/kubernetes/job.yaml"
    manifest.write_text(manifest.read_text().replace("registry.example/", "registry.mine/"))
    said = check()
    assert "profile.yaml: sound" in said and ", 2 GPUs" in said
    assert "train_selector asks for mem_mb=64000, and no node of this cluster gives more than" in said
    manifest.write_text(manifest.read_text().replace("claimName: referee", "claimName: other"))
    assert "there is no volume claim other in namespace default" in check()


def test_ctrl_c_takes_the_jobs_along(place: Path, kubernetes: Kubernetes) -> None:
    head = run(place, kubernetes, FRAMES)
    wait_for_job(kubernetes, head, "extract-frames")
    head.send_signal(signal.SIGINT)
    assert head.wait() != 0
    end = time.monotonic() + 60
    while kubernetes.jobs() and time.monotonic() < end:
        time.sleep(0.5)
    assert not kubernetes.jobs()
